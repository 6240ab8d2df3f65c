"""Classification and regression of serialised examples, with models that say what they are and others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from servman.adapters.signatures import (
    CLASSIFY_METHOD,
    PREDICT_METHOD,
    REGRESS_METHOD,
    InferenceTask,
)
from servman.errors import FailedPreconditionError, InvalidArgumentError, UnimplementedError
from tests.integration.saved_models import loaded

pytestmark = [pytest.mark.tensorflow, pytest.mark.timeout(120)]

CLASSES = [[("low", 1.0), ("high", 2.0)], [("low", 3.0), ("high", 6.0)]]
"""What both models say of x = 1 and x = 3."""


@pytest.fixture(scope="module")
def tf() -> Any:
    return pytest.importorskip("tensorflow")


@pytest.fixture(scope="module")
def examples(tf: Any) -> list[Any]:
    def example(x: float) -> Any:
        value = tf.train.Feature(float_list=tf.train.FloatList(value=[x]))
        return tf.train.Example(features=tf.train.Features(feature={"x": value}))

    return [example(1.0), example(3.0).SerializeToString()]


def parsed(tf: Any, serialised: Any) -> Any:
    features = {"x": tf.io.FixedLenFeature([1], tf.float32)}
    return tf.io.parse_example(serialised, features)["x"]


def labels(tf: Any, x: Any) -> Any:
    return tf.tile([["low", "high"]], [tf.shape(x)[0], 1])


@pytest.fixture(scope="module")
def v1_model(tf: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Signatures of TensorFlow 1, which name their methods and share one input."""
    v1 = tf.compat.v1
    path = tmp_path_factory.mktemp("v1") / "1"
    with v1.Session(graph=tf.Graph()) as session:
        inputs = v1.placeholder(tf.string, [None])
        x = parsed(tf, inputs)
        info = v1.saved_model.build_tensor_info
        build = v1.saved_model.build_signature_def
        takes = {"inputs": info(inputs)}
        scores = {"classes": info(labels(tf, x)), "scores": info(x * [[1.0, 2.0]])}
        signatures = {
            "serving_default": build(takes, scores, CLASSIFY_METHOD),
            "half": build(takes, {"outputs": info(x / 2.0)}, REGRESS_METHOD),
            "double": build(takes, {"outputs": info(tf.squeeze(x * 2.0, 1))}, REGRESS_METHOD),
            "short": build(takes, {"outputs": info(x[:1])}, REGRESS_METHOD),
        }
        builder = v1.saved_model.Builder(str(path))
        builder.add_meta_graph_and_variables(session, ["serve"], signatures)
        builder.save()
    return path


@pytest.fixture(scope="module")
def v2_model(tf: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Signatures of TensorFlow 2: every one is called a prediction, and has an input of its own."""
    module = tf.Module()
    takes = [tf.TensorSpec([None], tf.string, name="inputs")]

    def classify(inputs: Any) -> Any:
        x = parsed(tf, inputs)
        return {"classes": labels(tf, x), "scores": x * [[1.0, 2.0]]}

    def half(inputs: Any) -> Any:
        return {"outputs": parsed(tf, inputs) / 2.0}

    plain_takes = [tf.TensorSpec([None], tf.float32, name="inputs")]

    def plain(inputs: Any) -> Any:
        return {"outputs": inputs}

    path = tmp_path_factory.mktemp("v2") / "1"
    signatures = {
        "serving_default": tf.function(classify, input_signature=takes),
        "half": tf.function(half, input_signature=takes),
        "plain": tf.function(plain, input_signature=plain_takes),
    }
    tf.saved_model.save(module, str(path), signatures=signatures)
    return path


@pytest.fixture(scope="module", params=["v1_model", "v2_model"])
def model(request: pytest.FixtureRequest) -> Iterator[Any]:
    with loaded(request.getfixturevalue(request.param)) as servable:
        yield servable


def test_examples_are_classified(model: Any, examples: list[Any]) -> None:
    assert model.classify(examples) == CLASSES


def test_examples_are_regressed(model: Any, examples: list[Any]) -> None:
    assert model.regress(iter(examples), "half") == [0.5, 1.5]


def test_several_inferences_come_in_the_order_of_their_tasks(
    model: Any, examples: list[Any]
) -> None:
    tasks = [InferenceTask(REGRESS_METHOD, "half"), InferenceTask(CLASSIFY_METHOD)]
    for _ in range(2):  # the second time it is prepared
        assert model.multi_inference(tasks, examples) == [[0.5, 1.5], CLASSES]
    assert model.multi_inference(tasks[::-1], examples) == [CLASSES, [0.5, 1.5]]


def test_the_same_signature_is_predicted_with_as_well(model: Any, examples: list[Any]) -> None:
    answer = model.predict([examples[1]], "half")
    assert answer["outputs"].tolist() == [[1.5]]


def test_an_example_that_cannot_be_parsed_is_an_invalid_argument(model: Any) -> None:
    with pytest.raises(
        InvalidArgumentError,
        match=r"m:1, signature 'half': the model failed: .*Could not parse .*\\xff gar",
    ):
        model.regress([b"\xff garbage"], "half")


def test_an_input_that_the_error_quotes_does_not_hide_the_error(model: Any) -> None:
    with pytest.raises(InvalidArgumentError) as refused:
        model.regress([b"gar\nbage\n\x1b[2J"], "half")
    assert "the model failed: " in str(refused.value)
    assert "Could not parse example input, value: 'gar bage [2J'" in str(refused.value)


def test_a_flat_regression_is_read(v1_model: Path, examples: list[Any]) -> None:
    with loaded(v1_model) as model:
        assert model.regress(examples, "double") == [2.0, 6.0]


def test_too_few_numbers_are_told(v1_model: Path, examples: list[Any]) -> None:
    with (
        loaded(v1_model) as model,
        pytest.raises(InvalidArgumentError, match=r"gave 'outputs' as \(1, 1\) where shape \(2\)"),
    ):
        model.regress(examples, "short")


def test_a_signature_that_takes_no_examples_is_not_run(v2_model: Path, examples: list[Any]) -> None:
    with (
        loaded(v2_model) as model,
        pytest.raises(InvalidArgumentError, match=r"'inputs' takes float32 .* call predict"),
    ):
        model.regress(examples, "plain")


def test_what_cannot_be_inferred_is_refused(model: Any, examples: list[Any]) -> None:
    with pytest.raises(InvalidArgumentError, match="m:1 has no signature 'train'"):
        model.classify(examples, "train")
    with pytest.raises(FailedPreconditionError, match="neither 'classes' nor 'scores'"):
        model.classify(examples, "half")
    with pytest.raises(InvalidArgumentError, match="m:1: examples is empty"):
        model.classify([])
    with pytest.raises(UnimplementedError, match=PREDICT_METHOD):
        model.multi_inference([InferenceTask(PREDICT_METHOD)], examples)
    twice = [InferenceTask(REGRESS_METHOD, "half")] * 2
    with pytest.raises(InvalidArgumentError, match="'half' is asked for twice"):
        model.multi_inference(twice, examples)


def test_an_unloaded_model_infers_no_more(v1_model: Path, examples: list[Any]) -> None:
    with loaded(v1_model) as model:
        pass
    with pytest.raises(FailedPreconditionError, match="m:1 was unloaded"):
        model.classify(examples)
