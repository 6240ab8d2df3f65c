"""Failed loads: how often and when they are repeated, and how that is cut short."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from servman.errors import (
    FailedPreconditionError,
    InternalError,
    LoadCancelledError,
    LoadFailedError,
    NotFoundError,
    ServmanError,
)
from servman.ids import ServableId
from servman.loader import SimpleLoader
from servman.manager import HarnessState
from servman.state import ManagerState
from tests.unit.manager.rig import ModelLoader, Rig, entry, errored, sid


class OddError(ServmanError):
    """A foreign error whose constructor cannot be called with its text alone."""

    def __init__(self, disk: str, *, sector: int) -> None:
        super().__init__(f"sector {sector} of {disk}")


class MuteError(Exception):
    """An error that cannot even be told."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


def failing(*errors: BaseException) -> ModelLoader:
    return ModelLoader(*(errors or [ValueError(f"attempt {n}") for n in range(1, 20)]))


def test_a_failed_load_is_repeated_after_the_interval_and_not_before(rig: Rig) -> None:
    loader = failing(ValueError("once"))
    rig.bring("m", entry("m:1", loader))
    rig.advance(59.9)
    assert len(loader.contexts) == 1
    rig.advance(0.2)
    assert [context.attempt for context in loader.contexts] == [1, 2]
    assert rig.states("m:1") == ["START", "LOADING", "AVAILABLE"]


def test_after_the_last_attempt_the_version_ends_with_its_error(rig: Rig) -> None:
    loader = failing()
    rig.bring("m", entry("m:1", loader))
    for _ in range(10):
        rig.advance(60.0)
    assert [context.attempt for context in loader.contexts] == [1, 2, 3, 4, 5, 6]
    assert rig.states("m:1") == ["START", "LOADING", "END"]
    assert "attempt 6" in str(rig.end("m:1"))
    assert (rig.state("m:1"), rig.snapshot("m:1").attempts) == (HarnessState.ERROR, 6)


def test_no_retries_means_one_attempt() -> None:
    rig = Rig(max_num_load_retries=0)
    loader = failing()
    rig.bring("m", entry("m:1", loader))
    rig.advance(1000.0)
    assert (len(loader.contexts), len(rig.ends("m:1"))) == (1, 1)


def test_an_interval_of_zero_repeats_at_once() -> None:
    rig = Rig(load_retry_interval=0.0, max_num_load_retries=2)
    loader = failing()
    rig.bring("m", entry("m:1", loader))
    assert (len(loader.contexts), len(rig.ends("m:1"))) == (3, 1)


def test_a_pause_holds_no_load_thread() -> None:
    rig = Rig(num_load_threads=1)
    rig.bring("m", entry("m:1", failing()))
    rig.bring("n", 1)
    assert rig.serving() == ["n:1"]


def test_a_pause_shows_what_failed_and_when_it_ends(rig: Rig) -> None:
    rig.bring("m", entry("m:1", failing()))
    snapshot = rig.snapshot("m:1")
    assert (snapshot.state, snapshot.attempts) == (HarnessState.LOADING, 1)
    assert snapshot.retry_at == rig.clock.monotonic() + 60.0
    assert "attempt 1" in str(snapshot.error)


def test_a_version_left_out_in_its_pause_ends_at_once_as_cancelled(rig: Rig) -> None:
    loader = failing()
    rig.bring("m", entry("m:1", loader))
    rig.aspire("m")
    assert isinstance(rig.end("m:1"), LoadCancelledError)
    rig.advance(1000.0)
    assert (len(loader.contexts), rig.manager.snapshots()) == (1, ())


# ---- cancel_retry -------------------------------------------------------------------------------


def test_cancelling_the_retries_in_a_pause_ends_the_version_at_once_with_its_error(
    rig: Rig,
) -> None:
    loader = failing()
    rig.bring("m", entry("m:1", loader))
    rig.manager.cancel_retry(sid("m:1"))
    rig.step()
    assert isinstance(rig.end("m:1"), LoadFailedError)
    assert "attempt 1" in str(rig.end("m:1"))
    rig.advance(1000.0)
    assert len(loader.contexts) == 1


def test_cancelling_the_retries_of_a_running_load_makes_it_the_last(rig: Rig) -> None:
    loader = failing()
    rig.aspire("m", entry("m:1", loader))
    rig.manager.cancel_retry(sid("m:1"))
    rig.settle()
    assert (len(loader.contexts), len(rig.ends("m:1"))) == (1, 1)


