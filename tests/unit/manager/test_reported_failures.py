"""A version that is loaded can fail: its loader reports it, and it ends with that error."""

from __future__ import annotations

import pytest

from servman.errors import LoadFailedError, NotFoundError
from servman.ids import ServableId
from servman.loader import LoadContext
from servman.manager import BasicManager, CachingManager, HarnessState
from servman.manager.causes import Cause
from servman.reasons import ReasonCode
from servman.testing import FakeClock
from tests.unit.manager.rig import FileLoader, Model, ModelLoader, Rig, entry, sid

GONE = LoadFailedError("m:2: its process died for good")


class Reporting(ModelLoader):
    """Reports a failure of what it is making, before its load returns."""

    def load(self, context: LoadContext) -> Model:
        model = super().load(context)
        context.report_failure(GONE)
        return model


def serving(*loaders: ModelLoader) -> Rig:
    """Make a manager that serves a version of each of *loaders*, from m:1 on."""
    rig = Rig()
    rig.bring("m", *(entry(f"m:{n}", one) for n, one in enumerate(loaders, 1)))
    return rig


def report(loader: ModelLoader, error: BaseException = GONE) -> None:
    loader.contexts[-1].report_failure(error)


def test_a_version_that_fails_while_it_serves_ends_with_that_error() -> None:
    loader = ModelLoader()
    rig = serving(ModelLoader(), loader)
    report(loader)
    rig.settle()
    assert rig.states("m:2") == ["START", "LOADING", "AVAILABLE", "UNLOADING", "END"]
    (error,) = rig.ends("m:2")
    assert isinstance(error, LoadFailedError)
    assert str(error) == "m:2: its process died for good"
    assert loader.unloads == 1


def test_lookups_fall_to_another_version() -> None:
    loader = ModelLoader()
    rig = serving(ModelLoader(), loader)
    assert rig.manager.list_available_ids() == [sid("m:1"), sid("m:2")]
    report(loader)
    rig.step()
    with rig.manager.get_servable_handle("m") as handle:
        assert handle.id == sid("m:1")
    with pytest.raises(NotFoundError):
        rig.manager.get_servable_handle("m:newest")


def test_it_goes_although_its_policy_would_keep_the_last_version_that_serves() -> None:
    loader = ModelLoader()
    rig = serving(loader)
    report(loader)
    rig.settle()
    assert rig.manager.list_available_ids() == []
    assert rig.ends("m:1") == [rig.manager.snapshots("m")[0].error]


def test_it_is_unloaded_only_when_its_last_handle_is_closed() -> None:
    loader = ModelLoader()
    rig = serving(loader)
    with rig.manager.get_servable_handle("m"):
        report(loader)
        rig.settle()
        assert (rig.states("m:1")[-1], loader.unloads) == ("UNLOADING", 0)
        (snapshot,) = rig.manager.snapshots("m")
        assert snapshot.state is HarnessState.QUIESCING
        assert "its process died for good" in str(snapshot.error)
        assert "its process died for good" in str(rig.manager.explain("m"))
    rig.settle()
    assert (rig.states("m:1")[-1], loader.unloads) == ("END", 1)


def test_why_it_goes_is_its_failure() -> None:
    loader = ModelLoader()
    rig = serving(loader)
    report(loader)
    rig.settle()
    assert [one.cause for one in rig.published("m:1")[-2:]] == [Cause.FAILED, Cause.FAILED]


def test_the_reason_of_who_looks_it_up_then_is_the_error() -> None:
    loader = ModelLoader()
    rig = serving(loader)
    report(loader, ValueError("out of luck"))
    rig.settle()
    reason = rig.manager.explain("m:1")
    assert reason is not None
    assert reason.code is ReasonCode.FAILED
    assert "m:1 failed after 1 attempt: ValueError: out of luck" in reason.text


def test_a_reported_error_names_the_version_once() -> None:
    loader = ModelLoader()
    rig = serving(loader)
    report(loader, ValueError("out of luck"))
    rig.settle()
    assert [str(one) for one in rig.ends("m:1")] == ["m:1: ValueError: out of luck"]


def test_it_can_be_tried_again() -> None:
    loader = ModelLoader()
    rig = serving(loader)
    report(loader)
    rig.settle()
    rig.manager.retry(sid("m:1"))
    rig.settle()
    assert rig.manager.list_available_ids() == [sid("m:1")]
    assert len(loader.models) == 2


def test_it_is_tried_again_when_its_files_change() -> None:
    loader = FileLoader()
    rig = serving(loader)
    report(loader)
    rig.settle()
    loader.files = "repaired"
    rig.advance(1.0)
    assert rig.manager.list_available_ids() == [sid("m:1")]


