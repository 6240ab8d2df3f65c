"""Why a model is not served: one reason for each place where it can be held up."""

from __future__ import annotations

import re
import shutil
import sys
from typing import Any, final

import pytest

from servman.adapters import platforms
from servman.core import Diagnosis, ModelConfig, ServerConfig
from servman.core.advice import ADVICE, advise
from servman.core.diagnosis import span
from servman.errors import LoadFailedError, NotFoundError, UnimplementedError
from servman.ids import ServableRequest
from servman.loader import LoadContext
from servman.manager import HarnessState
from servman.reasons import Reason, ReasonCode
from servman.resources import ResourceAllocation
from servman.sources import IncompleteVersion, Latest, SourceStatus, Specific
from servman.testing import FailingLoader
from servman.worker_state import WorkerSnapshot, WorkerState
from tests.unit.core.rig import Rig, sid
from tests.unit.worker_states import waiting, worker


@final
class SupervisedBench:
    """A loader that tells of workers."""

    error: BaseException | None = None

    def __init__(self, workers: tuple[WorkerSnapshot, ...]) -> None:
        self._workers = workers

    def estimate_resources(self) -> ResourceAllocation:
        return ResourceAllocation()

    def load(self, context: LoadContext) -> object:
        if self.error is not None:
            raise self.error
        return str(context.id)

    def unload(self, servable: object) -> None:
        del servable

    def workers(self) -> tuple[WorkerSnapshot, ...]:
        return self._workers


def test_a_model_that_is_not_configured_is_told_with_those_that_are(rig: Rig) -> None:
    core = rig.run(rig.model("b"), rig.model("a"))
    diagnosis = core.explain("x")
    assert diagnosis.reason is not None
    assert diagnosis.reason.code is ReasonCode.NOT_CONFIGURED
    assert "no model 'x' is configured (there are: b, a)" in str(diagnosis)
    assert (diagnosis.config, diagnosis.source, diagnosis.versions) == (None, None, ())
    assert (diagnosis.history, diagnosis.found, diagnosis.wanted) == ((), (), ())
    assert diagnosis.next == "nothing, until a configuration names it"


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
        assert "  version 1: quiescing for 0.0 s, not wanted, 1 handle" in str(core.explain("m"))
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
    rig.clock.advance(200.0)
    diagnosis = core.explain("m")
    assert diagnosis
    assert (diagnosis.reason, diagnosis.available) == (None, (sid(1),))
    assert [one.state for one in diagnosis.versions] == [HarnessState.READY]
    assert diagnosis.config == rig.model()
    assert (diagnosis.next, diagnosis.remedy) == ("", "")
    assert str(diagnosis).splitlines() == [
        "m: well, serving 1",
        "  wanted: 1 (latest 1; on disk 1), for 3 min (poll() was called)",
        "  version 1: ready for 3 min",
        f"  base path {rig.base} (bench), looked at 3 min ago, polled (watching is turned off)",
        "  configured: generation 1 (start); required",
        "  3 min ago: m ASPIRED 1 (poll() was called)",
        "  3 min ago: m:1 START (aspired)",
        "  3 min ago: m:1 LOADING after 0.0 s",
        "  3 min ago: m:1 AVAILABLE after 0.0 s",
    ]


def test_a_model_that_serves_by_some_of_its_workers_is_well_and_degraded(rig: Rig) -> None:
    now = rig.clock.wall()
    workers = (
        worker(device=3, kind="device", since=now - 7, running=2, log_path="/logs/m-1-0.log"),
        waiting(1, due=now + 4),
        worker(2, WorkerState.STARTING, kind="extra", restarts=1, since=now, running=1),
    )
    rig.loaders["m:1"] = SupervisedBench(workers)
    core = rig.run()
    rig.bring(1)
    diagnosis = core.explain("m")
    assert diagnosis
    assert diagnosis.degraded
    assert diagnosis.versions[0].workers == workers
    lines = str(diagnosis).splitlines()
    assert lines[0] == "m: well, but degraded, serving 1"
    assert lines[2:6] == [
        "  version 1: ready for 0.0 s, by 1 of 3 workers",
        "    worker 0 (device 3, process 100): ready for 7.0 s, 2 calls, log /logs/m-1-0.log",
        (
            f"    worker 1 (no process): waiting for {span(now)}, to be started again in 4.0 s,"
            " started anew 2 times, lately: worker 1 was killed by SIGKILL"
        ),
        "    worker 2 (extra, process 102): starting for 0.0 s, 1 call, started anew 1 time",
    ]


