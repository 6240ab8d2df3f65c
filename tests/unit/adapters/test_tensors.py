from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from servman.adapters.signatures import Signature, TensorSpec
from servman.adapters.tensors import checked_inputs, chosen_outputs, chosen_signature
from servman.errors import FailedPreconditionError, InvalidArgumentError
from servman.ids import ServableId

M1 = ServableId("m", 1)
WHERE = "m:1, signature 'serving_default'"

FLOAT = TensorSpec(np.dtype(np.float32), (None, 2))
VECTOR = TensorSpec(np.dtype(np.float32), (None,))
STRING = TensorSpec(None, (None,))


def signature(**inputs: TensorSpec) -> Signature:
    return Signature(inputs, {"y": VECTOR, "z": STRING})


def checked(value: object, dtype: object, shape: tuple[int | None, ...] | None = None) -> Any:
    spec = TensorSpec(None if dtype is str else np.dtype(dtype), shape)  # type: ignore[call-overload] # any dtype
    (array,) = checked_inputs(WHERE, signature(x=spec), {"x": value})
    return array


def refusal(value: object, dtype: object, shape: tuple[int | None, ...] | None = None) -> str:
    with pytest.raises(InvalidArgumentError) as refused:
        checked(value, dtype, shape)
    text = str(refused.value)
    assert text.startswith(f"{WHERE}, input 'x' takes ")
    return text


def test_an_array_that_fits_is_passed_on_as_it_is() -> None:
    given = np.ones((3, 2), np.float32)
    assert checked(given, np.float32, (None, 2)) is given


def test_an_array_of_another_dtype_is_refused_with_what_was_given_and_wanted() -> None:
    text = refusal(np.ones((3, 2)), np.float32, (None, 2))
    assert "takes float32 of shape (?, 2): given float64 of shape (3, 2)" in text


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (np.float64, np.float32),
        (np.float16, np.float32),
        (np.int32, np.int64),
        (np.int64, np.float32),
        (np.uint8, np.int8),
        (np.bool_, np.int32),
        (np.dtype(">f4"), np.float32),
    ],
)
def test_no_array_is_cast_not_even_without_loss(given: Any, wanted: Any) -> None:
    assert "not cast" in refusal(np.zeros(2, given), wanted)


@pytest.mark.parametrize("shape", [(), (2,), (3, 3), (1, 3, 2)])
def test_an_array_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    text = refusal(np.ones(shape, np.float32), np.float32, (None, 2))
    assert f"takes float32 of shape (?, 2): given shape {str(shape).replace(',)', ')')}" in text


def test_where_the_rank_is_unknown_any_shape_fits() -> None:
    for shape in ((), (2,), (3, 3)):
        assert checked(np.ones(shape, np.float32), np.float32).shape == shape


def test_the_shape_of_a_list_is_checked_too() -> None:
    assert "given shape (3)" in refusal([1.0, 2.0, 3.0], np.float32, (2,))


@pytest.mark.parametrize(
    ("given", "wanted", "expected"),
    [
        ([1, 2.5], np.float32, [1.0, 2.5]),
        (0.1, np.float32, np.float32(0.1)),
        ((1, 2), np.float64, [1.0, 2.0]),
        (range(3), np.int32, [0, 1, 2]),
        ([1.0, -2.0], np.int64, [1, -2]),
        ([2**63 - 1], np.int64, [2**63 - 1]),
        ([2**64 - 1], np.uint64, [2**64 - 1]),
        ([True, False], np.bool_, [True, False]),
        ([1, 2j], np.complex64, [1, 2j]),
        (np.float64(2), np.float32, 2.0),
        ([np.ones(2), np.zeros(2)], np.float32, [[1, 1], [0, 0]]),
        ([], np.bool_, []),
    ],
)
def test_lists_and_scalars_take_the_dtype_of_the_signature(
    given: object, wanted: Any, expected: Any
) -> None:
    array = checked(given, wanted)
    assert array.dtype == wanted
    assert isinstance(array, np.ndarray)
    np.testing.assert_array_equal(array, np.array(expected, wanted))


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ([1.5], np.int32),
        ([float("nan")], np.int32),
        ([1e30], np.int64),
        ([2.0**63], np.int64),
        ([2**53 + 1, 1.0], np.int64),
        ([2**31], np.int32),
        ([-1], np.uint8),
        ([256], np.uint8),
        ([1e300], np.float32),
        ([70_000], np.float16),
    ],
)
def test_a_value_that_the_dtype_cannot_hold_is_refused(given: object, wanted: Any) -> None:
    assert f"that {np.dtype(wanted)} cannot hold" in refusal(given, wanted)


@pytest.mark.parametrize(
    ("given", "wanted", "called"),
    [
        (["1.5"], np.float32, "strings"),
        (b"1", np.int32, "strings"),
        ([True], np.float32, "booleans"),
        ([True], np.int32, "booleans"),
        ([1], np.bool_, "int64"),
        ([1j], np.float32, "complex128"),
        ([2**70], np.int64, "mixed or huge values"),
        ([None], np.float32, "mixed or huge values"),
    ],
)
def test_literals_of_another_kind_are_refused(given: object, wanted: Any, called: str) -> None:
    assert f"given {called}, which cannot be {np.dtype(wanted)}" in refusal(given, wanted)


def test_infinities_and_nan_are_floats() -> None:
    array = checked([float("inf"), float("nan")], np.float32)
    assert np.isinf(array[0])
    assert np.isnan(array[1])


def test_the_small_floats_of_accelerators_are_floats() -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    array = checked([1, 0.5], ml_dtypes.bfloat16)
    assert array.dtype == ml_dtypes.bfloat16
    assert array.tolist() == [1, 0.5]


def test_the_small_integers_of_accelerators_are_integers() -> None:
    int4 = np.dtype(pytest.importorskip("ml_dtypes").int4)
    array = checked([-8, 7.0], int4)
    assert array.dtype == int4
    assert array.tolist() == [-8, 7]
    assert "with a value that int4 cannot hold" in refusal([8], int4)


def test_a_type_that_numpy_lacks_takes_arrays_only_and_bears_its_own_name() -> None:
    quantised = np.dtype([("qint8", np.int8)])
    given = np.zeros(2, quantised)
    assert checked(given, quantised) is given
    array = "an array of [('qint8', 'i1')]"
    assert refusal([1], quantised).endswith(
        f"takes qint8 of shape any: given int64, and only {array} can be taken for that"
    )
    assert refusal(np.zeros(2, np.int8), quantised).endswith(f"which is not cast; pass {array}")


class Broken:
    def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray[Any, Any]:
        raise RuntimeError("no values")


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ([[1.0], [1.0, 2.0]], "given an object of type list that is no array: "),
        ([[1.0], 2.0], "given an object of type list that is no array: "),
        (Broken(), "given an object of type Broken that is no array: no values"),
        (None, "given object of shape ()"),
        ({"a": 1.0}, "given object of shape ()"),
    ],
)
def test_what_becomes_no_array_is_refused_with_what_was_given(value: object, told: str) -> None:
    assert f"takes float32 of shape any: {told}" in refusal(value, np.float32)
    assert "takes string of shape any: given " in refusal(value, str)


def test_what_are_no_strings_is_told_with_its_type_and_shape() -> None:
    assert refusal(np.zeros(2), str).endswith(
        "takes string of shape any: given float64 of shape (2)"
    )


def test_a_str_that_is_no_text_is_told_with_the_remedy() -> None:
    text = refusal(["a", "\ud800"], str)
    assert "takes string of shape any: given a str that UTF-8 cannot hold" in text
    assert text.endswith("; pass bytes")


def test_the_only_input_may_be_given_bare_though_it_has_a_default() -> None:
    only = Signature({"x": VECTOR}, {}, defaults={"x": np.zeros(1, np.float32)})
    (array,) = checked_inputs(WHERE, only, [3.0])
    assert array.tolist() == [3.0]


