"""Why a model is not served: one reason for each place where it can be held up."""

from __future__ import annotations

import shutil

import pytest

from servman.adapters import platforms
from servman.core import Diagnosis
from servman.errors import LoadFailedError, NotFoundError, UnimplementedError
from servman.manager import HarnessState
from servman.reasons import ReasonCode
from servman.sources import IncompleteVersion, Latest, SourceStatus, Specific
from servman.testing import FailingLoader
from tests.unit.core.rig import Rig, sid


def test_a_model_that_is_not_configured_is_told_with_those_that_are(rig: Rig) -> None:
    core = rig.run(rig.model("b"), rig.model("a"))
    diagnosis = core.explain("x")
    assert diagnosis.reason is not None
    assert diagnosis.reason.code is ReasonCode.NOT_CONFIGURED
    assert "no model 'x' is configured (there are: a, b)" in str(diagnosis)
    assert (diagnosis.config, diagnosis.source, diagnosis.versions) == (None, None, ())


def test_a_model_that_is_not_configured_is_told_with_the_only_one_that_is(rig: Rig) -> None:
    rig.run()
    assert "(there are: m)" in str(rig.why("x"))


def test_with_many_models_only_some_are_named(rig: Rig) -> None:
    rig.run(*(rig.model(f"m{number:02}") for number in range(12)))
    assert "(there are: m00, " in str(rig.why("x"))
    assert "m09 and 2 more)" in str(rig.why("x"))


def test_a_core_that_was_not_started_says_to_start_it(rig: Rig) -> None:
    rig.build()
    why = rig.why("m")
    assert why.code is ReasonCode.NOT_LOOKED_YET
    assert str(why) == "m is not served: the server core was not started; call start()"


def test_a_base_path_that_was_not_looked_at_yet(rig: Rig) -> None:
    rig.run()
    assert rig.why("m").code is ReasonCode.NOT_LOOKED_YET
    assert "has not been looked at yet" in str(rig.why("m"))


def test_a_closed_core_says_so(rig: Rig) -> None:
    core = rig.build()
    core.close()
    assert str(core.explain("m").reason) == "m is not served: the server core is closed or closing"


def test_a_missing_base_path_is_named(rig: Rig) -> None:
    rig.run(rig.model("gone"))
    rig.look()
    why = rig.why("gone")
    assert why.code is ReasonCode.BASE_PATH_MISSING
    assert why.facts["base_path"] == str(rig.folder / "gone")
    assert isinstance(why.error, NotFoundError)


def test_a_base_path_that_is_a_file(rig: Rig) -> None:
    (rig.folder / "file").touch()
    rig.run(rig.model("file"))
    rig.look()
    assert rig.why("file").code is ReasonCode.BASE_PATH_NOT_A_DIRECTORY


def test_a_base_path_without_versions_tells_what_is_there_instead(rig: Rig) -> None:
    rig.publish("tmp-3")
    rig.run()
    rig.look()
    assert rig.why("m").code is ReasonCode.NO_VERSIONS
    assert "'tmp-3' is not a number" in str(rig.why("m"))


def test_a_version_that_is_not_on_disk_is_told_with_those_that_are(rig: Rig) -> None:
    rig.run()
    rig.bring(1, 2)
    why = rig.why("m:7")
    assert why.code is ReasonCode.NOT_ON_DISK
    assert why.facts["found"] == (1, 2)


def test_a_version_that_the_policy_does_not_choose(rig: Rig) -> None:
    rig.run()
    rig.bring(1, 2)
    assert rig.why("m:1").code is ReasonCode.NOT_CHOSEN
    assert "latest 1 takes 2" in str(rig.why("m:1"))


def test_a_queued_version(rig: Rig) -> None:
    rig.run(rig.model(version_policy=Latest(2)), num_load_threads=1)
    rig.publish(1, 2)
    rig.look()
    assert {rig.why("m:1").code, rig.why("m:2").code} == {ReasonCode.QUEUED, ReasonCode.LOADING}


def test_a_loading_version_tells_for_how_long(rig: Rig) -> None:
    rig.run()
    rig.publish(1)
    rig.look()
    rig.clock.advance(3)
    assert str(rig.why("m")) == "m:1 has been loading for 3.0 s (attempt 1 of 6)"
    assert rig.why("m").code is ReasonCode.LOADING


def test_a_version_that_is_tried_again_tells_when_and_why(rig: Rig) -> None:
    rig.loaders["m:1"] = FailingLoader(ValueError("no such layer"))
    rig.run(load_retry_interval=60.0)
    rig.bring(1)
    rig.clock.advance(20)
    why = rig.why("m:1")
    assert (why.code, why.facts["retry_in"]) == (ReasonCode.RETRYING, 40.0)
    assert "no such layer" in str(why)


