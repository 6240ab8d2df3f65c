"""SavedModels for tests, and the loading of them; TensorFlow is imported where it is used."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from servman.adapters.saved_model import SavedModelLoader
from servman.adapters.session_options import SERVING_TAG, SessionOptions
from servman.adapters.signatures import CLASSIFY_METHOD, PREDICT_METHOD, REGRESS_METHOD
from servman.errors import ServmanError
from servman.ids import ServableId
from servman.loader import LoadContext

M1 = ServableId("m", 1)
CONTEXT = LoadContext(M1)


def loader_of(path: Path, *tags: str) -> SavedModelLoader:
    return SavedModelLoader(M1, str(path), SessionOptions(tags=tags or (SERVING_TAG,)))


@contextmanager
def loaded(path: Path, *tags: str) -> Iterator[Any]:
    """What lies at the path, in memory meanwhile."""
    loader = loader_of(path, *tags)
    servable = loader.load(CONTEXT)
    yield servable
    loader.unload(servable)


def load_error(path: Path, *tags: str) -> ServmanError:
    loader = loader_of(path, *tags)
    with pytest.raises(ServmanError) as failed:
        loader.load(CONTEXT)
    assert str(failed.value).startswith("m:1: ")
    assert str(path) in str(failed.value)
    assert "\n" not in str(failed.value)
    assert failed.value.__suppress_context__ or failed.value.__context__ is None
    return failed.value


def words(path: Path) -> str:
    """A vocabulary: "a" is 0, "b" is 1."""
    path.write_text("a\nb\n")
    return str(path)


def save_with_everything(folder: Path) -> Path:
    """A graph of TensorFlow 1 with an asset, a table, variables in slices and in two shards, two tag sets.

    Of "word" it tells the place in the vocabulary times the weights of that place; tagged for "tpu", too,
    it also negates.
    """
    import tensorflow as tf  # noqa: PLC0415 -- slow

    v1 = tf.compat.v1
    path = folder / "1"
    builder = v1.saved_model.Builder(str(path))
    for tags, sign in ((["serve"], 1.0), (["serve", "tpu"], -1.0)):
        config = v1.ConfigProto(device_count={"CPU": 2})
        with v1.Session(graph=tf.Graph(), config=config) as session:
            asset = v1.constant(words(folder / "words.txt"))
            v1.add_to_collection(v1.GraphKeys.ASSET_FILEPATHS, asset)
            assets = v1.get_collection(v1.GraphKeys.ASSET_FILEPATHS)
            rows = tf.lookup.TextFileInitializer(
                asset, tf.string, tf.lookup.TextFileIndex.WHOLE_LINE,
                tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER,
            )  # fmt: skip
            table = tf.lookup.StaticHashTable(rows, -1)
            word = v1.placeholder(tf.string, [None], name="word")
            weights = v1.get_variable(
                "weights", initializer=tf.constant([3.0, 5.0]),
                partitioner=v1.fixed_size_partitioner(2), use_resource=True,
            )  # fmt: skip
            with tf.device("/cpu:1"):
                factor = v1.get_variable("factor", initializer=sign, use_resource=True)
            place = table.lookup(word)
            y = tf.gather(tf.convert_to_tensor(weights), place) * factor
            session.run([v1.global_variables_initializer(), v1.tables_initializer()])
            info = v1.saved_model.build_tensor_info
            signature = v1.saved_model.build_signature_def(
                {"word": info(word)},
                {"y": info(y), "place": info(place)},
                "tensorflow/serving/predict",
            )
            arguments = {
                "signature_def_map": {"serving_default": signature},
                "assets_collection": assets,
                "main_op": v1.tables_initializer(),
                "saver": v1.train.Saver(sharded=True),
            }
            if sign > 0:
                builder.add_meta_graph_and_variables(session, tags, **arguments)
            else:
                builder.add_meta_graph(tags, **arguments)
    builder.save()
    return path


def save_with_tensorflow_1(tf: Any, path: Path) -> None:
    """A signature of each kind, each called what it is."""
    v1 = tf.compat.v1
    with v1.Session(graph=tf.Graph()) as session:
        serialised = v1.placeholder(tf.string, [None])
        x = v1.placeholder(tf.float32, [None])
        info, build = v1.saved_model.build_tensor_info, v1.saved_model.build_signature_def
        takes = {"inputs": info(serialised)}
        scores = {name: info(one) for name, one in _classified(tf, serialised).items()}
        number = {name: info(one) for name, one in _regressed(tf, serialised).items()}
        builder = v1.saved_model.Builder(str(path))
        builder.add_meta_graph_and_variables(
            session,
            ["serve"],
            {
                "serving_default": build({"x": info(x)}, {"y": info(x / 2 + 2)}, PREDICT_METHOD),
                "classify": build(takes, scores, CLASSIFY_METHOD),
                "regress": build(takes, number, REGRESS_METHOD),
            },
        )
        builder.save()


def save_with_tensorflow_2(tf: Any, path: Path) -> None:
    """The same; every one is called a prediction."""
    module = tf.Module()
    strings = tf.TensorSpec([None], tf.string, name="inputs")
    numbers = tf.TensorSpec([None], tf.float32, name="x")
    functions = {
        "serving_default": tf.function(lambda x: {"y": x / 2 + 2}, input_signature=[numbers]),
        "classify": tf.function(lambda inputs: _classified(tf, inputs), input_signature=[strings]),
        "regress": tf.function(lambda inputs: _regressed(tf, inputs), input_signature=[strings]),
    }
    for name, function in functions.items():
        setattr(module, name, function)
    tf.saved_model.save(module, str(path), signatures=functions)


def _parsed(tf: Any, serialised: Any) -> Any:
    return tf.io.parse_example(serialised, {"x": tf.io.FixedLenFeature([1], tf.float32)})["x"]


def _classified(tf: Any, serialised: Any) -> dict[str, Any]:
    x = _parsed(tf, serialised)
    names = tf.tile([["low", "high"]], [tf.shape(x)[0], 1])
    return {"classes": names, "scores": x * [[1.0, 2.0]]}


def _regressed(tf: Any, serialised: Any) -> dict[str, Any]:
    return {"outputs": _parsed(tf, serialised) / 2 + 2}
