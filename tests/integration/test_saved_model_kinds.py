"""SavedModels of every origin: what TensorFlow's builders write, servman loads and calls."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest

from servman.adapters import SavedModelAdapter, SavedModelMetadata
from servman.adapters.saved_model import SavedModelLoader
from servman.adapters.session_options import SessionOptions
from servman.data import ServableData
from servman.errors import FailedPreconditionError, InvalidArgumentError
from servman.loader import LoadContext
from tests.integration.saved_models import (
    CONTEXT,
    M1,
    load_error,
    loaded,
    save_with_everything,
    words,
)

pytestmark = [pytest.mark.tensorflow, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def tf() -> Any:
    return pytest.importorskip("tensorflow")


@pytest.fixture(scope="module")
def everything(tf: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_with_everything(tmp_path_factory.mktemp("everything"))


@pytest.fixture(scope="module")
def module_model(tf: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tf.Module with a table of an asset, and a signature whose inputs have defaults."""
    folder = tmp_path_factory.mktemp("module")
    module = tf.Module()
    rows = tf.lookup.TextFileInitializer(
        words(folder / "words.txt"), tf.string, tf.lookup.TextFileIndex.WHOLE_LINE,
        tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER,
    )  # fmt: skip
    module.table = tf.lookup.StaticHashTable(rows, -1)
    module.offset = tf.Variable(1.0)

    look_up_takes = [tf.TensorSpec([None, 2], tf.string, name="words")]

    def look_up(words: Any) -> Any:
        return {"places": module.table.lookup(words)}

    scale_takes = [
        tf.TensorSpec([None], tf.float32, name="x"),
        tf.TensorSpec([], tf.float32, name="factor"),
        tf.TensorSpec([], tf.string, name="unit"),
    ]
    defaults = tf.constant(2.0), tf.constant(b"m")

    def scale(x: Any, factor: Any = defaults[0], unit: Any = defaults[1]) -> Any:
        return {"y": x * factor + module.offset, "unit": unit}

    path = folder / "1"
    signatures = {
        "look_up": tf.function(look_up, input_signature=look_up_takes),
        "scale": tf.function(scale, input_signature=scale_takes),
    }
    tf.saved_model.save(module, str(path), signatures=signatures)
    return path


def test_a_table_of_an_asset_is_initialised(module_model: Path) -> None:
    with loaded(module_model) as model:
        answer = model.predict([["a", "b"], ["c", "a"]], "look_up")
    assert answer["places"].tolist() == [[0, 1], [-1, 0]]


def test_inputs_that_have_defaults_may_be_left_out(module_model: Path) -> None:
    with loaded(module_model) as model:
        assert sorted(model.signatures["scale"].defaults) == ["factor", "unit"]
        bare = model.predict([1.0, 2.0], "scale")
        given = model.predict({"x": [1.0], "factor": 5.0, "unit": "km"}, "scale")
    assert (bare["y"].tolist(), bare["unit"][()]) == ([3.0, 5.0], b"m")
    assert (given["y"].tolist(), given["unit"][()]) == ([6.0], b"km")


def test_a_graph_of_tensorflow_1_has_its_asset_its_table_and_its_sliced_variables(
    everything: Path,
) -> None:
    assert len(list(everything.glob("variables/variables.data-*-of-00002"))) == 2
    with loaded(everything) as model:
        answer = model.predict(["b", "a"])
    assert (answer["y"].tolist(), answer["place"].tolist()) == ([5.0, 3.0], [1, 0])


def test_the_tags_choose_among_several_graphs(everything: Path) -> None:
    # The factor is stored once, so that both graphs have that of the first.
    with loaded(everything) as served, loaded(everything, "tpu", "serve") as tagged:
        assert served.metadata.tags == ("serve",)
        assert sorted(tagged.metadata.tags) == ["serve", "tpu"]
        assert tagged.predict(["b"])["y"].tolist() == [5.0]
    told = "no graph with the tags ['gpu'], it has those with: ['serve'], ['serve', 'tpu']"
    error = load_error(everything, "gpu")
    assert isinstance(error, FailedPreconditionError)
    assert told in str(error)


def save_constant(tf: Any, path: Path, *, as_text: bool = False) -> None:
    """A graph of TensorFlow 1 without variables: y = 2 x."""
    v1 = tf.compat.v1
    with v1.Session(graph=tf.Graph()) as session:
        x = v1.placeholder(tf.float32, [None, 3])
        info = v1.saved_model.build_tensor_info
        signature = v1.saved_model.build_signature_def({"x": info(x)}, {"y": info(x * 2.0)})
        builder = v1.saved_model.Builder(str(path))
        builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature})
        builder.save(as_text=as_text)


@pytest.mark.parametrize("as_text", [False, True])
def test_a_graph_without_variables_needs_none(tf: Any, tmp_path: Path, as_text: bool) -> None:
    save_constant(tf, tmp_path / "1", as_text=as_text)
    assert not (tmp_path / "1" / "variables" / "variables.index").exists()
    with loaded(tmp_path / "1") as model:
        assert model.predict([[1.0, 2.0, 3.0]] * 2)["y"].tolist() == [[2.0, 4.0, 6.0]] * 2


@pytest.mark.case("MS-28")
def test_a_model_saved_under_a_distribution_strategy_predicts(tf: Any, tmp_path: Path) -> None:
    with tf.distribute.MirroredStrategy(["/cpu:0"]).scope():
        model = tf.keras.Sequential(
            [tf.keras.Input((2,)), tf.keras.layers.Dense(1, use_bias=False)]
        )
        model.layers[0].set_weights([tf.constant([[0.5], [0.25]]).numpy()])
    model.export(str(tmp_path / "1"), verbose=False)
    with loaded(tmp_path / "1") as servable:
        (output,) = servable.predict([[4.0, 8.0]]).values()
    assert output.tolist() == [[4.0]]


@pytest.mark.case("MM-03")
def test_the_metadata_tells_every_signature_as_it_was_exported(tf: Any, module_model: Path) -> None:
    from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef  # noqa: PLC0415 -- slow

    with loaded(module_model) as model:
        metadata = model.metadata
    assert isinstance(metadata, SavedModelMetadata)
    assert (metadata.id, metadata.path, metadata.tags) == (M1, str(module_model), ("serve",))
    assert metadata.tensorflow_version == tf.__version__
    assert sorted(metadata.signature_defs) == ["__saved_model_init_op", "look_up", "scale"]
    scale = SignatureDef.FromString(metadata.signature_defs["scale"])
    assert sorted(scale.inputs) == ["factor", "unit", "x"]


def test_a_graph_of_tensorflow_1_tells_its_version(tf: Any, everything: Path) -> None:
    with loaded(everything) as model:
        assert model.metadata.tensorflow_version == tf.__version__


@pytest.mark.case("BS-01")
@pytest.mark.departs("BS-01")
def test_a_loader_outlives_its_adapter_and_counts_its_files_anew(tf: Any, tmp_path: Path) -> None:
    path = tmp_path / "1"
    save_constant(tf, path)
    loader = SavedModelAdapter().convert(ServableData(M1, str(path))).payload
    estimate = loader.estimate_resources()
    assert estimate.quantities
    assert loader.estimate_resources() == estimate
    model: Any = loader.load(CONTEXT)
    assert loader.estimate_resources() == estimate
    assert model.predict([[1.0, 2.0, 3.0]])["y"].tolist() == [[2.0, 4.0, 6.0]]
    loader.unload(model)
    (path / "more").write_bytes(b"x" * 1000)
    assert loader.estimate_resources() != estimate


def test_the_options_become_those_of_the_session(tf: Any) -> None:
    from servman.adapters.graph import session_config  # noqa: PLC0415 -- imports TensorFlow

    config = session_config(
        SessionOptions(
            intra_op_parallelism_threads=3,
            inter_op_parallelism_threads=2,
            per_process_gpu_memory_fraction=0.25,
        )
    )
    assert (config.intra_op_parallelism_threads, config.inter_op_parallelism_threads) == (3, 2)
    assert config.gpu_options.per_process_gpu_memory_fraction == 0.25
    assert config.allow_soft_placement


def test_operations_go_to_the_device_unless_the_graph_names_another(everything: Path) -> None:
    options = SessionOptions(device="/cpu:0")
    loader = SavedModelLoader(M1, str(everything), options)
    model: Any = loader.load(CONTEXT)
    devices = {op.name: op.device for op in model._live._session.graph.get_operations()}
    assert devices["word"] == "/device:CPU:0"
    assert devices["factor"] == "/device:CPU:1"
    assert model.predict(["b"])["y"].tolist() == [5.0]
    loader.unload(model)


def test_a_name_that_is_no_device_is_told(everything: Path) -> None:
    loader = SavedModelLoader(M1, str(everything), SessionOptions(device="gpu zero"))
    with pytest.raises(InvalidArgumentError, match="m:1: 'gpu zero' is no name of a device"):
        loader.load(CONTEXT)


def test_a_platform_of_ones_own_loads_with_other_tags(everything: Path) -> None:
    factory = functools.partial(SavedModelAdapter, ("serve", "tpu"))
    loader = factory().convert(ServableData(M1, str(everything))).payload
    model: Any = loader.load(LoadContext(M1))
    assert sorted(model.metadata.tags) == ["serve", "tpu"]
    loader.unload(model)


def runs_on_the_callers_thread(path: Path, options: SessionOptions) -> bool:
    loader = SavedModelLoader(M1, str(path), options)
    model: Any = loader.load(CONTEXT)
    try:
        return bool(model._live._run_options.inter_op_thread_pool < 0)
    finally:
        loader.unload(model)


def test_a_small_graph_runs_on_its_callers_thread_unless_threads_were_asked_for(
    module_model: Path,
) -> None:
    assert runs_on_the_callers_thread(module_model, SessionOptions())
    assert not runs_on_the_callers_thread(
        module_model, SessionOptions(inter_op_parallelism_threads=2)
    )


def test_a_graph_is_small_that_has_few_operations_and_no_loop(tf: Any) -> None:
    from servman.adapters.definitions import is_small  # noqa: PLC0415 -- imports TensorFlow

    def graph_of(function: Any) -> Any:
        takes = [tf.TensorSpec([3], tf.float32)]
        return tf.function(function, input_signature=takes).get_concrete_function().graph

    def twice_and_one(x: Any) -> Any:
        return tf.function(lambda y: y * 2.0)(x) + 1.0

    def many(x: Any) -> Any:
        for _ in range(150):
            x = x + 1.0
        return x

    def loop(x: Any) -> Any:
        return tf.while_loop(lambda y: tf.reduce_sum(y) < 9.0, lambda y: y + 1.0, [x])

    def inner_loop(x: Any) -> Any:
        return tf.function(loop)(x)

    verdicts = [
        is_small(graph_of(one).as_graph_def()) for one in (twice_and_one, many, loop, inner_loop)
    ]
    assert verdicts == [True, False, False, False]
    v1 = tf.compat.v1
    with tf.Graph().as_default() as graph:
        v1.disable_control_flow_v2()
        v1.while_loop(lambda i: i < 9, lambda i: i + 1, [v1.constant(0)])
        v1.enable_control_flow_v2()
    assert not is_small(graph.as_graph_def())
