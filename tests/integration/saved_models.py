"""SavedModels for tests, and the loading of them; TensorFlow is imported where it is used."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from servman.adapters.saved_model import SavedModelLoader
from servman.adapters.session_options import SERVING_TAG, SessionOptions
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
