from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest

from servman.data import ServableData
from servman.errors import (
    ClosedError,
    FailedPreconditionError,
)
from servman.flow import connect
from servman.reasons import ReasonCode
from servman.sources import All, FileSystemStoragePathSource, SourceStatus
from servman.testing import FakeClock, RecordingTarget
from servman.testing.clock import WATCHDOG
from tests.unit.sources.rig import Disk, M, N, Rig, servable


def test_it_takes_one_target_and_needs_it_to_start() -> None:
    source = FileSystemStoragePathSource(watch=False)
    for call in (source.start, source.poll):
        with pytest.raises(FailedPreconditionError, match="connect"):
            call()
    connect(source, RecordingTarget[str]())
    with pytest.raises(FailedPreconditionError, match="has a target already"):
        connect(source, RecordingTarget[str]())


def test_a_started_source_does_it_all_on_its_own_threads_until_closed() -> None:
    disk, target = Disk(), RecordingTarget[str]()
    disk.paths["/m"] = ["1"]
    names: set[str] = set()
    disk.during = lambda _: names.add(threading.current_thread().name)
    source = FileSystemStoragePathSource([M], poll_interval=0, watch=False, lister=disk.entries)
    connect(source, target)
    source.start()
    source.start()
    target.wait_for("m", [1])
    with pytest.raises(FailedPreconditionError):
        source.step()
    disk.paths["/m"] = ["1", "2"]
    source.poll()
    target.wait_for("m", [2])
    source.update_config([])
    target.wait_for("m", [])
    source.close()
    source.close()
    assert names == {"source-look-1"}
    for call in (source.start, source.poll, lambda: source.update_config([])):
        with pytest.raises(ClosedError):
            call()


def test_the_poll_of_a_started_source_follows_the_clock() -> None:
    clock, disk, target = FakeClock(), Disk(), RecordingTarget[str]()
    disk.paths["/m"] = ["1"]
    source = FileSystemStoragePathSource(
        [M], poll_interval=3600.0, watch=False, lister=disk.entries, clock=clock
    )
    connect(source, target)
    source.start()
    target.wait_for("m", [1])
    disk.paths["/m"] = ["2"]
    clock.wait_until_parked(1)
    clock.advance(3600.0)
    target.wait_for("m", [2])
    source.close()


def test_closing_unaspires_nothing_and_nothing_is_sent_afterwards() -> None:
    rig = Rig(M, N)
    rig.disk.paths |= {"/m": ["1"], "/n": ["1"]}
    record = rig.target.set_aspired_versions

    def take(name: str, versions: Sequence[ServableData[str]]) -> None:
        record(name, versions)
        rig.source.close()

    rig.target.set_aspired_versions = take  # type: ignore[method-assign] # it closes
    rig.source.poll()
    assert rig.sent() == [("m", [1])]
    assert rig.source.status("m").versions == (1,)
    with pytest.raises(ClosedError):
        rig.source.step()


def test_closing_from_the_target_is_refused_and_changes_nothing() -> None:
    errors: list[BaseException] = []
    told = threading.Event()
    source = FileSystemStoragePathSource([M], watch=False, lister=lambda _: [("1", True)])

    class Closing:
        def set_aspired_versions(self, name: str, versions: Sequence[ServableData[str]]) -> None:
            try:
                source.close()
            except FailedPreconditionError as error:
                errors.append(error)
            told.set()

    connect(source, Closing())
    source.start()
    assert told.wait(WATCHDOG)
    assert len(errors) == 1
    source.poll()
    source.close()


def test_a_target_may_call_the_source_which_acts_after_the_target_has_returned() -> None:
    rig = Rig(M)
    rig.disk.paths |= {"/m": ["1", "2"], "/n": ["1"]}
    record = rig.target.set_aspired_versions
    seen: list[object] = []

    def take(name: str, versions: Sequence[ServableData[str]]) -> None:
        record(name, versions)
        if len(rig.target.calls) == 1:
            rig.source.update_config([servable("m", All()), N])
            seen.append(len(rig.target.calls))
            seen.append(rig.source.status("m"))  # the new policy's, which has not been applied
            seen.append(rig.explain("m:1"))

    rig.target.set_aspired_versions = take  # type: ignore[method-assign] # it calls back
    rig.source.poll()
    unknown = "servable 'm': base path /m has not been looked at yet"
    assert seen == [1, SourceStatus(), (ReasonCode.NOT_LOOKED_YET, unknown)]
    assert rig.sent() == [("m", [2]), ("m", [1, 2]), ("n", [1])]
