from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from servman.adapters.examples import Inference, check_tasks, serialised
from servman.adapters.signatures import (
    CLASSIFY_METHOD,
    PREDICT_METHOD,
    REGRESS_METHOD,
    InferenceTask,
    Signature,
    TensorSpec,
)
from servman.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
    ServmanError,
    UnimplementedError,
)
from servman.ids import ServableId

M1 = ServableId("m", 1)
STRINGS = TensorSpec(None, (None,))
FLOATS = TensorSpec(np.dtype(np.float32), None)
LABELS = np.array([[b"cat", b"dog"], [b"dog", b"cat"]], object)
SCORES = np.array([[0.75, 0.25], [0.5, 0.5]], np.float32)


def inference(method: str, *outputs: str, **inputs: TensorSpec) -> Inference:
    taken = inputs or {"inputs": STRINGS}
    signature = Signature(taken, dict.fromkeys(outputs, FLOATS), PREDICT_METHOD)
    return Inference(M1, {"serving_default": signature}, InferenceTask(method))


def result(made: Inference, count: int, **arrays: Any) -> Any:
    return made.result({name: np.asarray(array) for name, array in arrays.items()}, count)


def test_labels_and_scores_are_paired_for_each_example() -> None:
    made = inference(CLASSIFY_METHOD, "scores", "classes")
    assert made.outputs == ("classes", "scores")
    assert result(made, 2, classes=LABELS, scores=SCORES) == [
        [("cat", 0.75), ("dog", 0.25)],
        [("dog", 0.5), ("cat", 0.5)],
    ]


def test_without_labels_they_are_empty() -> None:
    made = inference(CLASSIFY_METHOD, "scores")
    assert result(made, 2, scores=SCORES) == [[("", 0.75), ("", 0.25)], [("", 0.5), ("", 0.5)]]


def test_without_scores_they_are_zero() -> None:
    made = inference(CLASSIFY_METHOD, "classes")
    assert result(made, 1, classes=LABELS[:1]) == [[("cat", 0.0), ("dog", 0.0)]]


def test_a_label_that_is_no_text_is_readable_all_the_same() -> None:
    made = inference(CLASSIFY_METHOD, "classes")
    labels = np.array([["ä".encode(), b"\xff"]], object)
    assert result(made, 1, classes=labels) == [[("ä", 0.0), ("\\xff", 0.0)]]


@pytest.mark.parametrize("shape", [(3,), (3, 1)])
def test_a_regression_gives_a_float_for_each_example(shape: tuple[int, ...]) -> None:
    made = inference(REGRESS_METHOD, "outputs")
    numbers = result(made, 3, outputs=np.arange(3, dtype=np.float32).reshape(shape))
    assert numbers == [0.0, 1.0, 2.0]
    assert {type(number) for number in numbers} == {float}


@pytest.mark.parametrize(
    ("arrays", "problem"),
    [
        ({"classes": LABELS[0]}, "'classes' as (2) where shape (2, classes)"),
        ({"classes": SCORES}, "'classes' as float32 where string"),
        ({"scores": SCORES.astype(float)}, "'scores' as float64 where float32"),
        ({"scores": SCORES[:1]}, "'scores' as (1, 2) where shape (2, classes)"),
        ({"classes": LABELS, "scores": SCORES[:, :1]}, "gave (2, 2) labels and (2, 1) scores"),
    ],
)
def test_what_is_no_classification_is_told(arrays: dict[str, Any], problem: str) -> None:
    made = inference(CLASSIFY_METHOD, *arrays)
    with pytest.raises(InvalidArgumentError) as refused:
        result(made, 2, **arrays)
    assert str(refused.value).startswith("m:1, signature 'serving_default': the model gave ")
    assert problem in str(refused.value)


@pytest.mark.parametrize(
    ("array", "problem"),
    [
        (np.zeros((2, 2), np.float32), "as (2, 2) where shape (2) or (2, 1)"),
        (np.zeros(3, np.float32), "as (3) where"),
        (np.zeros(2), "as float64 where float32"),
    ],
)
def test_what_is_no_regression_is_told(array: Any, problem: str) -> None:
    with pytest.raises(InvalidArgumentError) as refused:
        result(inference(REGRESS_METHOD, "outputs"), 2, outputs=array)
    assert f"the model gave 'outputs' {problem}" in str(refused.value)


def two_inputs() -> dict[str, TensorSpec]:
    return {"inputs": STRINGS, "more": STRINGS}