def test_a_model_all_of_whose_workers_serve_is_plainly_well(rig: Rig) -> None:
    rig.loaders["m:1"] = SupervisedBench((worker(0), worker(1)))
    core = rig.run()
    rig.bring(1)
    diagnosis = core.explain("m")
    assert not diagnosis.degraded
    assert str(diagnosis).splitlines()[0] == "m: well, serving 1"
    assert "of 2 workers" not in str(diagnosis)
    assert "    worker 1 (process 101): ready for " in str(diagnosis)


def test_workers_of_a_version_that_has_failed_are_for_programs_alone(rig: Rig) -> None:
    loader = SupervisedBench((worker(0, WorkerState.GIVEN_UP),))
    loader.error = ValueError("none serves")
    rig.loaders["m:1"] = loader
    core = rig.run(rig.model(max_num_load_retries=0))
    rig.bring(1)
    diagnosis = core.explain("m")
    assert not diagnosis
    assert not diagnosis.degraded
    assert len(diagnosis.versions[0].workers) == 1
    assert "worker 0" not in str(diagnosis)


# ---- what a good colleague says ----------------------------------------------------------------


def test_a_version_that_is_tried_again_is_told_with_what_comes_next_and_what_helps(
    rig: Rig,
) -> None:
    rig.loaders["m:2"] = FailingLoader(ValueError("no such layer"))
    core = rig.run()
    rig.bring(1)
    rig.bring(2)
    rig.clock.advance(20.0)
    diagnosis = core.explain("m")
    assert str(diagnosis).splitlines()[:7] == [
        "m: not well, serving 1",
        "  why: m:2 is tried again in 40.0 s; attempt 1 of 6 failed: ValueError: no such layer",
        "  next: it is tried again in 40.0 s, and at once when its files change",
        (
            "  you can: correct its files, or publish another version; in a program,"
            " core.manager.retry(ServableId(name='m', version=2)) tries it at once"
        ),
        "  wanted: 2 (latest 1; on disk 1, 2), for 20 s (poll() was called)",
        "  version 1: ready for 20 s, not wanted",
        "  version 2: loading for 20 s",
    ]
    now = rig.clock.wall()
    loading = diagnosis.versions[1]
    assert (loading.attempts, loading.since, loading.retry_at) == (1, now - 20.0, now + 40.0)
    assert "no such layer" in str(loading.error)
    assert (diagnosis.wanted, diagnosis.found, diagnosis.time) == ((2,), (1, 2), now)


def test_of_a_version_the_version_is_told_and_the_others_beside_it(rig: Rig) -> None:
    rig.loaders["m:2"] = FailingLoader(ValueError("no such layer"))
    core = rig.run()
    rig.bring(1)
    rig.bring(2)
    for request in ("m:1", sid(1), ServableRequest.earliest("m")):
        assert core.explain(request)
    lines = str(core.explain("m:1")).splitlines()
    assert lines[0] == "m:1: well, serving 1"
    assert "  version 2: loading for 0.0 s: m:2 is tried again in 60.0 s;" in "\n".join(lines)
    missing = core.explain("m:7")
    assert not missing
    assert missing.reason is not None
    assert missing.reason.code is ReasonCode.NOT_ON_DISK
    assert (
        missing.next == "its base path is looked at again within 1 s, and what is found is loaded"
    )


def test_of_a_label_the_label_is_told(rig: Rig) -> None:
    rig.loaders["m:2"] = FailingLoader(ValueError("no such layer"))
    core = rig.run(rig.model(version_labels={"stable": 1, "canary": 2}), max_num_load_retries=0)
    rig.bring(1)
    rig.bring(2)
    assert core.explain("m@stable")
    canary = core.explain("m@canary")
    assert not canary
    assert canary.reason is not None
    assert canary.reason.code is ReasonCode.FAILED
    assert str(canary).startswith(
        "m@canary: not well, serving 1\n  why: m@canary is to be m:2: m:2 fai"
    )
    assert "core.manager.retry(ServableId(name='m', version=2))" in canary.remedy
    assert "  labels: canary names nothing until 2 is available, stable names 1" in str(canary)
    assert (canary.labels, canary.wanted_labels) == ({"stable": 1}, {"stable": 1, "canary": 2})


