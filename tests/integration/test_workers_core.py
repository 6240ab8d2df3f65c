"""What befalls the workers of models, and what a core does about it: one bad model never harms another."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from servman.core import ServerConfig, ServerCore
from servman.deadline import deadline
from servman.errors import (
    ClosedError,
    QuarantinedError,
    ServableUnavailableError,
    WaitTimeoutError,
    WorkerDiedError,
)
from servman.ids import ServableId
from servman.sources import Specific
from servman.state import ManagerState
from servman.testing import Spawned
from servman.testing.clock import WATCHDOG
from servman.worker_state import WorkerState
from tests.integration.supervised import eventually, kill
from tests.integration.test_forks import in_child
from tests.integration.worker_children import all_gone, children, is_stopped, wait_for, watched
from tests.integration.worker_models import (
    DIES_WHILE_THERE_IS,
    HANGS_IF_THERE_IS,
    HANGS_IN_UNLOAD,
    HANGS_ONCE,
    NEVER_READY,
    ask,
    model,
    named_pipe,
    serving,
    told,
    write_model,
)

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="worker processes need Linux"),
    pytest.mark.timeout(60),
]


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    assert children() == []
    yield
    assert children() == []


def errors_of(core: ServerCore, name: str = "m") -> str:
    return "\n".join(str(one.error) for one in core.history(name) if one.error)


# kill -9


def test_a_model_whose_worker_is_killed_while_idle_stays_available(tmp_path: Path) -> None:
    write_model(tmp_path)
    with serving(model(tmp_path)) as core:
        transitions = len(core.history("m"))
        pid = ask(core, "pid")
        kill(pid, signal.SIGKILL)
        assert ask(core, "pid") != pid
        assert len(core.history("m")) == transitions


def test_a_call_whose_worker_is_killed_is_told_and_the_model_serves_on(tmp_path: Path) -> None:
    write_model(tmp_path)
    pipe = named_pipe(tmp_path)
    with serving(model(tmp_path)) as core:
        call = Spawned(lambda: ask(core, "hang", pipe))
        kill(told(pipe), signal.SIGKILL)
        with pytest.raises(WorkerDiedError, match="SIGKILL"):
            call.result()
        assert ask(core, "echo", 1) == 1


def test_a_load_whose_worker_is_killed_is_tried_again(tmp_path: Path) -> None:
    pipe = named_pipe(tmp_path)
    write_model(tmp_path, code=HANGS_ONCE.format(pipe=pipe))
    retried = model(tmp_path, max_num_load_retries=1, load_retry_interval=0.0)
    with serving(retried, wait=False) as core:
        kill(told(pipe), signal.SIGKILL)
        core.wait_until_available("m", timeout=WATCHDOG)
        assert ask(core, "echo", 1) == 1


def test_an_unload_whose_worker_is_killed_ends_and_is_told(tmp_path: Path) -> None:
    pipe = named_pipe(tmp_path)
    write_model(tmp_path, code=HANGS_IN_UNLOAD.format(pipe=pipe))
    with serving(model(tmp_path)) as core:
        reload = Spawned(lambda: core.reload_config(ServerConfig(), timeout=WATCHDOG))
        kill(told(pipe), signal.SIGKILL)
        assert reload.result()
        assert "was killed by SIGKILL" in errors_of(core)
        assert children() == []


# Others


def test_a_model_whose_worker_is_stopped_answers_again(tmp_path: Path) -> None:
    write_model(tmp_path)
    with serving(model(tmp_path, heartbeat_interval=0.05, heartbeat_timeout=1.0)) as core:
        pid = ask(core, "pid")
        with watched([pid]) as fds:
            os.kill(pid, signal.SIGSTOP)
            eventually(lambda: is_stopped(pid))  # until then one of its threads may still answer
            with deadline(0.1), pytest.raises(WaitTimeoutError):
                ask(core, "echo", 1)
            all_gone(fds)
        assert ask(core, "pid") != pid


def test_a_model_whose_worker_exits_in_the_middle_of_a_call_serves_on(tmp_path: Path) -> None:
    write_model(tmp_path)
    with serving(model(tmp_path)) as core:
        with pytest.raises(WorkerDiedError, match="exited with code 0"):
            ask(core, "leave", 0)
        assert ask(core, "echo", 1) == 1


def test_a_model_whose_worker_never_becomes_ready_fails_and_harms_no_other(tmp_path: Path) -> None:
    write_model(tmp_path, "bad", code=NEVER_READY)
    write_model(tmp_path)
    bad = model(tmp_path, "bad", start_timeout=0.5)
    with serving(bad, model(tmp_path), wait=False) as core:
        core.wait_until_available("m", timeout=WATCHDOG)
        assert core.wait_until("bad:1", ManagerState.END, timeout=WATCHDOG)
        assert "had not loaded the servable after 0.5 s (start_timeout)" in str(core.explain("bad"))
        assert ask(core, "echo", 1) == 1
        assert len(children()) == 1


def test_a_version_whose_workers_die_for_ever_ends_until_it_is_retried(tmp_path: Path) -> None:
    flag = tmp_path / "dies"
    write_model(tmp_path, version=1)
    write_model(tmp_path, version=2, code=DIES_WHILE_THERE_IS.format(flag=str(flag)))
    both = model(tmp_path, version_policy=Specific(1, 2), max_restarts=2)
    with serving(both) as core:
        core.wait_until_available("m:1", "m:2", timeout=WATCHDOG)
        flag.touch()
        kill(ask(core, "pid", of="m:2"), signal.SIGKILL)
        assert core.wait_until("m:2", ManagerState.END, timeout=WATCHDOG)
        assert ask(core, "pid") == ask(core, "pid", of="m:1")
        assert "I am so sorry" in errors_of(core)
        assert "exited with code 7" in str(core.explain("m:2"))
        flag.unlink()
        core.manager.retry(ServableId("m", 2))
        eventually(lambda: core.wait_until("m:2", timeout=0))
        assert ask(core, "pid") == ask(core, "pid", of="m:2")


@pytest.mark.parametrize("idempotent", [(), ("crash",)], ids=["at most once", "idempotent"])
def test_a_poison_request_never_takes_all_replicas_down_and_is_refused_then(
    tmp_path: Path, idempotent: tuple[str, ...]
) -> None:
    write_model(tmp_path)
    poisoned = model(tmp_path, replicas=3, idempotent_methods=idempotent)
    with serving(poisoned) as core, core.get_servable_handle("m") as handle:
        servable: Any = handle.servable
        for _ in idempotent or (1, 2):  # sent by the caller, or again by itself
            with pytest.raises(WorkerDiedError):
                servable.crash("poison")
            assert WorkerState.READY in {worker.state for worker in servable.workers()}
        with pytest.raises(QuarantinedError):
            servable.crash("poison")
        eventually(lambda: sum(worker.restarts for worker in servable.workers()) == 2)
        with pytest.raises(WorkerDiedError):  # another one is not refused
            servable.crash("weed killer")


# Names


def test_directories_with_spaces_and_foreign_letters_are_served_and_logged(tmp_path: Path) -> None:
    store = tmp_path / "Modelle für 模型 \N{PILE OF POO}"
    write_model(store, "Tür zu 1%", code="\nprint('geladen: \N{PILE OF POO}')\n")
    logs = tmp_path / "log files, für immer"
    with serving(model(store, "Tür zu 1%", log_dir=str(logs))) as core:
        assert ask(core, "echo", "模型", of="Tür zu 1%") == "模型"
        with pytest.raises(WorkerDiedError, match="geladen: \N{PILE OF POO}"):
            ask(core, "leave", 1, of="Tür zu 1%")
    (log,) = logs.iterdir()
    assert log.name == "Tür%20zu%201%25-1-0.log"


# Hosts


def test_a_host_that_forks_serves_on_and_its_child_is_refused(tmp_path: Path) -> None:
    write_model(tmp_path)
    with serving(model(tmp_path)) as core, core.get_servable_handle("m") as handle:
        servable: Any = handle.servable
        echo = servable.echo
        said = in_child({"core": lambda: ask(core, "echo", 1), "method": lambda: echo(1)})
        assert {use: text for use, text in said.items() if "process forked" not in text} == {}
        assert ask(core, "echo", 2) == 2


def test_when_a_host_with_a_core_is_killed_its_workers_are_gone(tmp_path: Path) -> None:
    write_model(tmp_path)
    command = [sys.executable, "-m", "tests.integration.worker_hosts", "core", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as host:  # noqa: S603 -- our own
        assert host.stdout is not None
        wait_for(host.stdout.fileno(), 2 * WATCHDOG)
        pids = [int(pid) for pid in host.stdout.readline().split()]
        with watched(pids) as workers:
            assert len(pids) == 2
            host.kill()
            all_gone(workers, 1.0)


def test_two_cores_of_one_process_do_not_get_in_each_others_way(tmp_path: Path) -> None:
    write_model(tmp_path)
    alone: dict[str, Any] = {"replicas": None, "devices": (5,), "exclusive_devices": True}
    with serving(model(tmp_path, replicas=2)) as one, serving(model(tmp_path, **alone)) as other:
        assert ask(other, "variable", "SERVMAN_DEVICE_ID") == "5"
        with (
            pytest.raises(ServableUnavailableError, match="device 5"),
            serving(model(tmp_path, **alone)),
        ):
            pass
        other.close()
        assert ask(one, "echo", 1) == 1
        assert len(children()) == 2


# What is left behind


def test_the_workers_of_a_model_that_is_still_in_use_end_with_its_core(tmp_path: Path) -> None:
    write_model(tmp_path)
    configured = model(tmp_path, replicas=2, devices=(0, 1), exclusive_devices=True)
    with serving(configured) as core:
        handle = core.get_servable_handle("m")
        servable: Any = handle.servable
        with watched(one.pid for one in servable.workers()) as processes:
            report = core.close(timeout=0)
            assert [str(one.id) for one in report.left] == ["m:1"]
            all_gone(processes)
        eventually(lambda: not children())
        with pytest.raises(ClosedError):
            servable.echo(1)
    with serving(configured) as again:  # the devices are free
        assert ask(again, "echo", 1) == 1
    handle.close()


def test_a_call_that_runs_when_its_core_is_closed_at_once_fails(tmp_path: Path) -> None:
    write_model(tmp_path)
    pipe = named_pipe(tmp_path)
    with serving(model(tmp_path)) as core:
        call = Spawned(lambda: ask(core, "hang", pipe))
        told(pipe)
        core.close(timeout=0)
        with pytest.raises(WorkerDiedError):
            call.result()
        eventually(lambda: not children())


# Slow starts


def test_with_two_replicas_a_call_is_answered_though_the_other_starts_slowly(
    tmp_path: Path,
) -> None:
    pipe = named_pipe(tmp_path)
    held = str(tmp_path / "held")
    slow = HANGS_IF_THERE_IS.format(flag=str(tmp_path / "slow"), pipe=held)
    write_model(tmp_path, code=slow)
    workers: dict[str, Any] = {"replicas": 2, "idempotent_methods": ("tell_once",)}
    with serving(model(tmp_path, hold_timeout=0.0, **workers)) as core:
        os.mkfifo(held)
        (tmp_path / "slow").touch()
        call = Spawned(lambda: ask(core, "tell_once", pipe))
        kill(told(pipe), signal.SIGKILL)
        assert ask(core, "echo", 1) == 1  # the other one serves on
        Path(held).write_text("go on")  # the one that starts takes its time until now
        assert call.result() == "told before"
