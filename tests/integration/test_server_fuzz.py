"""Whatever is sent, the server lives, and says whose fault it is: never INTERNAL, never UNKNOWN."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import grpc
import pytest
from google.protobuf.descriptor import FieldDescriptor
from hypothesis import given, settings
from hypothesis import strategies as st

from servman.adapters.signatures import CLASSIFY_METHOD, PREDICT_METHOD, REGRESS_METHOD
from servman.protos import POOL, message_class
from servman.sources import All
from servman.testing.clock import WATCHDOG
from tests.integration.saved_models import save_with_tensorflow_1
from tests.integration.served import DOUBLE, MODEL, PREDICTION, SERVABLES, Served, predict_request

pytestmark = pytest.mark.timeout(120)

METHODS: Final = [
    f"{service}/{method}"
    for service, methods in {
        PREDICTION: ("Predict", "Classify", "Regress", "MultiInference", "GetModelMetadata"),
        MODEL: ("GetModelStatus", "HandleReloadConfigRequest"),
        SERVABLES: ("WaitUntil", "GetStatus", "Explain", "GetHistory", "GetConfig", "Plan", "ReloadConfig"),
    }.items()
    for method in methods
]  # fmt: skip

OUR_FAULT: Final = (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Served]:
    served = Served(tmp_path)
    strings = DOUBLE.replace('np.dtype("float32")', "None").replace(
        'inputs["x"] * 2 + self.version', 'inputs["x"]'
    )
    served.publish("m", 1)
    served.publish("s", 1, strings)
    model = served.model(version_policy=All(), version_labels={"stable": 1})
    with served.open(model, served.model("s"), reload_timeout=0.05):
        served.core.wait_until_available(timeout=WATCHDOG)
        yield served


def send(served: Served, method: str, data: bytes) -> None:
    stub = served.unary(method)
    call = stub.future(data, timeout=0.2)
    assert call.code() not in OUR_FAULT, (method, data, call.details())


@pytest.mark.parametrize("method", METHODS)
def test_any_bytes_may_come(method: str, running: Served) -> None:
    @settings(max_examples=60)
    @given(st.binary(max_size=200))
    def run(data: bytes) -> None:
        send(running, method, data)

    run()
    assert running.core.live


NUMBERS: Final = st.one_of(st.integers(-3, 10), st.integers(-(2**31), 2**31 - 1))
SCALARS: Final[dict[int, st.SearchStrategy[Any]]] = {
    FieldDescriptor.TYPE_BOOL: st.booleans(),
    FieldDescriptor.TYPE_BYTES: st.binary(max_size=24),
    FieldDescriptor.TYPE_STRING: st.sampled_from(["", "m", "s", "x", "y", "stable", "m:1", "ü\0"]),
    FieldDescriptor.TYPE_FLOAT: st.floats(width=32),
    FieldDescriptor.TYPE_DOUBLE: st.floats(),
    FieldDescriptor.TYPE_ENUM: st.integers(0, 34),
    FieldDescriptor.TYPE_INT32: NUMBERS,
    FieldDescriptor.TYPE_INT64: st.one_of(NUMBERS, st.integers(-(2**63), 2**63 - 1)),
    FieldDescriptor.TYPE_UINT32: st.integers(0, 2**32 - 1),
    FieldDescriptor.TYPE_UINT64: st.integers(0, 2**64 - 1),
}


def fill(message: Any, draw: Any, depth: int = 0) -> Any:
    """Fill some fields of *message* with what may be there."""
    for field in message.DESCRIPTOR.fields:
        if depth > 5 or not draw(st.integers(0, 3)):
            continue
        is_map = field.message_type and field.message_type.GetOptions().map_entry
        if is_map:
            fill_map(getattr(message, field.name), field.message_type, draw, depth)
        elif field.is_repeated and field.message_type:
            for _ in range(draw(st.integers(0, 3))):
                fill(getattr(message, field.name).add(), draw, depth + 1)
        elif field.is_repeated:
            values = draw(st.lists(SCALARS[field.type], max_size=5))
            getattr(message, field.name).extend(values)
        elif field.message_type:
            fill(getattr(message, field.name), draw, depth + 1)
            getattr(message, field.name).SetInParent()
        else:
            setattr(message, field.name, draw(SCALARS[field.type]))
    return message


def fill_map(entries: Any, kind: Any, draw: Any, depth: int) -> None:
    value = kind.fields_by_name["value"]
    for key in draw(st.lists(SCALARS[FieldDescriptor.TYPE_STRING], max_size=2)):
        if value.message_type:
            fill(entries[key], draw, depth + 1)
        else:
            entries[key] = draw(SCALARS[value.type])


@pytest.mark.parametrize("method", METHODS)
def test_any_message_may_come(method: str, running: Served) -> None:
    kind = message_class(POOL.FindMethodByName(method.replace("/", ".")).input_type.full_name)

    @settings(max_examples=60)
    @given(st.data())
    def run(data: Any) -> None:
        message = fill(kind(), data.draw)
        if method in (f"{MODEL}/HandleReloadConfigRequest", f"{SERVABLES}/ReloadConfig"):
            message.config.Clear()  # what is configured has to stay there
        send(running, method, message.SerializeToString())

    run()
    assert running.core.live


@pytest.mark.parametrize("name", ["m", "s"])
def test_any_tensor_may_come(name: str, running: Served) -> None:
    @settings(max_examples=300)
    @given(st.data())
    def run(data: Any) -> None:
        request = message_class("tensorflow.serving.PredictRequest")()
        request.model_spec.name = name
        tensor = fill(request.inputs["x"], data.draw)
        if data.draw(st.booleans()):  # as it should be, nearly
            tensor.dtype = 1 if name == "m" else 7
            del tensor.tensor_shape.dim[1:]
        send(running, f"{PREDICTION}/Predict", request.SerializeToString())

    run()
    assert running.ask() == 3.0


# ---- a SavedModel --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server of a SavedModel with a signature of each kind."""
    tf = pytest.importorskip("tensorflow")
    folder = tmp_path_factory.mktemp("saved")
    save_with_tensorflow_1(tf, folder / "m" / "1")
    served = Served(folder)
    with served.open(served.model(platform="tensorflow"), num_threads=1):  # that no test starts one
        served.core.wait_until_available(timeout=WATCHDOG * 3)
        yield served


