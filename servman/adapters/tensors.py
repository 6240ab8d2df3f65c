"""Checks what a caller of `predict` passes, against a signature; knows numpy, but no platform."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, final

import numpy as np

from servman.adapters.signatures import Signature, TensorSpec, dtype_text, shape_text
from servman.errors import FailedPreconditionError, InvalidArgumentError

if TYPE_CHECKING:
    from servman.ids import ServableId

_LITERALS = (list, tuple, range, bool, int, float, complex, str, bytes, np.generic)
"""What has no element type of its own and takes that of the signature."""

_KINDS = {"b": "b", "i": "iuf", "u": "iuf", "f": "iuf", "c": "iufc"}
"""Kinds of numpy types that literals may have, by the kind of the type that is wanted."""

_SMALL_KINDS = {"bfloat": "f", "float": "f", "int": "i", "uint": "u"}
"""Kinds by how the name begins, also for the small types that are no numbers to numpy."""


@final
class Place(NamedTuple):
    """What an error is about. Each prediction has some, and hardly any its text, so that is made when it is needed."""

    owner: object
    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.owner}, {self.kind} {self.name!r}"


def chosen_signature(
    id: ServableId, signatures: Mapping[str, Signature], signature_name: str
) -> Signature:
    """Return the signature of that name.

    Raises:
        FailedPreconditionError: There is none; the error lists those that there are.
        InvalidArgumentError: *signature_name* is no text.
    """
    if not isinstance(signature_name, str):
        raise InvalidArgumentError(
            f"{id}: signature_name is a text, not an object of type {type(signature_name).__name__}"
        )
    signature = signatures.get(signature_name)
    if signature is None:
        raise FailedPreconditionError(
            f"{id} has no signature {signature_name!r}, it has: {_listed(signatures)}"
        )
    return signature


def chosen_outputs(
    where: object, signature: Signature, output_filter: Collection[str] | None
) -> tuple[str, ...]:
    """Return the names of the outputs to compute, in the order of the signature.

    Args:
        where: The servable and the signature, for errors.
        signature: What is called.
        output_filter: Names of outputs; all of them when None or empty.

    Raises:
        InvalidArgumentError: *output_filter* is no collection of names, or one of them is no output
            of the signature.
    """
    wanted = _output_names(where, output_filter)
    unknown = [name for name in wanted if name not in signature.outputs]
    if unknown:
        raise InvalidArgumentError(
            f"{where} has no output {_listed(unknown)}, it has: {_listed(signature.outputs)}"
        )
    return tuple(name for name in signature.outputs if not wanted or name in wanted)


def _output_names(where: object, output_filter: Collection[str] | None) -> tuple[str, ...]:
    if output_filter is None:
        return ()
    if isinstance(output_filter, str):
        raise InvalidArgumentError(
            f"{where}: output_filter is a collection of names, not {output_filter!r}; pass"
            f" [{output_filter!r}]"
        )
    try:
        names = tuple(output_filter)
    except TypeError:  # it cannot be iterated
        names = None
    if names is None or not all(isinstance(name, str) for name in names):
        raise InvalidArgumentError(
            f"{where}: output_filter is a collection of names, which this object of type"
            f" {type(output_filter).__name__} is not"
        )
    return names


def checked_inputs(
    where: object, signature: Signature, inputs: object
) -> list[np.ndarray[Any, Any]]:
    """Return the inputs as arrays that fit the signature, in its order.

    Anything that has an element type of its own, such as an ndarray, must have that of the signature
    and is passed on as it is. Lists and scalars take the signature's type: what becomes a float is
    rounded as a literal is, what becomes an integer must be one, and nothing may overflow.

    Args:
        where: The servable and the signature, for errors.
        signature: What is called.
        inputs: Arrays, lists or scalars by the name of the input; or one such value where the
            signature has one input. One that has a default may be left out.

    Raises:
        InvalidArgumentError: An input is missing, unknown, or of another type or shape.
    """
    # A prediction of a small model takes 20 us, so what fits goes through here at once: the other
    # functions, and the words for their errors, are for what does not.
    if type(inputs) is not dict or inputs.keys() != signature.inputs.keys():
        inputs = _named(where, signature, inputs)
    arrays = []
    for name, spec in signature.inputs.items():
        value = inputs[name]
        if (
            type(value) is not np.ndarray
            or value.dtype is not spec.dtype  # as a rule there is one object for each type
            or (value.shape != spec.shape and not _fits(value.shape, spec.shape))
        ):
            value = _checked(f"{where}, input {name!r}", spec, value)
        arrays.append(value)
    return arrays


def _named(where: object, signature: Signature, inputs: object) -> Mapping[str, object]:
    wanted, defaults = signature.inputs, signature.defaults
    if not isinstance(inputs, Mapping):
        inputs = {_only_input(where, signature): inputs}
    if inputs.keys() == wanted.keys():
        return inputs
    missing = [name for name in wanted if name not in inputs and name not in defaults]
    unknown = [name for name in inputs if name not in wanted]
    if not missing and not unknown:
        return {**defaults, **inputs}
    problems = [
        f"{problem} {_listed(names)}"
        for problem, names in (("missing", missing), ("unknown", unknown))
        if names
    ]
    raise InvalidArgumentError(
        f"{where}: inputs are {' and '.join(problems)}; it takes: {_inputs_text(signature)}"
    )


def _only_input(where: object, signature: Signature) -> str:
    """Return the name of the input that has to be given, where there is one."""
    required = [name for name in signature.inputs if name not in signature.defaults]
    names = required or list(signature.inputs)
    if len(names) == 1:
        return names[0]
    raise InvalidArgumentError(
        f"{where} has {len(names)} inputs; pass a mapping with: {_inputs_text(signature)}"
    )


def _inputs_text(signature: Signature) -> str:
    optional = dict.fromkeys(signature.defaults, ", may be left out")
    texts = (
        f"{name!r} ({spec}{optional.get(name, '')})" for name, spec in signature.inputs.items()
    )
    return ", ".join(texts) or "none"


def _checked(where: str, spec: TensorSpec, value: object) -> np.ndarray[Any, Any]:
    try:
        if spec.dtype is None:
            array = _as_strings(value)
        elif isinstance(value, _LITERALS):
            array = _as_literals(value, spec.dtype)
        else:
            array = _as_typed(value, spec.dtype)
    except Exception as error:  # noqa: BLE001 -- what numpy makes of foreign objects
        raise InvalidArgumentError(f"{where} takes {spec}: {error}") from None
    if not _fits(array.shape, spec.shape):
        raise InvalidArgumentError(f"{where} takes {spec}: given shape {shape_text(array.shape)}")
    return array


def _fits(shape: tuple[int, ...], wanted: tuple[int | None, ...] | None) -> bool:
    if wanted is None:
        return True
    return len(shape) == len(wanted) and all(
        axis is None or axis == length for length, axis in zip(shape, wanted, strict=True)
    )


def _array(value: object, dtype: type | None = None) -> np.ndarray[Any, Any]:
    try:
        return np.array(value, dtype) if isinstance(value, _LITERALS) else np.asarray(value)
    except Exception as error:  # noqa: BLE001 -- numpy, and what a foreign __array__ raises
        kind = type(value).__name__
        raise ValueError(f"given an object of type {kind} that is no array: {error}") from None


def _as_typed(value: object, dtype: np.dtype) -> np.ndarray[Any, Any]:
    array = _array(value)
    if array.dtype != dtype:
        raise ValueError(
            f"given {array.dtype} of shape {shape_text(array.shape)}, which is not cast; pass an array"
            f" of {dtype}" + (", or a list" if _kind(dtype) in _KINDS else "")
        )
    return array


def _as_literals(value: object, dtype: np.dtype) -> np.ndarray[Any, Any]:
    natural = _array(value)
    if not natural.size:
        return natural.astype(dtype)
    if _kind(dtype) not in _KINDS:
        raise ValueError(
            f"given {_natural_text(natural)}, and only an array of {dtype} can be taken for that"
        )
    if natural.dtype.kind not in _KINDS[_kind(dtype)]:
        raise ValueError(f"given {_natural_text(natural)}, which cannot be {dtype}")
    with np.errstate(all="ignore"):  # what does not fit is found below
        array = natural.astype(dtype)
    if _kind(dtype) in "iu":
        # Against the values as given: of 2**53 + 1 beside a float, `natural` is already rounded.
        exact = (array.astype(object) == np.array(value, dtype=object)).all()
    else:
        exact = (np.isfinite(array) == np.isfinite(natural)).all()
    if not exact:
        raise ValueError(f"given {_natural_text(natural)} with a value that {dtype} cannot hold")
    return array


def _kind(dtype: np.dtype) -> str:
    """Return the kind of *dtype*, by its name where numpy does not know it itself: int4, bfloat16."""
    for prefix, kind in _SMALL_KINDS.items():
        if dtype.name.startswith(prefix):
            return kind
    return dtype.kind


def _natural_text(natural: np.ndarray[Any, Any]) -> str:
    kinds = {"b": "booleans", "U": "strings", "S": "strings", "O": "mixed or huge values"}
    return kinds.get(natural.dtype.kind, dtype_text(natural.dtype))


def _as_strings(value: object) -> np.ndarray[Any, Any]:
    array = _array(value, object)
    if array.dtype.kind not in "USOT":
        raise ValueError(f"given {array.dtype} of shape {shape_text(array.shape)}")
    encoded = np.empty(array.shape, dtype=object)
    encoded.reshape(-1)[:] = [_as_bytes(element) for element in array.reshape(-1).tolist()]
    return encoded


def _as_bytes(element: object) -> bytes:
    if isinstance(element, bytes):
        return element
    if isinstance(element, str):
        try:
            return element.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"given a str that UTF-8 cannot hold: {error}; pass bytes") from None
    raise TypeError(f"given an element {element!r}, which is neither str nor bytes")


def _listed(names: Collection[object]) -> str:
    return ", ".join(repr(name) for name in names) or "none"
