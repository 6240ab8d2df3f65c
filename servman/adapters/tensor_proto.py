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
    "DT_FLOAT8_E4M3FNUZ": ("float8_e4m3fnuz", "float8_val"),
    "DT_FLOAT8_E4M3B11FNUZ": ("float8_e4m3b11fnuz", "float8_val"),
    "DT_FLOAT8_E5M2FNUZ": ("float8_e5m2fnuz", "float8_val"),
    "DT_INT2": ("int2", "int_val"),
    "DT_UINT2": ("uint2", "int_val"),
    "DT_FLOAT4_E2M1FN": ("float4_e2m1fn", "float8_val"),
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

_numbers_of_types: Final = {name: number for number, name in _type_names.items()}

_usual: Final = {
    _numbers_of_types[name]: (np.dtype(_TYPES[name][0]), _TYPES[name][1])
    for name in ("DT_FLOAT", "DT_DOUBLE", "DT_INT32", "DT_INT64")
}

_written: Final = {numpy_name: (name, field) for name, (numpy_name, field) in _TYPES.items()}

_FIXED_SIZE: Final[Mapping[str, int]] = {
    field.name: field.number
    for field in POOL.FindMessageTypeByName("tensorflow.TensorProto").fields
    if field.name in ("float_val", "double_val", "scomplex_val", "dcomplex_val")
}
"""The numbers of fields whose values lie in the message as they lie in an array."""

_LARGE: Final = 256
"""From how many values on it pays to hand them over as bytes."""

_MOST_FILLED: Final = 2**26
"""Bytes of an array that a message may ask for without having brought them."""


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
    # A small model takes 20 us, so what is as usual goes through here at once: whole, and of a type whose
    # every value can be in the field.
    usual = _usual.get(proto.dtype)
    if usual is not None:
        dtype, field = usual
        values, shape = getattr(proto, field), proto.tensor_shape
        sizes = [axis.size for axis in shape.dim]
        if sizes == [len(values)] and not proto.tensor_content and not shape.unknown_rank:
            return np.array(values[:], dtype)
    return _as_any_array(where, proto)


def _as_any_array(where: str, proto: Any) -> np.ndarray[Any, Any]:
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


def write_array(
    where: str, array: np.ndarray[Any, Any], proto: Any, *, packed: bool = False
) -> None:
    """Write *array* into the empty `tensorflow.TensorProto` *proto*.

    Args:
        where: The output, for errors.
        array: Of a type that TensorFlow has; strings as `str`, or as bytes in an array of objects.
        proto: The message.
        packed: Whether numbers go as bytes into tensor_content, which is quicker for large arrays. Else each
            has its value in the field of its type, as TensorFlow Serving answers by default.

    Raises:
        UnimplementedError: TensorFlow has no such type, or no such strings.
    """
    found = _field_of(array.dtype)
    if found is None:
        raise UnimplementedError(f"{where}: TensorFlow has no type for an array of {array.dtype}")
    type_name, field = found
    proto.dtype = _numbers_of_types[type_name]
    shape = proto.tensor_shape
    shape.SetInParent()
    for size in array.shape:
        shape.dim.add().size = size
    if type_name == _STRING:
        proto.string_val.extend(_as_bytes(where, one) for one in array.ravel().tolist())
    elif packed:
        proto.tensor_content = _native(array).tobytes()
    else:
        _write_numbers(_native(array).ravel(), field, proto)


def type_number(dtype: np.dtype | None) -> int:
    """Return the number that TensorFlow gives the type; None is that of strings, 0 is one that it has not."""
    found = (_STRING, "") if dtype is None else _field_of(dtype)
    return 0 if found is None else _numbers_of_types[found[0]]


def _write_numbers(values: np.ndarray[Any, Any], field: str, proto: Any) -> None:
    if field in _FORMS:
        values = values.view(_FORMS[field])
    elif values.dtype.kind == "V":  # a small type of which numpy knows nothing
        values = values.astype(np.int32)
    if field == "float8_val":
        proto.float8_val = values.tobytes()
    elif field in _FIXED_SIZE and len(values) >= _LARGE:
        little = values.astype(values.dtype.newbyteorder("<"), copy=False)
        proto.MergeFromString(_packed_field(_FIXED_SIZE[field], little.tobytes()))
    else:
        getattr(proto, field).extend(values.tolist())


def _packed_field(number: int, content: bytes) -> bytes:
    """Return a field of a message as it is sent: its number and kind, how long it is, and what is in it."""
    header, length = bytearray([number << 3 | 2]), len(content)
    while length > 0x7F:  # noqa: PLR2004 -- seven bits in each byte, the eighth says that more follow
        header.append(length & 0x7F | 0x80)
        length >>= 7
    header.append(length)
    return bytes(header) + content


def _native(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


@functools.lru_cache
def _field_of(dtype: np.dtype) -> tuple[str, str] | None:
    return (_STRING, "string_val") if dtype.kind in "OSU" else _written.get(dtype.name)


def _as_bytes(where: str, element: object) -> bytes:
    if isinstance(element, bytes):
        return element
    if isinstance(element, str):
        return element.encode("utf-8", "surrogatepass")
    raise UnimplementedError(
        f"{where}: an array of objects holds strings, not {type(element).__name__}"
    )


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
    if count * values.itemsize > _MOST_FILLED:
        raise ValueError(f"{len(values)} values for a shape of {count}; send them all")
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
