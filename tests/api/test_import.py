"""What `import servman` does to its host: nothing."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import servman
from servman import adapters

PROGRAM = """
import atexit, contextlib, json, logging, signal, sys, threading

for number in signal.valid_signals():  # what a parent ignores is inherited
    with contextlib.suppress(OSError):
        signal.signal(number, signal.SIG_DFL)

def handlers():
    return {str(number): repr(signal.getsignal(number)) for number in signal.valid_signals()}

del sys.argv  # whoever reads it falls over
before = {"handlers": handlers(), "exits": atexit._ncallbacks(), "hook": threading.excepthook}

import servman

json.dump({
    "modules": sorted(sys.modules),
    "threads": [thread.name for thread in threading.enumerate()],
    "signals_kept": handlers() == before["handlers"],
    "exit_handlers": atexit._ncallbacks() - before["exits"],
    "hook_kept": threading.excepthook is before["hook"],
    "log_handlers": [repr(one) for name in ("", "servman") for one in logging.getLogger(name).handlers],
    "log_levels": [logging.getLogger(name).level for name in ("", "servman")],
}, sys.stdout)
"""


@pytest.fixture(scope="module")
def seen() -> dict[str, object]:
    run = subprocess.run(  # noqa: S603 -- our own interpreter on our own text
        [sys.executable, "-P", "-W", "error", "-c", PROGRAM],
        capture_output=True,
        text=True,
        timeout=15,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    found: dict[str, object] = json.loads(run.stdout)
    return found


@pytest.mark.parametrize("package", ["tensorflow", "keras", "numpy", "grpc", "google.protobuf"])
def test_importing_servman_does_not_import(package: str, seen: dict[str, list[str]]) -> None:
    assert package not in seen["modules"]


def test_importing_servman_does_not_import_its_testing_kit(seen: dict[str, list[str]]) -> None:
    assert [name for name in seen["modules"] if name.startswith("servman.testing")] == []


def test_importing_servman_starts_no_thread(seen: dict[str, object]) -> None:
    assert seen["threads"] == ["MainThread"]


def test_importing_servman_installs_no_signal_exit_or_exception_handler(
    seen: dict[str, object],
) -> None:
    assert seen["signals_kept"] is True
    assert seen["exit_handlers"] == 0
    assert seen["hook_kept"] is True


def test_importing_servman_configures_no_logging(seen: dict[str, object]) -> None:
    assert seen["log_handlers"] == []
    assert seen["log_levels"] == [30, 0]  # WARNING, the default of the root; and not set


def test_importing_servman_brings_in_none_of_its_stages(seen: dict[str, list[str]]) -> None:
    found = [name for name in seen["modules"] if name.startswith("servman")]
    assert found == ["servman", "servman.lazy"]


def test_every_public_name_has_one_home() -> None:
    homes = vars(servman)["_HOMES"]
    assert sorted(name for names in homes.values() for name in names) == sorted(servman.__all__)


def test_the_names_can_be_seen_without_bringing_them_in() -> None:
    assert set(servman.__all__) <= set(dir(servman))


def test_a_name_that_there_is_not_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'ServableManager'"):
        _ = servman.ServableManager  # type: ignore[attr-defined] # as a user would misspell it


def test_every_name_of_the_adapters_is_there_without_being_brought_in() -> None:
    homes = vars(adapters)["_HOMES"]
    assert sorted(name for names in homes.values() for name in names) == sorted(adapters.__all__)
    assert set(adapters.__all__) <= set(dir(adapters))
    assert all(getattr(adapters, name) is not None for name in adapters.__all__)


def test_a_worker_of_the_platform_python_imports_no_other_platform() -> None:
    program = "import sys, servman.adapters.python_model; print('servman.adapters.saved_model' in sys.modules)"
    run = subprocess.run(  # noqa: S603 -- our own interpreter on our own text
        [sys.executable, "-P", "-c", program],
        capture_output=True,
        text=True,
        timeout=15,
        check=True,
    )
    assert run.stdout == "False\n"
