"""The warm-up of a SavedModel, with a file that TensorFlow itself has written."""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import Any

import pytest

from servman.adapters.saved_model import SavedModelLoader
from servman.adapters.signatures import CLASSIFY_METHOD, PREDICT_METHOD, REGRESS_METHOD
from servman.adapters.tensor_proto import as_array
from servman.adapters.tf_record import read_records, write_record
from servman.adapters.warm_up import WARM_UP_FILE, WarmUp
from servman.errors import InvalidArgumentError
from servman.ids import ServableId
from servman.loader import LoadContext
from servman.protos import message_class
from tests.unit.adapters.warm_up_rig import GOLDEN, predict_log

pytestmark = [pytest.mark.tensorflow, pytest.mark.timeout(120)]

M1 = ServableId("m", 1)


@pytest.fixture(scope="module")
def tf() -> Any:
    return pytest.importorskip("tensorflow")


@pytest.fixture(scope="module")
def saved(tf: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with signatures of each kind, which counts its runs."""
    v1 = tf.compat.v1
    path = tmp_path_factory.mktemp("counting") / "1"
    info, build = v1.saved_model.build_tensor_info, v1.saved_model.build_signature_def
    with v1.Session(graph=tf.Graph()) as session:
        runs = v1.get_variable("runs", initializer=0, use_resource=True)
        x = v1.placeholder(tf.float32, [None])
        examples = v1.placeholder(tf.string, [None])
        with v1.control_dependencies([runs.assign_add(1)]):
            half = x / 2.0 + 2.0
            features = {"x": tf.io.FixedLenFeature([1], tf.float32)}
            score = tf.io.parse_example(examples, features)["x"] * 1.0
        takes, gives = {"inputs": info(examples)}, info(score)
        signatures = {
            "serving_default": build({"x": info(x)}, {"y": info(half)}, PREDICT_METHOD),
            "labels": build(takes, {"scores": gives}, CLASSIFY_METHOD),
            "numbers": build(takes, {"outputs": gives}, REGRESS_METHOD),
            "runs": build({}, {"runs": info(runs.read_value())}, PREDICT_METHOD),
        }
        session.run(v1.global_variables_initializer())
        builder = v1.saved_model.Builder(str(path))
        builder.add_meta_graph_and_variables(session, ["serve"], signatures)
        builder.save()
    return path


@pytest.fixture
def version(saved: Path, tmp_path: Path) -> Path:
    path = Path(shutil.copytree(saved, tmp_path / "1"))
    (path / WARM_UP_FILE).parent.mkdir()
    return path


def write(version: Path, *records: bytes) -> None:
    with (version / WARM_UP_FILE).open("wb") as file:
        for record in records:
            write_record(file, record)


def runs(version: Path, warm_up: WarmUp | None) -> int:
    """Load the version; return how often it was run before it was asked for that."""
    loader = SavedModelLoader(M1, str(version), warm_up=warm_up)
    servable: Any = loader.load(LoadContext(M1))
    try:
        return int(servable.predict({}, "runs")["runs"])
    finally:
        loader.unload(servable)


def test_a_saved_model_answers_every_kind_of_request_in_the_file(version: Path) -> None:
    write(version, *list(read_records(io.BytesIO(GOLDEN)))[:4])
    once = runs(version, WarmUp())
    assert once >= 4
    assert runs(version, WarmUp(iterations=3, num_threads=2)) == 3 * once
    assert runs(version, None) == 0


def test_a_request_that_the_model_refuses_fails_the_load(version: Path) -> None:
    log = predict_log(1.0)
    log.predict_log.request.inputs["z"].CopyFrom(log.predict_log.request.inputs["x"])
    write(version, predict_log(1.0).SerializeToString(), log.SerializeToString())
    with pytest.raises(
        InvalidArgumentError, match=r"m:1: request 2 of 2 in .* failed: m:1.* unknown 'z'"
    ):
        runs(version, WarmUp())


@pytest.mark.parametrize(
    "name",
    [
        *("float16", "float32", "float64", "bfloat16", "int8", "int16", "int32", "int64"),
        *(
            "uint8",
            "uint16",
            "uint32",
            "uint64",
            "bool",
            "complex64",
            "complex128",
            "int4",
            "uint4",
        ),
        *("float8_e5m2", "float8_e4m3fn"),
    ],
)
def test_a_tensor_becomes_the_array_that_tensorflow_makes_of_it(name: str, tf: Any) -> None:
    dtype = tf.dtypes.as_dtype(name).as_numpy_dtype
    for values in ([1, 0, 1], [1], [[0, 1]]):
        theirs = tf.make_tensor_proto(pytest.importorskip("numpy").array(values).astype(dtype))
        ours = message_class("tensorflow.TensorProto").FromString(theirs.SerializeToString())
        made, wanted = as_array("input 'x'", ours), tf.make_ndarray(theirs)
        assert (made.dtype, made.shape) == (wanted.dtype, wanted.shape)
        assert made.tolist() == wanted.tolist()


def test_strings_become_the_array_that_tensorflow_makes_of_them(tf: Any) -> None:
    theirs = tf.make_tensor_proto([["a", "b"], ["c", "d"]])
    ours = message_class("tensorflow.TensorProto").FromString(theirs.SerializeToString())
    assert as_array("input 'x'", ours).tolist() == tf.make_ndarray(theirs).tolist()
