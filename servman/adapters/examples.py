"""Classification and regression: signatures that take serialised examples, and what their outputs mean.

They are TensorFlow Serving's conventions. The one input is called "inputs"; a classification gives "classes" (labels),
"scores", or both, and a regression gives "outputs". A signature's method name is not looked at, as in
TensorFlow Serving's default: what TensorFlow 2 exports always says "predict".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol, final, runtime_checkable

import numpy as np

from servman.adapters.signatures import (
    CLASSIFY_METHOD,
    REGRESS_METHOD,
    InferenceTask,
    shape_text,
)
from servman.adapters.tensors import chosen_signature
from servman.errors import FailedPreconditionError, InvalidArgumentError, UnimplementedError

if TYPE_CHECKING:
    from servman.adapters.signatures import Signature
    from servman.ids import ServableId

INPUTS: Final = "inputs"
"""What the input of such a signature is called."""

_CLASSES, _SCORES, _OUTPUTS = "classes", "scores", "outputs"

Classification = list[tuple[str, float]]
"""The labels of one example with their scores. Without labels they are "", without scores 0."""

Arrays = Mapping[str, np.ndarray[Any, Any]]
"""What a run gave, by the name of the output."""


@runtime_checkable
class Serializable(Protocol):
    """A message such as `tf.train.Example`."""

    def SerializeToString(self) -> bytes:  # noqa: N802 -- as protobuf spells it
        """Return the message as bytes."""
        ...


@final
class Inference:
    """One task on one signature: checked before it is run, and its outputs read afterwards.

    Attributes:
        where: The servable and the signature, for errors.
        signature: What is called.
        outputs: The names of the outputs that are needed.

    Raises:
        InvalidArgumentError: There is no such signature, or it has too many inputs or outputs.
        FailedPreconditionError: The signature has no input or output of the names that it needs.
        UnimplementedError: The method is neither classification nor regression.
    """

    def __init__(
        self, id: ServableId, signatures: Mapping[str, Signature], task: InferenceTask
    ) -> None:
        try:
            self.signature = chosen_signature(id, signatures, task.signature_name)
        except (
            FailedPreconditionError
        ) as error:  # of predict; of these calls it is another in TensorFlow Serving
            raise InvalidArgumentError(str(error)) from None
        self.where = f"{id}, signature {task.signature_name!r}"
        choose, self._read = _method(self.where, task.method_name)
        _check_input(self.where, self.signature)
        self.outputs = choose(self.where, self.signature)

    def result(self, arrays: Arrays, count: int) -> list[Classification] | list[float]:
        """Return what the *arrays* say of *count* examples.

        Raises:
            InvalidArgumentError: They have not the type or the shape that the method wants.
        """
        return self._read(self.where, arrays, count)


def serialised(where: str, examples: object) -> np.ndarray[Any, Any]:
    """Return *examples* as an array of bytes.

    Raises:
        InvalidArgumentError: There are none, or one of them is neither bytes nor a message.
    """
    is_one = isinstance(examples, str | bytes | Serializable)
    if is_one or not isinstance(examples, Iterable) or getattr(examples, "shape", None) == ():
        raise InvalidArgumentError(
            f"{where}: examples is a collection of tf.train.Example messages or their bytes, not an"
            f" object of type {type(examples).__name__}; pass a list"
        )
    contents = [_content(where, example) for example in examples]
    if not contents:
        raise InvalidArgumentError(f"{where}: examples is empty; pass at least one")
    array = np.empty(len(contents), dtype=object)
    array[:] = contents
    return array


def _content(where: str, example: object) -> bytes:
    if isinstance(example, bytes):
        return example
    if isinstance(example, Serializable):
        try:
            return example.SerializeToString()
        except Exception as error:  # noqa: BLE001 -- a message that lacks what it requires, say
            raise InvalidArgumentError(
                f"{where}: an example cannot be serialised: {error}"
            ) from None
    raise InvalidArgumentError(
        f"{where}: an example is a tf.train.Example or its bytes, not an object of type"
        f" {type(example).__name__}"
    )


def _check_input(where: str, signature: Signature) -> None:
    if len(signature.inputs) != 1:
        raise InvalidArgumentError(
            f"{where} has {len(signature.inputs)} inputs, and only one with one takes examples; call"
            " predict"
        )
    if INPUTS not in signature.inputs:
        raise FailedPreconditionError(
            f"{where} has no input {INPUTS!r}, it has: {', '.join(map(repr, signature.inputs))}; call"
            " predict, or export it under that name"
        )
    spec = signature.inputs[INPUTS]
    if spec.dtype is not None:
        raise InvalidArgumentError(
            f"{where}, input {INPUTS!r} takes {spec}: given serialised examples, which are string; call"
            " predict"
        )


def _classification_outputs(where: str, signature: Signature) -> tuple[str, ...]:
    _check_output_count(where, signature, 2)
    names = tuple(name for name in (_CLASSES, _SCORES) if name in signature.outputs)
    if not names:
        raise _no_output(where, signature, f"neither {_CLASSES!r} nor {_SCORES!r}")
    return names


def _regression_outputs(where: str, signature: Signature) -> tuple[str, ...]:
    _check_output_count(where, signature, 1)
    if _OUTPUTS not in signature.outputs:
        raise _no_output(where, signature, f"no output {_OUTPUTS!r}")
    return (_OUTPUTS,)


def _check_output_count(where: str, signature: Signature, most: int) -> None:
    if not 1 <= len(signature.outputs) <= most:
        raise InvalidArgumentError(
            f"{where} has {len(signature.outputs)} outputs where {most} is the most that this method"
            " reads; call predict"
        )


def _no_output(where: str, signature: Signature, what: str) -> FailedPreconditionError:
    return FailedPreconditionError(
        f"{where} has {what}, it has: {', '.join(map(repr, signature.outputs))}; call predict, or"
        " export it under that name"
    )


def _classifications(where: str, arrays: Arrays, count: int) -> list[Classification]:
    columns = [_checked(where, name, array, count) for name, array in arrays.items()]
    if len({array.shape for array in columns}) > 1:
        first, second = (shape_text(array.shape) for array in columns)
        raise InvalidArgumentError(
            f"{where}: the model gave {first} labels and {second} scores; each label has one score"
        )
    shape = columns[0].shape
    labels = arrays[_CLASSES].tolist() if _CLASSES in arrays else np.full(shape, b"").tolist()
    scores = arrays[_SCORES].tolist() if _SCORES in arrays else np.zeros(shape).tolist()
    return [
        [(_text(label), score) for label, score in zip(*row, strict=True)]
        for row in zip(labels, scores, strict=True)
    ]


def _checked(
    where: str, name: str, array: np.ndarray[Any, Any], count: int
) -> np.ndarray[Any, Any]:
    wanted = "string" if name == _CLASSES else "float32"
    if array.dtype != (object if name == _CLASSES else np.float32):
        raise _malformed(where, name, f"{wanted}", f"{array.dtype}")
    if array.ndim != 2 or len(array) != count:  # noqa: PLR2004 -- examples by classes
        raise _malformed(where, name, f"shape ({count}, classes)", shape_text(array.shape))
    return array


def _regressions(where: str, arrays: Arrays, count: int) -> list[float]:
    array = arrays[_OUTPUTS]
    if array.dtype != np.float32:
        raise _malformed(where, _OUTPUTS, "float32", f"{array.dtype}")
    if array.shape not in ((count,), (count, 1)):
        wanted = f"shape ({count}) or ({count}, 1)"
        raise _malformed(where, _OUTPUTS, wanted, shape_text(array.shape))
    numbers: list[float] = array.reshape(-1).tolist()
    return numbers


def _malformed(where: str, name: str, wanted: str, given: str) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"{where}: the model gave {name!r} as {given} where {wanted} is wanted; call predict"
    )


def _text(label: bytes) -> str:
    return label.decode("utf-8", "backslashreplace")


_Choose = Callable[[str, "Signature"], tuple[str, ...]]
_Read = Callable[[str, Arrays, int], "list[Classification] | list[float]"]

_METHODS: Final[Mapping[str, tuple[_Choose, _Read]]] = {
    CLASSIFY_METHOD: (_classification_outputs, _classifications),
    REGRESS_METHOD: (_regression_outputs, _regressions),
}


def _method(where: str, name: str) -> tuple[_Choose, _Read]:
    try:
        return _METHODS[name]
    except KeyError:
        raise UnimplementedError(
            f"{where}: no inference is called {name!r}, there are: {', '.join(_METHODS)}"
        ) from None


def check_tasks(id: ServableId, tasks: Sequence[InferenceTask]) -> None:
    """Check that there are tasks, and that no two of them name one signature.

    Raises:
        InvalidArgumentError: It is not so, or one of them is no task.
    """
    is_list = isinstance(tasks, Sequence) and len(tasks) > 0
    if not is_list or not all(isinstance(task, InferenceTask) for task in tasks):
        raise InvalidArgumentError(f"{id}: tasks is a list of at least one InferenceTask")
    names = [task.signature_name for task in tasks]
    for name in names:
        if names.count(name) > 1:
            raise InvalidArgumentError(
                f"{id}: signature {name!r} is asked for twice; each signature is called once"
            )
