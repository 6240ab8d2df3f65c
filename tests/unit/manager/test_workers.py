"""What a manager tells of processes that servables live in: as it is when asked, and nothing is kept of it."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Sequence
from typing import Any, final

import pytest

from servman.errors import WorkerDiedError
from servman.loader import SupervisedLoader
from servman.manager import (
    AvailabilityPreservingPolicy,
    HarnessState,
    ServableAction,
    ServableStateSnapshot,
)
from servman.reasons import ReasonCode
from servman.worker_state import WorkerSnapshot, WorkerState, workers_in_words
from tests.unit.manager.rig import ModelLoader, Rig, entry, failing, kept
from tests.unit.worker_states import waiting, worker


@final
class Supervised(ModelLoader):
    """A `ModelLoader` that tells of workers what the test lays out."""

    told: Any = (worker(0), worker(1))
    abandoned = 0

    def workers(self) -> tuple[WorkerSnapshot, ...]:
        if isinstance(self.told, BaseException):
            raise self.told
        found: tuple[WorkerSnapshot, ...] = self.told
        return found

    def abandon(self) -> None:
        self.abandoned += 1
        raise ValueError("abandoned")


def test_what_a_close_leaves_behind_is_abandoned(rig: Rig) -> None:
    left, other = Supervised(), Supervised()
    rig.bring("m", entry("m:1", left))
    rig.bring("o", entry("o:1", other))
    handles = rig.handle("m"), rig.handle("o")
    rig.begin_close(0.0)
    rig.settle()
    assert (left.abandoned, other.abandoned) == (1, 1)
    for handle in handles:
        handle.close()


def test_what_was_unloaded_in_time_is_not_abandoned(rig: Rig) -> None:
    loader = Supervised()
    rig.bring("m", entry("m:1", loader))
    rig.begin_close()
    rig.settle()
    assert (loader.unloads, loader.abandoned) == (1, 0)


def test_a_snapshot_tells_of_the_workers_as_they_are_when_it_is_read(rig: Rig) -> None:
    loader = Supervised()
    assert isinstance(loader, SupervisedLoader)
    rig.bring("m", entry("m:1", loader))
    assert rig.snapshot("m:1").workers == (worker(0), worker(1))
    loader.told = now = (worker(0), waiting(1))
    assert rig.snapshot("m:1").workers == now


def test_a_version_in_this_process_has_none(rig: Rig) -> None:
    rig.bring("m", 1)
    assert rig.snapshot("m:1").workers == ()


def test_workers_are_told_while_the_version_waits_for_its_handles(rig: Rig) -> None:
    rig.bring("m", entry("m:1", Supervised()))
    handle = rig.handle("m")
    rig.bring("m")
    assert rig.snapshot("m:1").state is HarnessState.QUIESCING
    assert len(rig.snapshot("m:1").workers) == 2
    handle.close()


def test_a_loader_that_raises_or_tells_nonsense_harms_nobody(rig: Rig) -> None:
    loader = Supervised()
    rig.bring("m", entry("m:1", loader))
    for nonsense in (ValueError("broken"), None, 3, ("worker",)):
        loader.told = nonsense
        assert rig.snapshot("m:1").workers == ()
        assert str(rig.why("m")) == "m:1 is available"


def test_a_snapshot_that_is_kept_pins_neither_loader_nor_servable(rig: Rig) -> None:
    loader = Supervised()
    rig.bring("m", entry("m:1", loader))
    snapshot, told = rig.snapshot("m:1"), rig.why("m")
    gone = weakref.ref(loader), weakref.ref(loader.models[0])
    rig.bring("m")
    assert kept(rig.manager) == set()
    del loader
    gc.collect()
    assert [one() for one in gone] == [None, None]
    assert len(snapshot.workers) == told.facts["workers"] == 2


def test_policies_see_no_workers() -> None:
    seen: list[ServableStateSnapshot] = []

    class Curious:
        def next_action(self, snapshots: Sequence[ServableStateSnapshot]) -> ServableAction | None:
            seen.extend(snapshots)
            return AvailabilityPreservingPolicy().next_action(snapshots)

    rig = Rig(policy=Curious())
    rig.bring("m", entry("m:1", Supervised()), entry("m:2"))
    assert {one.state for one in seen} >= {HarnessState.READY}
    assert {one.workers for one in seen} == {()}


# ---- why -----------------------------------------------------------------------------------------


def test_a_version_all_of_whose_workers_serve_is_plainly_available(rig: Rig) -> None:
    rig.bring("m", entry("m:1", Supervised()))
    why = rig.why("m")
    assert (why.code, str(why)) == (ReasonCode.AVAILABLE, "m:1 is available")
    assert why.facts == {"workers": 2, "workers_ready": 2}


def test_a_version_that_serves_by_some_of_its_workers_says_what_is_with_the_others(
    rig: Rig,
) -> None:
    loader = Supervised()
    rig.bring("m", entry("m:1", loader))
    loader.told = (worker(0), waiting(1, due=rig.clock.wall() + 3.2))
    why = rig.why("m")
    assert why.code is ReasonCode.AVAILABLE
    assert str(why) == (
        "m:1 is available, by 1 of 2 workers (worker 1 waits 3.2 s to be started again: worker 1 was killed"
        " by SIGKILL)"
    )
    assert why.facts == {"workers": 2, "workers_ready": 1}


def test_a_label_tells_of_the_workers_of_its_version_where_some_do_not_serve(rig: Rig) -> None:
    loader = Supervised()
    rig.manager.set_labels({"m": {"stable": 1}})
    rig.bring("m", entry("m:1", loader))
    assert str(rig.why("m@stable")) == "m@stable is m:1"
    loader.told = (worker(0), worker(1, WorkerState.STARTING))
    assert str(rig.why("m@stable")) == (
        "m@stable is m:1; m:1 is available, by 1 of 2 workers (worker 1 is starting)"
    )


def test_a_version_that_loads_says_how_many_workers_are_ready(rig: Rig) -> None:
    loader = Supervised()
    loader.told = (worker(0), worker(1, WorkerState.STARTING), worker(2, WorkerState.STARTING))
    rig.aspire("m", entry("m:1", loader))
    rig.clock.advance(2.5)
    why = rig.why("m")
    assert str(why) == "m:1 has been loading for 2.5 s (attempt 1 of 6), 1 of 3 workers ready"
    assert (why.facts["workers"], why.facts["workers_ready"]) == (3, 1)


def test_a_version_that_failed_says_no_more_than_its_error(rig: Rig) -> None:
    rig = Rig(max_num_load_retries=0)
    rig.bring("m", entry("m:1", failing()))
    assert str(rig.why("m")) == "m:1 failed after 1 attempt: ValueError: attempt 1 failed"


# ---- in words ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "text"),
    [
        (worker(), "worker 0 is ready"),
        (worker(2, WorkerState.STARTING), "worker 2 is starting"),
        (waiting(1), "worker 1 waits to be started again: m:1: worker 1 was killed by SIGKILL"),
        (
            waiting(1, due=12.5),
            "worker 1 waits 2.5 s to be started again: m:1: worker 1 was killed by SIGKILL",
        ),
        (
            waiting(1, due=9.0),
            "worker 1 waits 0.0 s to be started again: m:1: worker 1 was killed by SIGKILL",
        ),
        (worker(error=WorkerDiedError("m:1: it was\nso")), "worker 0 is ready: m:1: it was"),
        (worker(error=WorkerDiedError("")), "worker 0 is ready"),
    ],
)
def test_a_worker_is_told_in_words(one: WorkerSnapshot, text: str) -> None:
    assert one.told(10.0) == text


def test_workers_are_counted_in_words() -> None:
    assert workers_in_words([worker()]) == "1 of 1 worker"
    assert workers_in_words([worker(), waiting(1)]) == "1 of 2 workers"