def test_what_an_earlier_life_reports_concerns_nobody() -> None:
    loader = ModelLoader()
    rig = serving(loader)
    report(loader)
    rig.settle()
    rig.manager.retry(sid("m:1"))
    rig.settle()
    loader.contexts[0].report_failure(GONE)
    rig.settle()
    assert rig.manager.list_available_ids() == [sid("m:1")]


def test_what_a_failed_attempt_reports_does_not_concern_the_next_one() -> None:
    loader = ModelLoader(ValueError("not yet"))
    rig = Rig(load_retry_interval=1.0)
    rig.bring("m", entry("m:1", loader))
    rig.clock.advance(1.0)
    rig.step()  # the second attempt waits in the pool
    loader.contexts[0].report_failure(GONE)
    rig.settle()
    assert rig.manager.list_available_ids() == [sid("m:1")]


def test_only_the_first_report_counts() -> None:
    loader = ModelLoader()
    rig = serving(loader)
    report(loader, ValueError("first"))
    report(loader, ValueError("second"))
    rig.settle()
    assert [str(one) for one in rig.ends("m:1")] == ["m:1: ValueError: first"]


def test_the_failure_is_told_rather_than_that_of_the_unload_after_it() -> None:
    loader = ModelLoader(unload_error=ValueError("nothing to unload"))
    rig = serving(loader)
    report(loader)
    rig.settle()
    assert "its process died for good" in str(rig.ends("m:1")[0])


def test_what_fails_before_its_load_has_returned_never_serves() -> None:
    loader = Reporting()
    rig = Rig()
    rig.bring("m", entry("m:2", loader))
    assert rig.states("m:2") == ["START", "LOADING", "END"]
    assert [str(one) for one in rig.ends("m:2")] == [str(GONE)]
    assert loader.unloads == 1


def test_what_fails_while_it_is_held_is_never_let_in() -> None:
    loader = ModelLoader()
    rig = serving(ModelLoader())
    rig.manager.hold(["m"])
    rig.bring("m", entry("m:2", loader))
    report(loader)
    rig.settle()
    rig.manager.commit(["m"])
    rig.settle()
    assert rig.states("m:2") == ["START", "LOADING", "END"]
    assert rig.manager.list_available_ids() == [sid("m:1")]


def test_a_version_that_fails_leaves_a_held_stream_at_once_and_nothing_else_changes_there() -> None:
    loader = ModelLoader()
    rig = serving(ModelLoader(), loader)
    rig.manager.hold(["m"])
    rig.bring("m", 1)
    report(loader)
    rig.settle()
    assert rig.states("m:2")[-2:] == ["UNLOADING", "END"]
    with rig.manager.get_servable_handle("m") as handle:
        assert handle.id == sid("m:1")
    with pytest.raises(NotFoundError):
        rig.manager.get_servable_handle("m:newest")  # which is m:2 until the commit
    del handle
    rig.manager.commit(["m"])
    rig.settle()
    rig.handle("m:newest").close()


def test_a_version_that_nobody_wants_any_more_and_that_fails_is_forgotten() -> None:
    loader = ModelLoader()
    rig = serving(loader)
    rig.aspire("m", 2)  # the first one serves on until the second does
    report(loader)
    rig.settle()
    assert [str(one) for one in rig.ends("m:1")] == ["m:1: " + str(GONE)]
    assert [one.id for one in rig.manager.snapshots("m")] == [sid("m:2")]


def test_a_report_after_the_close_changes_nothing() -> None:
    loader = ModelLoader()
    rig = serving(loader)
    rig.begin_close()
    rig.settle()
    report(loader)
    rig.settle()
    assert rig.ends("m:1") == [None]


def test_a_cache_loads_it_anew_at_the_next_lookup() -> None:
    loader = ModelLoader()
    manager = CachingManager(
        lambda request: entry(f"{request.name}:{request.version or 1}", loader), clock=FakeClock()
    )
    manager.start()
    try:
        manager.get_servable_handle("m:1").close()
        report(loader)
        manager.get_servable_handle("m:1").close()
    finally:
        manager.close(5.0)


def test_a_basic_manager_tells_it_in_the_snapshot() -> None:
    manager = BasicManager()
    manager.start()
    loader = ModelLoader()
    try:
        manager.manage(entry("m:1", loader))
        manager.load(ServableId("m", 1)).result(5.0)
        report(loader)
        manager.unload(ServableId("m", 1)).exception(5.0)
    finally:
        manager.close(5.0)
    assert loader.unloads == 1


def test_an_error_that_was_raised_is_kept_without_its_frames() -> None:
    loader = ModelLoader()
    rig = serving(loader)
    try:
        int("with frames")
    except ValueError as error:
        report(loader, error)
    rig.settle()
    told = rig.end("m:1")
    assert told.__traceback__ is None
    assert told.traceback is not None
    assert "with frames" in told.traceback
