"""Real forks: what the child may use, what refuses, and what the parent notices of it, which is nothing."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn, final

import pytest

from servman.clock import SystemClock
from servman.core import ServerCore
from servman.data import ServableData
from servman.events import EventBus
from servman.ids import ServableId
from servman.loader import SimpleLoader
from servman.manager import AspiredVersionsManager
from servman.monitor import ServableStateMonitor
from servman.state import ManagerState, ServableState
from servman.testing import Spawned
from servman.testing.clock import WATCHDOG
from tests.integration.house import House, ask

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here"),
    # Python 3.12 and newer: the threads are the point.
    pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning"),
]

Calls = Mapping[str, Callable[[], object]]

PENDING = "healthy:99"
"""Nobody ever publishes that version."""


def in_child(calls: Calls) -> dict[str, str]:
    """Fork, make each of *calls* in the child, and return what they raised or returned there."""
    reading, writing = os.pipe()
    gc.disable()  # what else this process has left lying about is not to be destroyed in the child
    pid = os.fork()
    if pid == 0:
        _answer(writing, calls)
    gc.enable()
    os.close(writing)
    try:
        lines = _read(reading).decode().splitlines()
    finally:
        os.close(reading)
        os.kill(pid, signal.SIGKILL)  # it has nothing left to say, or hangs
        os.waitpid(pid, 0)
    answers = dict(line.split("\t", 1) for line in lines)
    missing = [name for name in calls if name not in answers]
    assert not missing, f"the child hung in {missing[0]}, after {list(answers)}"
    return answers


def _answer(writing: int, calls: Calls) -> NoReturn:
    try:
        for name, call in calls.items():
            os.write(writing, f"{name}\t{_said(call)}\n".encode())
    finally:
        os._exit(0)


def _said(call: Callable[[], object]) -> str:
    try:
        return f"returned {call()}"
    except BaseException as error:  # noqa: BLE001 -- it is what was asked for
        return f"{type(error).__name__}: {error}"


def _read(reading: int) -> bytes:
    text = b""
    deadline = SystemClock().monotonic() + WATCHDOG
    while (left := deadline - SystemClock().monotonic()) > 0:
        if select.select([reading], [], [], left)[0]:
            chunk = os.read(reading, 65536)
            if not chunk:
                break
            text += chunk
    return text


def assert_all_refuse(answers: Mapping[str, str]) -> None:
    """Assert that each answer is the error that names the object before the dot of its name."""
    refusing = {
        name: f"FailedPreconditionError: this {name.partition('.')[0]} had threads"
        for name in answers
    }
    assert {name: answer[: len(refusing[name])] for name, answer in answers.items()} == refusing


@final
class Running:
    """A core that serves, with everything that it and its users have started."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.unstarted = house.open("other")
        self.core = core = house.open("other")
        core.start()
        core.wait_until_available("healthy", timeout=WATCHDOG)
        self.subscription = core.event_bus.subscribe(list[ServableState]().append)
        self.notification = core.monitor.notify_when(PENDING, ManagerState.AVAILABLE, print)

    @property
    def started(self) -> dict[str, Any]:
        core: Any = self.core
        parts = (
            core,
            core.manager,
            core.monitor,
            core.event_bus,
            core._pipeline.source,
            self.subscription,
            self.notification,
            core.manager._pools[0],
            core.monitor._dispatcher,
        )
        return {type(part).__name__: part for part in parts}

    def close(self) -> None:
        self.house.assert_healthy()  # the parent goes on working, whatever its child was up to
        assert self.core.close(WATCHDOG)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    running = Running(House(tmp_path))
    with contextlib.closing(running):
        yield running


