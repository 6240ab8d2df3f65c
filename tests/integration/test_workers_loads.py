"""What becomes of loads, calls and output in worker processes."""

from __future__ import annotations

import os
import signal
import sys
import threading
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

from servman.adapters.python_model import PythonModelLoader
from servman.deadline import deadline
from servman.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
    LoadFailedError,
    NotFoundError,
    ServmanError,
    WorkerCallError,
)
from servman.loader import LoadContext, Loader
from servman.workers.assignment import assign
from servman.workers.exit_status import ExitStatus
from servman.workers.failure import RemoteTraceback
from servman.workers.logs import log_name
from servman.workers.messages import Failed, Ready
from tests.integration.worker_children import (
    ID,
    call,
    children,
    end,
    expect,
    open_files,
    start,
    unload,
    wait_for,
    worker,
)
from tests.integration.worker_loaders import ForeignError, ToyLoader

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="worker processes need Linux")


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    files, before = open_files(), children()
    yield
    assert open_files() == files
    assert children() == before


def failure(loader: Loader) -> ServmanError:
    """Return the error of a load that fails, after which the process exits with 1."""
    process = start(loader)
    error = expect(process, Failed).error
    assert end(process) == ExitStatus(code=1)
    process.close()
    return error


def test_what_a_load_raises_arrives_with_the_traceback_of_the_child() -> None:
    error = failure(ToyLoader("throw", "value"))
    assert type(error) is LoadFailedError
    assert str(error) == "ValueError: not this one"
    assert "worker_loaders.py" in (error.traceback or "")


def test_an_error_of_ours_keeps_its_class() -> None:
    error = failure(ToyLoader("throw", "own"))
    assert type(error) is NotFoundError
    assert str(error) == "no such key"


def test_sys_exit_in_a_load_is_a_failed_load() -> None:
    assert str(failure(ToyLoader("throw", "exit"))) == "SystemExit: 3"


def test_os_exit_in_a_load_is_an_end_without_a_word() -> None:
    process = start(ToyLoader("leave", 3))
    assert end(process) == ExitStatus(code=3)
    process.close()


def test_a_loader_that_the_child_cannot_import_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("only_here")
    monkeypatch.setitem(sys.modules, "only_here", module)
    kind = type("Special", (), {"__module__": "only_here"})
    module.Special = kind  # type: ignore[attr-defined] # made on the way
    error = failure(kind())
    assert type(error) is InvalidArgumentError
    assert "No module named 'only_here'" in str(error)
    assert "sys.path" in str(error)


def test_a_loader_of_the_main_file_is_refused_with_what_to_do() -> None:
    kind = type("InMain", (), {"__module__": "__main__"})
    with pytest.raises(InvalidArgumentError, match=r"m:1: .* needs InMain, .* module of its own"):
        start(kind())


def test_a_loader_that_cannot_be_pickled_is_refused_with_what_to_do() -> None:
    with pytest.raises(InvalidArgumentError, match=r"ToyLoader .*cannot be sent.*__reduce__"):
        start(ToyLoader(detail=threading.Lock()))


def test_a_large_loader_arrives() -> None:
    with worker(ToyLoader(detail="x" * 1_000_000)) as process:
        assert call(process, "evaluate", "len(self.detail)") == 1_000_000


def test_the_host_is_told_of_methods_and_small_plain_data() -> None:
    process = start(ToyLoader(detail={"rate": 0.5}))
    description = expect(process, Ready).description
    process.close()
    assert description.type_name == "Toy"
    assert {"__call__", "echo", "evaluate"} <= set(description.methods)
    assert "lock" not in description.methods
    assert description.attributes == {
        "detail": {"rate": 0.5},
        "signatures": {"one": {"x": "float"}},
    }


MODEL = """
import os, sys
SEEN = {name: os.environ.get(name) for name in ("CUDA_VISIBLE_DEVICES", "SERVMAN_DEVICE_ID")}

class OwnError(Exception):
    pass

class Model:
    def __init__(self, path):
        self.path = path
        print("geladen: ü", flush=True)

    def seen(self):
        return {**SEEN, "path": self.path, "stdin": sys.stdin.read(), "session": os.getsid(0)}

    def fail(self):
        raise OwnError("unknown to the host")

def load(context):
    return Model(context.path)
"""


