"""Worker processes that die, hang, or do not start, and what becomes of the version in them."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from servman.deadline import deadline
from servman.errors import (
    ClosedError,
    FailedPreconditionError,
    InternalError,
    InvalidArgumentError,
    LoadCancelledError,
    LoadFailedError,
    ResourceExhaustedError,
    ServmanError,
    WaitTimeoutError,
    WorkerDiedError,
)
from servman.loader import LoadContext
from servman.testing import Spawned
from servman.worker_state import WorkerState
from servman.workers.group import WorkerGroup
from servman.workers.supervision import Supervision
from tests.integration.obedient import Obedient
from tests.integration.supervised import (
    HANG,
    ID,
    IGNORE_TERM,
    Refused,
    eventually,
    from_the_second_on,
    kill,
    options,
    serve,
    served,
)
from tests.integration.test_forks import in_child
from tests.integration.worker_children import all_gone, children, open_files, watched

# The start


def test_a_load_returns_when_every_worker_serves() -> None:
    with served(replicas=2) as version:
        assert version.servable.echo(3) == 3
        assert version.states() == [WorkerState.READY] * 2
        assert len(set(version.pids())) == 2


def test_a_load_fails_with_what_the_worker_said() -> None:
    error = Refused(Obedient(on_load="raise ValueError('no such weights')")).error()
    assert isinstance(error, LoadFailedError)
    assert "no such weights" in str(error)


def test_the_failure_of_one_worker_ends_the_start_of_the_others(tmp_path: Path) -> None:
    loader = Obedient(on_load=_of_two(tmp_path, "raise ValueError('I am the second')", HANG))
    error = Refused(loader, {"replicas": 2}).error()
    assert "I am the second" in str(error)


def test_a_worker_that_dies_as_it_loads_fails_the_load_with_the_end_of_its_log() -> None:
    error = Refused(Obedient(on_load="print('out of memory', flush=True); os._exit(3)")).error()
    assert isinstance(error, WorkerDiedError)
    assert (error.exit_code, error.signal) == (3, None)
    assert "exited with code 3" in str(error)
    assert "out of memory" in str(error)


def test_a_worker_that_is_killed_as_it_loads_fails_the_load() -> None:
    refused = Refused(Obedient(on_load=HANG))
    load = Spawned(refused.error)
    refused.until_started()
    (worker,) = refused.isolated.workers()
    assert worker.pid is not None
    kill(worker.pid, signal.SIGKILL)
    error = load.result()
    assert isinstance(error, WorkerDiedError)
    assert error.signal == signal.SIGKILL


def test_a_worker_that_never_becomes_ready_is_killed() -> None:
    error = Refused(Obedient(on_load=HANG), {"start_timeout": 0.5}).error()
    assert isinstance(error, WorkerDiedError)
    assert "0.5 s (start_timeout)" in str(error)


def test_a_cancelled_load_kills_its_workers_at_once() -> None:
    refused = Refused(Obedient(on_load=HANG), {"replicas": 2})
    load = Spawned(refused.error)
    refused.until_started()
    refused.cancelled.set()
    assert isinstance(load.result(), LoadCancelledError)


def test_a_load_that_was_cancelled_before_it_began_starts_and_leaves_nothing() -> None:
    refused = Refused(Obedient())
    refused.cancelled.set()
    assert isinstance(refused.error(), LoadCancelledError)


def test_a_loader_that_cannot_be_sent_is_refused_before_anything_is_started() -> None:
    loader = Obedient(on_load=threading.Lock())  # type: ignore[arg-type] # the point
    assert isinstance(Refused(loader).error(), InvalidArgumentError)


def test_a_version_is_loaded_when_enough_replicas_are_and_the_rest_follows(tmp_path: Path) -> None:
    flag = tmp_path / "go on"
    os.mkfifo(flag)
    hold = _of_two(tmp_path, f"open({str(flag)!r}).close()", "pass")
    with served(Obedient(on_load=hold), replicas=2, min_replicas=1) as version:
        assert sorted(state.name for state in version.states()) == ["READY", "STARTING"]
        with flag.open("w"):
            eventually(version.restored)


def _of_two(directory: Path, first: str, second: str) -> str:
    flag = str(directory / "first")
    return f"try: os.mkdir({flag!r})\nexcept FileExistsError:\n    {first}\nelse:\n    {second}\n"


# Deaths


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_a_worker_that_is_killed_while_idle_is_replaced(
    number: signal.Signals, caplog: pytest.LogCaptureFixture
) -> None:
    with served() as version:
        (pid,) = version.pids()
        kill(pid, number)
        assert version.servable.echo("held until one serves") == "held until one serves"
        (worker,) = version.loader.workers()
        assert (worker.restarts, worker.state) == (1, WorkerState.READY)
        assert number.name in str(worker.error)
        assert worker.pid != pid
    assert version.reported == []
    (told,) = [one.getMessage() for one in caplog.records if one.name.endswith("supervisor")]
    assert told.startswith("a worker is started again, for m:1: worker 0 (process")


@pytest.mark.parametrize("code", [0, 3])
def test_a_worker_that_exits_in_a_call_is_replaced_and_its_call_told(code: int) -> None:
    with served() as version:
        with pytest.raises(WorkerDiedError) as caught:
            version.servable.leave(code)
        assert caught.value.exit_code == code
        assert version.servable.echo(1) == 1


def test_a_worker_that_is_killed_in_a_call_is_replaced_and_its_call_told() -> None:
    with served(replicas=2) as version:
        with pytest.raises(WorkerDiedError, match="SIGKILL") as caught:
            version.servable.die(signal.SIGKILL)
        assert caught.value.signal == signal.SIGKILL
        eventually(version.restored)
        assert version.servable.echo(1) == 1
    assert version.reported == []


def test_a_worker_whose_keeper_is_killed_is_replaced() -> None:
    with served() as version:
        (pid,) = version.pids()
        with watched([pid]) as fds:
            kill(_parent(pid), signal.SIGKILL)
            all_gone(fds)
        assert version.servable.echo(1) == 1
        (worker,) = version.loader.workers()
        assert "together with the process that keeps it" in str(worker.error)


def _parent(pid: int) -> int:
    stat = Path(f"/proc/{pid}/stat").read_text()
    return int(stat.rpartition(")")[2].split()[1])


# Hangs


def test_a_worker_that_is_stopped_is_killed_and_replaced() -> None:
    with served(heartbeat_interval=0.05, heartbeat_timeout=0.5) as version:
        (pid,) = version.pids()
        with watched([pid]) as fds:
            os.kill(pid, signal.SIGSTOP)
            all_gone(fds)
        assert version.servable.echo(1) == 1
        (worker,) = version.loader.workers()
        assert "0.5 s (heartbeat_timeout)" in str(worker.error)


def test_a_worker_that_beats_in_time_lives_on() -> None:
    with served(heartbeat_interval=0.02, heartbeat_timeout=1.0) as version:
        pids = version.pids()
        assert version.servable.evaluate("__import__('time').sleep(1.5)") is None
        assert version.pids() == pids


def test_a_call_that_never_ends_costs_its_worker_its_life() -> None:
    with served(concurrency=1, hang_timeout=0.3) as version:
        (pid,) = version.pids()
        with watched([pid]) as fds:
            with deadline(0.5), pytest.raises(WaitTimeoutError):
                version.servable.evaluate("__import__('threading').Event().wait()")
            all_gone(fds)
        assert version.servable.echo(1) == 1
        (worker,) = version.loader.workers()
        assert "0.3 s after its deadline (hang_timeout)" in str(worker.error)


def test_a_call_that_ends_late_gives_its_place_back(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    with served(concurrency=1) as version:
        pids = version.pids()
        with deadline(0.5), pytest.raises(WaitTimeoutError):
            version.servable.evaluate(f"open({str(gate)!r}).close()")
        (worker,) = version.loader.workers()
        assert worker.running == 1
        with gate.open("w"):
            assert version.servable.echo(1) == 1  # by the only connection
        assert version.pids() == pids


def test_a_worker_that_closes_its_connections_and_lives_on_is_replaced() -> None:
    with served() as version:
        (pid,) = version.pids()
        with watched([pid]) as fds:
            with pytest.raises(WorkerDiedError):
                version.servable.evaluate("__import__('os').closerange(3, 64)")
            all_gone(fds)
        assert version.servable.echo(1) == 1
        (worker,) = version.loader.workers()
        assert worker.restarts == 1


# The budget


def test_a_worker_that_is_ready_and_dies_at_once_for_ever_ends_the_version() -> None:
    dies = (
        "threading.Timer(0.05, lambda: (print('I am so sorry', flush=True), os._exit(7))).start()"
    )
    with served(Obedient(on_load=dies), max_restarts=3) as version:
        error = version.failure()
        assert isinstance(error, WorkerDiedError)
        assert error.exit_code == 7
        assert "I am so sorry" in error.log_tail
        assert "I am so sorry" in str(error)
        assert version.states() == [WorkerState.GIVEN_UP]
        (worker,) = version.loader.workers()
        assert worker.restarts == 3
        with pytest.raises(WorkerDiedError, match="max_restarts"):
            version.servable.echo(1)
        assert children() == []


def test_a_worker_that_cannot_load_again_ends_the_version_with_what_it_says(tmp_path: Path) -> None:
    loader = Obedient(on_load=from_the_second_on(tmp_path, "raise ValueError('weights are gone')"))
    with served(loader, max_restarts=2) as version:
        kill(version.pids()[0], signal.SIGKILL)
        assert "weights are gone" in str(version.failure())


def test_a_version_serves_on_while_one_of_its_workers_dies_for_ever(tmp_path: Path) -> None:
    loader = Obedient(on_load=from_the_third_on(tmp_path, "raise ValueError('weights are gone')"))
    with served(loader, replicas=2, max_restarts=2) as version:
        kill(version.pids()[0], signal.SIGKILL)
        eventually(lambda: version.loader.workers()[0].restarts == 2)
        eventually(lambda: version.states()[0] is WorkerState.WAITING)
        assert version.servable.echo(1) == 1
        assert version.reported == []


def from_the_third_on(directory: Path, happens: str) -> str:
    flags = str(directory / "loads")
    return (
        f"os.makedirs({flags!r}, exist_ok=True)\n"
        f"if len(os.listdir({flags!r})) == 2:\n    {happens}\n"
        f"open(os.path.join({flags!r}, str(os.getpid())), 'w').close()\n"
    )


# Devices


def test_exclusive_devices_are_free_again_after_an_unload_and_after_a_failed_load() -> None:
    alone = {"devices": (3,), "replicas": None, "exclusive_devices": True}
    Refused(Obedient(on_load="raise ValueError('no')"), alone).error()
    with served(Obedient(), **alone) as version:
        assert version.servable.evaluate("os.environ['SERVMAN_DEVICE_ID']") == "3"
        with pytest.raises(FailedPreconditionError, match="device 3"):
            serve(Obedient(), **alone)
    serve(Obedient(), **alone).unload()


# The end


def test_an_unload_that_hangs_is_ended_by_force() -> None:
    version = serve(Obedient(on_unload=HANG), stop_timeout=0.3)
    with pytest.raises(WorkerDiedError, match=r"0\.3 s \(stop_timeout\)"):
        version.unload()
    assert children() == []


def test_an_unload_that_hangs_and_will_not_hear_of_sigterm_is_killed() -> None:
    version = serve(Obedient(on_load=IGNORE_TERM, on_unload=HANG), stop_timeout=0.3)
    with watched(version.pids()) as fds:
        with pytest.raises(WorkerDiedError) as caught:
            version.unload()
        all_gone(fds)
    assert caught.value.signal == signal.SIGKILL


def test_an_unload_that_raises_is_told_and_leaves_nothing() -> None:
    version = serve(Obedient(on_unload="raise ValueError('it sticks')"), replicas=2)
    with pytest.raises(ServmanError, match="it sticks"):
        version.unload()
    assert children() == []


def test_a_worker_that_is_killed_as_it_unloads_is_told_of(tmp_path: Path) -> None:
    told = tmp_path / "told"
    os.mkfifo(told)
    version = serve(Obedient(on_unload=f"open({str(told)!r}, 'w').close()\n{HANG}"))
    (pid,) = version.pids()
    unload = Spawned(version.unload)
    with told.open():
        kill(pid, signal.SIGKILL)
    with pytest.raises(WorkerDiedError, match="SIGKILL"):
        unload.result()


def test_an_unload_lets_running_calls_finish(tmp_path: Path) -> None:
    gate, begun = tmp_path / "gate", tmp_path / "begun"
    os.mkfifo(gate)
    os.mkfifo(begun)
    version = serve()
    call = Spawned(
        lambda: version.servable.evaluate(
            f"open({str(begun)!r}, 'w').close() or open({str(gate)!r}).close() or 5"
        )
    )
    with begun.open():
        pass
    unload = Spawned(version.unload)
    eventually(lambda: _refused(version.servable))
    with gate.open("w"):
        assert call.result() == 5
    unload.result()


def test_a_call_that_hangs_holds_an_unload_up_no_longer_than_its_time() -> None:
    version = serve(Obedient(on_load=IGNORE_TERM), stop_timeout=0.3)
    call = Spawned(lambda: version.servable.evaluate("__import__('threading').Event().wait()"))
    eventually(lambda: version.loader.workers()[0].running)
    with pytest.raises(WorkerDiedError, match="still worked on a call"):
        version.unload()
    with pytest.raises(WorkerDiedError):
        call.result()
    assert children() == []


def _refused(servable: object) -> bool:
    try:
        servable.echo(1)  # type: ignore[attr-defined] # the one in the worker has it
    except ClosedError:
        return True
    return False


def test_a_second_unload_and_one_of_something_else_do_nothing() -> None:
    version = serve()
    version.loader.unload(object())
    assert version.servable.echo(1) == 1
    version.unload()
    version.unload()


def group(loader: Obedient | None = None, **more: Any) -> WorkerGroup:
    return WorkerGroup(loader or Obedient(), LoadContext(ID), options(**more))


def test_a_close_while_the_workers_start_ends_the_start() -> None:
    one = group(Obedient(on_load=HANG))
    start = Spawned(one.start)
    eventually(one.snapshots)
    one.close(None)
    assert children() == []
    with pytest.raises(ClosedError):
        start.result()


def test_a_close_comes_from_any_number_of_threads() -> None:
    one = group(replicas=2)
    one.start()
    closes = [Spawned(lambda: one.close(None)) for _ in range(5)]
    for close in closes:
        close.result()
    one.close(None)
    assert children() == []


def test_a_group_that_was_closed_cannot_be_started_and_none_is_started_twice() -> None:
    one = group()
    one.close(None)
    with pytest.raises(ClosedError):
        one.start()
    other = group()
    other.start()
    with pytest.raises(FailedPreconditionError):
        other.start()
    other.close(None)


def test_a_close_by_the_report_of_the_failure_is_refused_and_harms_nothing() -> None:
    refusals: list[BaseException] = []
    told = threading.Event()

    def close(_: BaseException) -> None:
        try:
            one.close(None)
        except FailedPreconditionError as error:
            refusals.append(error)
            told.set()
            raise

    context = LoadContext(ID, report_failure=close)
    one = WorkerGroup(Obedient(), context, options(max_restarts=0))
    servable = one.start()
    with pytest.raises(WorkerDiedError):
        servable.leave(1)
    assert told.wait(10)
    one.close(None)
    assert len(refusals) == 1


# What is left


def test_cycles_of_loads_and_deaths_leave_no_process_and_no_descriptor() -> None:
    def cycle() -> None:
        version = serve(replicas=2)
        kill(version.pids()[0], signal.SIGKILL)
        version.servable.echo(1)
        version.unload()

    cycle()
    before = open_files()
    for _ in range(5):
        cycle()
    assert open_files() == before
    assert children() == []


# The host


def test_a_host_that_forks_keeps_its_workers_and_the_child_cannot_use_them() -> None:
    one = group()
    servable = one.start()
    echo = servable.echo
    uses = {
        "echo": lambda: echo(1),
        "servable": lambda: servable.signatures,
        "snapshots": one.snapshots,
        "close": lambda: one.close(None),
    }
    said = in_child(uses)
    assert {use: text for use, text in said.items() if "process forked" not in text} == {}
    assert servable.echo(2) == 2
    one.close(None)
    assert children() == []


def test_what_workers_write_reaches_the_callback_line_by_line() -> None:
    lines: list[tuple[str, int, str]] = []
    done = threading.Event()

    def log(*line: object) -> None:
        lines.append(line)  # type: ignore[arg-type] # as documented
        if line[2] == "unloading":
            done.set()
        raise ValueError("which stops nothing")

    version = serve(
        Obedient(on_load="print('loading')", on_unload="print('unloading')"), replicas=2, log=log
    )
    version.servable.write("calling")
    version.unload()
    assert done.wait(10)
    written = [text for _, _, text in lines]
    assert written.count("loading") == written.count("unloading") == 2
    assert "calling" in written
    assert {(version_id, index) for version_id, index, _ in lines} == {("m:1", 0), ("m:1", 1)}


def test_what_workers_write_goes_to_files_that_snapshots_name(tmp_path: Path) -> None:
    logs = tmp_path / "log files, Prüfung"
    with served(Obedient(on_load="print('loading')"), log_dir=str(logs)) as version:
        (worker,) = version.loader.workers()
        assert worker.log_path is not None
        assert "loading" in Path(worker.log_path).read_text()
        with pytest.raises(WorkerDiedError, match="loading"):  # the end of the file is in the error
            version.servable.leave(1)


def test_a_host_that_goes_elsewhere_finds_its_log_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with served(Obedient(on_load="print('loading')"), log_dir="logs") as version:
        monkeypatch.chdir("/")
        (worker,) = version.loader.workers()
        assert worker.log_path == str(tmp_path / "logs" / "m-1-0.log")
        with pytest.raises(WorkerDiedError, match="loading"):
            version.servable.leave(1)


def test_a_host_without_descriptors_is_told_so_and_goes_on() -> None:
    limit, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    held = []
    with served() as version:
        (pid,) = version.pids()
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
        try:
            with contextlib.suppress(OSError):
                while True:
                    held.append(os.open(os.devnull, os.O_RDONLY))
            os.kill(pid, signal.SIGKILL)
            eventually(
                lambda: isinstance(version.loader.workers()[0].error, ResourceExhaustedError)
            )
        finally:
            for fd in held:
                os.close(fd)
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
        assert version.servable.echo(1) == 1
        assert version.reported == []


def test_a_fault_of_the_supervision_itself_ends_the_version_and_leaves_no_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with served() as version:
        monkeypatch.setattr(Supervision, "wake_at", broken)
        with contextlib.suppress(WorkerDiedError, InternalError):
            version.servable.leave(1)  # wakes the supervisor
        error = version.failure()
        assert isinstance(error, InternalError)
        assert "RuntimeError('broken')" in str(error)
        with pytest.raises(InternalError):
            version.servable.echo(1)
        assert children() == []


def broken(_: Supervision) -> float:
    raise RuntimeError("broken")
