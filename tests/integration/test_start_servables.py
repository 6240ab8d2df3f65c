"""Servables started together, in real worker processes; and what a core does with models in workers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from servman import (
    FailedPreconditionError,
    InvalidArgumentError,
    ManagerState,
    ModelConfig,
    ServableStartConfig,
    ServableUnavailableError,
    ServerConfig,
    ServerCore,
    ServerCoreOptions,
    Specific,
    Workers,
    start_servables,
)
from servman.testing.clock import WATCHDOG
from tests.integration.supervised import QUICK, kill
from tests.integration.worker_children import children

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="worker processes need Linux"),
    pytest.mark.timeout(100),
]

START = 4 * WATCHDOG
"""Seconds for several interpreters to start on a busy machine."""

MODEL = """
import os


class Model:
    def __init__(self, context):
        self.version = context.id.version

    def where(self):
        return os.getpid(), os.environ.get("SERVMAN_DEVICE_ID")


def load(context):
    return Model(context)
"""
HALF_PLUS = """
class Model:
    def predict(self, inputs):
        return {"y": [x / 2 + 1 for x in inputs["x"]]}


def load(context):
    return Model()
"""
BROKEN = "def load(context):\n    raise OSError('no weights')\n"
DIES_AFTER_THE_FIRST = """
import os
from pathlib import Path

if (flag := Path(__file__).parents[2] / "loaded-once").exists():
    os._exit(7)
flag.touch()
"""


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    assert children() == []
    yield
    assert children() == []


def write(store: Path, name: str, version: int = 1, code: str = MODEL) -> Path:
    directory = store / name / str(version)
    directory.mkdir(parents=True)
    (directory / "servable.py").write_text(code)
    return store


def config(store: Path, name: str = "m", **more: Any) -> ServableStartConfig:
    return ServableStartConfig(str(store), name, **more)


def asked(core: ServerCore, request: str = "m") -> Any:
    """Return where the model runs: its process, and the device that it is told."""
    with core.get_servable_handle(request) as handle:
        servable: Any = handle.servable
        return servable.where()


def devices(core: ServerCore, request: str) -> list[int | None]:
    with core.get_servable_handle(request) as handle:
        servable: Any = handle.servable
        return [worker.device for worker in servable.workers()]


def test_configs_of_one_version_are_served_on_the_devices_of_all_in_other_processes(
    tmp_path: Path,
) -> None:
    write(write(tmp_path, "m", 1), "m", 2)
    configs = [config(tmp_path, device_ids=device, version_number=2) for device in (3, 5)]
    with start_servables([*configs, config(tmp_path, version_number=1)], START) as core:
        assert devices(core, "m") == [3, 5]
        assert devices(core, "m:1") == [None]
        pid, device = asked(core)
        assert pid != os.getpid()
        assert device in {"3", "5"}


def test_if_one_cannot_be_started_none_is_and_its_worker_says_why(tmp_path: Path) -> None:
    write(write(tmp_path, "m"), "broken", code=BROKEN)
    with pytest.raises(ServableUnavailableError, match=r"servable\.py, line 2, .*no weights"):
        start_servables([config(tmp_path), config(tmp_path, "broken")], START)
    assert children() == []
    with start_servables(config(tmp_path), START) as core:  # it may be called again
        assert asked(core)


def test_what_cannot_be_started_together_starts_nothing(tmp_path: Path) -> None:
    write(tmp_path, "m")
    with pytest.raises(InvalidArgumentError) as caught:
        start_servables([config(tmp_path, version_number=9), config(tmp_path, "n")])
    assert len(caught.value.faults) == 2


def test_a_second_call_says_so_and_what_runs_goes_on(tmp_path: Path) -> None:
    write(tmp_path, "m")
    with start_servables(config(tmp_path), START) as core:
        before = asked(core)
        with pytest.raises(FailedPreconditionError, match=r"started already \(m\), and run on"):
            start_servables(config(tmp_path), START)
        assert asked(core) == before


def test_a_model_of_a_core_leaves_its_workers_when_it_is_unloaded(tmp_path: Path) -> None:
    write(tmp_path, "m")
    model = ModelConfig("m", str(tmp_path / "m"), "python", workers=Workers(2))
    with ServerCore(
        ServerConfig([model]), options=ServerCoreOptions(platforms=("python",))
    ) as core:
        core.wait_until_available("m", timeout=START)
        assert len(children()) == 2
        assert core.reload_config(ServerConfig(), timeout=START)
        assert children() == []
        assert [one.error for one in core.history("m") if one.error] == []


def test_when_a_version_is_given_up_lookups_fall_to_another_and_the_core_says_why(
    tmp_path: Path,
) -> None:
    write(write(tmp_path, "m", 1), "m", 2, DIES_AFTER_THE_FIRST + MODEL)
    workers = Workers(max_restarts=1, restart_backoff=QUICK)
    model = ModelConfig("m", str(tmp_path / "m"), "python", Specific(1, 2), workers=workers)
    options = ServerCoreOptions(platforms=("python",), max_num_load_retries=0)
    with ServerCore(ServerConfig([model]), options=options) as core:
        core.wait_until_available("m:1", "m:2", timeout=START)
        pid, _ = asked(core, "m:2")
        kill(pid, signal.SIGKILL)
        core.wait_until("m:2", ManagerState.END, timeout=START)
        assert asked(core, "m") == asked(core, "m:1")
        assert "exited with code 7" in str(core.explain("m"))


def test_the_example_loses_a_worker_and_no_call(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "servable.py").write_text(HALF_PLUS)
    example = Path(__file__).parents[2] / "examples" / "workers.py"
    done = subprocess.run(  # noqa: S603 -- our own
        [sys.executable, example, tmp_path],
        capture_output=True,
        text=True,
        timeout=START,
        check=False,
    )
    assert (done.stdout, done.returncode) == ("[[1.0], [1.5], [2.0], [2.5]]\n", 0), done.stderr