def test_a_python_model_in_a_folder_with_any_name_sees_its_environment(tmp_path: Path) -> None:
    folder = tmp_path / "mein Modell, 模型" / "1"
    folder.mkdir(parents=True)
    (folder / "servable.py").write_text(MODEL, encoding="utf-8")
    device = {"CUDA_VISIBLE_DEVICES": "3", "SERVMAN_DEVICE_ID": "3"}
    with worker(
        PythonModelLoader(ID, str(folder)), path=str(folder), environment=device
    ) as process:
        assert call(process, "seen") == {
            **device,
            "path": str(folder),
            "stdin": "",
            "session": process.keeper_pid,
        }
        assert process.keeper_pid != os.getsid(0)
        with pytest.raises(WorkerCallError, match=r"m:1: fail: OwnError: unknown") as caught:
            call(process, "fail")
        assert "servable.py" in (caught.value.traceback or "")
        assert unload(process).error is None
        assert "geladen: ü\n" in process.tail()


def test_what_a_method_raises_is_raised_with_the_traceback_of_the_child_as_its_cause() -> None:
    with worker() as process:
        with pytest.raises(ValueError, match=r"^not this one$") as caught:
            call(process, "throw", "value")
        assert isinstance(caught.value.__cause__, RemoteTraceback)
        assert "in throw" in str(caught.value.__cause__)
        with pytest.raises(NotFoundError, match="no such key"):
            call(process, "throw", "own")
        with pytest.raises(ForeignError, match="from afar"):  # whose module is imported here
            call(process, "throw", "foreign")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("fussy", "m:1: throw: FussyError: 1 and 2"),
        ("exit", "m:1: throw: SystemExit: 3"),
        ("interrupt", "m:1: throw: KeyboardInterrupt"),
    ],
)
def test_what_cannot_be_raised_in_the_host_becomes_a_call_error(name: str, text: str) -> None:
    with worker() as process:
        with pytest.raises(WorkerCallError) as caught:
            call(process, "throw", name)
        assert str(caught.value) == text
        assert "in throw" in (caught.value.traceback or "")
        assert call(process, "echo", 1) == 1


def test_a_result_that_cannot_be_sent_is_a_call_error_that_names_the_method() -> None:
    with worker() as process:
        with pytest.raises(WorkerCallError, match=r"m:1: evaluate returned a lock, which cannot"):
            call(process, "evaluate", "self.lock")
        assert call(process, "echo", 1) == 1


def test_only_public_methods_are_called() -> None:
    with worker() as process:
        with pytest.raises(AttributeError, match="__init__ is no public method"):
            call(process, "__init__", 1)
        with pytest.raises(AttributeError, match="nonsense"):
            call(process, "nonsense")


def test_the_deadline_of_a_call_is_in_force_in_the_child() -> None:
    with worker() as process:
        left = call(process, "remaining")
        assert 0 < left <= 10.0


def test_an_unload_that_fails_is_told_and_the_process_exits_all_the_same() -> None:
    with worker(ToyLoader(detail="stays")) as process:
        error = unload(process).error
        assert type(error) is LoadFailedError
        assert str(error) == "ForeignError: it stays"
        assert end(process) == ExitStatus(code=0)


def test_output_of_python_and_of_native_code_comes_by_lines() -> None:
    with worker() as process:
        call(process, "write", "caf\u00e9 \ud800")
        fd = process.log.fileno()
        assert fd is not None
        wait_for(fd)
        assert process.log.read_lines() == ["café \\ud800", "native"]
        assert process.log.read_lines() == []
        process.kill()
        end(process)
        assert process.log.read_lines() is None


def test_output_goes_to_a_file_where_each_process_quotes_its_own(tmp_path: Path) -> None:
    path = tmp_path / "logs" / log_name(ID, 0)
    for text in ("first", "x" * 10_000):
        with worker(log_path=str(path)) as process:
            assert process.log.fileno() is None
            call(process, "write", text)
            process.kill()
            assert end(process) == ExitStatus(signal=signal.SIGKILL)
            assert process.tail() == f"{text}\nnative\n"[-8192:]
    assert path.read_text() == "first\nnative\n" + "x" * 10_000 + "\nnative\n"


def test_a_log_file_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FailedPreconditionError, match=r"File exists: '/.*file'"):
        start(log_path=str(tmp_path / "file" / "m.log"))


def test_an_interpreter_that_is_not_known_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "")
    with pytest.raises(FailedPreconditionError, match=r"sys\.executable"):
        start()


def test_an_interpreter_that_does_not_start_is_an_end_with_its_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    process = start()
    assert end(process) == ExitStatus(code=1)
    process.close()


def test_one_assignment_serves_any_number_of_starts() -> None:
    with deadline(1.0):  # which is no business of the worker's
        assignment = assign(ToyLoader(), LoadContext(ID), heartbeat_interval=1.0)
    assert assignment.loader == assign(ToyLoader(), LoadContext(ID), heartbeat_interval=1.0).loader
