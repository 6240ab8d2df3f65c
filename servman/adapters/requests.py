"""Puts the requests of TensorFlow Serving's interface, as messages, to a servable."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from servman.adapters.signatures import DEFAULT_SIGNATURE, InferenceTask
from servman.adapters.tensor_proto import as_array
from servman.errors import InvalidArgumentError
from servman.protos import message_class

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    import numpy as np

    from servman.adapters.examples import Classification

_Example = message_class("tensorflow.Example")


class Inferable(Protocol):
    """A servable that these requests can be put to; `SavedModelServable` tells what each promises."""

    def predict(
        self,
        inputs: Mapping[str, np.ndarray[Any, Any]],
        signature_name: str = ...,
        output_filter: Collection[str] | None = ...,
    ) -> dict[str, np.ndarray[Any, Any]]:
        """Run the model once."""
        ...

    def classify(
        self, examples: Iterable[bytes], signature_name: str = ...
    ) -> list[Classification]:
        """Return the labels and scores of each example."""
        ...

    def regress(self, examples: Iterable[bytes], signature_name: str = ...) -> list[float]:
        """Return a number for each example."""
        ...

    def multi_inference(
        self, tasks: Sequence[InferenceTask], examples: Iterable[bytes]
    ) -> list[list[Classification] | list[float]]:
        """Return the result of each task on the same examples."""
        ...


def predict(servable: Inferable, request: Any) -> dict[str, np.ndarray[Any, Any]]:
    """Put a `tensorflow.serving.PredictRequest` to *servable*.

    Blocks: until it has answered; so do the others here.

    Raises:
        ServmanError: A tensor cannot become an array; or what the servable raised.
    """
    inputs = {name: as_array(f"input {name!r}", proto) for name, proto in request.inputs.items()}
    return servable.predict(inputs, signature_name(request.model_spec), list(request.output_filter))


def classify(servable: Inferable, request: Any) -> list[Classification]:
    """Put a `tensorflow.serving.ClassificationRequest` to *servable*.

    Raises:
        ServmanError: There are no examples; or what the servable raised.
    """
    return servable.classify(examples(request.input), signature_name(request.model_spec))


def regress(servable: Inferable, request: Any) -> list[float]:
    """Put a `tensorflow.serving.RegressionRequest` to *servable*; raises as `classify`."""
    return servable.regress(examples(request.input), signature_name(request.model_spec))


def multi_inference(servable: Inferable, request: Any) -> list[list[Classification] | list[float]]:
    """Put a `tensorflow.serving.MultiInferenceRequest` to *servable*; raises as `classify`."""
    tasks = [
        InferenceTask(task.method_name, signature_name(task.model_spec)) for task in request.tasks
    ]
    return servable.multi_inference(tasks, examples(request.input))


def signature_name(model_spec: Any) -> str:
    """Return the name of the signature that a `tensorflow.serving.ModelSpec` means."""
    return model_spec.signature_name or DEFAULT_SIGNATURE


def examples(input: Any) -> list[bytes]:
    """Return the examples of a `tensorflow.serving.Input`, serialised.

    Of a list with a context each example has the features of the context, unless it has its own.

    Raises:
        InvalidArgumentError: There are none.
    """
    kind = input.WhichOneof("kind")
    given = getattr(input, kind).examples if kind else ()
    if not given:
        raise InvalidArgumentError("the input is empty; give its example_list at least one example")
    context = _Example()
    if kind == "example_list_with_context":
        context = input.example_list_with_context.context
    return [_merged(context, example) for example in given]


def _merged(context: Any, example: Any) -> bytes:
    # Of one feature that is there twice the last counts, wherever protobuf merges or parses.
    merged = _Example()
    merged.MergeFrom(context)
    merged.MergeFrom(example)
    serialised: bytes = merged.SerializeToString()
    return serialised
