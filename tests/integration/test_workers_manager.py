"""Worker processes for those who wire the stages themselves: an isolated adapter before a manager."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from servman.adapters import PythonModelAdapter
from servman.errors import ResourceExhaustedError
from servman.flow import connect
from servman.ids import ServableId
from servman.manager import AspiredVersionsManager, HarnessState
from servman.sources import StaticStoragePathSource
from servman.workers.adapter import isolated
from tests.integration.supervised import eventually, kill, options
from tests.integration.worker_children import children
from tests.integration.worker_models import DIES_WHILE_THERE_IS, write_model

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="worker processes need Linux"),
    pytest.mark.timeout(60),
]


@contextmanager
def managing(store: Path, **more: Any) -> Iterator[tuple[AspiredVersionsManager, Any]]:
    """Yield a manager with what aspires a version, in worker processes, of a model below *store*."""
    assert children() == []
    with AspiredVersionsManager(max_num_load_retries=1_000, load_retry_interval=0.05) as manager:

        def aspire(version: int, name: str = "m") -> None:
            adapter = isolated(PythonModelAdapter(), options(**more))
            connect(adapter, manager)
            path = str(store / name / str(version))
            connect(StaticStoragePathSource(name, version, path), adapter)

        yield manager, aspire
    assert children() == []


def ask(manager: AspiredVersionsManager, method: str, request: str = "m") -> Any:
    with manager.get_servable_handle(request) as handle:
        servable: Any = handle.servable
        return getattr(servable, method)()


def snapshot(manager: AspiredVersionsManager) -> Any:
    (one,) = manager.snapshots("m")
    return one


def serves(manager: AspiredVersionsManager, name: str = "m") -> bool:
    return bool(manager.list_available_ids(name))


def test_a_worker_that_is_killed_is_replaced_under_the_handles_that_are_held(
    tmp_path: Path,
) -> None:
    write_model(tmp_path)
    with managing(tmp_path) as (manager, aspire):
        aspire(1)
        eventually(lambda: serves(manager))
        with manager.get_servable_handle("m") as handle:
            servable: Any = handle.servable
            pid = servable.pid()
            kill(pid, signal.SIGKILL)
            assert servable.pid() != pid
            assert snapshot(manager).state is HarnessState.READY


def test_a_version_that_is_given_up_ends_with_the_error_of_the_worker_and_can_be_retried(
    tmp_path: Path,
) -> None:
    flag = tmp_path / "dies"
    write_model(tmp_path, code=DIES_WHILE_THERE_IS.format(flag=str(flag)))
    with managing(tmp_path, max_restarts=1) as (manager, aspire):
        aspire(1)
        eventually(lambda: serves(manager))
        flag.touch()
        kill(ask(manager, "pid"), signal.SIGKILL)
        eventually(lambda: snapshot(manager).state is HarnessState.ERROR)
        assert "I am so sorry" in str(snapshot(manager).error)
        assert children() == []
        flag.unlink()
        manager.retry(ServableId("m", 1))
        eventually(lambda: serves(manager))
        assert ask(manager, "pid") != os.getpid()


def test_a_host_without_descriptors_goes_on_and_loads_when_it_has_some(tmp_path: Path) -> None:
    write_model(tmp_path)
    write_model(tmp_path, "late")
    with managing(tmp_path) as (manager, aspire):
        aspire(1)
        eventually(lambda: serves(manager))
        with no_descriptors():
            aspire(1, "late")
            eventually(lambda: _has_failed(manager, "late", ResourceExhaustedError))
            assert ask(manager, "pid")  # what was loaded serves on
        eventually(lambda: serves(manager, "late"))


def _has_failed(manager: AspiredVersionsManager, name: str, kind: type[Exception]) -> bool:
    return any(isinstance(one.error, kind) for one in manager.snapshots(name))


@contextmanager
def no_descriptors() -> Iterator[None]:
    """Take all descriptors that there are."""
    limit, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    held = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        with contextlib.suppress(OSError):
            while True:
                held.append(os.open(os.devnull, os.O_RDONLY))
        yield
    finally:
        for fd in held:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
