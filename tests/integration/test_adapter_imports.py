"""What importing the adapters costs: measured in an interpreter that has imported nothing else."""

from __future__ import annotations

import subprocess
import sys

import pytest

_HEAVY = """
import sys
heavy = sorted({"tensorflow", "numpy", "keras", "grpc"} & set(sys.modules))
assert not heavy, heavy
"""


def run(program: str) -> None:
    done = subprocess.run(  # noqa: S603 -- our own interpreter and text
        [sys.executable, "-c", program + _HEAVY], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_importing_the_adapters_imports_neither_tensorflow_nor_numpy() -> None:
    run("import servman.adapters")


@pytest.mark.tensorflow
def test_making_the_adapter_for_saved_models_does_not_import_tensorflow() -> None:
    run("from servman.adapters import create_adapter; create_adapter('tensorflow')")
