"""What a servable declares of itself: the check that servers can rely on it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from servman.adapters.signatures import Signature, TensorSpec
from servman.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Iterator


def check_declaration(who: str, servable: object) -> None:
    """Check the signatures of a servable that has `predict` and declares some; any other may be anything.

    Args:
        who: What made the servable, beginning with the id of its version, for the error.
        servable: What was made.

    Raises:
        InvalidArgumentError: What it declares are no signatures; all faults are listed.
    """
    if not callable(getattr(servable, "predict", None)):
        return
    declared = getattr(servable, "signatures", None)
    if declared is None:
        return
    faults = list(_faults(declared))
    if faults:
        raise InvalidArgumentError(
            f"{who} returned has signatures that cannot be served: {'; '.join(faults)}"
        )


def _faults(declared: object) -> Iterator[str]:
    if not isinstance(declared, Mapping) or not declared:
        yield f"signatures is {declared!r}; declare a mapping of names to servman.Signature"
        return
    for name, signature in declared.items():
        if not isinstance(name, str):
            yield f"the name {name!r} is no text"
        elif not isinstance(signature, Signature):
            yield f"{name!r} is {signature!r}; make a servman.Signature of it"
        else:
            yield from _side_faults(f"{name!r}, inputs", signature.inputs)
            yield from _side_faults(f"{name!r}, outputs", signature.outputs)


def _side_faults(where: str, specs: object) -> Iterator[str]:
    if not isinstance(specs, Mapping):
        yield f"{where} are {specs!r}; declare a mapping of names to servman.TensorSpec"
        return
    for name, spec in specs.items():
        if not isinstance(name, str):
            yield f"{where}: the name {name!r} is no text"
        elif not isinstance(spec, TensorSpec):
            yield f"{where}: {name!r} is {spec!r}; make a servman.TensorSpec of it"
        elif fault := _spec_fault(spec):
            yield f"{where}: {name!r} has {fault}"


def _spec_fault(spec: TensorSpec) -> str | None:
    dtype: object = spec.dtype
    numpy: Any = sys.modules.get(
        "numpy"
    )  # where it is not imported, there is no dtype of it either
    if dtype is not None and (numpy is None or not isinstance(dtype, numpy.dtype)):
        return f"the dtype {dtype!r}; pass a numpy.dtype, or None for strings"
    shape: object = spec.shape
    if shape is not None and not (isinstance(shape, tuple) and all(map(_is_axis, shape))):
        return f"the shape {shape!r}; pass a tuple of lengths, with None for any, or None"
    return None


def _is_axis(length: object) -> bool:
    is_int = isinstance(length, int) and not isinstance(length, bool)
    return length is None or (is_int and length >= 0)  # type: ignore[operator] # an int
