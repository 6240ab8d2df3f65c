"""The stubs of tensorflow-serving-api, unchanged, get from the server what TensorFlow Serving gives them.

They register their names in protobuf's default pool, in the process of the server: ours are private.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from servman.adapters.signatures import CLASSIFY_METHOD, PREDICT_METHOD, REGRESS_METHOD
from servman.core import LoggingConfig, ModelConfig, ServerConfig
from servman.sources import All
from servman.testing.clock import WATCHDOG
from tests.integration.saved_models import save_with_tensorflow_1, save_with_tensorflow_2
from tests.integration.served import DOUBLE, Served

pytestmark = [pytest.mark.tensorflow, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def tf() -> Any:
    return pytest.importorskip("tensorflow")


@pytest.fixture(scope="module")
def api(tf: Any) -> Any:
    """All of tensorflow-serving-api that a client imports."""
    from tensorflow_serving import apis  # noqa: PLC0415 -- slow
    from tensorflow_serving.apis import (  # noqa: PLC0415, F401 -- slow; they become its attributes
        classification_pb2,
        get_model_metadata_pb2,
        get_model_status_pb2,
        inference_pb2,
        model_management_pb2,
        model_service_pb2_grpc,
        predict_pb2,
        prediction_service_pb2_grpc,
        regression_pb2,
    )

    return apis


@pytest.fixture(scope="module", params=[save_with_tensorflow_1, save_with_tensorflow_2])
def base_path(
    request: pytest.FixtureRequest, tf: Any, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A model under the number 123."""
    base = tmp_path_factory.mktemp("half_plus_two")
    request.param(tf, base / "123")
    return base


@pytest.fixture
def served(base_path: Path, tmp_path: Path) -> Iterator[Served]:
    made = Served(tmp_path)
    with made.open(ModelConfig("default", str(base_path))):
        made.core.wait_until_available(timeout=WATCHDOG)
        yield made


@pytest.fixture
def stub(served: Served, api: Any) -> Any:
    return api.prediction_service_pb2_grpc.PredictionServiceStub(served.channel)


@pytest.fixture
def management(served: Served, api: Any) -> Any:
    return api.model_service_pb2_grpc.ModelServiceStub(served.channel)


def examples(tf: Any, *numbers: float) -> Any:
    return [
        tf.train.Example(
            features=tf.train.Features(
                feature={"x": tf.train.Feature(float_list=tf.train.FloatList(value=[number]))}
            )
        )
        for number in numbers
    ]


def check_spec(spec: Any, signature: str) -> None:
    assert (spec.name, spec.version.value, spec.signature_name) == ("default", 123, signature)


def ask_for(request: Any, signature: str = "") -> Any:
    request.model_spec.name = "default"
    request.model_spec.signature_name = signature
    return request


@pytest.mark.case("MS-09")
def test_predict(stub: Any, api: Any, tf: Any) -> None:
    request = ask_for(api.predict_pb2.PredictRequest())
    request.inputs["x"].CopyFrom(tf.make_tensor_proto([2.0, 4.0, 5.0], shape=[3]))
    response = stub.Predict(request, timeout=WATCHDOG)
    assert tf.make_ndarray(response.outputs["y"]).tolist() == [3.0, 4.0, 4.5]
    assert list(response.outputs["y"].float_val) == [3.0, 4.0, 4.5]
    check_spec(response.model_spec, "serving_default")


@pytest.mark.case("MS-03")
@pytest.mark.case("MS-04")
def test_classify(stub: Any, api: Any, tf: Any) -> None:
    request = ask_for(api.classification_pb2.ClassificationRequest(), "classify")
    request.input.example_list.examples.extend(examples(tf, 1.0, 3.0))
    response = stub.Classify(request, timeout=WATCHDOG)
    found = [
        [(one.label, one.score) for one in classes.classes]
        for classes in response.result.classifications
    ]
    assert found == [[("low", 1.0), ("high", 2.0)], [("low", 3.0), ("high", 6.0)]]
    check_spec(response.model_spec, "classify")


@pytest.mark.case("MS-05")
@pytest.mark.case("MS-06")
def test_regress(stub: Any, api: Any, tf: Any) -> None:
    request = ask_for(api.regression_pb2.RegressionRequest(), "regress")
    request.input.example_list.examples.extend(examples(tf, 2.0))
    response = stub.Regress(request, timeout=WATCHDOG)
    assert [one.value for one in response.result.regressions] == [3.0]
    check_spec(response.model_spec, "regress")


