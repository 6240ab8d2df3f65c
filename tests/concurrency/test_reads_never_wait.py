"""Whatever is stuck, whoever only wants to know something gets an answer at once.

That is shown in two ways, neither of which is a stopwatch: every reader comes back while the other is stuck, and
on its way takes no lock at all, so that there is none which whatever is stuck could hold.
"""

from __future__ import annotations

import contextlib
import functools
import pathlib
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Self, final

import pytest

import servman
from servman.adapters import platforms
from servman.clock import SystemClock
from servman.core import ModelConfig, ServerConfig, ServerCore, ServerCoreOptions, pipeline
from servman.core.journal import AppendedFile
from servman.errors import ServmanError
from servman.ids import ServableId
from servman.loader import Loader
from servman.manager import AvailabilityPreservingPolicy
from servman.sources import FileSystemStoragePathSource
from servman.sources.look import list_directory
from servman.testing import GatedLoader, Spawned
from servman.testing.clock import WATCHDOG
from tests.concurrency.gates import Gate
from tests.unit.core.rig import BenchAdapter

_HOUSE = str(pathlib.Path(servman.__file__).parent)
_new_lock = threading.Lock


@final
class SpiedLock:
    """A lock of servman's that tells who holds it, and remembers who took it."""

    holders: ClassVar[dict[SpiedLock, int]] = {}
    takers: ClassVar[dict[int, list[str]]] = {}

    def __init__(self, place: str) -> None:
        self.place = place
        self._lock = _new_lock()

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:  # noqa: FBT002 -- as of a lock
        me = threading.get_ident()
        self.takers.setdefault(me, []).append(self.place)
        taken = self._lock.acquire(blocking, timeout)
        if taken:
            self.holders[self] = me
        return taken

    def release(self) -> None:
        self.holders.pop(self, None)
        self._lock.release()

    def locked(self) -> bool:
        return self._lock.locked()

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def _lock() -> Any:
    """Make a lock; one of servman's own is spied on."""
    frame = sys._getframe(1)
    file = frame.f_code.co_filename
    return SpiedLock(f"{file}:{frame.f_lineno}") if file.startswith(_HOUSE) else _new_lock()


