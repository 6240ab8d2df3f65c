"""Tensors as messages, and as the arrays that servables take; without TensorFlow."""

from __future__ import annotations

import functools
import importlib
import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from servman.errors import InvalidArgumentError, UnimplementedError
from servman.protos import POOL, message_class

if TYPE_CHECKING:
    from collections.abc import Mapping

_TensorProto = message_class("tensorflow.TensorProto")
_TensorShapeProto: Any = message_class("tensorflow.TensorShapeProto")

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

_laid_out: Final = {
    np.dtype(numpy_name).newbyteorder("<"): (_numbers_of_types[name], _FIXED_SIZE[field])
    for name, (numpy_name, field) in _TYPES.items()
    if field in _FIXED_SIZE
}
"""For the arrays whose bytes are those of such a field: the number of their type, and that of the field."""

_SHORT: Final = 64
"""Bytes of a shape that is remembered: to read it costs more than all the rest."""

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
    # A small model takes 20 us, so what is as usual goes through here at once: whole, not empty (such a shape may
    # be none that an array can have), and of a type whose every value can be in the field.
    usual = _usual.get(proto.dtype)
    if usual is not None and len(shape := proto.tensor_shape.SerializeToString()) <= _SHORT:
        (dtype, field), (sizes, count) = usual, _layout(shape)
        if content := proto.tensor_content:
            if len(content) == count * dtype.itemsize:
                return np.frombuffer(content, dtype).reshape(sizes)
        elif len(values := getattr(proto, field)) == count > 0:
            return np.fromiter(values, dtype, count).reshape(sizes)
    return _as_any_array(where, proto)


@functools.lru_cache(1024)
def _layout(shape: bytes) -> tuple[tuple[int, ...], int]:
    """Return the sizes in a serialised `tensorflow.TensorShapeProto`, and how many values they are; -1: unknown."""
    try:
        sizes = _shape(_TensorShapeProto.FromString(shape))
    except ValueError:
        return (), -1
    return sizes, math.prod(sizes)


def _as_any_array(where: str, proto: Any) -> np.ndarray[Any, Any]:
    name = type_name(proto.dtype)
    if name != _STRING and name not in _TYPES:
        raise UnimplementedError(f"{where}: a tensor of type {name} cannot become an array")
    try:
        shape = _shape(proto.tensor_shape)
        if proto.tensor_content and name != _STRING:
            return np.frombuffer(proto.tensor_content, _dtype(_TYPES[name][0])).reshape(shape)
        values = _strings(proto) if name == _STRING else _numbers(proto, *_TYPES[name])
        return _filled(values, math.prod(shape)).reshape(shape)
    except (ValueError, OverflowError, MemoryError) as error:
        raise InvalidArgumentError(f"{where}: a tensor of type {name}: {error}") from None


def write_array(
    where: object, array: np.ndarray[Any, Any], proto: Any, *, packed: bool = False
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
    array = _native(array)
    laid_out = None if packed else _laid_out.get(array.dtype)
    if laid_out is not None:
        content = array.tobytes()
        proto.MergeFromString(_head(*laid_out, array.shape, len(content)) + content)
        return
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
        proto.tensor_content = array.tobytes()
    else:
        _write_numbers(array.ravel(), field, proto)


def type_number(dtype: np.dtype | None) -> int:
    """Return the number that TensorFlow gives the type; None is that of strings, 0 is one that it has not."""
    found = (_STRING, "") if dtype is None else _field_of(dtype)
    return 0 if found is None else _numbers_of_types[found[0]]


def type_name(number: int) -> str:
    """Return what TensorFlow calls the type of that number."""
    return _type_names.get(number, f"number {number}")


def _write_numbers(values: np.ndarray[Any, Any], field: str, proto: Any) -> None:
    if field in _FORMS:
        values = values.view(_FORMS[field])
    elif values.dtype.kind == "V":  # a small type of which numpy knows nothing
        values = values.astype(np.int32)
    if field == "float8_val":
        proto.float8_val = values.tobytes()
    else:
        getattr(proto, field).extend(values.tolist())


@functools.lru_cache
def _head(type_number: int, field: int, shape: tuple[int, ...], length: int) -> bytes:
    """Return what of a `tensorflow.TensorProto`, as it is sent, comes before the *length* bytes of its *field*."""
    proto = _TensorProto(dtype=type_number)
    proto.tensor_shape.SetInParent()
    for size in shape:
        proto.tensor_shape.dim.add().size = size
    head = bytearray(proto.SerializeToString())
    head.append(field << 3 | 2)
    while length > 0x7F:  # noqa: PLR2004 -- seven bits in each byte, the eighth says that more follow
        head.append(length & 0x7F | 0x80)
        length >>= 7
    head.append(length)
    return bytes(head)


def _native(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


@functools.lru_cache
def _field_of(dtype: np.dtype) -> tuple[str, str] | None:
    return (_STRING, "string_val") if dtype.kind in "OSU" else _written.get(dtype.name)


def _as_bytes(where: object, element: object) -> bytes:
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
