"""The platform in examples/, installed as a user would: built as a wheel, beside the wheel of servman."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "onnx_platform"
SERVE = """
import sys
import servman, servman_onnx
from servman import ModelConfig, ServableUnavailableError, ServerConfig, ServerCore
from servman import ServerCoreOptions

for package in (servman, servman_onnx):
    assert package.__file__.startswith(sys.prefix), package.__file__
models = [
    ModelConfig("half_plus_two", sys.argv[1] + "/half_plus_two", platform="onnx"),
    ModelConfig("plain", sys.argv[1] + "/plain", platform="python"),
]
options = ServerCoreOptions(platforms=("onnx", "python"), max_num_load_retries=0)
with ServerCore(ServerConfig(models), options=options) as core:
    core.wait_until_available("plain", timeout=15.0)
    with core.get_servable_handle("plain") as handle:
        print(handle.id, handle.servable)
    try:
        core.wait_until_available("half_plus_two", timeout=15.0)
    except ServableUnavailableError as error:
        sys.exit(str(error))
    with core.get_servable_handle("half_plus_two") as handle:
        print(handle.id, handle.servable.predict({"x": [1.0, 2.0]})["y"].tolist())
"""
REPAIR = """
import sys, threading
from pathlib import Path
from servman import ManagerState, ModelConfig, ServerConfig, ServerCore, ServerCoreOptions

file = Path(sys.argv[1], "half_plus_two", "1", "model.onnx")
whole = file.read_bytes()
file.write_bytes(whole[:50])
model = ModelConfig("half_plus_two", sys.argv[1] + "/half_plus_two", platform="onnx")
options = ServerCoreOptions(platforms=("onnx",), max_num_load_retries=0)
with ServerCore(ServerConfig([model]), options=options) as core:
    assert core.wait_until("half_plus_two:1", ManagerState.END, timeout=15.0)
    print(core.explain("half_plus_two").reason.code)
    available = threading.Event()

    def look(state):
        if state.manager_state is ManagerState.AVAILABLE:
            available.set()

    with core.event_bus.subscribe(look):
        file.write_bytes(whole)
        assert available.wait(15.0)
    print("repaired")
"""

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def call(*command: object, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 -- our own interpreters
        [str(part) for part in command],
        env=env,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Install both wheels in an environment of their own, and return what runs its Python.

    What they depend on comes from where the tests run; the editable servman there does not, since .pth files
    do not count on PYTHONPATH. So nothing is fetched.
    """
    folder = tmp_path_factory.mktemp("installed")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    quiet = ("--quiet", "--no-deps", "--no-index")
    wheels = folder / "wheels"
    built = call(*pip, "wheel", *quiet, "--no-build-isolation", "-w", wheels, ROOT, EXAMPLE)
    assert built.returncode == 0, built.stderr
    call(sys.executable, "-m", "venv", "--without-pip", folder / "venv")
    interpreter = folder / "venv" / "bin" / "python"
    done = call(*pip, "--python", interpreter, "install", *quiet, *wheels.iterdir())
    assert done.returncode == 0, done.stderr

    def run(*arguments: object, before: Path | None = None) -> subprocess.CompletedProcess[str]:
        paths = [*([str(before)] if before else []), sysconfig.get_path("purelib")]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
        return call(interpreter, "-P", *arguments, env=env)

    return run


@pytest.fixture
def models(tmp_path: Path, python: Run) -> Path:
    """Publish an ONNX model and one in Python."""
    onnx, plain = (tmp_path / name / "1" for name in ("half_plus_two", "plain"))
    for version in (onnx, plain):
        version.mkdir(parents=True)
    (plain / "servable.py").write_text("def load(context): return 'served'")
    tests = shutil.copy(EXAMPLE / "test_servman_onnx.py", tmp_path)
    text = f"import runpy; print(runpy.run_path({tests!r})['HALF_PLUS_TWO'].hex())"
    made = python("-c", text)
    assert made.returncode == 0, made.stderr
    (onnx / "model.onnx").write_bytes(bytes.fromhex(made.stdout))
    return tmp_path


@pytest.mark.timeout(180)
def test_a_model_is_served_by_the_installed_platform(python: Run, models: Path) -> None:
    done = python("-c", SERVE, models)
    assert done.stdout == "plain:1 served\nhalf_plus_two:1 [2.5, 3.0]\n", done.stderr


@pytest.mark.timeout(180)
def test_a_version_that_failed_is_tried_again_when_its_files_change(
    python: Run, models: Path
) -> None:
    done = python("-c", REPAIR, models)
    assert done.stdout == "failed\nrepaired\n", done.stderr


@pytest.mark.timeout(180)
def test_without_a_runtime_that_works_its_models_say_so_and_the_others_serve(
    python: Run, models: Path
) -> None:
    broken = models / "broken"
    broken.mkdir()
    (broken / "onnxruntime.py").write_text("raise ImportError('no libonnx.so')")
    done = python("-c", SERVE, models, before=broken)
    assert done.stdout == "plain:1 served\n"
    assert "onnxruntime cannot be imported (no libonnx.so): pip install" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.timeout(180)
def test_a_platform_that_cannot_be_imported_says_so_and_the_others_serve(
    python: Run, models: Path
) -> None:
    broken = models / "broken"
    broken.mkdir()
    (broken / "numpy.py").write_text("raise ImportError('no BLAS')")
    program = SERVE.replace("import servman, servman_onnx", "import servman").replace(
        "(servman, servman_onnx)", "(servman,)"
    )
    done = python("-c", program, models, before=broken)
    assert done.stdout == "plain:1 served\n"
    assert "platform 'onnx' cannot be used here: " in done.stderr
    assert "no BLAS" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.timeout(180)
def test_it_keeps_what_servman_relies_on_by_its_own_tests(python: Run, models: Path) -> None:
    tests = models / "test_servman_onnx.py"
    done = python("-m", "pytest", "-c", os.devnull, "-p", "no:cacheprovider", "-q", tests)
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout
