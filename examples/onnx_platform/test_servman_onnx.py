"""That the platform keeps what servman relies on: a line for each of its parts, and one prediction."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pytest
from servman_onnx import OnnxAdapter, OnnxLoader

from servman import InvalidArgumentError, LoadContext, LoadFailedError, ServableId
from servman.testing import check_adapter, check_loader

if TYPE_CHECKING:
    from pathlib import Path

# y = x / 2 + 2, for any number of floats, as `onnx.helper.make_model` writes it.
HALF_PLUS_TWO = base64.b64decode(
    "CAg6awoRCgF4CgRoYWxmEgFoIgNNdWwKEAoBaAoDdHdvEgF5IgNBZGQSAWcqDhABQgRoYWxmSgQAAAA/"
    "Kg0QAUIDdHdvSgQAAABAWhAKAXgSCwoJCAESBQoDEgFuYhAKAXkSCwoJCAESBQoDEgFuQgQKABAN"
)
ID = ServableId("half_plus_two", 1)


@pytest.fixture
def version(tmp_path: Path) -> Path:
    (tmp_path / "1" / "weights").mkdir(parents=True)
    (tmp_path / "1" / "weights" / "first").touch()
    (tmp_path / "1" / "model.onnx").write_bytes(HALF_PLUS_TWO)
    return tmp_path / "1"


def test_the_adapter() -> None:
    check_adapter(OnnxAdapter(), bad_payload=3)


def test_the_loader(version: Path) -> None:
    check_loader(
        lambda: OnnxLoader(ID, str(version)),
        use=lambda servable: servable.predict({"x": [1.0]}),
        change=lambda: (version / "weights" / "first").write_bytes(b"other"),
        make_broken=lambda: OnnxLoader(ID, str(version.parent)),
    )


def test_a_damaged_model(version: Path) -> None:
    (version / "model.onnx").write_bytes(HALF_PLUS_TWO[:50])
    with pytest.raises(LoadFailedError, match="half_plus_two:1: onnxruntime cannot load"):
        OnnxLoader(ID, str(version)).load(LoadContext(ID))


def test_predictions(version: Path) -> None:
    servable = OnnxLoader(ID, str(version)).load(LoadContext(ID))
    assert servable.predict({"x": [1.0, 2.0]})["y"].tolist() == [2.5, 3.0]
    assert str(servable.signatures["serving_default"].inputs["x"]) == "float32 of shape (?)"
    with pytest.raises(InvalidArgumentError, match="half_plus_two:1: Required inputs"):
        servable.predict({})


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (({"q": [1.0]},), "half_plus_two:1 has no input 'q', it has: x"),
        (
            ({"x": ["a"]},),
            r"half_plus_two:1, input 'x' takes float32 of shape \(\?\): given \['a'\]: ",
        ),
        (({"x": [1.0]}, "serving_default", ["q"]), "half_plus_two:1 has no output 'q', it has: y"),
        (({"x": [1.0]}, "train"), "half_plus_two:1 has no signature 'train'"),
    ],
)
def test_what_does_not_fit_the_model_is_told(
    version: Path, call: tuple[object, ...], told: str
) -> None:
    servable = OnnxLoader(ID, str(version)).load(LoadContext(ID))
    with pytest.raises(InvalidArgumentError, match=f"^{told}"):
        servable.predict(*call)
