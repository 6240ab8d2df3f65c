from __future__ import annotations

import threading

import pytest

from servman.flow import connect
from servman.reasons import ReasonCode
from servman.sources import (
    All,
    FileSystemStoragePathSource,
    ServableToMonitor,
    SourceStatus,
)
from servman.sources.look import PATIENCE
from servman.sources.mounts import Mount
from servman.testing import FakeClock, ManualPool, RecordingTarget, Spawned
from servman.testing.clock import WATCHDOG
from tests.unit.sources.rig import M, N, Rig, quiet, servable

HANGING = "servable 'm': a look at base path /m has not returned for 42 s; check the storage that it is on"


def test_a_base_path_that_hangs_holds_up_no_other_and_its_status_says_so() -> None:
    pool = ManualPool()
    rig = Rig(M, N, pool=pool)
    rig.disk.paths |= {"/m": ["1"], "/n": ["1"]}
    seen: list[object] = []

    def hang(path: str) -> None:
        rig.disk.during = quiet
        began = rig.clock.wall()
        rig.clock.advance(PATIENCE)
        rig.source.step()
        pool.run_all()
        seen.append(rig.run())
        seen.append(rig.source.status("m").looking_since == began)
        seen.append(rig.source.status("n").looking_since)
        rig.clock.advance(41.0)
        seen.append(rig.explain("m"))
        rig.source.poll()
        pool.run_all()
        seen.append(rig.disk.looked())

    rig.disk.during = hang
    rig.source.step()
    pool.run()
    assert seen == [
        [("n", [1])],
        True,
        None,
        (ReasonCode.BASE_PATH_UNREADABLE, HANGING),
        ["/m", "/n", "/n"],
    ]
    assert rig.run() == [("m", [1])]
    assert rig.source.status("m").looking_since is None
    assert pool.size == 1


def test_moving_a_servable_off_a_base_path_that_hangs_does_not_wait_for_it() -> None:
    pool = ManualPool()
    rig = Rig(M, pool=pool)
    rig.disk.paths |= {"/m": ["1"], "/elsewhere": ["2"]}
    seen: list[object] = []

    def hang(path: str) -> None:
        rig.disk.during = quiet
        rig.source.update_config([ServableToMonitor("m", "/elsewhere")])
        pool.run_all()
        seen.append(rig.run())

    rig.disk.during = hang
    rig.source.step()
    pool.run()
    assert seen == [[("m", [2])]]
    assert rig.run() == []
    assert pool.jobs == []
    assert rig.disk.looked() == ["/m", "/elsewhere"]


def test_close_ends_in_time_though_a_look_hangs_and_names_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    entered, release = threading.Event(), threading.Event()

    def stuck(path: str) -> list[tuple[str, bool]]:
        entered.set()
        assert release.wait(WATCHDOG)
        return [("1", True)]

    target = RecordingTarget[str]()
    source = FileSystemStoragePathSource([M], watch=False, lister=stuck)
    connect(source, target)
    source.start()
    assert entered.wait(WATCHDOG)
    Spawned(lambda: source.close(timeout=0)).result()
    release.set()
    assert "servable 'm': a look at base path /m hangs, and is left behind" in caplog.text
    assert target.calls == []


def test_reconfiguring_a_started_source_waits_for_no_storage() -> None:
    entered, release = threading.Event(), threading.Event()

    def stuck(path: str) -> list[tuple[str, bool]]:
        if path == "/m":
            entered.set()
            assert release.wait(WATCHDOG)
        return [("1", True)]

    source = FileSystemStoragePathSource([M], watch=False, lister=stuck)
    connect(source, RecordingTarget[str]())
    source.start()
    assert entered.wait(WATCHDOG)
    Spawned(lambda: source.update_config([servable("m", All()), N])).result()
    Spawned(source.poll).result()
    assert source.status("m") == SourceStatus()
    release.set()
    source.close()


def test_a_dead_mount_delays_no_update_no_other_and_no_close_and_each_status_says_so() -> None:
    """The mounts are the test's invention."""
    clock, target = FakeClock(), RecordingTarget[str]()
    entered, release = threading.Semaphore(0), threading.Event()

    def entries(path: str) -> list[tuple[str, bool]]:
        if path.startswith("/dead"):
            entered.release()
            assert release.wait(WATCHDOG)
        return [("1", True)]

    dead = [ServableToMonitor(f"d{number}", f"/dead/{number}") for number in range(100)]
    source = FileSystemStoragePathSource(
        [*dead, M], poll_interval=-1, watch=False, clock=clock, lister=entries
    )
    source._actor.lookout._mounts = lambda: [
        Mount(1, (0, 1), "/", "ext4"),
        Mount(2, (0, 2), "/dead", "nfs4"),
    ]
    connect(source, target)
    source.start()
    source.poll()
    giving_up = Spawned(lambda: target.wait_for("m", [1]))
    assert entered.acquire(timeout=WATCHDOG)
    while not giving_up.done:
        clock.wait_until_parked(1)
        clock.advance(PATIENCE)
    giving_up.result()
    Spawned(lambda: source.update_config([*dead, M, N])).result()
    target.wait_for("n", [1])
    assert source.status("d0").looking_since is not None
    while source.status("d99").error is None:
        pass  # another worker may be at it
    assert "looks at others on the same storage hang: /dead" in str(source.status("d99").error)
    Spawned(lambda: source.close(timeout=0)).result()
    release.set()