def test_a_failed_version_tells_its_error(rig: Rig) -> None:
    rig.loaders["m:1"] = FailingLoader(ValueError("no such layer"))
    core = rig.run(max_num_load_retries=0)
    rig.bring(1)
    diagnosis = core.explain("m")
    assert not diagnosis
    assert diagnosis.reason is not None
    assert diagnosis.reason.code is ReasonCode.FAILED
    assert isinstance(diagnosis.reason.error, LoadFailedError)
    assert "no such layer" in str(diagnosis)


def test_a_version_on_its_way_out_waits_for_its_handles(rig: Rig) -> None:
    core = rig.run()
    rig.bring(1)
    with core.get_servable_handle("m:1"):
        rig.bring(2)
        why = rig.why("m:1")
        assert (why.code, why.facts["handles"]) == (ReasonCode.WAITING_FOR_HANDLES, 1)
        assert "  version 1: quiescing, not wanted, 1 handle" in str(core.explain("m"))
    rig.settle()
    assert rig.why("m:1").code is ReasonCode.NOT_CHOSEN


def test_a_platform_that_was_not_asked_for_says_how_to_ask(rig: Rig) -> None:
    rig.run(platforms=())
    rig.bring(1)
    why = rig.why("m")
    assert why.code is ReasonCode.PLATFORM_UNAVAILABLE
    assert "name it in ServerCoreOptions(platforms=(..., 'bench'))" in str(why)
    assert isinstance(why.error, UnimplementedError)


def test_a_platform_that_cannot_be_imported_says_why(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def factory() -> None:
        raise ImportError("no module named runtime")

    monkeypatch.setitem(platforms._factories, "bench", factory)
    rig.run()
    rig.bring(1)
    assert rig.why("m").code is ReasonCode.PLATFORM_UNAVAILABLE
    assert "no module named runtime" in str(rig.why("m"))
    assert rig.core.monitor.get_state(sid(1)) is not None


def test_a_served_model_is_well(rig: Rig) -> None:
    core = rig.run()
    rig.bring(1)
    diagnosis = core.explain("m")
    assert diagnosis
    assert (diagnosis.reason, diagnosis.available) == (None, (sid(1),))
    assert [one.state for one in diagnosis.versions] == [HarnessState.READY]
    assert diagnosis.config == rig.model()
    assert str(diagnosis).splitlines() == [
        "m: well, serving 1",
        f"  base path {rig.base} (bench, latest 1)",
        "  version 1: ready",
    ]


def test_a_model_whose_newest_version_failed_is_not_well_though_it_serves(rig: Rig) -> None:
    rig.loaders["m:2"] = FailingLoader(ValueError("no such layer"))
    core = rig.run(max_num_load_retries=0)
    rig.bring(1)
    rig.bring(2)
    diagnosis = core.explain("m")
    assert diagnosis.available == (sid(1),)
    lines = str(diagnosis).splitlines()
    assert lines[0] == "m: not well, serving 1"
    assert lines[1].startswith("  why: m:2 failed after 1 attempt")


def test_of_several_wanted_versions_the_newest_decides_whether_all_is_well(rig: Rig) -> None:
    rig.loaders["m:2"] = FailingLoader(ValueError("no such layer"))
    core = rig.run(rig.model(version_policy=Latest(2)), max_num_load_retries=0)
    rig.bring(1, 2)
    assert core.wait_until("m", timeout=0)
    assert not core.explain("m")


def test_what_other_models_serve_is_not_told(rig: Rig) -> None:
    core = rig.run(rig.model("m"), rig.model("n"))
    (rig.folder / "n" / "7").mkdir(parents=True)
    rig.bring(1)
    assert core.explain("m").available == (sid(1),)
    assert [str(one) for one in core.explain("n").available] == ["n:7"]


def test_what_is_served_from_a_base_path_that_is_gone_is_well_and_the_path_is_told(
    rig: Rig,
) -> None:
    core = rig.run()
    rig.bring(1)
    shutil.rmtree(rig.base)
    rig.look()
    diagnosis = core.explain("m")
    assert diagnosis
    assert f"  last look failed: servable 'm': base path {rig.base} does not exist" in str(
        diagnosis
    )


def test_an_error_of_the_source_that_is_the_reason_is_told_once(rig: Rig) -> None:
    core = rig.run(rig.model("gone"))
    rig.look()
    assert str(core.explain("gone")).count("does not exist") == 1


def test_versions_that_the_policy_names_and_names_that_are_none_are_listed(rig: Rig) -> None:
    core = rig.run(rig.model(version_policy=Specific(1, 5)))
    rig.publish("3.partial")
    rig.bring(1)
    lines = str(core.explain("m")).splitlines()
    assert lines[-2:] == ["  version 5: not on disk", "  ignored: '3.partial' is not a number"]


def test_versions_that_are_not_complete_are_listed() -> None:
    waiting = IncompleteVersion(3, "3", "it holds no file 'DONE' yet")
    diagnosis = Diagnosis("m", None, (), None, (), SourceStatus(incomplete=(waiting,)))
    assert "  '3' is not complete: it holds no file 'DONE' yet" in str(diagnosis).splitlines()
