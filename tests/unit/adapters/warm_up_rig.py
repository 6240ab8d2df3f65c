"""Warm-up files, and a servable that writes down what it is asked."""

from __future__ import annotations

import base64
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import pytest

from servman.adapters.saved_model import SavedModelLoader
from servman.adapters.signatures import InferenceTask
from servman.adapters.tf_record import write_record
from servman.adapters.warm_up import WARM_UP_FILE
from servman.ids import ServableId
from servman.protos import message_class

M1 = ServableId("m", 1)

PredictionLog = message_class("tensorflow.serving.PredictionLog")
Example = message_class("tensorflow.Example")

DT_FLOAT = 1

# Written by TensorFlow's TFRecordWriter, with the messages of tensorflow-serving-api: a predict, a classify,
# a regress with a context, a multi_inference, a session run, a streamed prediction, and nothing.
GOLDEN = base64.b64decode(
    "dAAAAAAAAABfZ3PSChESCQkAAAAAAADgPyCA4s+qBjJfCkIKJAoNaGFsZl9wbHVzX3R3bxICCAMaD3NlcnZpbmdfZGVm"
    "YXVsdBIXCgF4EhIIARIEEgIIAiIIAACAPwAAIEAaAXkSGQoXCgF5EhIIARIEEgIIAiIIAAAgQAAAUEAQoVM2OAAAAAAA"
    "AACjeX1XEjYKNAobCg1oYWxmX3BsdXNfdHdvEgIIAxoGbGFiZWxzEhUKEwoRCg8KDQoBeBIIEgYKBAAAwD+yAmNFWAAA"
    "AAAAAACiiy+MGlYKVAocCg1oYWxmX3BsdXNfdHdvEgIIAxoHbnVtYmVycxI0EjIKEQoPCg0KAXgSCBIGCgQAAMA/Eh0K"
    "GwoKCgFjEgUaAwoBBwoNCgF4EggSBgoEAAAQQU3+G9WVAAAAAAAAANWTo0YikgEKjwEKOgobCg1oYWxmX3BsdXNfdHdv"
    "EgIIAxoGbGFiZWxzEht0ZW5zb3JmbG93L3NlcnZpbmcvY2xhc3NpZnkKOgocCg1oYWxmX3BsdXNfdHdvEgIIAxoHbnVt"
    "YmVycxIadGVuc29yZmxvdy9zZXJ2aW5nL3JlZ3Jlc3MSFQoTChEKDwoNCgF4EggSBgoEAADAPzpu378JAAAAAAAAADf5"
    "cTkqBwoFGgN5OjDzs3XsCQAAAAAAAAA3+XE5OgcKBQoDCgFtSjZJoQsAAAAAAAAAhhX1BAoJKgdub3doZXJlJjR6+A=="
)


class Answering:
    """A servable that answers all requests, but predictions of an x that begins with certain values."""

    def __init__(self, refused: Mapping[float, BaseException] | None = None) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.refused = dict(refused or {})
        self.meanwhile: Callable[[], None] = lambda: None
        self.closed = 0

    def predict(
        self,
        inputs: Mapping[str, Any],
        signature_name: str = "",
        output_filter: Collection[str] | None = None,
    ) -> dict[str, Any]:
        values = {name: array.tolist() for name, array in inputs.items()}
        self._note("predict", values, signature_name, output_filter)
        if values["x"][0] in self.refused:
            raise self.refused[values["x"][0]]
        return {}

    def classify(self, examples: Iterable[bytes], signature_name: str = "") -> list[Any]:
        self._note("classify", list(examples), signature_name)
        return []

    def regress(self, examples: Iterable[bytes], signature_name: str = "") -> list[Any]:
        self._note("regress", list(examples), signature_name)
        return []

    def multi_inference(
        self, tasks: Sequence[InferenceTask], examples: Iterable[bytes]
    ) -> list[Any]:
        self._note("multi_inference", list(tasks), list(examples))
        return []

    def close(self) -> None:
        self.closed += 1

    def _note(self, *asked: Any) -> None:
        self.asked.append(asked)
        self.meanwhile()


class Version:
    """A version directory with a SavedModel that loads as an `Answering`."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = path
        self.servable = Answering()
        path.mkdir()
        (path / "saved_model.pb").write_bytes(b"a graph")
        # What stands in for the one thing that needs TensorFlow.
        monkeypatch.setattr(SavedModelLoader, "_servable_type", lambda _: self)

    def load(self, *_: object) -> Answering:
        """Do what `SavedModelServable.load` does."""
        return self.servable

    def loader(self, **options: Any) -> SavedModelLoader:
        return SavedModelLoader(M1, str(self.path), **options)

    def write(self, content: bytes) -> Self:
        """Make *content* the warm-up file."""
        (self.path / "assets.extra").mkdir(exist_ok=True)
        (self.path / WARM_UP_FILE).write_bytes(content)
        return self

    def log(self, *records: Any) -> Self:
        """Make a warm-up file of records: bytes, or messages."""
        self.write(b"")
        with (self.path / WARM_UP_FILE).open("wb") as file:
            for record in records:
                write_record(
                    file, record if isinstance(record, bytes) else record.SerializeToString()
                )
        return self


def predict_log(*values: float, signature_name: str = "", output_filter: Iterable[str] = ()) -> Any:
    """Return the log of a prediction with one input, "x"."""
    log = PredictionLog()
    request = log.predict_log.request
    request.model_spec.signature_name = signature_name
    request.output_filter.extend(output_filter)
    tensor = request.inputs["x"]
    tensor.dtype = DT_FLOAT
    tensor.tensor_shape.dim.add(size=len(values))
    tensor.float_val.extend(values)
    return log


def example(**features: float) -> Any:
    """Return an Example with these features."""
    made = Example()
    for name, value in features.items():
        made.features.feature[name].float_list.value.append(value)
    return made