def test_a_label_that_is_not_configured_is_told_with_those_that_are(rig: Rig) -> None:
    core = rig.run(rig.model(version_labels={"stable": 1}))
    rig.bring(1)
    reason = core.explain("m@old").reason
    assert reason is not None
    assert reason.code is ReasonCode.NO_LABEL
    assert "(there are: stable)" in str(reason)


def test_a_label_of_a_version_that_nobody_asked_for_tells_why_that_is(rig: Rig) -> None:
    core = rig.run(rig.model(version_labels={"stable": 1, "next": 7}))
    rig.bring(1, 2)
    stable, coming = core.explain("m@stable").reason, core.explain("m@next").reason
    assert stable is not None
    assert coming is not None
    assert stable.code is ReasonCode.NOT_CHOSEN
    assert str(stable).startswith(
        "m@stable is to be m:1: servable 'm': the version policy does not"
    )
    assert (coming.code, coming.facts["version"]) == (ReasonCode.NOT_ON_DISK, 7)
    with pytest.raises(
        NotFoundError, match="m@next is to be m:7: servable 'm': version 7 is not in"
    ):
        core.get_servable_handle("m@next")


def test_a_label_of_a_version_that_the_manager_has_not_heard_of_is_not_aspired_yet(
    rig: Rig,
) -> None:
    core = rig.run(rig.model(version_labels={"next": 2}))
    rig.bring(1)
    rig.publish(2)
    core._pipeline.source.poll()
    reason = core.explain("m@next").reason
    assert reason is not None
    assert (reason.code, reason.facts["version"]) == (ReasonCode.NOT_ASPIRED, 2)


def test_until_a_label_moves_it_is_told_where_it_stands(rig: Rig) -> None:
    core = rig.run(rig.model(version_labels={"stable": 1}))
    rig.bring(1)
    core.reload_config(ServerConfig([rig.model(version_labels={"stable": 7})]), wait=False)
    rig.settle()
    reason = core.explain("m@stable").reason
    assert reason is not None
    assert reason.code is ReasonCode.NOT_ON_DISK
    assert str(reason).endswith("; until then it is m:1")


def test_a_core_that_is_not_ready_says_whose_fault_that_is(rig: Rig) -> None:
    core = rig.run(rig.model(), rig.model("optional", required=False))
    rig.look()
    assert core.explain("m").delays_ready
    assert "required, keeps the server from being ready" in str(core.explain("m"))
    optional = core.explain("optional")
    assert (optional.required, optional.delays_ready) == (False, False)
    assert "configured: generation 1 (start); optional" in str(optional)
    rig.bring(1)
    assert not core.explain("m").delays_ready


def test_when_nothing_is_polled_it_does_not_promise_a_look(rig: Rig) -> None:
    core = rig.run(rig.model("gone"), poll_interval=0.0)
    rig.look()
    assert "within" not in core.explain("gone").next
    assert "when a file event tells of it" in core.explain("gone").next


def test_where_nothing_is_ever_looked_at_no_look_is_promised(rig: Rig) -> None:
    core = rig.run(rig.model(), poll_interval=-1.0)
    rig.settle()
    assert core.explain("m").next == (
        "its base path is looked at when a file event tells of it, or it is configured anew, for nothing"
        " is polled here"
    )


def test_while_a_look_hangs_no_other_is_promised() -> None:
    hangs = Reason(ReasonCode.BASE_PATH_UNREADABLE, "it hangs", {"hanging": 3.0})
    assert (
        advise(hangs, None, 1.0).next == "its base path is looked at again when that look returns"
    )


def test_what_has_failed_for_want_of_memory_is_told_to_wait_for_some(rig: Rig) -> None:
    rig.publish(1, 2)
    one = rig.model(version_policy=Specific(1), memory_bytes=6)
    core = rig.serve(one, total_model_memory_limit_bytes=10)
    two = rig.model(version_policy=Specific(2), memory_bytes=6)
    core.reload_config(ServerConfig([two]), timeout=1.0)
    diagnosis = core.explain("m")
    assert diagnosis.reason is not None
    assert diagnosis.reason.code is ReasonCode.FAILED
    assert diagnosis.next == (
        "it is tried again when so much memory is returned, and when its files change"
    )


