"""What was started refuses every use in a forked child. Here the child is the same process, told so."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, Protocol, Self

import pytest

from servman import forks
from servman.clock import SystemClock
from servman.core import ServerCore
from servman.errors import FailedPreconditionError
from servman.events import EventBus
from servman.forks import tie, watch
from servman.ids import ServableId
from servman.manager import AspiredVersionsManager
from servman.monitor import ServableStateMonitor
from servman.sources import FileSystemStoragePathSource
from servman.state import ManagerState, ServableState
from servman.testing import FakeClock, RecordingTarget
from servman.testing.clock import WATCHDOG
from servman.threads import WorkerPool, join, spawn

HAD_THREADS = "this {} had threads when the process forked.*make a new one here"


class Engine:
    """What may be started."""

    def __init__(self) -> None:
        self.speed = 0

    def turn(self) -> int:
        return self.speed

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.turn()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.turn()


class Door:
    """Its special methods read no attribute, which is where others refuse."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None: ...


class Slotted:
    __slots__ = ("__weakref__", "speed")

    def __init__(self) -> None:
        self.speed = 0

    def turn(self) -> int:
        return self.speed


class Abstract(ABC):
    @abstractmethod
    def turn(self) -> int: ...


class Derived(Abstract):
    def __init__(self) -> None:
        self.speed = 0

    def turn(self) -> int:
        return self.speed


class Closable(Protocol):
    def close(self, timeout: float | None) -> object: ...


