from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator

import pytest

from servman.clock import Clock
from servman.errors import FailedPreconditionError
from servman.reasons import ReasonCode
from servman.sources.look import PATIENCE, Look
from servman.sources.lookout import HASTE, MOST_HANDS, MOST_WORKERS, Lookout
from servman.sources.mounts import Mount
from servman.sources.versions import Selection
from servman.testing import FakeClock, ManualPool
from servman.testing.clock import WATCHDOG
from servman.threads import WorkerPool

A = ("a", "/a")
B = ("b", "/b")
C = ("c", "/c")


class Rig:
    """A lookout without threads, whose lister runs what a test plants in `during`."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.pool = ManualPool()
        self.wakes: queue.SimpleQueue[None] = queue.SimpleQueue()
        self.listed: list[str] = []
        self.during: Callable[[], object] = lambda: None  # what happens while /a is being listed
        self.lookout = Lookout(self.entries, self.pool, self.clock, lambda: self.wakes.put(None))

    def entries(self, path: str) -> list[tuple[str, bool]]:
        self.listed.append(path)
        if path == "/a":
            self.during()
        return [("1", True)]

    def begin(self, *places: tuple[str, str]) -> None:
        for place in places:
            self.lookout.begin(place, None, identify=False)
        self.lookout.dispatch()


def test_a_batch_of_looks_takes_one_job_and_one_wake() -> None:
    rig = Rig()
    rig.begin(A, B, C)
    assert len(rig.pool.jobs) == 1
    rig.pool.run_all()
    assert rig.listed == ["/a", "/b", "/c"]
    assert rig.wakes.qsize() == 1
    assert [look.place for look in rig.lookout.collect()] == [A, B, C]


def test_results_are_not_kept_back_for_the_rest_of_a_slow_batch() -> None:
    rig = Rig()
    rig.during = lambda: rig.clock.advance(0.1)
    rig.begin(A, B, C)
    rig.pool.run_all()
    assert rig.wakes.qsize() == 2


def test_there_is_never_a_second_look_at_a_place_before_the_first_is_back() -> None:
    rig = Rig()
    rig.begin(A)
    flying = rig.lookout.in_flight(A)
    assert flying is not None
    assert rig.lookout.begin(A, None, identify=False) is flying
    rig.pool.run_all()
    assert rig.lookout.begin(A, None, identify=False) is flying  # done, but not collected
    assert list(rig.lookout.collect()) == [flying]
    assert rig.lookout.begin(A, None, identify=False) is None
    assert rig.listed == ["/a"]


def test_nothing_is_dispatched_when_nothing_was_begun() -> None:
    rig = Rig()
    assert not rig.lookout.dispatch()
    assert rig.pool.jobs == []


def test_a_worker_that_a_look_holds_up_is_left_behind_and_another_goes_on() -> None:
    rig = Rig()
    seen: list[tuple[str, str]] = []

    def hang() -> None:
        rig.clock.advance(PATIENCE)
        assert [look.place for look in rig.lookout.lose_patience()] == [A]
        assert rig.pool.size == 3  # and two go on with the two that are queued
        rig.pool.run_all()
        seen.extend(look.place for look in rig.lookout.collect())

    rig.during = hang
    rig.begin(A, B, C)
    rig.pool.run()
    assert seen == [B, C]
    assert [look.place for look in rig.lookout.collect()] == [A]
    assert rig.pool.size == 1


def test_patience_is_lost_once_for_a_look_and_not_before_its_time() -> None:
    rig = Rig()
    lost: list[int] = []

    def hang() -> None:
        for _ in range(5):
            rig.clock.advance(PATIENCE / 2)
            lost.append(len(rig.lookout.lose_patience()))

    rig.during = hang
    rig.begin(A)
    rig.pool.run()
    assert lost == [0, 1, 0, 0, 0]


def test_patience_is_counted_from_when_a_look_began() -> None:
    rig = Rig()
    lost: list[int] = []

    def hang() -> None:
        for _ in range(2):
            rig.clock.advance(PATIENCE / 2)
            lost.append(len(rig.lookout.lose_patience()))
            checks.append(rig.lookout.next_check)

    rig.during = hang
    checks: list[float | None] = []
    rig.begin(A)
    rig.clock.advance(PATIENCE / 2)
    began = rig.clock.monotonic()
    rig.pool.run()
    assert lost == [0, 1]
    assert checks[0] == began + PATIENCE


def test_each_time_patience_ends_twice_as_many_workers_go_on() -> None:
    clock, entered, release = FakeClock(), threading.Semaphore(0), threading.Event()
    awake = queue.SimpleQueue[None]()

    def entries(path: str) -> list[tuple[str, bool]]:
        if path != "/a":
            entered.release()
            assert release.wait(WATCHDOG)
        return []

    pool = WorkerPool("look", 1, clock)
    lookout = Lookout(entries, pool, clock, lambda: awake.put(None))
    for number in range(7):
        lookout.begin(("m", f"/dead/{number}"), None, identify=False)
    lookout.begin(A, None, identify=False)
    lookout.dispatch()
    for hanging in (1, 2, 4):
        for _ in range(hanging):
            assert entered.acquire(timeout=WATCHDOG)
        clock.advance(PATIENCE)
        assert len(lookout.lose_patience()) == hanging
    awake.get(timeout=WATCHDOG)
    assert [look.place for look in lookout.collect()] == [A]
    release.set()
    assert lookout.close(None) == []


def test_no_more_workers_go_on_than_looks_are_queued_nor_than_a_process_can_bear() -> None:
    rig = Rig()
    sizes: list[int] = []

    def hang() -> None:
        rig.lookout._hands = 1000  # as after ten doublings
        rig.clock.advance(PATIENCE)
        rig.lookout.lose_patience()
        sizes.append(rig.pool.size)

    rig.during = hang
    for queued in (3, 500):
        rig.begin(A, *((str(number), "/b") for number in range(queued)))
        rig.pool.run_all()
        list(rig.lookout.collect())
        sizes.append(rig.pool.size)
    assert sizes == [1 + 3, 1, 1 + MOST_HANDS, 1]


def test_a_look_that_no_worker_has_begun_is_not_stuck() -> None:
    rig = Rig()
    rig.begin(A)
    rig.clock.advance(10 * PATIENCE)
    assert rig.lookout.lose_patience() == []


def test_it_asks_to_be_checked_only_while_looks_are_in_flight() -> None:
    rig = Rig()
    checks = [rig.lookout.next_check]
    rig.begin(A)
    checks.append(rig.lookout.next_check)
    rig.pool.run_all()
    list(rig.lookout.collect())
    checks.append(rig.lookout.next_check)
    assert checks == [None, rig.clock.monotonic() + HASTE, None]


def test_what_a_lister_raises_becomes_the_failure_of_that_look_alone() -> None:
    rig = Rig()

    def explode() -> object:
        raise RuntimeError("no storage today")

    rig.during = explode
    rig.begin(A, B)
    rig.pool.run_all()
    first, second = rig.lookout.collect()
    assert first.failure is not None
    assert "no storage today" in first.failure.text
    assert second.entries == [("1", True)]


def test_closing_drops_what_was_queued() -> None:
    rig = Rig()
    rig.begin(A)
    assert rig.lookout.close(None) == []
    assert rig.pool.closed
    assert rig.listed == []


@pytest.mark.parametrize(("timeout", "waited"), [(None, PATIENCE), (30.0, PATIENCE), (0.1, 0.1)])
def test_closing_waits_for_running_looks_no_longer_than_patience(
    timeout: float | None, waited: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig()
    now = rig.clock.monotonic()
    deadlines: list[float | None] = []
    monkeypatch.setattr(rig.pool, "join", deadlines.append)
    assert rig.lookout.close(None if timeout is None else now + timeout) == []
    assert deadlines == [now + waited]


def test_closing_does_not_wait_once_more_for_what_was_left_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rig = Rig()
    waited: list[float | None] = []
    left: list[Look] = []

    def close() -> None:
        rig.clock.advance(PATIENCE)
        rig.lookout.lose_patience()
        monkeypatch.setattr(rig.pool, "join", waited.append)
        left.extend(rig.lookout.close(None))

    rig.during = close
    rig.begin(A)
    rig.pool.run_all()
    assert [look.path for look in left] == ["/a"]
    assert waited == [rig.clock.monotonic() + HASTE]


def test_what_is_urgent_comes_before_what_was_queued_earlier() -> None:
    rig = Rig()
    for place, urgent in ((A, False), (B, False), (C, True)):
        rig.lookout.begin(place, None, identify=False, urgent=urgent)
    rig.lookout.dispatch()
    rig.pool.run_all()
    assert rig.listed == ["/c", "/a", "/b"]


@pytest.mark.parametrize(("age", "workers"), [(0.001, 1), (0.02, 2)], ids=["quick", "slow"])
def test_behind_slow_looks_more_workers_join_in_and_behind_quick_ones_none(
    age: float, workers: int
) -> None:
    rig = Rig()
    sizes: list[int] = []

    def look_on() -> None:
        rig.clock.advance(age)
        assert rig.lookout.lose_patience() == []
        sizes.append(rig.pool.size)

    rig.during = look_on
    rig.begin(A, B, C)
    rig.clock.advance(HASTE - age)  # while others were looked at
    rig.clock.advance(age / 2)
    rig.pool.run()
    assert sizes == [workers]


def test_a_slow_look_that_nothing_waits_for_needs_no_second_worker() -> None:
    rig = Rig()
    sizes: list[int] = []

    def take_long() -> None:
        rig.clock.advance(HASTE)
        rig.lookout.lose_patience()
        sizes.append(rig.pool.size)

    rig.during = take_long
    rig.begin(A)
    rig.pool.run()
    assert sizes == [1]


def mounts(*points: str) -> list[Mount]:
    return [Mount(number, (0, number), point, "nfs4") for number, point in enumerate(points)]


class Dead:
    """A lookout on a dead mount: looks there hang in threads until released; the test is the actor."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.table = mounts("/", "/dead", "/well")
        self.release = threading.Event()
        self.entered = threading.Semaphore(0)
        self.awake: queue.SimpleQueue[None] = queue.SimpleQueue()
        self.pool = WorkerPool("look", 1, self.clock)
        self.lookout = Lookout(
            self.entries, self.pool, self.clock, lambda: self.awake.put(None), lambda: self.table
        )
        self.done: dict[str, Look] = {}
        self.left_behind = 0

    def entries(self, path: str) -> list[tuple[str, bool]]:
        if path.startswith("/dead"):
            self.entered.release()
            assert self.release.wait(WATCHDOG)
        return [("1", True)]

    def begin(self, *paths: str) -> None:
        for path in paths:
            self.lookout.begin((path, path), None, identify=False)
        self.lookout.dispatch()

    def collect(self) -> None:
        for look in self.lookout.collect():
            self.done[look.path] = look
        self.lookout.dispatch()

    def wait_for(self, path: str) -> Look:
        while path not in self.done:
            self.awake.get(timeout=WATCHDOG)
            self.collect()
        return self.done[path]

    def lose_patience(self, hanging: int) -> None:
        """Wait until so many more looks hang, and then until they are left behind."""
        for _ in range(hanging):
            assert self.entered.acquire(timeout=WATCHDOG)
        self.clock.advance(PATIENCE)
        self.left_behind += len(self.lookout.lose_patience())

    def close(self) -> None:
        self.release.set()
        assert self.lookout.close(None) == []