@pytest.mark.parametrize(
    ("method", "outputs", "inputs", "error", "problem"),
    [
        (CLASSIFY_METHOD, ["classes"], two_inputs(), InvalidArgumentError, "has 2 inputs"),
        (REGRESS_METHOD, ["outputs"], {"x": STRINGS}, FailedPreconditionError, "no input 'inputs'"),
        (REGRESS_METHOD, ["outputs"], {"inputs": FLOATS}, InvalidArgumentError, "takes float32"),
        (CLASSIFY_METHOD, list("abc"), {}, InvalidArgumentError, "has 3 outputs where 2"),
        (CLASSIFY_METHOD, [], {}, InvalidArgumentError, "has 0 outputs"),
        (CLASSIFY_METHOD, ["y"], {}, FailedPreconditionError, "neither 'classes' nor 'scores'"),
        (REGRESS_METHOD, ["outputs", "y"], {}, InvalidArgumentError, "has 2 outputs where 1"),
        (REGRESS_METHOD, ["y"], {}, FailedPreconditionError, "no output 'outputs', it has: 'y'"),
        (PREDICT_METHOD, ["y"], {}, UnimplementedError, "no inference is called 'tensorflow/ser"),
    ],
)
def test_a_signature_that_does_not_fit_the_method_is_refused_before_it_is_run(
    method: str,
    outputs: list[str],
    inputs: dict[str, TensorSpec],
    error: type[ServmanError],
    problem: str,
) -> None:
    with pytest.raises(error) as refused:
        inference(method, *outputs, **inputs)
    assert str(refused.value).startswith("m:1, signature 'serving_default'")
    assert problem in str(refused.value)


@pytest.mark.parametrize("method", [CLASSIFY_METHOD, REGRESS_METHOD, "unknown"])
def test_a_signature_that_there_is_not_is_an_invalid_argument(method: str) -> None:
    with pytest.raises(InvalidArgumentError, match=r"^m:1 has no signature 'train', .* 'embed'$"):
        Inference(M1, {"embed": Signature({}, {})}, InferenceTask(method, "train"))


@pytest.mark.parametrize("names", [(["train"],), (CLASSIFY_METHOD, None)])
def test_the_names_of_a_task_are_texts(names: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="signature_name are texts, and not "):
        InferenceTask(*names)


def test_examples_are_bytes_or_messages() -> None:
    class Message:
        def SerializeToString(self) -> bytes:  # noqa: N802 -- as protobuf spells it
            return b"message\0"

    array = serialised("m:1", (one for one in (b"bytes\0", Message())))
    assert array.dtype == object
    assert array.tolist() == [b"bytes\0", b"message\0"]


@pytest.mark.parametrize(
    ("examples", "problem"),
    [
        ([], "examples is empty; pass at least one"),
        (b"example", "a collection .* of type bytes; pass a list"),
        ("example", "a collection .* of type str; pass a list"),
        (3, "a collection .* of type int; pass a list"),
        (np.array(b"example"), "a collection .* of type ndarray; pass a list"),
        (["text"], "or its bytes, not an object of type str"),
        ([b"", None], "or its bytes, not an object of type NoneType"),
    ],
)
def test_what_are_no_examples_is_refused(examples: object, problem: str) -> None:
    with pytest.raises(InvalidArgumentError, match=f"^m:1: .*{problem}$"):
        serialised("m:1", examples)


def test_a_message_that_cannot_be_serialised_is_refused() -> None:
    class Unfinished:
        def SerializeToString(self) -> bytes:  # noqa: N802 -- as protobuf spells it
            raise ValueError("x is missing")

    with pytest.raises(InvalidArgumentError, match=r"^m:1: an example cannot be .*: x is missing$"):
        serialised("m:1", [b"", Unfinished()])


def test_a_signature_is_called_once_at_most() -> None:
    tasks = [InferenceTask(CLASSIFY_METHOD, "a"), InferenceTask(REGRESS_METHOD, "a")]
    with pytest.raises(InvalidArgumentError, match="m:1: signature 'a' is asked for twice"):
        check_tasks(M1, tasks)


ONE_TASK = InferenceTask(CLASSIFY_METHOD)


@pytest.mark.parametrize("tasks", [[], None, ["serving_default"], ONE_TASK, iter([ONE_TASK]), 3])
def test_there_is_a_task_at_least(tasks: Any) -> None:
    check_tasks(M1, [ONE_TASK])  # which is enough
    with pytest.raises(InvalidArgumentError, match="m:1: tasks is a list of at least one"):
        check_tasks(M1, tasks)
