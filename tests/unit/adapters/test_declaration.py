"""What a Python servable declares: it is served as a SavedModel is, or told at once why it cannot be."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from servman.adapters.declaration import check_declaration
from servman.adapters.python_model import PythonModelLoader
from servman.adapters.signatures import Signature, TensorSpec
from servman.errors import InvalidArgumentError
from servman.ids import ServableId
from servman.loader import LoadContext

FLOATS = TensorSpec(np.dtype("float32"), (None,))
M1 = ServableId("m", 1)


def predict(
    inputs: Mapping[str, Any],
    signature_name: str = "serving_default",
    output_filter: Collection[str] | None = None,
) -> object:
    return inputs


def declaring(signatures: object) -> SimpleNamespace:
    return SimpleNamespace(predict=predict, signatures=signatures)


@pytest.mark.parametrize(
    "servable",
    [
        3,
        "text",
        object(),
        predict,
        SimpleNamespace(predict=predict),
        SimpleNamespace(signatures="of no consequence without predict"),
        SimpleNamespace(predict="no function", signatures=3),
        declaring(None),
        declaring({"serving_default": Signature({"x": FLOATS}, {"y": TensorSpec(None, None)})}),
        declaring({"f": Signature({}, {"y": TensorSpec(np.dtype("int8"), ())})}),
        declaring({"f": Signature({}, {"y": TensorSpec(None, (2, 0, None))})}),
    ],
)
def test_any_object_is_a_servable_and_right_signatures_pass(servable: object) -> None:
    check_declaration("m:1: what it", servable)


@pytest.mark.parametrize(
    ("signatures", "problem"),
    [
        (["serving_default"], "declare a mapping of names to servman.Signature"),
        ({}, "declare a mapping of names to servman.Signature"),
        ({3: Signature({}, {})}, "the name 3 is no text"),
        ({"f": {"inputs": {}}}, "'f' is {'inputs': {}}; make a servman.Signature of it"),
        ({"f": Signature([FLOATS], {})}, "'f', inputs are [TensorSpec("),  # type: ignore[arg-type] # the point
        ({"f": Signature({}, {"y": "float"})}, "'f', outputs: 'y' is 'float'; make a servman.Ten"),  # type: ignore[dict-item] # the point
        ({"f": Signature({3: FLOATS}, {})}, "'f', inputs: the name 3 is no text"),  # type: ignore[dict-item] # the point
        ({"f": Signature({"x": TensorSpec("float32", ())}, {})}, "'x' has the dtype 'float32'"),  # type: ignore[arg-type] # the point
        ({"f": Signature({"x": TensorSpec(None, [2])}, {})}, "'x' has the shape [2]; pass a tuple"),  # type: ignore[arg-type] # the point
        ({"f": Signature({"x": TensorSpec(None, (-1,))}, {})}, "'x' has the shape (-1,)"),
        ({"f": Signature({"x": TensorSpec(None, (True,))}, {})}, "'x' has the shape (True,)"),
        ({"f": Signature({"x": TensorSpec(None, ("n",))}, {})}, "'x' has the shape ('n',)"),  # type: ignore[arg-type] # the point
    ],
)
def test_signatures_that_could_not_be_served_are_told(signatures: object, problem: str) -> None:
    with pytest.raises(InvalidArgumentError) as told:
        check_declaration("m:1: what it", declaring(signatures))
    assert str(told.value).startswith("m:1: what it returned has signatures that cannot be served")
    assert problem in str(told.value)


def test_all_faults_are_listed() -> None:
    with pytest.raises(InvalidArgumentError, match=r"'f' is 1.*; 'g' is 2"):
        check_declaration("m:1: what it", declaring({"f": 1, "g": 2}))


def test_a_servable_that_declares_nonsense_is_taken_apart_again(tmp_path: Path) -> None:
    (tmp_path / "servable.py").write_text(
        "unloaded = []\n"
        "class Model:\n"
        "    signatures = 3\n"
        "    def predict(self, inputs): return inputs\n"
        "def load(context):\n"
        "    context.cancelled.unloaded = unloaded\n"
        "    return Model()\n"
        "def unload(servable): unloaded.append(type(servable).__name__)\n"
    )
    loader, context = PythonModelLoader(M1, str(tmp_path)), LoadContext(M1)
    with pytest.raises(InvalidArgumentError, match=r"m:1: .*servable\.py returned has signatures"):
        loader.load(context)
    assert vars(context.cancelled)["unloaded"] == ["Model"]