@pytest.fixture
def fork(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """Make this process the child of itself: it has another id, and the hook of the fork runs."""
    monkeypatch.setattr(forks, "_started", weakref.WeakKeyDictionary())
    monkeypatch.setattr(forks, "_kept", [])
    parent = os.getpid()
    children = iter(range(parent + 1, parent + 10))

    def become_child() -> None:
        here = next(children)
        monkeypatch.setattr(os, "getpid", lambda: here)
        forks._refuse_all()

    yield become_child
    forks._install.cache_clear()  # a test may have put something else in the place of the real one


def refuses(one: object, use: str | Callable[[], object]) -> bool:
    """Assert that *use*, a method of *one* if it is a name, raises the error that names *one*."""
    with pytest.raises(FailedPreconditionError, match=HAD_THREADS.format(type(one).__name__)):
        if isinstance(use, str):
            getattr(one, use)()
        else:
            use()
    return True


@pytest.mark.parametrize("kind", [Engine, Slotted, Derived])
def test_what_was_started_refuses_every_use_in_the_child(
    kind: type[Any], fork: Callable[[], None]
) -> None:
    one = kind()
    before = one.turn
    watch(one)
    assert before() == 0
    fork()
    assert refuses(one, before)
    assert refuses(one, "turn")
    assert refuses(one, lambda: setattr(one, "speed", 1))
    assert refuses(one, lambda: delattr(one, "speed"))


def test_the_error_names_the_remedies(fork: Callable[[], None]) -> None:
    engine = Engine()
    watch(engine)
    fork()
    with pytest.raises(FailedPreconditionError, match=r"post-fork hook.*'spawn' or 'forkserver'"):
        engine.turn()


def test_leaving_a_with_that_was_entered_before_the_fork_refuses(fork: Callable[[], None]) -> None:
    engine = Engine()
    watch(engine)

    def leave() -> None:
        with engine:
            fork()

    assert refuses(engine, leave)


def test_leaving_an_async_with_that_was_entered_before_the_fork_refuses(
    fork: Callable[[], None],
) -> None:
    engine = Engine()
    watch(engine)

    async def leave() -> None:
        async with engine:
            fork()

    assert refuses(engine, lambda: asyncio.run(leave()))


@pytest.mark.parametrize("name", ["__enter__", "__exit__", "__aenter__", "__aexit__"])
def test_with_refuses_in_the_child_whatever_it_reads(name: str, fork: Callable[[], None]) -> None:
    door = Door()
    watch(door)
    fork()
    assert refuses(door, lambda: getattr(type(door), name)(door))


def test_what_refuses_can_be_told_apart_and_printed(fork: Callable[[], None]) -> None:
    engine: object = Engine()
    watch(engine)
    fork()
    assert isinstance(engine, Engine)
    assert not isinstance(engine, Slotted)
    assert repr(engine) == str(engine) == "<Engine of the parent process>"
    assert {engine: 1}[engine] == 1


def test_what_was_not_started_works_in_the_child(fork: Callable[[], None]) -> None:
    engine, other = Engine(), Engine()
    watch(other)
    fork()
    assert engine.turn() == 0


def test_what_is_tied_shares_the_fate_of_what_was_started_however_far(
    fork: Callable[[], None],
) -> None:
    engines = [Engine() for _ in range(4)]
    apart = [Engine(), Engine()]
    tie(engines[1], engines[0], engines[2])
    tie(engines[3], engines[2])
    tie(*apart)
    watch(engines[0])
    fork()
    for engine in engines:
        assert refuses(engine, "turn")
    assert [one.turn() for one in apart] == [0, 0]


def test_what_is_tied_is_kept_alive_by_nothing() -> None:
    one, other = Engine(), Engine()
    tie(one, other)
    watch(one)
    died = [weakref.ref(one), weakref.ref(other)]
    del one, other
    assert [ref() for ref in died] == [None, None]


def test_in_the_child_what_was_started_is_never_freed(fork: Callable[[], None]) -> None:
    engine, other = Engine(), Engine()
    tie(engine, other)
    watch(engine)
    alive = [weakref.ref(engine), weakref.ref(other)]
    fork()
    del engine, other
    gc.collect()
    assert None not in [ref() for ref in alive]


def test_what_a_child_starts_works_there_and_is_refused_in_its_own_child(
    fork: Callable[[], None],
) -> None:
    first, second = Engine(), Engine()
    watch(first)
    fork()
    watch(second)
    assert second.turn() == 0
    fork()
    assert refuses(second, "turn")
    assert refuses(first, "turn")


def test_what_another_hook_of_the_fork_has_started_before_ours_works(
    fork: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    parents, childs = Engine(), Engine()
    watch(parents)
    here = os.getpid() + 1
    monkeypatch.setattr(os, "getpid", lambda: here)
    watch(childs)
    watch(parents)  # which makes it none of the child's own
    forks._refuse_all()
    assert childs.turn() == 0
    assert refuses(parents, "turn")


def test_the_hook_is_installed_once_with_what_is_started_first(
    fork: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    installed: list[dict[str, object]] = []
    monkeypatch.setattr(os, "register_at_fork", lambda **hooks: installed.append(hooks))
    forks._install.cache_clear()
    engines = [Engine(), Engine()]
    tie(*engines)
    assert installed == []
    for engine in engines:
        watch(engine)
    assert installed == [{"after_in_child": forks._refuse_all}]


def test_where_nobody_can_fork_nothing_is_installed(
    fork: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "register_at_fork")
    forks._install.cache_clear()
    watch(Engine())


def test_whoever_has_a_thread_is_refused(fork: Callable[[], None]) -> None:
    engine = Engine()
    thread = spawn("engine", lambda: None, owner=engine)
    assert join(thread, SystemClock(), None)
    fork()
    assert refuses(engine, "turn")


def test_a_pool_is_refused_once_it_has_had_work(fork: Callable[[], None]) -> None:
    idle, busy = (WorkerPool("pool", 1, SystemClock()) for _ in range(2))
    busy.submit(lambda: None)
    busy.close()
    assert busy.join(SystemClock().monotonic() + WATCHDOG)
    fork()
    idle.close()
    assert idle.join(None)
    assert refuses(busy, "close")


def test_a_bus_is_refused_once_it_has_had_a_subscriber(fork: Callable[[], None]) -> None:
    bus, subscribed = EventBus(), EventBus()
    subscription = subscribed.subscribe(print)
    subscription.close()
    fork()
    bus.close()
    assert refuses(subscribed, "close")
    assert refuses(subscription, "close")


def test_a_monitor_is_refused_once_somebody_has_waited_for_something(
    fork: Callable[[], None],
) -> None:
    clock = FakeClock()
    idle = ServableStateMonitor(EventBus(), clock=clock)
    asked = ServableStateMonitor(EventBus(), clock=clock)
    assert not idle.wait_until("m", timeout=0)  # no thread is needed for that
    notification = asked.notify_when("m", ManagerState.AVAILABLE, print)
    asked.close()
    fork()
    idle.close()
    assert refuses(asked, lambda: asked.wait_until("m", timeout=0))
    assert refuses(notification, "close")


def test_a_monitor_is_refused_once_it_has_had_something_to_call_back_for(
    fork: Callable[[], None],
) -> None:
    bus = EventBus()
    monitor = ServableStateMonitor(bus)
    bus.publish(ServableState(ServableId("m", 1), ManagerState.AVAILABLE))
    monitor.notify_when("m", ManagerState.AVAILABLE, list[object]().append)
    monitor.close(WATCHDOG)
    fork()
    assert refuses(monitor, "get_all_states")


def test_a_started_manager_takes_its_bus_and_the_monitors_on_it_along(
    fork: Callable[[], None],
) -> None:
    bus = EventBus()
    monitor = ServableStateMonitor(bus)
    manager = AspiredVersionsManager(event_bus=bus)
    manager.start()
    assert manager.close(WATCHDOG)
    fork()
    assert refuses(bus, lambda: bus.subscribe(print))
    assert refuses(monitor, "get_all_states")


class Probe:
    """In the place of a lock: notes whether its owner is watched when somebody takes it."""

    def __init__(self, owner: object) -> None:
        self._owner = owner
        self._lock = threading.Lock()
        self.watched: list[bool] = []

    def __enter__(self) -> None:
        self.watched.append(self._owner in forks._started)
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def probe(owner: object, holder: Any, use: Callable[[], object]) -> list[bool]:
    holder._lock = lock = Probe(owner)
    use()
    return lock.watched[:1]


def test_whoever_starts_a_thread_under_a_lock_is_watched_before_taking_it(
    fork: Callable[[], None],
) -> None:
    bus, source = EventBus(), FileSystemStoragePathSource(poll_interval=-1)
    started, closed = AspiredVersionsManager(), AspiredVersionsManager()
    waited, notified = (ServableStateMonitor(EventBus()) for _ in range(2))
    target: RecordingTarget[str] = RecordingTarget()
    source.set_target(target)

    def subscribe() -> None:
        bus.subscribe(print).close()

    def wait() -> None:
        waited.wait_until("m", timeout=1e-9)

    def notify() -> None:
        notified.notify_when("m", ManagerState.AVAILABLE, print)

    assert probe(started, started, started.start) == [True]
    assert probe(closed, closed, closed.close) == [True]
    assert probe(source, source, source.start) == [True]
    assert probe(bus, bus, subscribe) == [True]
    assert probe(waited, waited._dispatcher, wait) == [True]
    assert probe(notified, notified._dispatcher, notify) == [True]
    closing: tuple[Closable, ...] = (started, source, waited, notified)
    for one in closing:
        one.close(WATCHDOG)


def test_a_manager_that_was_closed_without_being_started_has_had_a_thread(
    fork: Callable[[], None],
) -> None:
    manager = AspiredVersionsManager()
    assert manager.close(WATCHDOG)
    fork()
    assert refuses(manager, "close")


def test_a_core_is_refused_when_a_stage_of_it_has_had_threads(fork: Callable[[], None]) -> None:
    core, idle = ServerCore(), ServerCore()
    monitor, manager = core.monitor, core.manager
    monitor.notify_when("m", ManagerState.AVAILABLE, print).close()
    monitor.close()
    fork()
    assert refuses(core, "start")
    assert refuses(manager, "start")
    assert not idle.monitor.get_all_states()
    assert idle.close(WATCHDOG)
