"""Tensors as messages become the arrays that TensorFlow would make of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from servman.adapters.tensor_proto import _TYPES, _dtype, as_array, type_number, write_array
from servman.errors import InvalidArgumentError, UnimplementedError
from servman.protos import POOL, message_class

TensorProto = message_class("tensorflow.TensorProto")
TYPES = POOL.FindEnumTypeByName("tensorflow.DataType").values_by_name


def proto(type_name: str, shape: tuple[int, ...] | None = None, **fields: Any) -> Any:
    made = TensorProto(dtype=TYPES[type_name].number, **fields)
    for size in (2,) if shape is None else shape:
        made.tensor_shape.dim.add(size=size)
    return made


def array(type_name: str, shape: tuple[int, ...] | None = None, **fields: Any) -> Any:
    return as_array("input 'x'", proto(type_name, shape, **fields))


@pytest.mark.parametrize(
    ("type_name", "field", "dtype"),
    [
        ("DT_FLOAT", "float_val", np.float32),
        ("DT_DOUBLE", "double_val", np.float64),
        ("DT_INT8", "int_val", np.int8),
        ("DT_INT16", "int_val", np.int16),
        ("DT_INT32", "int_val", np.int32),
        ("DT_INT64", "int64_val", np.int64),
        ("DT_UINT8", "int_val", np.uint8),
        ("DT_UINT16", "int_val", np.uint16),
        ("DT_UINT32", "uint32_val", np.uint32),
        ("DT_UINT64", "uint64_val", np.uint64),
        ("DT_BOOL", "bool_val", np.bool_),
    ],
)
def test_numbers_come_one_by_one_or_as_bytes(type_name: str, field: str, dtype: type) -> None:
    wanted: np.ndarray[Any, Any] = np.array([1, 0], dtype)
    one_by_one: dict[str, Any] = {field: [1, 0]}
    for made in (
        array(type_name, **one_by_one),
        array(type_name, tensor_content=wanted.tobytes()),
    ):
        assert made.dtype == wanted.dtype
        assert made.tolist() == wanted.tolist()


def test_half_floats_come_as_their_bits() -> None:
    assert array("DT_HALF", half_val=[0x3C00, 0xC000]).tolist() == [1.0, -2.0]


def test_complex_numbers_come_as_pairs() -> None:
    assert array("DT_COMPLEX64", scomplex_val=[1, 2, 3, 4]).tolist() == [1 + 2j, 3 + 4j]
    assert array("DT_COMPLEX128", dcomplex_val=[1, 2, 3, 4]).dtype == np.complex128


@pytest.mark.parametrize(
    ("type_name", "fields"),
    [
        ("DT_BFLOAT16", {"half_val": [0x3F80, 0xC000]}),
        ("DT_FLOAT8_E5M2", {"float8_val": bytes([0x3C, 0xC0])}),
        ("DT_FLOAT8_E4M3FN", {"float8_val": bytes([0x38, 0xC0])}),
        ("DT_INT4", {"int_val": [1, -2]}),
    ],
)
def test_types_that_numpy_lacks_come_from_ml_dtypes(type_name: str, fields: Any) -> None:
    pytest.importorskip("ml_dtypes")
    made = array(type_name, **fields)
    assert made.dtype.name == type_name.removeprefix("DT_").lower()
    assert made.astype(np.float32).tolist() == [1.0, -2.0]


def test_strings_are_bytes_in_an_array_of_objects() -> None:
    made = array("DT_STRING", (1, 2), string_val=[b"a", b"b\0c"])
    assert made.dtype == object
    assert made.tolist() == [[b"a", b"b\0c"]]


def test_the_shape_is_that_of_the_message() -> None:
    assert array("DT_INT32", (2, 2), int_val=[1, 2, 3, 4]).tolist() == [[1, 2], [3, 4]]
    assert array("DT_INT32", (), int_val=[7]).shape == ()
    assert array("DT_INT32", (0, 3)).shape == (0, 3)


def test_the_last_value_stands_for_those_that_follow() -> None:
    assert array("DT_FLOAT", (4,), float_val=[1, 2]).tolist() == [1.0, 2.0, 2.0, 2.0]
    assert array("DT_STRING", (3,), string_val=[b"a"]).tolist() == [b"a"] * 3


def test_no_value_stands_for_zeros() -> None:
    assert array("DT_FLOAT", (2, 1)).tolist() == [[0.0], [0.0]]
    assert array("DT_STRING").tolist() == [b"", b""]


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (proto("DT_FLOAT", (1,), float_val=[1, 2]), "2 values where its shape has room for 1"),
        (proto("DT_STRING", (0,), string_val=[b"a"]), "1 values where"),
        (proto("DT_FLOAT", (-1,), float_val=[1]), "its shape is not known"),
        (proto("DT_FLOAT", (-1, -2), float_val=[1, 2]), "its shape is not known"),
        (proto("DT_FLOAT", (-1, -2), tensor_content=bytes(8)), "its shape is not known"),
        (proto("DT_FLOAT", (2,), tensor_content=b"1234567"), "DT_FLOAT: .*size"),
        (proto("DT_FLOAT", (2,), tensor_content=b"1234"), "DT_FLOAT: .*shape"),
        (proto("DT_STRING", tensor_content=b"\1\1ab"), "not as tensor_content"),
        (proto("DT_INT8", int_val=[1, 300]), "300 out of bounds"),
        (proto("DT_FLOAT", (2**40, 2**40)), "DT_FLOAT: "),
        (proto("DT_FLOAT", (0, 2**62, 2**62)), "DT_FLOAT: .*too big"),
    ],
)
def test_a_tensor_that_contradicts_itself_is_an_invalid_argument(made: Any, text: str) -> None:
    with pytest.raises(InvalidArgumentError, match=f"input 'x': .*{text}"):
        as_array("input 'x'", made)


def test_a_shape_without_a_rank_is_no_value() -> None:
    made = proto("DT_FLOAT", (), float_val=[1])
    made.tensor_shape.unknown_rank = True
    with pytest.raises(InvalidArgumentError, match="its shape is not known"):
        as_array("input 'x'", made)


@pytest.mark.parametrize(
    ("number", "name"), [(0, "DT_INVALID"), (21, "DT_VARIANT"), (101, "number 101")]
)
def test_what_no_array_can_hold_is_not_implemented(number: int, name: str) -> None:
    with pytest.raises(UnimplementedError, match=f"input 'x': a tensor of type {name} "):
        as_array("input 'x'", TensorProto(dtype=number))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("shape", [(), (3,), (0, 2), (2, 150)], ids=str)
@pytest.mark.parametrize("type_name", [*_TYPES, "DT_STRING"])
def test_what_is_written_is_read_again(
    type_name: str, shape: tuple[int, ...], packed: bool
) -> None:
    count = int(np.prod(shape))
    if type_name == "DT_STRING":
        wanted = np.array([b"a\0"] * count, object).reshape(shape)
    else:
        wanted = (np.arange(count) % 2).reshape(shape).astype(_dtype(_TYPES[type_name][0]))
    made = TensorProto()
    write_array("output 'y'", wanted, made, packed=packed)
    assert made.dtype == TYPES[type_name].number
    found = as_array("input 'x'", TensorProto.FromString(made.SerializeToString()))
    assert (found.dtype, found.shape) == (wanted.dtype, wanted.shape)
    assert found.tolist() == wanted.tolist()


def test_numbers_are_written_one_by_one_as_tensorflow_serving_does() -> None:
    made = TensorProto()
    write_array("y", np.array([1, 2], np.float32), made)
    assert (list(made.float_val), made.tensor_content) == ([1.0, 2.0], b"")
    many = TensorProto()
    write_array("y", np.arange(1000, dtype=np.float64), many)
    assert list(many.double_val) == list(range(1000))


def test_numbers_of_another_byte_order_are_written_in_that_of_the_machine() -> None:
    for packed in (False, True):
        made = TensorProto()
        write_array("y", np.array([1, 2], ">i4"), made, packed=packed)
        assert as_array("x", made).tolist() == [1, 2]


def test_texts_are_written_as_utf_8() -> None:
    made = TensorProto()
    write_array("y", np.array(["é"]), made)
    assert list(made.string_val) == ["é".encode()]


@pytest.mark.parametrize(
    "array", [np.array([object()]), np.array(["2026-01-01"], "datetime64[D]")], ids=str
)
def test_what_tensorflow_has_no_type_for_cannot_be_written(array: Any) -> None:
    with pytest.raises(UnimplementedError, match=r"^y: "):
        write_array("y", array, TensorProto())


@pytest.mark.parametrize("fields", [{}, {"float_val": [1.0]}])
def test_a_short_message_asks_for_no_large_array(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgumentError, match="send them all"):
        array("DT_FLOAT", (2**30,), **fields)


def test_types_have_the_numbers_of_tensorflow() -> None:
    assert type_number(np.dtype(np.float32)) == 1
    assert type_number(None) == 7
    assert type_number(np.dtype("datetime64[D]")) == 0