def test_what_numpy_makes_an_array_of_counts_as_one() -> None:
    class Tensor:
        def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray[Any, Any]:
            return np.ones(2, np.float32)

    assert checked(Tensor(), np.float32).tolist() == [1, 1]
    assert "given float32" in refusal(Tensor(), np.int32)
    assert checked(memoryview(b"ab"), np.uint8).tolist() == [97, 98]


def test_an_object_that_is_no_array_is_refused_whatever_it_raises() -> None:
    class Broken:
        def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray[Any, Any]:
            raise OSError("the device is gone")

    assert "the device is gone" in refusal(Broken(), np.float32)
    assert "given object" in refusal(object(), np.float32)


@pytest.mark.parametrize(
    "given",
    [
        ["ä", b"b"],
        np.array(["ä", "b"]),
        np.array(["ä".encode(), b"b"]),
        np.array(["ä", b"b"], dtype=object),
    ],
)
def test_strings_of_every_spelling_become_bytes(given: object) -> None:
    array = checked(given, str, (None,))
    assert array.dtype == object
    assert array.tolist() == ["ä".encode(), b"b"]


def test_a_lone_string_is_a_scalar() -> None:
    array = checked("text", str, ())
    assert (array.shape, array[()]) == ((), b"text")


def test_bytes_in_lists_keep_their_zeros_and_shape() -> None:
    array = checked([[b"a\0"], [b"b"]], str, (None, 1))
    assert array.tolist() == [[b"a\0"], [b"b"]]


@pytest.mark.parametrize("given", [[1], [None], [["a"], "b"], np.ones(2), np.array([1], object)])
def test_what_is_no_string_is_refused_where_strings_are_taken(given: object) -> None:
    assert "takes string" in refusal(given, str)


def test_a_string_that_has_no_bytes_is_refused() -> None:
    assert "surrogates not allowed" in refusal("\ud800", str)


def test_a_bare_value_is_the_only_input() -> None:
    (array,) = checked_inputs(WHERE, signature(x=VECTOR), [1.0])
    assert array.tolist() == [1]


def test_a_bare_value_does_not_say_which_of_two_inputs_it_is() -> None:
    with pytest.raises(
        InvalidArgumentError, match=r"has 2 inputs; pass a mapping with: 'a' \(float32"
    ):
        checked_inputs(WHERE, signature(a=VECTOR, b=VECTOR), [1.0])


def test_inputs_come_in_the_order_of_the_signature() -> None:
    arrays = checked_inputs(WHERE, signature(a=VECTOR, b=VECTOR), {"b": [2.0], "a": [1.0]})
    assert [array.tolist() for array in arrays] == [[1], [2]]


@pytest.mark.parametrize(
    ("inputs", "problem"),
    [
        ({"a": [1.0]}, r"missing 'b'; it takes: 'a' \(float32 of shape \(\?\)\), 'b' \(float32"),
        ({"a": [1.0], "b": [1.0], "c": 1, "d": 2}, "unknown 'c', 'd'; it takes"),
        ({"A": [1.0], "b": [1.0]}, "missing 'a' and unknown 'A'; it takes"),
        ({}, "missing 'a', 'b'; it takes"),
    ],
)
def test_missing_and_unknown_inputs_are_listed(inputs: Mapping[str, object], problem: str) -> None:
    with pytest.raises(InvalidArgumentError, match=f"{WHERE}: inputs are {problem}"):
        checked_inputs(WHERE, signature(a=VECTOR, b=VECTOR), inputs)


def with_default() -> Signature:
    seven = np.array([7], np.float32)
    inputs = {"a": VECTOR, "b": VECTOR, "c": VECTOR}
    return Signature(inputs, {"y": VECTOR}, defaults={"b": seven, "c": seven})


def test_an_input_with_a_default_may_be_left_out() -> None:
    arrays = checked_inputs(WHERE, with_default(), {"a": [1.0]})
    assert [array.tolist() for array in arrays] == [[1], [7], [7]]


def test_what_is_given_goes_before_the_default() -> None:
    arrays = checked_inputs(WHERE, with_default(), {"b": [2.0], "a": [1.0]})
    assert [array.tolist() for array in arrays] == [[1], [2], [7]]