def test_a_look_that_hangs_is_told_with_its_age() -> None:
    status = SourceStatus(looking_since=1_000.0)
    diagnosis = Diagnosis("m", ModelConfig("m", "/m"), (), None, (), status, time=1_030.0)
    assert "base path /m (tensorflow), a look has been hanging for 30 s" in str(diagnosis)


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (SourceStatus(), "not looked at yet"),
        (
            SourceStatus(last_look=90.0, watched=True),
            "looked at 10 s ago, file events are followed",
        ),
        (SourceStatus(last_look=90.0), "looked at 10 s ago, polled"),
    ],
)
def test_how_the_base_path_is_looked_at_is_told(status: SourceStatus, text: str) -> None:
    diagnosis = Diagnosis("m", ModelConfig("m", "/m"), (), None, (), status, time=100.0)
    assert f"base path /m (tensorflow), {text}" in str(diagnosis).splitlines()[2]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5.0, "0.0 s"),
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (119.0, "119 s"),
        (120.0, "2 min"),
        (7_199.0, "119 min"),
        (7_200.0, "2 h"),
        (172_799.0, "47 h"),
        (1e6, "11 days"),
    ],
)
def test_spans_are_told_as_people_say_them(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_every_kind_of_reason_has_its_advice() -> None:
    assert set(ADVICE) == set(ReasonCode)
    for code in ReasonCode:
        advice = advise(Reason(code, "why"), sid(3), 1.0)
        assert "{" not in advice.next + advice.remedy
        assert bool(advice.next) is (code is not ReasonCode.AVAILABLE)
        assert "None" not in str(advise(Reason(code, "why"), None, 1.0))


def test_what_it_costs_does_not_depend_on_how_many_models_there_are(rig: Rig) -> None:
    def count_lines(models: int) -> int:
        core = rig.run(*(rig.model(f"m{one}", base_path=str(rig.base)) for one in range(models)))
        rig.look()
        rig.load()
        core.explain("m7")  # its text is read for the first time
        lines = 0

        def trace(*_: object) -> Any:
            nonlocal lines
            lines += 1
            return trace

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            assert core.explain("m7")
        finally:
            sys.settrace(before)
        return lines

    rig.publish(1)
    assert count_lines(300) == count_lines(10)


def test_what_the_core_does_not_know_yet_of_the_source_is_not_told(rig: Rig) -> None:
    core = rig.run()
    diagnosis = core.explain("m")
    assert diagnosis.source == SourceStatus()
    assert "  wanted: no version (latest 1; on disk none)" in str(diagnosis).splitlines()


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
    text = f"  looks have failed for 0.0 s: servable 'm': base path {rig.base} does not exist"
    assert text in str(diagnosis)


def test_an_error_of_the_source_that_is_the_reason_is_told_once(rig: Rig) -> None:
    core = rig.run(rig.model("gone"))
    rig.look()
    assert str(core.explain("gone")).count("does not exist") == 1


def test_versions_that_the_policy_names_and_names_that_are_none_are_listed(rig: Rig) -> None:
    core = rig.run(rig.model(version_policy=Specific(1, 5)))
    rig.publish("3.partial")
    rig.bring(1)
    lines = str(core.explain("m")).splitlines()
    assert {"  version 5: not on disk", "  ignored: '3.partial' is not a number"} < set(lines)


def test_versions_that_are_not_complete_are_listed() -> None:
    waiting = IncompleteVersion(3, "3", "it holds no file 'DONE' yet")
    diagnosis = Diagnosis("m", None, (), None, (), SourceStatus(incomplete=(waiting,)))
    assert "  '3' is not complete: it holds no file 'DONE' yet" in str(diagnosis).splitlines()


@pytest.mark.parametrize("code", ReasonCode)
def test_what_can_be_done_in_a_program_alone_is_told_as_that(code: ReasonCode) -> None:
    remedy = ADVICE[code].remedy
    by_program = re.search(r"core\.|servman\.|load_timeout|\w\(", remedy)
    said = re.search(r"in a program|a program can", remedy)
    assert by_program is None or (said is not None and 0 < said.start() < by_program.start())
