"""The contract of a platform, kept by SavedModels and by Python models alike: one caller for both."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from servman.adapters.python_model import PythonModelLoader
from servman.adapters.saved_model import SavedModelLoader
from servman.loader import Loader
from servman.testing import CHECKED_ID, check_loader

pytestmark = [pytest.mark.tensorflow, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def saved_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SavedModel with y = x / 2 + 2."""
    tf = pytest.importorskip("tensorflow")
    module = tf.Module()
    spec = [tf.TensorSpec([None], tf.float32, name="x")]
    function = tf.function(lambda x: {"y": x / 2.0 + 2.0}, input_signature=spec)
    path = tmp_path_factory.mktemp("saved") / "1"
    tf.saved_model.save(module, str(path), signatures={"serving_default": function})
    return path


@pytest.fixture
def python_model(tmp_path: Path) -> Path:
    path = tmp_path / "1"
    path.mkdir()
    (path / "signature.py").write_text(
        dedent(
            """
            import numpy as np
            from servman import Signature, TensorSpec

            floats = TensorSpec(np.dtype("float32"), (None,))
            signatures = {"serving_default": Signature({"x": floats}, {"y": floats})}
            """
        )
    )
    (path / "servable.py").write_text(
        dedent(
            """
            import numpy as np
            import signature

            class HalfPlusTwo:
                signatures = signature.signatures

                def predict(self, inputs, signature_name="serving_default", output_filter=None):
                    return {"y": np.asarray(inputs["x"], "float32") / 2 + 2}

            def load(context):
                return HalfPlusTwo()
            """
        )
    )
    return path


def call(servable: Any) -> None:
    """Do what a server does: read the signature, and predict by it."""
    signature = servable.signatures["serving_default"]
    ((name, spec),) = signature.inputs.items()
    assert (name, str(spec)) == ("x", "float32 of shape (?)")
    assert [str(spec) for spec in signature.outputs.values()] == ["float32 of shape (?)"]
    (output,) = signature.outputs
    given = servable.predict({name: [1.0, 2.0]}, "serving_default", [output])
    assert given[output].tolist() == [2.5, 3.0]
    assert given[output].dtype == next(iter(signature.outputs.values())).dtype


@pytest.mark.parametrize(
    ("make", "version"),
    [(SavedModelLoader, "saved_model"), (PythonModelLoader, "python_model")],
)
def test_the_loader_keeps_its_contract_and_its_servable_is_called_like_the_others(
    make: Callable[..., Loader], version: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    path: Path = request.getfixturevalue(version)
    empty = tmp_path / "empty"
    empty.mkdir()
    check_loader(
        lambda: make(CHECKED_ID, str(path)),
        path=str(path),
        use=call,
        change=(path / "extra.txt").touch,
        make_broken=lambda: make(CHECKED_ID, str(empty)),
    )
