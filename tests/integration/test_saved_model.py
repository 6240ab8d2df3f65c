"""The platform "tensorflow", on SavedModels that TensorFlow itself has written."""

from __future__ import annotations

import gc
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from servman.adapters import create_adapter
from servman.adapters.saved_model import SavedModelLoader
from servman.adapters.signatures import PREDICT_METHOD, Signature, TensorSpec
from servman.data import ServableData
from servman.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
    LoadCancelledError,
    ResourceExhaustedError,
    ServmanError,
    UnimplementedError,
)
from servman.flow import connect
from servman.loader import LoadContext, Loader
from servman.testing import RecordingTarget, Spawned
from tests.integration.saved_models import CONTEXT, M1, load_error, loader_of

pytestmark = [pytest.mark.tensorflow, pytest.mark.timeout(120)]

Load = Callable[..., Any]


@pytest.fixture(scope="session")
def tf() -> Any:
    return pytest.importorskip("tensorflow")


@pytest.fixture(scope="session")
def np() -> Any:
    return pytest.importorskip("numpy")


@pytest.fixture(scope="session")
def module_model(tf: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tf.Module with y = x . [2, 3] + 1 and signatures of other kinds."""

    def spec(shape: list[int | None], dtype: Any, name: str) -> Any:
        return tf.TensorSpec(shape, dtype, name=name)

    module = tf.Module()
    module.weights = tf.Variable([[2.0], [3.0]])

    linear_takes = [spec([None, 2], tf.float32, "x")]

    def linear(x: Any) -> Any:
        return {"y": tf.matmul(x, module.weights) + 1.0, "count": tf.size(x)}

    shout_takes = [spec([None], tf.string, "text")]

    def shout(text: Any) -> Any:
        return {"loud": tf.strings.upper(text), "first": text[0]}

    scale_takes = [spec([None], tf.float32, "a"), spec([], tf.int32, "times")]

    def scale(a: Any, times: Any) -> Any:
        return {"scaled": a * tf.cast(times, tf.float32)}

    pick_takes = [spec([None], tf.int64, "index")]

    def pick(index: Any) -> Any:
        return {"picked": tf.gather(tf.constant([10.0, 20.0]), index)}

    path = tmp_path_factory.mktemp("module") / "1"
    signatures = {
        "serving_default": tf.function(linear, input_signature=linear_takes),
        "shout": tf.function(shout, input_signature=shout_takes),
        "scale": tf.function(scale, input_signature=scale_takes),
        "pick": tf.function(pick, input_signature=pick_takes),
    }
    tf.saved_model.save(module, str(path), signatures=signatures)
    return path


@pytest.fixture(scope="session")
def keras_model(tf: Any, np: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Keras model with one dense layer: 0.5 a + 0.25 b - 1."""
    model = tf.keras.Sequential([tf.keras.Input((2,), name="features"), tf.keras.layers.Dense(1)])
    model.layers[0].set_weights([np.array([[0.5], [0.25]]), np.array([-1.0])])
    path = tmp_path_factory.mktemp("keras") / "1"
    model.export(str(path), verbose=False)
    return path


@pytest.fixture(scope="session")
def v1_model(tf: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A graph of TensorFlow 1, placed on a GPU, tagged for two uses; y = 2 x, also as `twin`."""
    v1 = tf.compat.v1
    path = tmp_path_factory.mktemp("v1") / "1"
    with v1.Session(graph=tf.Graph()) as session:
        with tf.device("/gpu:0"):
            x = v1.placeholder(tf.float32, [None], name="x")
            y = x * v1.get_variable("factor", initializer=2.0, use_resource=True)
        sparse = v1.sparse_placeholder(tf.float32, [None, 3], name="sparse")
        variant = v1.placeholder(tf.variant, [], name="variant")
        ragged = v1.ragged.placeholder(tf.float32, ragged_rank=1, name="ragged")
        session.run(v1.global_variables_initializer())
        builder = v1.saved_model.Builder(str(path))
        build = v1.saved_model.build_signature_def
        info = v1.saved_model.build_tensor_info
        signatures = {
            "serving_default": build({"x": info(x)}, {"y": info(y), "twin": info(y)}, "v1/method"),
            "sparse": build({"s": info(sparse)}, {"y": info(y)}, PREDICT_METHOD),
            "ragged": build({"r": info(ragged)}, {"y": info(y)}, PREDICT_METHOD),
            "variant": build({"v": info(variant)}, {"y": info(y)}, PREDICT_METHOD),
            "resource": build({"x": info(x)}, {"h": info(y.op.inputs[1].op.inputs[0])}),
        }
        builder.add_meta_graph_and_variables(session, ["serve", "tpu"], signatures)
        builder.save()
    return path


@pytest.fixture
def load() -> Iterator[Load]:
    """Loads what lies at a path; unloads everything at the end."""
    loaded: list[tuple[SavedModelLoader, object]] = []

    def load_one(path: Path, *tags: str) -> Any:
        loader = loader_of(path, *tags)
        servable = loader.load(CONTEXT)
        loaded.append((loader, servable))
        return servable

    yield load_one
    for loader, servable in loaded:
        loader.unload(servable)


@pytest.fixture
def model(load: Load, module_model: Path) -> Any:
    return load(module_model)


@pytest.fixture
def damaged(module_model: Path, tmp_path: Path) -> Path:
    """A copy of the model for a test to damage."""
    return Path(shutil.copytree(module_model, tmp_path / "1"))


@pytest.mark.case("MS-25")
def test_a_model_of_tf_module_predicts_the_expected_numbers(model: Any, np: Any) -> None:
    answer = model.predict({"x": np.array([[1, 1], [2, 0.5]], np.float32)})
    assert answer.keys() == {"y", "count"}
    assert answer["y"].dtype == np.float32
    assert answer["y"].tolist() == [[6.0], [6.5]]
    assert isinstance(answer["count"], np.ndarray)
    assert (answer["count"].shape, answer["count"].item()) == ((), 4)


def test_a_bare_list_is_the_only_input(model: Any) -> None:
    assert model.predict([[1, 1]])["y"].tolist() == [[6.0]]


def test_an_array_that_is_not_contiguous_is_read_right(model: Any, np: Any) -> None:
    given = np.array([[1, 2], [1, 0.5]], np.float32).T
    assert model.predict({"x": given})["y"].tolist() == [[6.0], [6.5]]


def test_the_signatures_tell_names_types_and_shapes(model: Any, np: Any) -> None:
    assert sorted(model.signatures) == ["pick", "scale", "serving_default", "shout"]
    linear = model.signatures["serving_default"]
    assert isinstance(linear, Signature)
    assert linear.method_name == PREDICT_METHOD
    x = linear.inputs["x"]
    assert (x.dtype, x.shape) == (np.dtype(np.float32), (None, 2))
    assert x.name
    assert linear.outputs["count"].shape == ()
    text = model.signatures["shout"].inputs["text"]
    assert text == TensorSpec(None, (None,), text.name)


@pytest.mark.case("MS-27")
def test_another_signature_is_called_by_its_name(model: Any) -> None:
    answer = model.predict({"a": [1.0, 2.0], "times": 3}, "scale")
    assert answer["scaled"].tolist() == [3.0, 6.0]


def test_strings_go_in_and_come_out_as_bytes(model: Any, np: Any) -> None:
    for given in (["abc", b"d"], np.array(["abc", "d"]), np.array([b"abc", b"d"], object)):
        answer = model.predict(given, "shout")
        assert answer["loud"].dtype == object
        assert answer["loud"].tolist() == [b"ABC", b"D"]
        assert isinstance(answer["first"], np.ndarray)
        assert (answer["first"].dtype, answer["first"][()]) == (object, b"abc")


def test_only_the_outputs_of_the_filter_are_computed(model: Any) -> None:
    for _ in range(2):
        assert model.predict([[1, 1]], output_filter=["count"]).keys() == {"count"}
        assert model.predict([[1, 1]], output_filter=[]).keys() == {"count", "y"}


def test_more_filters_than_are_kept_prepared_are_answered_all_the_same(
    model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("servman.adapters.session._MAX_CALLS", 1)
    for _ in range(2):
        assert model.predict([[1, 1]], output_filter=["y"])["y"].tolist() == [[6.0]]
        assert model.predict([[1, 1]], output_filter=["count"])["count"].item() == 2
    assert len(model._live.calls) == 1


@pytest.mark.parametrize(
    ("call", "error", "problem"),
    [
        (({"q": [[1.0, 1.0]]},), InvalidArgumentError, "missing 'x'"),
        (([["a", "b"]],), InvalidArgumentError, "given strings"),
        (([[1.0, 1.0, 1.0]],), InvalidArgumentError, "given shape (1, 3)"),
        (({"a": [1.0], "times": 1.5}, "scale"), InvalidArgumentError, "cannot hold"),
        (([1], "shout"), InvalidArgumentError, "takes string"),
        (([[1, 1]], "serving_default", ["q"]), InvalidArgumentError, "no output 'q'"),
        (([[1, 1]], "train"), FailedPreconditionError, "no signature 'train'"),
        (([[1, 1]], "__saved_model_init_op"), FailedPreconditionError, "no signature"),
    ],
)
def test_what_does_not_fit_the_signature_is_refused_with_the_servable_named(
    model: Any, call: tuple[object, ...], error: type[ServmanError], problem: str
) -> None:
    with pytest.raises(error, match=f"m:1.*{re.escape(problem)}"):
        model.predict(*call)


def test_an_array_of_another_type_is_refused_and_not_cast(model: Any, np: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=r"input 'x' takes float32.*given float64"):
        model.predict({"x": np.ones((1, 2))})


def test_what_the_model_refuses_while_it_runs_is_a_typed_error_of_one_line(model: Any) -> None:
    with pytest.raises(
        InvalidArgumentError, match="m:1, signature 'pick': the model failed: ind"
    ) as failed:
        model.predict([9], "pick")
    assert "\n" not in str(failed.value)
    assert failed.value.__suppress_context__
    assert model.predict([1], "pick")["picked"].tolist() == [20.0]


@pytest.mark.case("MS-26")
def test_a_keras_model_predicts_the_expected_numbers(load: Load, keras_model: Path) -> None:
    model = load(keras_model)
    ((name, output),) = model.predict([[4.0, 8.0], [0.0, 0.0]]).items()
    assert name in model.signatures["serving_default"].outputs
    assert output.tolist() == [[3.0], [-1.0]]


def test_a_graph_of_tensorflow_1_runs_where_there_is_no_gpu(load: Load, v1_model: Path) -> None:
    model = load(v1_model, "serve", "tpu")
    answer = model.predict([1.5])
    assert {name: value.tolist() for name, value in answer.items()} == {"y": [3.0], "twin": [3.0]}
    assert model.signatures["serving_default"].method_name == "v1/method"


@pytest.mark.parametrize(
    ("signature", "tensor", "kind"),
    [
        ("sparse", "s", "float32 of shape (?, 3)"),
        ("ragged", "r", "invalid of shape any"),
        ("variant", "v", "variant of shape ()"),
        ("resource", "h", "resource of shape ()"),
    ],
)
def test_a_signature_of_what_no_array_holds_is_told_and_harms_no_other(
    load: Load, v1_model: Path, signature: str, tensor: str, kind: str
) -> None:
    model = load(v1_model, "tpu", "serve")
    told = f"'{tensor}' is a sparse, composite or opaque tensor ({kind})"
    with pytest.raises(UnimplementedError, match=re.escape(told)):
        model.predict([1.0], signature)
    assert model.predict([1.0])["y"].tolist() == [2.0]


def test_wrong_tags_are_told_with_those_that_there_are(v1_model: Path) -> None:
    error = load_error(v1_model, "serve")
    assert isinstance(error, FailedPreconditionError)
    assert "no graph with the tags ['serve'], it has those with: ['serve', 'tpu']" in str(error)


@pytest.mark.parametrize("content", [b"", b"garbage" * 100, None])
def test_a_damaged_saved_model_pb_is_told(damaged: Path, content: bytes | None) -> None:
    file = damaged / "saved_model.pb"
    file.write_bytes(file.read_bytes()[:-100] if content is None else content)
    assert isinstance(load_error(damaged), FailedPreconditionError)


def test_missing_variables_are_told_with_the_remedy(damaged: Path) -> None:
    shutil.rmtree(damaged / "variables")
    error = load_error(damaged)
    assert isinstance(error, FailedPreconditionError)
    assert "copy the whole version directory again and rename it into place" in str(error)


def test_truncated_variables_are_told(damaged: Path) -> None:
    (data,) = (damaged / "variables").glob("variables.data*")
    data.write_bytes(data.read_bytes()[:-5])
    assert isinstance(load_error(damaged), FailedPreconditionError)


def test_a_load_for_which_there_is_not_enough_memory_says_so(
    module_model: Path, tf: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_out(*_: object) -> None:
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")

    load_error(module_model, "no-such-tag")  # so that the module is imported
    monkeypatch.setattr("servman.adapters.graph.loader_impl.SavedModelLoader", run_out)
    error = load_error(module_model)
    assert isinstance(error, ResourceExhaustedError)
    assert "OOM when allocating tensor" in str(error)


def test_a_repaired_directory_loads_with_the_same_loader(damaged: Path) -> None:
    file = damaged / "saved_model.pb"
    whole = file.read_bytes()
    file.write_bytes(b"")
    loader = SavedModelLoader(M1, str(damaged))
    broken = loader.revision()
    with pytest.raises(FailedPreconditionError):
        loader.load(CONTEXT)
    file.write_bytes(whole)
    assert loader.revision() != broken
    servable: Any = loader.load(CONTEXT)
    assert servable.predict([[1, 1]])["y"].tolist() == [[6.0]]
    loader.unload(servable)


def test_a_load_that_nobody_wants_any_more_does_not_begin(module_model: Path, tf: Any) -> None:
    context = LoadContext(M1)
    context.cancelled.set()
    with pytest.raises(LoadCancelledError, match="m:1"):
        SavedModelLoader(M1, str(module_model)).load(context)


def test_four_threads_predict_at_once_and_each_gets_its_own_answers(model: Any, np: Any) -> None:
    def ask(thread: int) -> None:
        for number in range(100):
            x = np.array([[thread, number]], np.float32)
            answer = model.predict({"x": x}, output_filter=["y"] if number % 2 else None)
            assert answer["y"].item() == 2 * thread + 3 * number + 1

    threads = [Spawned(lambda thread=thread: ask(thread)) for thread in range(4)]  # type: ignore[misc] # bound now
    for thread in threads:
        thread.result()


def test_an_unloaded_servable_says_so(module_model: Path) -> None:
    loader = SavedModelLoader(M1, str(module_model))
    servable: Any = loader.load(CONTEXT)
    loader.unload(servable)
    loader.unload(servable)
    with pytest.raises(FailedPreconditionError, match="m:1 was unloaded; get a handle"):
        servable.predict([[1, 1]])


def test_a_call_that_meets_the_unload_says_so(module_model: Path) -> None:
    loader = SavedModelLoader(M1, str(module_model))
    servable: Any = loader.load(CONTEXT)
    live = servable._live

    class UnloadedMeanwhile:
        calls: dict[object, object] = {}  # noqa: RUF012 -- nothing is prepared yet

        def prepared(self, *arguments: Any) -> Any:
            call = live.prepared(*arguments)
            servable._live = live
            loader.unload(servable)
            return call

    servable._live = UnloadedMeanwhile()
    with pytest.raises(FailedPreconditionError, match="m:1 was unloaded"):
        servable.predict([[1, 1]])


def test_versions_load_side_by_side_on_several_threads(load: Load, module_model: Path) -> None:
    threads = [Spawned(lambda: load(module_model)) for _ in range(4)]
    for thread in threads:
        assert thread.result().predict([[1, 1]])["y"].tolist() == [[6.0]]


def test_two_versions_in_memory_do_not_disturb_each_other(load: Load, module_model: Path) -> None:
    first, second = load(module_model), load(module_model)
    first.close()
    assert second.predict([[1, 1]])["y"].tolist() == [[6.0]]


_LOAD_AND_UNLOAD = """
import pathlib, sys
import servman.adapters.session
from servman.adapters.saved_model import SavedModelLoader
from servman.ids import ServableId
from servman.loader import LoadContext

def resident() -> float:
    return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) / 256

id = ServableId("m", 1)
loader = SavedModelLoader(id, sys.argv[1])
print(resident())
servable = loader.load(LoadContext(id))
servable.predict({})
print(resident())
loader.unload(servable)
print(resident())
"""
"""Prints megabytes: before the load, while it is loaded, and after the unload."""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")
def test_unloading_gives_the_memory_back(tf: Any, tmp_path: Path) -> None:
    megabytes = 64
    module = tf.Module()
    module.weights = weights = tf.Variable(tf.ones([megabytes * 2**18]))
    total = tf.function(lambda: {"n": tf.reduce_sum(weights)}, input_signature=[])
    tf.saved_model.save(module, str(tmp_path), signatures={"serving_default": total})
    # A process of its own: this one has used TensorFlow before, which then keeps its allocator.
    printed = subprocess.run(  # noqa: S603 -- our own interpreter and text
        [sys.executable, "-c", _LOAD_AND_UNLOAD, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
    before, during, after = map(float, printed.split())
    assert during - before > 0.8 * megabytes
    assert after - before < 0.5 * megabytes


_LEAVE_AMID_LOADS = """
import sys
from servman import ModelConfig, ServerConfig, ServerCore, ServerCoreOptions

config = ServerConfig([ModelConfig(f"m{n}", sys.argv[1]) for n in range(20)])
with ServerCore(config, options=ServerCoreOptions(watch=False)) as core:
    core.wait_until_available("m0", timeout=60)
    sys.exit(7)
"""
"""Leaves while most models are loading; without the `with` the interpreter aborts inside one."""


def test_leaving_a_core_while_models_load_ends_the_process_in_order(module_model: Path) -> None:
    ended = subprocess.run(  # noqa: S603 -- our own interpreter and text
        [sys.executable, "-c", _LEAVE_AMID_LOADS, str(module_model.parent)],
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert ended.returncode == 7, ended.stderr


def test_after_the_import_what_tensorflow_made_is_out_of_the_collectors_way(model: Any) -> None:
    assert gc.get_freeze_count() > 100_000


def test_the_registered_platform_loads_what_a_source_emits(module_model: Path) -> None:
    adapter = create_adapter("tensorflow")
    target: RecordingTarget[Loader] = RecordingTarget()
    connect(adapter, target)
    path = str(module_model)
    adapter.set_aspired_versions("m", [ServableData(M1, path, path)])
    ((_, (data,)),) = target.calls
    assert data.origin == path
    servable: Any = data.payload.load(LoadContext(M1, path))
    assert servable.predict([[1, 1]])["y"].tolist() == [[6.0]]
    data.payload.unload(servable)
