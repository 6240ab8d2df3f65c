"""Servables that cannot be started together, or not in time, or not at all: nothing of them is left."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from servman.core import ServableStartConfig, ServerCore, start_servables
from servman.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
    ServableUnavailableError,
    WaitTimeoutError,
)
from servman.testing import Spawned
from servman.testing.clock import WATCHDOG
from tests.integration.supervised import eventually, kill
from tests.integration.test_forks import in_child
from tests.integration.worker_children import children
from tests.integration.worker_models import NEVER_READY, ask, named_pipe, told, write_model

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="worker processes need Linux"),
    pytest.mark.timeout(60),
]

START = 2 * WATCHDOG
"""Seconds for several interpreters to start on a busy machine."""

REFUSES_EXTRAS = """
if os.environ.get("CUDA_VISIBLE_DEVICES") == "-1":
    raise OSError("no room for extra workers")
"""
NEVER_READY_BUT_TELLS = """
def load(context):
    tell({pipe!r})
    threading.Event().wait()
"""
BROKEN: dict[str, tuple[str, str]] = {
    "raises": ("def load(context):\n    raise OSError('no weights')\n", "OSError: no weights"),
    "syntax": ("def load(context)\n", "SyntaxError: expected ':'"),
    "undefined": ("model = undefined_thing\n", "name 'undefined_thing' is not defined"),
    "exits": ("print('going down')\nos._exit(7)\n", r"exited with code 7(.|\n)*going down"),
    "crashes": ("import ctypes\nctypes.string_at(0)\n", "was killed by SIGSEGV"),
    "sys.exit": ("import sys\nsys.exit('bye')\n", "SystemExit: bye"),
    "no load": ("del load\n", "has no function load"),
}


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    assert children() == []
    yield
    assert children() == []


def config(store: Path, name: str = "m", **more: Any) -> ServableStartConfig:
    return ServableStartConfig(str(store), name, **more)


def workers(core: ServerCore) -> Any:
    with core.get_servable_handle("m") as handle:
        servable: Any = handle.servable
        return servable.workers()


def starts_again(store: Path) -> bool:
    """Return whether servables can be started, and answer."""
    write_model(store, "afterwards")
    with start_servables(config(store, "afterwards"), START) as core:
        return bool(ask(core, "echo", "well", of="afterwards") == "well")


@pytest.mark.parametrize("kind", BROKEN)
def test_what_the_worker_said_is_in_what_is_raised(tmp_path: Path, kind: str) -> None:
    code, said = BROKEN[kind]
    write_model(tmp_path, code=code)
    with pytest.raises(ServableUnavailableError, match=said):
        start_servables(config(tmp_path), START)


def test_the_failure_of_an_extra_worker_takes_all_servables_down(tmp_path: Path) -> None:
    write_model(tmp_path)
    write_model(tmp_path, "extra", code=REFUSES_EXTRAS)
    extra = config(tmp_path, "extra", device_ids=0, num_parallel_workers=2)
    with pytest.raises(ServableUnavailableError, match="no room for extra workers"):
        start_servables([config(tmp_path), extra], START)
    assert children() == []
    assert starts_again(tmp_path)


def test_what_does_not_start_in_time_is_taken_down(tmp_path: Path) -> None:
    write_model(tmp_path, code=NEVER_READY)
    with pytest.raises(WaitTimeoutError, match=r"within 0\.5 s(.|\n)*0 of 1 worker ready"):
        start_servables(config(tmp_path), 0.5)
    assert children() == []
    assert starts_again(tmp_path)


def test_ctrl_c_while_they_start_leaves_nothing_behind(tmp_path: Path) -> None:
    pipe = named_pipe(tmp_path)
    write_model(tmp_path, code=NEVER_READY_BUT_TELLS.format(pipe=pipe))
    main = threading.get_ident()

    def interrupt() -> None:
        told(pipe)
        signal.pthread_kill(main, signal.SIGINT)

    interruption = Spawned(interrupt)
    with pytest.raises(KeyboardInterrupt):
        start_servables(config(tmp_path), START)
    interruption.result()
    assert children() == []
    assert starts_again(tmp_path)


def test_a_call_while_another_one_starts_is_refused_and_does_not_disturb_it(tmp_path: Path) -> None:
    pipe = named_pipe(tmp_path)
    write_model(tmp_path, code=NEVER_READY_BUT_TELLS.format(pipe=pipe))
    start = Spawned(lambda: start_servables(config(tmp_path), START))
    worker = told(pipe)
    with pytest.raises(FailedPreconditionError, match="being started already"):
        start_servables(config(tmp_path), START)
    kill(worker, signal.SIGKILL)
    with pytest.raises(ServableUnavailableError, match="SIGKILL"):
        start.result()


def test_they_can_be_started_again_after_a_close_as_often_as_one_likes(tmp_path: Path) -> None:
    write_model(tmp_path)
    pids = set()
    for _ in range(3):
        with start_servables(config(tmp_path), START) as core:
            pids.add(ask(core, "pid"))
    assert len(pids) == 3


def test_a_forked_child_starts_servables_of_its_own(tmp_path: Path) -> None:
    write_model(tmp_path)

    def start() -> str:
        with start_servables(config(tmp_path), START) as core:
            return f"{ask(core, 'pid')} of {os.getpid()}"

    with start_servables(config(tmp_path), START) as core:
        said = in_child({"start": start})
        assert said["start"].startswith("returned ")
        assert str(os.getpid()) not in said["start"].split()
        assert ask(core, "echo", 1) == 1


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        start_servables(config(tmp_path / "nowhere"))
    (fault,) = caught.value.faults
    assert f"the directory {tmp_path / 'nowhere' / 'm'} cannot be read (No such file" in fault


@pytest.mark.parametrize("nonsense", [None, 5])
def test_what_is_no_sequence_of_configs_is_refused(nonsense: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="pass a ServableStartConfig, or several"):
        start_servables(nonsense)


def test_two_replicas_are_killed_one_after_the_other_and_no_request_fails(tmp_path: Path) -> None:
    write_model(tmp_path)
    with start_servables(config(tmp_path, device_ids=[0, 1]), START) as core:
        first = {worker.device: worker.pid for worker in workers(core)}
        assert sorted(first) == [0, 1]
        for device in (0, 1):
            kill(first[device], signal.SIGKILL)
            assert ask(core, "variable", "SERVMAN_DEVICE_ID") in {"0", "1"}
            eventually(lambda: all(worker.pid for worker in workers(core)))
        assert {worker.pid for worker in workers(core)}.isdisjoint(first.values())
        assert [worker.restarts for worker in workers(core)] == [1, 1]
