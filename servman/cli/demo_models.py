"""The models of the demo: version v answers x with x / 2 + v, so that an answer tells its version."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Protocol, final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_SOURCE = '''\
"""Answers x with x / 2 + {version}."""


class HalfPlus:
    def predict(self, inputs, signature_name="serving_default", output_filter=None):
        return {{"y": [x / 2 + {version} for x in inputs["x"]]}}


def load(context):
    return HalfPlus()
'''


@contextlib.contextmanager
def _without_stderr() -> Iterator[None]:
    """Keep what native code greets with out of the demo; TensorFlow has no switch for all of it."""
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


class DemoModels(Protocol):
    """Writes versions of the demo's model."""

    platform: str

    def describe(self) -> str:
        """Return what writes the models, for the headline."""
        ...

    def write(self, directory: Path, version: int) -> None:
        """Write a whole version into *directory*, which does not exist yet."""
        ...

    def write_corrupt(self, directory: Path) -> None:
        """Write a version that looks whole and cannot be loaded."""
        ...


@final
class SavedModels:
    """SavedModels, written by TensorFlow."""

    platform = "tensorflow"

    def describe(self) -> str:
        """Return TensorFlow's version; the first call imports it."""
        with _without_stderr():
            import tensorflow as tf  # noqa: PLC0415 -- heavy, and only this demo needs it

            with tf.Graph().as_default(), tf.compat.v1.Session() as session:
                session.run(tf.constant(0))  # looks for devices, and greets once more
        return f"SavedModels by TensorFlow {tf.__version__}"

    def write(self, directory: Path, version: int) -> None:
        """Write a SavedModel with one signature and one variable."""
        import tensorflow as tf  # noqa: PLC0415 -- as above

        module = tf.Module()
        module.offset = tf.Variable(float(version))
        spec = tf.TensorSpec([None], tf.float32, name="x")
        answer = tf.function(lambda x: {"y": x / 2 + module.offset}, input_signature=[spec])
        tf.saved_model.save(module, str(directory), signatures=answer)

    def write_corrupt(self, directory: Path) -> None:
        """Write a SavedModel whose graph is cut off in the middle."""
        self.write(directory, version=0)
        graph = directory / "saved_model.pb"
        graph.write_bytes(graph.read_bytes()[: graph.stat().st_size // 2])


@final
class PythonModels:
    """Version directories with a `servable.py`."""

    platform = "python"

    def describe(self) -> str:
        """Return what they are."""
        return "Python models (servable.py)"

    def write(self, directory: Path, version: int) -> None:
        """Write a `servable.py`."""
        directory.mkdir(parents=True)
        (directory / "servable.py").write_text(_SOURCE.format(version=version))

    def write_corrupt(self, directory: Path) -> None:
        """Write a `servable.py` that is cut off in the middle of a line."""
        self.write(directory, version=0)
        source = directory / "servable.py"
        source.write_text(source.read_text()[:-20])