def calls_bound_now(running: Running) -> dict[str, Callable[[], object]]:
    core, part = running.core, running.started
    source, monitor, bus = part["FileSystemStoragePathSource"], core.monitor, core.event_bus
    bound = functools.partial
    state = ServableState(ServableId("healthy", 1), ManagerState.END)
    return {
        "ServerCore.close": core.close,
        "ServerCore.start": core.start,
        "ServerCore.__exit__": core.__exit__,
        "ServerCore.aclose": lambda: asyncio.run(core.aclose()),
        "ServerCore.explain": bound(core.explain, "healthy"),
        "ServerCore.get_servable_handle": bound(core.get_servable_handle, "healthy"),
        "ServerCore.wait_until_available": core.wait_until_available,
        "AspiredVersionsManager.close": core.manager.close,
        "AspiredVersionsManager.start": core.manager.start,
        "AspiredVersionsManager.get": bound(core.manager.get_servable_handle, "healthy:1"),
        "AspiredVersionsManager.aspire": bound(core.manager.set_aspired_versions, "healthy", []),
        "ServableStateMonitor.close": monitor.close,
        "ServableStateMonitor.wait_until": bound(monitor.wait_until, PENDING),
        "ServableStateMonitor.get_all_states": monitor.get_all_states,
        "ServableStateMonitor.record": bound(monitor.record, state),
        "EventBus.close": bus.close,
        "EventBus.publish": bound(bus.publish, state),
        "EventBus.subscribe": bound(bus.subscribe, print),
        "FileSystemStoragePathSource.close": source.close,
        "FileSystemStoragePathSource.poll": source.poll,
        "Subscription.close": running.subscription.close,
        "Subscription.__exit__": running.subscription.__exit__,
        "Notification.close": running.notification.close,
        "Notification.__exit__": running.notification.__exit__,
        "WorkerPool.submit": bound(part["WorkerPool"].submit, print),
        "Dispatcher.close": part["Dispatcher"].close,
    }


def test_everything_that_was_started_refuses_what_was_bound_before_the_fork(
    running: Running,
) -> None:
    calls = calls_bound_now(running)
    assert {name.partition(".")[0] for name in calls} == running.started.keys()
    assert_all_refuse(in_child(calls))


def test_everything_that_was_started_refuses_every_public_name(running: Running) -> None:
    assert_all_refuse(
        in_child(
            {
                f"{kind}.{name}": functools.partial(getattr, part, name)
                for kind, part in running.started.items()
                for name in dir(part)
                if not name.startswith("_")
            }
        )
    )


def test_what_is_awaited_in_the_child_refuses(running: Running) -> None:
    core, monitor = running.core, running.core.monitor

    async def with_core() -> None:
        async with core:
            pytest.fail("it was entered")

    async def begun_before(wait: Any) -> None:
        await wait

    waits = [core.wait_until_available_async("healthy"), monitor.wait_until_async(PENDING)]
    try:
        answers = in_child(
            {
                "ServerCore.with": lambda: asyncio.run(with_core()),
                "ServerCore.wait": lambda: asyncio.run(begun_before(waits[0])),
                "ServableStateMonitor.wait": lambda: asyncio.run(begun_before(waits[1])),
            }
        )
    finally:
        for wait in waits:
            wait.close()
    assert_all_refuse(answers)


def test_a_lock_that_another_thread_held_at_the_fork_hangs_nobody(running: Running) -> None:
    part = running.started
    locks = [
        part["AspiredVersionsManager"]._lock,
        part["ServableStateMonitor"]._lock,
        part["Dispatcher"]._lock,
        part["EventBus"]._lock,
        part["FileSystemStoragePathSource"]._lock,
        part["Notification"]._changed,
        part["WorkerPool"]._changed,
    ]
    held, forked = threading.Event(), threading.Event()

    def hold() -> None:
        with contextlib.ExitStack() as stack:
            for lock in locks:
                stack.enter_context(lock)
            held.set()
            assert forked.wait(2 * WATCHDOG)

    calls = calls_bound_now(running)
    holder = Spawned(hold)
    try:
        assert held.wait(WATCHDOG)
        answers = in_child(calls)
    finally:
        forked.set()
        holder.result()
    assert_all_refuse(answers)


def test_a_handle_taken_before_the_fork_is_read_and_closed_in_the_child(running: Running) -> None:
    old = running.core.get_servable_handle("healthy")
    new = running.core.get_servable_handle("healthy")
    # The last handle on a version that went: closing it tells the manager, in the child nobody.
    running.house.assert_healthy()
    answers = in_child(
        {
            "id": lambda: old.id,
            "servable": lambda: old.servable.predict(0),
            "close": old.close,
            "exit": lambda: new.__exit__(None, None, None),
            "closed": lambda: old.servable,
        }
    )
    assert answers["id"] == "returned healthy:1"
    assert answers["servable"] == "returned 1.0"
    assert answers["close"] == answers["exit"] == "returned None"
    assert answers["closed"].startswith("FailedPreconditionError: the handle was closed")
    assert old.servable.predict(0) == 1.0
    old.close()
    new.close()


