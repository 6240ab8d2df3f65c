"""What a servable takes and gives: signatures, as `predict` and the servers around it read them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, final

from servman.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from servman.ids import ServableId

DEFAULT_SIGNATURE: Final = "serving_default"
"""The signature that a request means that names none."""

PREDICT_METHOD: Final = "tensorflow/serving/predict"
"""The method name of a signature that is called with `predict`."""

CLASSIFY_METHOD: Final = "tensorflow/serving/classify"
"""That of one which gives labels and scores of examples."""

REGRESS_METHOD: Final = "tensorflow/serving/regress"
"""That of one which gives a number for each example."""


@final
@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output of a signature.

    Attributes:
        dtype: The type of its elements; None for strings, which numpy has as objects. A type that
            numpy lacks is a record whose one field bears its name; it holds an object where the type
            has no values outside the model (`is_opaque`).
        shape: The length of each axis, None where any will do; None as a whole where the number of
            axes is not known either.
        name: What the model calls it inside, such as "serving_default_x:0"; empty where that means
            nothing.

    Threads: immutable; any thread.
    """

    dtype: np.dtype | None
    shape: tuple[int | None, ...] | None
    name: str = ""

    @property
    def is_opaque(self) -> bool:
        """Whether its elements, such as variants and resources, cannot leave the model."""
        return self.dtype is not None and self.dtype.hasobject

    def __str__(self) -> str:
        return f"{dtype_text(self.dtype)} of shape {shape_text(self.shape)}"


@final
@dataclass(frozen=True, slots=True)
class Signature:
    """One way to call a servable.

    Attributes:
        inputs: What it takes, by name.
        outputs: What it gives, by name.
        method_name: What kind of call it is meant for.
        defaults: The values of inputs that a caller may leave out. No part of equality.

    Threads: immutable; any thread.
    """

    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    method_name: str = PREDICT_METHOD
    defaults: Mapping[str, np.ndarray[Any, Any]] = field(default_factory=dict, compare=False)


@final
@dataclass(frozen=True, slots=True)
class InferenceTask:
    """One of several inferences on the same examples; see `SavedModelServable.multi_inference`.

    Attributes:
        method_name: `CLASSIFY_METHOD` or `REGRESS_METHOD`.
        signature_name: Which signature to call.

    Threads: immutable; any thread.

    Raises:
        InvalidArgumentError: A name is no text.
    """

    method_name: str
    signature_name: str = DEFAULT_SIGNATURE

    def __post_init__(self) -> None:
        names: tuple[object, ...] = (self.method_name, self.signature_name)
        for name in names:
            if not isinstance(name, str):
                raise InvalidArgumentError(
                    f"method_name and signature_name are texts, and not {name!r}"
                )


@final
@dataclass(frozen=True, slots=True)
class SavedModelMetadata:
    """What a SavedModel tells of itself.

    Attributes:
        id: The version.
        path: Where it was loaded from.
        tags: Those of the graph that was loaded.
        tensorflow_version: By which TensorFlow it was exported; empty where it does not say so.
        signature_defs: The serialised `SignatureDef` of each signature, as it was exported: for servers
            that pass them on. They include the operations that run while loading.

    Threads: immutable; any thread.
    """

    id: ServableId
    path: str
    tags: tuple[str, ...]
    tensorflow_version: str
    signature_defs: Mapping[str, bytes]


def dtype_text(dtype: np.dtype | None) -> str:
    """Return the name of *dtype* for people."""
    if dtype is None:
        return "string"
    return dtype.names[0] if dtype.names else dtype.name


def shape_text(shape: tuple[int | None, ...] | None) -> str:
    """Return *shape* for people: "(?, 3)", "()", or "any"."""
    if shape is None:
        return "any"
    return "(" + ", ".join("?" if axis is None else str(axis) for axis in shape) + ")"