@pytest.mark.case("MS-07")
@pytest.mark.case("MS-08")
def test_multi_inference(stub: Any, api: Any, tf: Any) -> None:
    request = api.inference_pb2.MultiInferenceRequest()
    request.input.example_list.examples.extend(examples(tf, 2.0))
    for method, signature in ((REGRESS_METHOD, "regress"), (CLASSIFY_METHOD, "classify")):
        ask_for(request.tasks.add(method_name=method), signature)
    response = stub.MultiInference(request, timeout=WATCHDOG)
    regressed, classified = response.results
    assert regressed.regression_result.regressions[0].value == 3.0
    assert classified.classification_result.classifications[0].classes[1].score == 4.0
    check_spec(regressed.model_spec, "regress")
    check_spec(classified.model_spec, "classify")


def test_multi_inference_says_what_is_wrong(stub: Any, api: Any, tf: Any) -> None:
    def error(*tasks: tuple[str, str, str]) -> Any:
        request = api.inference_pb2.MultiInferenceRequest()
        request.input.example_list.examples.extend(examples(tf, 2.0))
        for name, method, signature in tasks:
            ask_for(request.tasks.add(method_name=method), signature).model_spec.name = name
        with pytest.raises(grpc.RpcError) as raised:
            stub.MultiInference(request, timeout=WATCHDOG)
        return raised.value.code()

    task = ("default", REGRESS_METHOD, "regress")
    invalid = grpc.StatusCode.INVALID_ARGUMENT
    assert error() is invalid
    assert error(("", *task[1:])) is invalid
    assert error(task, ("other", CLASSIFY_METHOD, "classify")) is invalid
    assert error(task, task) is invalid
    assert error(("default", REGRESS_METHOD, "no")) is invalid
    assert error(("default", PREDICT_METHOD, "")) is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.case("MS-02")
def test_metadata(stub: Any, api: Any) -> None:
    request = ask_for(api.get_model_metadata_pb2.GetModelMetadataRequest())
    request.metadata_field.append("signature_def")
    response = stub.GetModelMetadata(request, timeout=WATCHDOG)
    found = api.get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(found)
    assert {"serving_default", "classify", "regress"} <= set(found.signature_def)
    assert found.signature_def["serving_default"].inputs["x"].dtype == 1
    assert (response.model_spec.name, response.model_spec.version.value) == ("default", 123)


@pytest.mark.parametrize("fields", [[], ["signature_def", "assets"]])
def test_metadata_of_another_kind_is_refused(fields: list[str], stub: Any, api: Any) -> None:
    request = ask_for(api.get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=fields))
    with pytest.raises(grpc.RpcError) as raised:
        stub.GetModelMetadata(request, timeout=WATCHDOG)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.case("MS-01")
def test_status(management: Any, api: Any) -> None:
    request = ask_for(api.get_model_status_pb2.GetModelStatusRequest())
    response = management.GetModelStatus(request, timeout=WATCHDOG)
    (status,) = response.model_version_status
    assert (status.version, status.state) == (123, 30)
    assert (status.status.error_code, status.status.error_message) == (0, "")


def test_strings_and_every_other_type_come_and_go(
    served: Served, stub: Any, api: Any, tf: Any
) -> None:
    echo = DOUBLE.replace('"float32"', '"{}"').replace(
        'inputs["x"] * 2 + self.version', 'inputs["x"]'
    )
    values: dict[str, Any] = {
        "float64": [0.5, 2.0], "float16": [0.5, 2.0], "int8": [-1, 2], "uint8": [1, 255],
        "int16": [-1, 2], "uint16": [1, 65535], "int32": [-1, 2], "uint32": [1, 2**32 - 1],
        "int64": [-(2**63), 2], "uint64": [1, 2**64 - 1], "bool": [True, False],
        "complex64": [1 + 2j, 3], "complex128": [1 + 2j, 3], "object": [b"a", b"\0\xff"],
    }  # fmt: skip
    for name in values:
        text = echo.replace("{}", name)
        if name == "object":
            text = text.replace('np.dtype("object")', "None")
        served.publish(name, 1, text)
    config = served.core.config
    models = [served.model(name) for name in values]
    served.core.reload_config(ServerConfig([*config.models, *models]), timeout=WATCHDOG)
    for name, value in values.items():
        array = np.array(value, name)
        request = api.predict_pb2.PredictRequest()
        request.model_spec.name = name
        request.inputs["x"].CopyFrom(tf.make_tensor_proto(array))
        answer = tf.make_ndarray(stub.Predict(request, timeout=WATCHDOG).outputs["y"])
        assert answer.dtype == array.dtype
        assert answer.tolist() == array.tolist()


# ---- another configuration ---------------------------------------------------------------------


def reload_request(served: Served, api: Any, *names: str, **fields: Any) -> Any:
    request = api.model_management_pb2.ReloadConfigRequest(metric_names=["/some/metric"])
    for name in names:
        one = request.config.model_config_list.config.add()
        one.name, one.base_path = name, str(served.folder / name)
        one.model_platform = "python"
        one.version_labels.update(fields.get("labels", {}))
    return request


def test_a_reload_serves_what_it_says_and_waits_for_it(
    served: Served, management: Any, api: Any
) -> None:
    served.publish("a", 1)
    request = reload_request(served, api, "a", labels={"stable": 1})
    response = management.HandleReloadConfigRequest(request, timeout=WATCHDOG)
    assert (response.status.error_code, response.status.error_message) == (0, "")
    assert [(one.name, one.int64_value_increase) for one in response.metric] == [
        ("/some/metric", 0)
    ]
    assert served.ask(name="a") == 3.0
    assert served.core.config.origin == "rpc"
    status = api.get_model_status_pb2.GetModelStatusRequest()
    status.model_spec.name, status.model_spec.version_label = "a", "stable"
    (found,) = management.GetModelStatus(status, timeout=WATCHDOG).model_version_status
    assert found.version == 1


def test_a_reload_is_answered_with_the_reasons_before_the_deadline_of_its_caller(
    served: Served, management: Any, api: Any
) -> None:
    request = reload_request(served, api, "missing")
    with pytest.raises(grpc.RpcError) as raised:
        management.HandleReloadConfigRequest(request, timeout=0.5)
    assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert "1 model(s) did not become available: {missing: " in str(raised.value.details())
    assert str(served.folder / "missing") in str(raised.value.details())


def test_a_reload_of_what_fails_says_why(served: Served, management: Any, api: Any) -> None:
    served.publish("bad", 1, "raise OSError('no such device')\n")
    request = reload_request(served, api, "bad")
    request.config.model_config_list.config[0].MergeFromString(
        b"\xc2\x3e\x02\x08\x00"  # servman { max_num_load_retries: 0 }, which these stubs do not know
    )
    with pytest.raises(grpc.RpcError) as raised:
        management.HandleReloadConfigRequest(request, timeout=WATCHDOG)
    assert raised.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert "no such device" in str(raised.value.details())


def test_a_reload_without_a_list_or_with_faults_changes_nothing(
    served: Served, management: Any, api: Any
) -> None:
    faulty = reload_request(served, api, "a", "a")
    for request in (api.model_management_pb2.ReloadConfigRequest(), faulty):
        with pytest.raises(grpc.RpcError) as raised:
            management.HandleReloadConfigRequest(request, timeout=WATCHDOG)
        assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert [model.name for model in served.core.config.models] == ["default"]


def test_a_call_by_label_says_which_labels_there_are(served: Served, stub: Any, api: Any) -> None:
    for version in (1, 2):
        served.publish("a", version)
    model = served.model("a", version_policy=All(), version_labels={"stable": 1, "next": 3})
    config = ServerConfig([model])
    served.core.reload_config(config, timeout=0)
    served.core.wait_until_available("a:1", "a:2", timeout=WATCHDOG)

    def error(label: str) -> Any:
        request = api.predict_pb2.PredictRequest()
        request.model_spec.name, request.model_spec.version_label = "a", label
        with pytest.raises(grpc.RpcError) as raised:
            stub.Predict(request, timeout=WATCHDOG)
        return raised.value

    assert error("no").code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "stable" in error("no").details()
    assert error("next").code() is grpc.StatusCode.NOT_FOUND
    assert "a:3" in error("next").details()


def test_requests_are_logged_in_the_form_of_warm_up_files(
    served: Served, stub: Any, api: Any, tf: Any
) -> None:
    from tensorflow_serving.apis import prediction_log_pb2  # noqa: PLC0415 -- slow

    (model,) = served.core.config.models
    logged = replace(model, logging=LoggingConfig(str(served.folder / "requests")))
    assert served.core.reload_config(ServerConfig([logged]), timeout=WATCHDOG)
    request = ask_for(api.predict_pb2.PredictRequest())
    request.inputs["x"].CopyFrom(tf.make_tensor_proto([2.0]))
    response = stub.Predict(request, timeout=WATCHDOG)
    served.server.stop()
    (record,) = tf.data.TFRecordDataset(str(served.folder / "requests.tfrecord"))
    entry = prediction_log_pb2.PredictionLog.FromString(record.numpy())
    assert entry.predict_log.request == request
    assert entry.predict_log.response == response
    assert list(entry.log_metadata.saved_model_tags) == ["serve"]