def test_a_bare_value_is_the_only_input_that_has_to_be_given() -> None:
    arrays = checked_inputs(WHERE, with_default(), [1.0])
    assert [array.tolist() for array in arrays] == [[1], [7], [7]]


def test_a_default_stands_in_for_nothing_else() -> None:
    told = (
        f"{WHERE}: inputs are missing 'a' and unknown 'd'; it takes: 'a' (float32 of shape (?)),"
        " 'b' (float32 of shape (?), may be left out), 'c' (float32"
    )
    with pytest.raises(InvalidArgumentError, match=f"^{re.escape(told)}"):
        checked_inputs(WHERE, with_default(), {"b": [2.0], "d": 1})


def test_a_signature_without_inputs_takes_an_empty_mapping() -> None:
    assert checked_inputs(WHERE, signature(), {}) == []
    with pytest.raises(InvalidArgumentError, match="has 0 inputs; pass a mapping with: none"):
        checked_inputs(WHERE, signature(), [1.0])


def test_an_unknown_signature_is_told_with_those_that_there_are() -> None:
    signatures = {"serving_default": signature(), "embed": signature()}
    assert chosen_signature(M1, signatures, "embed") is signatures["embed"]
    with pytest.raises(
        FailedPreconditionError,
        match="m:1 has no signature 'train', it has: 'serving_default', 'embed'",
    ):
        chosen_signature(M1, signatures, "train")


@pytest.mark.parametrize("signature_name", [["serving_default"], None, 3])
def test_a_signature_name_is_a_text(signature_name: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=r"^m:1: signature_name is a text, not .* type"):
        chosen_signature(M1, {"serving_default": signature()}, signature_name)


@pytest.mark.parametrize("everything", [None, (), [], ["z", "y"], {"y", "z"}, ["y", "z", "y"]])
def test_outputs_come_in_the_order_of_the_signature(everything: list[str] | None) -> None:
    assert chosen_outputs(WHERE, signature(), everything) == ("y", "z")


def test_only_the_outputs_in_the_filter_are_chosen() -> None:
    assert chosen_outputs(WHERE, signature(), ["z"]) == ("z",)


def test_an_unknown_output_is_told_with_those_that_there_are() -> None:
    with pytest.raises(InvalidArgumentError, match="has no output 'q', it has: 'y', 'z'"):
        chosen_outputs(WHERE, signature(), ["y", "q"])


def test_a_filter_is_a_collection_of_names() -> None:
    with pytest.raises(InvalidArgumentError, match=r"pass \['y'\]"):
        chosen_outputs(WHERE, signature(), "y")


@pytest.mark.parametrize("wrong", [5, [["y"]], [None], np.array(3), np.array([["y"], ["z"]])])
def test_what_is_no_collection_of_names_is_refused_with_its_type(wrong: Any) -> None:
    kind = type(wrong).__name__
    with pytest.raises(
        InvalidArgumentError, match=f"^{WHERE}: output_filter .* type {kind} is not$"
    ):
        chosen_outputs(WHERE, signature(), wrong)


def test_a_filter_may_come_as_an_array_or_a_generator() -> None:
    assert chosen_outputs(WHERE, signature(), np.array(["z", "z"])) == ("z",)
    assert chosen_outputs(WHERE, signature(), (name for name in "y")) == ("y",)  # type: ignore[arg-type] # the point


def test_a_spec_is_told_to_people() -> None:
    assert str(FLOAT) == "float32 of shape (?, 2)"
    assert str(TensorSpec(None, None)) == "string of shape any"
    assert str(TensorSpec(np.dtype(np.int64), ())) == "int64 of shape ()"
    assert str(TensorSpec(np.dtype([("variant", object)]), ())) == "variant of shape ()"


def test_opaque_is_what_has_no_values_outside_the_model() -> None:
    assert TensorSpec(np.dtype([("variant", object)]), ()).is_opaque
    assert not TensorSpec(np.dtype([("qint8", np.int8)]), ()).is_opaque
    assert not TensorSpec(None, ()).is_opaque