def test_a_manager_that_was_never_started_works_in_the_child(running: Running) -> None:
    bus = EventBus()
    monitor = ServableStateMonitor(bus)
    manager = AspiredVersionsManager(event_bus=bus)
    loader = SimpleLoader(lambda context: f"the servable of {context.id}")

    def serve() -> str:
        manager.start()
        manager.set_aspired_versions("m", [ServableData(ServableId("m", 1), loader)])
        monitor.wait_until_available("m", timeout=WATCHDOG)
        with manager.get_servable_handle("m", str) as handle:
            return handle.servable

    answers = in_child({"serve": serve, "close": functools.partial(manager.close, WATCHDOG)})
    assert answers == {
        "serve": "returned the servable of m:1",
        "close": "returned closed, nothing left",
    }
    assert serve() == "the servable of m:1"  # the parent may start it all the same
    assert manager.close(WATCHDOG)
    monitor.close(WATCHDOG)


def test_a_core_that_was_never_started_and_a_new_one_work_in_the_child(running: Running) -> None:
    def serve(core: ServerCore) -> float:
        with core:
            core.wait_until_available("healthy", timeout=WATCHDOG)
            return ask(core, "healthy")

    answers = in_child(
        {
            "never started": lambda: serve(running.unstarted),
            "new": lambda: serve(running.house.open("other")),
        }
    )
    assert answers == {"never started": "returned 1.0", "new": "returned 1.0"}


PROGRAM = """
import gc, multiprocessing, os, sys
from servman import *

PARENT = os.getpid()

def tell(text, write=os.write, getpid=os.getpid, parent=PARENT):
    who = "parent" if getpid() == parent else "child"
    write(1, f"{who} {text}\\n".encode())

class Model:
    def __init__(self, context):
        self.id = context.id

    def __del__(self, tell=tell):
        tell(f"destroys {self.id}")

def serve(name):
    bus = EventBus()
    monitor = ServableStateMonitor(bus)
    manager = AspiredVersionsManager(event_bus=bus)
    manager.start()
    data = ServableData(ServableId(name, 1), SimpleLoader(Model))
    manager.set_aspired_versions(name, [data])
    monitor.wait_until_available(name, timeout=10)
    monitor.close()
    return manager

def work():
    try:
        serving.close()
    except FailedPreconditionError as error:
        tell(f"of multiprocessing: {error}")

serving = serve("serving")
left = serve("left")
handle = left.get_servable_handle("left")
assert not left.close(0)  # the version is left behind, loaded

process = multiprocessing.get_context("fork").Process(target=work)
process.start()
process.join(10)

try:
    with ServerCore():
        pid = os.fork()
        if pid:
            os.waitpid(pid, 0)
except FailedPreconditionError as error:
    tell(f"leaves with: {error}")

if os.getpid() != PARENT:
    handle.close()
    del serving, left, handle
    gc.collect()
    tell("exits")
    sys.exit()

assert serving.close(10)
handle.close()
del serving, left, handle
gc.collect()
"""


@pytest.fixture(scope="module")
def story() -> list[str]:
    """Run the program; return what its processes told, in order."""
    process = subprocess.Popen(  # noqa: S603 -- our own interpreter on our own text
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", PROGRAM],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        told, faults = process.communicate(timeout=WATCHDOG)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # a child that hangs, too
    assert (faults, process.returncode) == ("", 0)
    return told.splitlines()


def test_a_child_of_multiprocessing_is_refused(story: list[str]) -> None:
    told = [line for line in story if "of multiprocessing" in line]
    assert len(told) == 1
    assert told[0].startswith("child of multiprocessing: this AspiredVersionsManager had threads")


def test_a_with_that_the_child_leaves_refuses_there_and_closes_in_the_parent(
    story: list[str],
) -> None:
    told = [line for line in story if "leaves with" in line]
    assert len(told) == 1
    assert told[0].startswith("child leaves with: this ServerCore had threads")


def test_no_destructor_of_a_servable_runs_in_a_child_that_drops_all_and_exits(
    story: list[str],
) -> None:
    assert "child exits" in story
    told = [line for line in story if "destroys" in line]
    assert sorted(told) == ["parent destroys left:1", "parent destroys serving:1"]


def test_importing_and_constructing_asks_for_no_word_of_forks() -> None:
    program = (
        "import servman, servman.forks\n"
        "servman.ServerCore()\n"
        "print(servman.forks._install.cache_info().currsize)"
    )
    run = subprocess.run(  # noqa: S603 -- our own interpreter
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=True
    )
    assert run.stdout == "0\n"