def test_cancelling_the_retries_does_not_cancel_a_load_that_succeeds(rig: Rig) -> None:
    rig.aspire("m", 1)
    rig.manager.cancel_retry(sid("m:1"))
    rig.settle()
    assert rig.serving() == ["m:1"]


def test_cancelling_the_retries_of_one_that_waits_for_a_thread_after_its_pause_ends_it() -> None:
    rig = Rig(num_load_threads=1, load_retry_interval=30.0)
    loader = failing()
    rig.bring("m", entry("m:1", loader))
    rig.aspire("n", 1)
    rig.clock.advance(30.0)
    rig.step()  # the pause is over, and the only thread is taken
    rig.manager.cancel_retry(sid("m:1"))
    rig.step()
    assert len(rig.ends("m:1")) == 1
    rig.settle()
    assert (len(loader.contexts), rig.serving()) == (1, ["n:1"])


def test_cancelling_the_retries_of_an_unknown_version_is_refused(rig: Rig) -> None:
    with pytest.raises(NotFoundError, match="m:1 is not managed"):
        rig.manager.cancel_retry(sid("m:1"))


# ---- retry --------------------------------------------------------------------------------------


def test_a_retry_asked_for_in_a_pause_comes_at_once_with_attempts_from_one(rig: Rig) -> None:
    loader = failing(ValueError("one"), ValueError("two"))
    rig.bring("m", entry("m:1", loader))
    rig.advance(60.0)
    rig.manager.retry(sid("m:1"))
    rig.settle()
    assert [context.attempt for context in loader.contexts] == [1, 2, 1]
    assert rig.states("m:1") == ["START", "LOADING", "AVAILABLE"]


def test_a_retry_asked_for_after_the_end_begins_a_new_incarnation() -> None:
    rig = Rig(max_num_load_retries=0)
    rig.bring("m", entry("m:1", failing(ValueError("corrupt"))))
    rig.manager.retry(sid("m:1"))
    rig.settle()
    assert rig.states("m:1") == ["START", "LOADING", "END", "START", "LOADING", "AVAILABLE"]


def test_a_retry_of_an_errored_entry_ends_again_with_its_error(rig: Rig) -> None:
    rig.bring("m", errored("m:1"))
    rig.manager.retry(sid("m:1"))
    rig.settle()
    assert rig.states("m:1") == ["START", "END", "START", "END"]


def test_a_retry_of_what_is_not_known_or_has_not_failed_is_refused(rig: Rig) -> None:
    with pytest.raises(NotFoundError, match="m:1 is not managed"):
        rig.manager.retry(sid("m:1"))
    rig.bring("m", 1)
    with pytest.raises(FailedPreconditionError, match="m:1 cannot be retried: it is ready"):
        rig.manager.retry(sid("m:1"))


def test_two_retries_asked_for_at_once_are_one(rig: Rig) -> None:
    loader = failing(ValueError("one"))
    rig.bring("m", entry("m:1", loader))
    rig.manager.retry(sid("m:1"))
    rig.manager.retry(sid("m:1"))
    rig.settle()
    assert len(loader.contexts) == 2


def test_retries_that_were_cancelled_are_granted_again_to_a_new_incarnation(rig: Rig) -> None:
    loader = failing(ValueError("one"), ValueError("two"))
    rig.bring("m", entry("m:1", loader))
    rig.manager.cancel_retry(sid("m:1"))
    rig.settle()
    rig.manager.retry(sid("m:1"))
    rig.settle()
    rig.advance(60.0)
    assert (rig.serving(), len(loader.contexts)) == (["m:1"], 3)


# ---- what loaders and hooks raise ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (ValueError("bad file"), LoadFailedError, "ValueError: bad file"),
        (SystemExit(3), LoadFailedError, "SystemExit: 3"),
        (KeyboardInterrupt(), LoadFailedError, "KeyboardInterrupt"),
        (NotFoundError("m:1: no file"), NotFoundError, "m:1: no file"),
        (OddError("sda", sector=9), ServmanError, "sector 9 of sda"),
        (MuteError(), LoadFailedError, "cannot be read"),
    ],
)
def test_whatever_a_loader_raises_becomes_the_error_of_its_version_alone(
    error: BaseException, kind: type[ServmanError], text: str
) -> None:
    rig = Rig(max_num_load_retries=0)
    rig.bring("m", 1, entry("m:2", failing(error)))
    end = rig.end("m:2")
    assert isinstance(end, kind)
    assert text in str(end)
    assert end.__traceback__ is None
    assert "in load" in (end.traceback or "")
    assert rig.serving() == ["m:1"]