SIGNATURES: Final = st.sampled_from(["", "serving_default", "classify", "regress", "no"])
TASKS: Final = st.sampled_from([CLASSIFY_METHOD, REGRESS_METHOD, PREDICT_METHOD, ""])


def address(request: Any, draw: Any) -> None:
    """Have *request* mean the model that there is, and one of its signatures."""
    tasks = getattr(request, "tasks", None)
    for task in tasks or ():
        task.method_name = draw(TASKS)
    specs = [request.model_spec] if tasks is None else [task.model_spec for task in tasks]
    for spec in specs:
        spec.Clear()
        spec.name, spec.signature_name = "m", draw(SIGNATURES)


@pytest.mark.tensorflow
@pytest.mark.parametrize("method", ["Predict", "Classify", "Regress", "MultiInference", "GetModelMetadata"])  # fmt: skip
def test_any_message_may_come_to_a_saved_model(method: str, saved: Served) -> None:
    path = f"{PREDICTION}/{method}"
    kind = message_class(POOL.FindMethodByName(path.replace("/", ".")).input_type.full_name)

    @settings(max_examples=60)
    @given(st.data())
    def run(data: Any) -> None:
        request = fill(kind(), data.draw)
        if data.draw(st.integers(0, 3)):
            address(request, data.draw)
        send(saved, path, request.SerializeToString())

    run()
    assert half_plus_two(saved) == 2.5


@pytest.mark.tensorflow
def test_any_tensor_may_come_to_a_saved_model(saved: Served) -> None:
    @settings(max_examples=100)
    @given(st.data())
    def run(data: Any) -> None:
        request = message_class("tensorflow.serving.PredictRequest")()
        address(request, data.draw)
        strings = request.model_spec.signature_name in ("classify", "regress")
        tensor = fill(request.inputs["inputs" if strings else "x"], data.draw)
        if data.draw(st.booleans()):  # as it should be, nearly
            tensor.dtype = 7 if strings else 1
            del tensor.tensor_shape.dim[1:]
        send(saved, f"{PREDICTION}/Predict", request.SerializeToString())

    run()
    assert half_plus_two(saved) == 2.5


@pytest.mark.tensorflow
@pytest.mark.parametrize("method", ["Classify", "Regress", "MultiInference"])
def test_any_examples_may_come_to_a_saved_model(method: str, saved: Served) -> None:
    path = f"{PREDICTION}/{method}"
    kind = message_class(POOL.FindMethodByName(path.replace("/", ".")).input_type.full_name)

    @settings(max_examples=60)
    @given(st.data())
    def run(data: Any) -> None:
        request = kind()
        if method == "MultiInference":
            for _ in range(data.draw(st.integers(1, 3))):
                request.tasks.add()
        address(request, data.draw)
        entries = request.input.example_list
        if data.draw(st.booleans()):
            entries = request.input.example_list_with_context
            fill(entries.context, data.draw)
        for _ in range(data.draw(st.integers(0, 3))):
            feature = entries.examples.add().features.feature["x"]
            if data.draw(st.booleans()):
                feature.float_list.value.append(data.draw(st.floats(width=32)))
            else:
                fill(feature, data.draw)
        send(saved, path, request.SerializeToString())

    run()
    assert half_plus_two(saved) == 2.5


def half_plus_two(served: Served) -> float:
    response = served.call(f"{PREDICTION}/Predict", predict_request(x=[1.0]))
    return float(response.outputs["y"].float_val[0])