@pytest.fixture
def dead() -> Iterator[Dead]:
    one = Dead()
    yield one
    one.close()


def dead_paths(count: int) -> list[str]:
    return [f"/dead/{number}" for number in range(count)]


def test_a_dead_mount_costs_few_threads_however_many_base_paths_are_on_it(dead: Dead) -> None:
    dead.begin(*dead_paths(1000), "/well/m")
    for hanging in (1, 2, 4, 8):
        dead.lose_patience(hanging)
    assert dead.wait_for("/well/m").failure is None
    assert all(dead.wait_for(path).refused for path in dead_paths(1000)[15:])
    assert dead.left_behind == 15


def test_a_look_at_a_storage_that_was_given_up_fails_and_says_why(dead: Dead) -> None:
    dead.begin(*dead_paths(20))
    for hanging in (1, 2, 4, 8):
        dead.lose_patience(hanging)
    failure = dead.wait_for("/dead/19").failure
    assert failure is not None
    assert failure.code is ReasonCode.BASE_PATH_UNREADABLE
    assert isinstance(failure.error, FailedPreconditionError)
    assert "looks at others on the same storage hang: /dead (nfs4, mount 1)" in failure.text
    assert "'/dead/19'" in failure.text


def test_when_one_comes_back_what_was_refused_is_looked_at_again(dead: Dead) -> None:
    dead.begin(*dead_paths(20))
    for hanging in (1, 2, 4, 8):
        dead.lose_patience(hanging)
    assert all(dead.wait_for(path).refused for path in dead_paths(20)[15:])
    dead.done.clear()
    dead.release.set()
    assert all(dead.wait_for(path).failure is None for path in dead_paths(20))


