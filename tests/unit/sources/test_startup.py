from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from servman.errors import FailedPreconditionError, NotFoundError
from servman.flow import connect
from servman.sources import FileSystemStoragePathSource, ServableToMonitor
from servman.sources.look import PATIENCE
from servman.testing import FakeClock, RecordingTarget, Spawned
from servman.testing.clock import WATCHDOG
from tests.unit.sources.rig import M, N, servable


class Rig:
    """A source that may not start without versions, on its own threads, whose base paths under /dead hang."""

    def __init__(self, *servables: ServableToMonitor, fail: bool = True) -> None:
        self.clock = FakeClock()
        self.release = threading.Event()
        self.entered = threading.Semaphore(0)
        self.looks: list[str] = []
        self.missing: set[str] = set()
        self.target = RecordingTarget[str]()
        self.source = FileSystemStoragePathSource(
            servables,
            poll_interval=0,
            watch=False,
            fail_if_zero_versions_at_startup=fail,
            clock=self.clock,
            lister=self.entries,
        )
        connect(self.source, self.target)

    def entries(self, path: str) -> list[tuple[str, bool]]:
        self.looks.append(path)
        if path.startswith("/dead"):
            self.entered.release()
            assert self.release.wait(WATCHDOG)
        if path in self.missing:
            raise FileNotFoundError
        return [("1", True)]

    def update(self, *servables: ServableToMonitor, hanging: int) -> None:
        """Update the configuration; so many looks hang until patience is lost."""
        updating = Spawned(lambda: self.source.update_config(servables))
        for _ in range(hanging):
            assert self.entered.acquire(timeout=WATCHDOG)
        self.lose_patience(updating)

    def lose_patience(self, call: Spawned[None]) -> None:
        """Let time pass until *call* has given up, and raise what it does."""
        self.clock.wait_until_parked(1)
        while not call.done:
            self.clock.advance(PATIENCE)
        call.result()


def dead(name: str) -> ServableToMonitor:
    return ServableToMonitor(name, f"/dead/{name}")


@pytest.fixture
def rig() -> Iterator[Rig]:
    one = Rig(M)
    one.source.start()
    one.target.wait_for("m", [1])
    yield one
    one.release.set()
    one.source.close()


def test_a_start_that_a_base_path_hangs_is_given_up_and_says_so() -> None:
    rig = Rig(M, dead("d"))
    starting = Spawned(rig.source.start)
    assert rig.entered.acquire(timeout=WATCHDOG)
    with pytest.raises(FailedPreconditionError, match=r"servable 'd'.*/dead/d has not returned"):
        rig.lose_patience(starting)
    rig.release.set()
    assert rig.target.calls == []


def test_an_update_that_a_base_path_hangs_is_refused_and_changes_nothing(rig: Rig) -> None:
    with pytest.raises(FailedPreconditionError, match=r"servable 'd'.*/dead/d has not returned"):
        rig.update(dead("d"), hanging=1)
    assert rig.source.status("m").versions == (1,)
    with pytest.raises(NotFoundError, match="not configured"):
        rig.source.status("d")


def test_an_update_asks_only_of_what_is_new_or_changed_whether_it_has_versions(rig: Rig) -> None:
    rig.missing.add("/m")
    rig.looks.clear()
    rig.source.update_config([M, N])
    rig.target.wait_for("n", [1])
    assert "/m" not in rig.looks
    with pytest.raises(NotFoundError, match="servable 'n'"):
        rig.source.update_config([M, ServableToMonitor("n", "/m")])


def test_updates_that_hang_again_and_again_cost_a_bounded_number_of_threads(rig: Rig) -> None:
    for number in range(5):
        with pytest.raises(FailedPreconditionError):
            rig.update(dead(f"d{number}"), hanging=1)
    with pytest.raises(FailedPreconditionError):
        rig.update(*(dead(f"more-{number}") for number in range(20)), hanging=3)
    for _ in range(3):
        with pytest.raises(FailedPreconditionError, match="has not returned"):
            rig.source.update_config([dead("yet another")])
    assert not rig.entered.acquire(blocking=False)
    assert len([path for path in rig.looks if path.startswith("/dead")]) == 8


def test_once_the_storage_is_back_there_is_room_again(rig: Rig) -> None:
    for number in range(8):
        with pytest.raises(FailedPreconditionError):
            rig.update(dead(f"d{number}"), hanging=1)
    rig.release.set()
    hanging = rig.source._startup._hanging
    while any(look.is_running for look in hanging):
        pass
    rig.source.update_config([dead("d")])
    rig.target.wait_for("d", [1])


@pytest.mark.parametrize(
    ("source", "servable", "raises"), [(True, False, False), (False, True, True)]
)
def test_a_servable_may_say_otherwise_than_the_source(
    source: bool, servable: bool, raises: bool
) -> None:
    rig = Rig(ServableToMonitor("m", "/m", fail_if_zero_versions_at_startup=servable), fail=source)
    rig.missing.add("/m")
    if raises:
        with pytest.raises(NotFoundError, match="servable 'm'"):
            rig.source.start()
    else:
        rig.source.start()
    rig.source.close()


def test_of_several_without_versions_the_first_in_the_configuration_is_named() -> None:
    rig = Rig(*(servable(name) for name in "abc"))
    rig.missing |= {"/b", "/c"}
    with pytest.raises(NotFoundError, match="servable 'b'"):
        rig.source.start()
