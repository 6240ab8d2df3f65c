"""Tensors as messages, and as the arrays that servables take; without TensorFlow."""

from __future__ import annotations

import functools
import importlib
import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from servman.errors import InvalidArgumentError, UnimplementedError
from servman.protos import POOL

if TYPE_CHECKING:
    from collections.abc import Mapping

_STRING: Final = "DT_STRING"

_TYPES: Final = {
    "DT_FLOAT": ("float32", "float_val"),
    "DT_DOUBLE": ("float64", "double_val"),
    "DT_HALF": ("float16", "half_val"),
    "DT_BFLOAT16": ("bfloat16", "half_val"),
    "DT_INT8": ("int8", "int_val"),
    "DT_INT16": ("int16", "int_val"),
    "DT_INT32": ("int32", "int_val"),
    "DT_INT64": ("int64", "int64_val"),
    "DT_UINT8": ("uint8", "int_val"),
    "DT_UINT16": ("uint16", "int_val"),
    "DT_UINT32": ("uint32", "uint32_val"),
    "DT_UINT64": ("uint64", "uint64_val"),
    "DT_INT4": ("int4", "int_val"),
    "DT_UINT4": ("uint4", "int_val"),
    "DT_BOOL": ("bool", "bool_val"),
    "DT_COMPLEX64": ("complex64", "scomplex_val"),
    "DT_COMPLEX128": ("complex128", "dcomplex_val"),
    "DT_FLOAT8_E5M2": ("float8_e5m2", "float8_val"),
    "DT_FLOAT8_E4M3FN": ("float8_e4m3fn", "float8_val"),
}
"""What numpy calls a type of TensorFlow's, and the field that holds its values one by one."""

_FORMS: Final[Mapping[str, np.dtype]] = {
    "half_val": np.dtype(np.uint16),
    "float8_val": np.dtype(np.uint8),
    "scomplex_val": np.dtype(np.float32),
    "dcomplex_val": np.dtype(np.float64),
}
"""What the fields hold whose values are not the elements themselves, but bits or halves of them."""

_type_names: Final = {
    value.number: value.name for value in POOL.FindEnumTypeByName("tensorflow.DataType").values
}


def as_array(where: str, proto: Any) -> np.ndarray[Any, Any]:
    """Return the values of a `tensorflow.TensorProto`; strings as bytes in an array of objects.

    As everywhere in TensorFlow, the last value stands for all that follow, and no value for zeros. An
    array that was sent as bytes is not copied, and cannot be written to.

    Args:
        where: The input, for errors.
        proto: The message.

    Raises:
        InvalidArgumentError: Type, shape and values contradict each other.
        UnimplementedError: No array can hold the type.
    """
    type_name = _type_names.get(proto.dtype, f"number {proto.dtype}")
    if type_name != _STRING and type_name not in _TYPES:
        raise UnimplementedError(f"{where}: a tensor of type {type_name} cannot become an array")
    try:
        shape = _shape(proto.tensor_shape)
        if proto.tensor_content and type_name != _STRING:
            return np.frombuffer(proto.tensor_content, _dtype(_TYPES[type_name][0])).reshape(shape)
        values = _strings(proto) if type_name == _STRING else _numbers(proto, *_TYPES[type_name])
        return _filled(values, math.prod(shape)).reshape(shape)
    except (ValueError, OverflowError, MemoryError) as error:
        raise InvalidArgumentError(f"{where}: a tensor of type {type_name}: {error}") from None


def _shape(shape: Any) -> tuple[int, ...]:
    sizes = tuple(axis.size for axis in shape.dim)
    if shape.unknown_rank or any(size < 0 for size in sizes):
        raise ValueError("its shape is not known; a value has one")
    return sizes


def _strings(proto: Any) -> np.ndarray[Any, Any]:
    if proto.tensor_content:
        raise ValueError("strings are sent one by one, in string_val, not as tensor_content")
    values = np.empty(len(proto.string_val), dtype=object)
    values[:] = list(proto.string_val)
    return values


def _numbers(proto: Any, type_name: str, field: str) -> np.ndarray[Any, Any]:
    # As a list, of which numpy refuses what the type cannot hold; in a message's own list it wraps.
    values, dtype = list(getattr(proto, field)), _dtype(type_name)
    if field not in _FORMS:
        return np.array(values, dtype)
    return np.array(values, _FORMS[field]).view(dtype)


def _filled(values: np.ndarray[Any, Any], count: int) -> np.ndarray[Any, Any]:
    missing = count - len(values)
    if missing == 0:
        return values
    if missing < 0:
        raise ValueError(f"{len(values)} values where its shape has room for {count}")
    if not len(values):
        return np.full(count, b"" if values.dtype == object else 0, values.dtype)
    return np.concatenate([values, np.repeat(values[-1:], missing)])


@functools.cache
def _dtype(name: str) -> np.dtype:
    try:
        return np.dtype(name)
    except TypeError:  # one of the types that numpy learns of where this package is installed
        scalar: type[np.generic] = getattr(importlib.import_module("ml_dtypes"), name)
        return np.dtype(scalar)