def test_what_is_mounted_in_the_place_of_a_dead_storage_is_looked_at(dead: Dead) -> None:
    """The mounts are the test's invention."""
    dead.begin(*dead_paths(20))
    for hanging in (1, 2, 4, 8):
        dead.lose_patience(hanging)
    assert all(dead.wait_for(path).refused for path in dead_paths(20)[15:])
    dead.done.clear()
    dead.table = [*dead.table, Mount(9, (0, 9), "/dead", "nfs4")]
    dead.begin("/dead/19")
    dead.lose_patience(1)  # it hangs too, but it was looked at
    assert dead.done == {}


def test_a_check_of_what_is_complete_that_takes_long_speaks_against_no_storage(dead: Dead) -> None:
    class Slow:
        def read(self, entries: list[tuple[str, bool]], clock: Clock) -> Selection:
            dead.entered.release()
            assert dead.release.wait(WATCHDOG)
            return Selection()

    for number in range(15):
        dead.lookout.begin(("m", f"/well/{number}"), Slow(), identify=False)
    dead.begin("/well/m")
    for hanging in (1, 2, 4, 8):
        dead.lose_patience(hanging)
    assert dead.wait_for("/well/m").failure is None


def test_however_many_storages_are_dead_there_is_a_limit_to_the_threads(dead: Dead) -> None:
    dead.table = mounts(*dead_paths(1000))
    dead.begin(*dead_paths(1000))
    hanging = [1, 2, 4, 8, 16, 16, 16, 16, 1]
    assert sum(hanging) == MOST_WORKERS
    for count in hanging:
        dead.lose_patience(count)
    for _ in range(3):
        dead.lose_patience(0)
    assert not dead.entered.acquire(blocking=False)
    assert dead.pool._workers == MOST_WORKERS