@pytest.fixture(autouse=True)
def _spied(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(threading, "Lock", _lock)
    yield
    SpiedLock.holders.clear()
    SpiedLock.takers.clear()


class Stubborn:
    """A policy that stops before a gate, on the thread of the manager."""

    def __init__(self) -> None:
        self.gate = Gate()
        self.shut = False

    def next_action(self, snapshots: Any) -> Any:
        if self.shut:
            self.gate()
        return AvailabilityPreservingPolicy().next_action(snapshots)


@final
class Place:
    """A core on real folders, in real time, with one model that serves and one that is to be stuck."""

    def __init__(self, folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.loaders: dict[str, Loader] = {}
        self.policy = Stubborn()
        self.lister = Gate()
        factory = functools.partial(BenchAdapter, self.loaders)
        monkeypatch.setattr(platforms, "_factories", platforms._factories | {"bench": factory})
        source = functools.partial(FileSystemStoragePathSource, lister=self._list)
        monkeypatch.setattr(pipeline, "FileSystemStoragePathSource", source)
        self.publish("healthy", 1)
        (folder / "stuck").mkdir()
        (folder / "dead").mkdir()

    def _list(self, path: str) -> list[tuple[str, bool]]:
        if path.endswith("dead"):
            self.lister()
        return list_directory(path)

    def publish(self, name: str, version: int) -> None:
        """Make a version directory."""
        (self.folder / name / str(version)).mkdir(parents=True)

    def model(self, name: str, **fields: Any) -> ModelConfig:
        """Return a model on the bench."""
        return ModelConfig(name, str(self.folder / name), "bench", **fields)

    def config(self, *names: str, **fields: Any) -> ServerConfig:
        """Return a configuration of the model that serves, and of models called so."""
        healthy = self.model("healthy", version_labels={"stable": 1})
        return ServerConfig([healthy, *(self.model(name, **fields) for name in names)])

    @contextlib.contextmanager
    def open(self, *names: str, **fields: Any) -> Iterator[ServerCore]:
        """Start a core, wait for the model that serves, and close it at the end."""
        options = ServerCoreOptions(
            platforms=("bench",),
            poll_interval=0.02,
            history_file=str(self.folder / "history.jsonl"),
        )
        with ServerCore(self.config(*names, **fields), options=options) as core:
            core.wait_until_available("healthy@stable", timeout=WATCHDOG)
            yield core


@pytest.fixture
def place(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    return Place(tmp_path, monkeypatch)


# ---- what may be stuck -----------------------------------------------------------------------


@contextlib.contextmanager
def at_last(*calls: Callable[[], object]) -> Iterator[None]:
    """Call *calls* at the end of the block, whatever happens in it."""
    try:
        yield
    finally:
        for call in calls:
            call()


@contextlib.contextmanager
def a_load(place: Place) -> Iterator[ServerCore]:
    """Let a load hang."""
    loader = place.loaders["stuck:1"] = GatedLoader()
    with place.open("stuck") as core, at_last(loader.let_load.set):
        place.publish("stuck", 1)
        assert loader.load_entered.wait(WATCHDOG)
        yield core


@contextlib.contextmanager
def an_unload(place: Place) -> Iterator[ServerCore]:
    """Let an unload hang."""
    loader = place.loaders["stuck:1"] = GatedLoader(gate_load=False, gate_unload=True)
    place.publish("stuck", 1)
    with place.open("stuck") as core, at_last(loader.let_unload.set):
        core.wait_until_available("stuck", timeout=WATCHDOG)
        place.publish("stuck", 2)
        assert loader.unload_entered.wait(WATCHDOG)
        yield core


@contextlib.contextmanager
def a_base_path(place: Place) -> Iterator[ServerCore]:
    """Let a look at a base path hang."""
    with place.open("dead") as core, at_last(place.lister.open):
        place.lister.wait()
        yield core


@contextlib.contextmanager
def a_check_of_what_is_complete(place: Place) -> Iterator[ServerCore]:
    """Let the completeness rule of a model hang."""
    gate = Gate(answer=True)
    place.publish("stuck", 1)
    with place.open("stuck", completeness=gate) as core, at_last(gate.open):
        gate.wait()
        yield core


@contextlib.contextmanager
def a_policy(place: Place) -> Iterator[ServerCore]:
    """Let a policy hang, and with it the thread of the manager."""
    policy = place.policy
    with place.open("stuck", aspired_version_policy=policy) as core, at_last(policy.gate.open):
        policy.shut = True
        place.publish("stuck", 1)
        policy.gate.wait()
        yield core


@contextlib.contextmanager
def a_subscriber(place: Place) -> Iterator[ServerCore]:
    """Let a subscriber hang."""
    gate = Gate()
    with place.open("stuck") as core, at_last(gate.open):
        core.event_bus.subscribe(gate)
        place.publish("stuck", 1)
        gate.wait()
        yield core


@contextlib.contextmanager
def a_reload(place: Place, *, atomic: bool = False) -> Iterator[ServerCore]:
    """Let a reload wait for a load that hangs."""
    loader = place.loaders["stuck:1"] = GatedLoader()
    place.publish("stuck", 1)
    with place.open() as core, at_last(loader.let_load.set, place.lister.open):
        new = place.config("stuck", "dead")
        reload = Spawned(lambda: core.reload_config(new, atomic=atomic, timeout=2 * WATCHDOG))
        assert loader.load_entered.wait(WATCHDOG)
        place.lister.wait()
        yield core
        assert not reload.done
        core.reload_config(place.config(), wait=False)
        assert reload.result().superseded_by is not None


@contextlib.contextmanager
def a_reload_that_is_atomic(place: Place) -> Iterator[ServerCore]:
    """Let a reload that is all or nothing wait for a load that hangs."""
    with a_reload(place, atomic=True) as core:
        yield core


@contextlib.contextmanager
def the_disk_of_the_history_file(place: Place) -> Iterator[ServerCore]:
    """Let the disk hang to which the history is written."""
    gate = Gate()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AppendedFile, "append", lambda _, line: gate(line))
        with place.open() as core, at_last(gate.open):
            gate.wait()
            yield core


STUCK: dict[str, Callable[[Place], contextlib.AbstractContextManager[ServerCore]]] = {
    "a load": a_load,
    "an unload": an_unload,
    "a base path": a_base_path,
    "a check of what is complete": a_check_of_what_is_complete,
    "a policy": a_policy,
    "a subscriber": a_subscriber,
    "a reload": a_reload,
    "an atomic reload": a_reload_that_is_atomic,
    "the disk of the history file": the_disk_of_the_history_file,
}


# ---- what is read ----------------------------------------------------------------------------


def _find(core: ServerCore, *requests: str) -> None:
    for request in requests:
        with core.get_servable_handle(request) as handle:
            assert handle.servable is not None


def _find_nothing(core: ServerCore, *requests: str) -> None:
    for request in requests:
        with pytest.raises(ServmanError):
            core.get_servable_handle(request)


def _probe(core: ServerCore, what: str) -> None:
    answer = getattr(core, what)
    assert str(answer).endswith(what) is bool(answer)
    assert all(str(reason) for reason in answer.missing.values())


READS: dict[str, Callable[[ServerCore], object]] = {
    "config": lambda core: core.config,
    "models": lambda core: dict(core.models),
    "explain": lambda core: [str(core.explain(name)) for name in ("healthy", "stuck", "dead", "x")],
    "explain a version": lambda core: str(core.explain("stuck:1")),
    "explain a label": lambda core: [
        str(core.explain(f"healthy@{one}")) for one in ("stable", "x")
    ],
    "history": lambda core: (core.history(), core.history("stuck"), core.history("x", 3)),
    "live": lambda core: _probe(core, "live"),
    "ready": lambda core: _probe(core, "ready"),
    "healthy": lambda core: _probe(core, "healthy"),
    "lookup": lambda core: _find(core, "healthy", "healthy:1", "healthy:newest", "healthy@stable"),
    "lookup of nothing": lambda core: _find_nothing(core, "dead", "x", "dead:7"),
    "snapshots": lambda core: (core.manager.snapshots(), core.manager.snapshots("stuck")),
    "available ids": lambda core: (
        core.manager.list_available_ids(),
        core.manager.list_available_ids("healthy"),
    ),
    "labels": lambda core: core.manager.labels("healthy"),
    "reason of the manager": lambda core: core.manager.explain("stuck"),
    "state": lambda core: core.monitor.get_state(ServableId("stuck", 1)),
    "states of a model": lambda core: core.monitor.get_version_states("stuck"),
    "all states": lambda core: (core.monitor.get_all_states(), core.monitor.get_live_states()),
    "available names": lambda core: core.monitor.get_available_names(),
    "log": lambda core: core.monitor.get_log(),
    "a wait that does not wait": lambda core: core.wait_until(["stuck", "dead"], timeout=0),
}


def _nobody_holds_a_lock() -> bool:
    return not SpiedLock.holders


def eventually(true: Callable[[], bool]) -> bool:
    """Return whether it comes true; threads that come and go hold their locks for a moment."""
    clock = SystemClock()
    deadline = clock.monotonic() + WATCHDOG
    while not true():
        if clock.monotonic() >= deadline:
            return False
    return True


@pytest.mark.timeout(60)
@pytest.mark.parametrize("what", STUCK)
def test_while_something_is_stuck_nobody_who_reads_waits_or_takes_a_lock(
    place: Place, what: str
) -> None:
    reading: list[str] = []

    def read(core: ServerCore) -> list[str]:
        me = threading.get_ident()
        SpiedLock.takers.pop(me, None)  # those of a thread that has ended had this number
        for name, ask in READS.items():
            reading.append(name)
            ask(core)
        return SpiedLock.takers.get(me, [])

    with STUCK[what](place) as core:
        assert eventually(_nobody_holds_a_lock), f"stuck with {SpiedLock.holders}"
        reader = Spawned(lambda: read(core))
        try:
            assert reader.result() == []
        except BaseException as error:
            error.add_note(f"while {what} is stuck, reading {reading[-1]!r}")
            raise


def test_the_spy_sees_a_lock_that_is_taken(place: Place) -> None:
    with place.open() as core:
        me = threading.get_ident()
        SpiedLock.takers.pop(me, None)
        core.history()
        assert me not in SpiedLock.takers
        core.monitor.forget_ended()
        assert any("monitor.py" in taken for taken in SpiedLock.takers[me])
        with core._stages.history._lock:
            assert not _nobody_holds_a_lock()