def test_a_loader_that_returns_nothing_has_failed() -> None:
    rig = Rig(max_num_load_retries=0)
    rig.bring("m", entry("m:1", SimpleLoader(lambda _: None)))
    assert isinstance(rig.end("m:1"), InternalError)
    assert "m:1: its loader returned None" in str(rig.end("m:1"))


def test_a_payload_that_is_no_loader_ends_its_version() -> None:
    rig = Rig(max_num_load_retries=0)
    rig.bring("m", entry("m:1", "a path"))  # type: ignore[arg-type]
    assert "has no attribute 'load'" in str(rig.end("m:1"))


def test_an_unload_that_raises_ends_the_version_with_its_error_and_gives_its_thread_back() -> None:
    rig = Rig(num_unload_threads=1)
    broken = ModelLoader(unload_error=SystemExit("stuck"))
    rig.bring("m", entry("m:1", broken))
    rig.bring("n", 1)
    rig.bring("m")
    rig.bring("n")
    assert "SystemExit: stuck" in str(rig.end("m:1"))
    assert (rig.ends("n:1"), rig.manager.snapshots()) == ([None], ())


def test_should_retry_is_shown_what_the_load_raised_and_ends_the_version_when_false() -> None:
    shown: list[BaseException] = []

    def never(error: BaseException) -> bool:
        shown.append(error)
        return False

    rig = Rig(should_retry=never)
    error = ValueError("hopeless")
    rig.bring("m", entry("m:1", failing(error)))
    assert (shown, len(rig.ends("m:1"))) == ([error], 1)


def test_should_retry_has_no_say_in_a_load_that_succeeds() -> None:
    rig = Rig(should_retry=lambda _: False)
    rig.bring("m", 1)
    assert rig.serving() == ["m:1"]


@pytest.mark.parametrize("fault", [ValueError("confused"), SystemExit()])
def test_a_should_retry_that_raises_counts_as_false(fault: BaseException) -> None:
    def raising(error: BaseException) -> bool:
        raise fault

    rig = Rig(should_retry=raising)
    rig.bring("m", entry("m:1", failing(ValueError("the cause"))))
    assert "the cause" in str(rig.end("m:1"))


def test_a_should_retry_whose_answer_has_no_truth_counts_as_false() -> None:
    class Neither:
        def __bool__(self) -> bool:
            raise ValueError("neither")

    rig = Rig(should_retry=lambda _: Neither())
    rig.bring("m", entry("m:1", failing(ValueError("the cause"))))
    assert "the cause" in str(rig.end("m:1"))


def test_the_hook_is_called_with_the_id_before_every_attempt() -> None:
    called: list[object] = []
    loader = failing(ValueError("one"))
    rig = Rig(pre_load_hook=lambda which: called.append((which, len(loader.contexts))))
    rig.bring("m", entry("m:1", loader))
    rig.advance(60.0)
    assert called == [(sid("m:1"), 0), (sid("m:1"), 1)]


def test_what_the_hook_raises_is_what_the_attempt_raised() -> None:
    def refuse(id: ServableId) -> None:
        raise OSError("no budget")

    rig = Rig(pre_load_hook=refuse, max_num_load_retries=0)
    loader = ModelLoader()
    rig.bring("m", entry("m:1", loader))
    assert "no budget" in str(rig.end("m:1"))
    assert loader.contexts == []


def test_a_manager_without_a_bus_works_the_same() -> None:
    rig = Rig(event_bus=None)
    rig.bring("m", 1, entry("m:2", failing()))
    rig.bring("m")
    assert (rig.serving(), rig.events, rig.manager.snapshots()) == ([], [], ())


@pytest.mark.parametrize("delay", [lambda rig: rig.advance(0.0), lambda rig: rig.advance(60.0)])
def test_states_are_stamped_with_the_time_of_the_bus(delay: Callable[[Rig], None]) -> None:
    rig = Rig()
    rig.bring("m", entry("m:1", failing(ValueError("one"))))
    delay(rig)
    last = rig.published("m:1")[-1]
    assert last.time == rig.clock.wall()
    assert last.manager_state in (ManagerState.LOADING, ManagerState.AVAILABLE)
