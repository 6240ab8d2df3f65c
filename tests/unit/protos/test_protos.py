"""Our own definitions of TensorFlow Serving's messages."""

from __future__ import annotations

import io

import pytest
from google.protobuf import descriptor_pool

from servman.adapters.tf_record import read_records
from servman.protos import POOL, message_class
from servman.state import ManagerState
from tests.unit.adapters.warm_up_rig import GOLDEN

PredictionLog = message_class("tensorflow.serving.PredictionLog")

SERVICES = {
    "PredictionService": ["Classify", "GetModelMetadata", "MultiInference", "Predict", "Regress"],
    "ModelService": ["GetModelStatus", "HandleReloadConfigRequest"],
}


def test_a_message_is_written_as_protobuf_writes_it() -> None:
    log = PredictionLog()
    log.predict_log.request.model_spec.name = "m"
    log.predict_log.request.model_spec.version.value = 3
    assert log.SerializeToString() == b"\x32\x0b\x0a\x09\x0a\x07\x0a\x01m\x12\x02\x08\x03"


def test_what_tensorflow_serving_has_written_is_written_again_to_the_byte() -> None:
    for record in read_records(io.BytesIO(GOLDEN)):
        log = PredictionLog.FromString(record)
        assert log.SerializeToString(deterministic=True) == record


def test_what_the_definitions_leave_out_is_kept() -> None:
    options_of_a_session_run = b"\x2a\x0a\x0a\x08\x22\x02y:\x2a\x02\x08\x03"
    log = PredictionLog.FromString(options_of_a_session_run)
    assert log.session_run_log.request.target == ["y:"]
    assert log.SerializeToString() == options_of_a_session_run


def test_nothing_is_defined_in_the_pool_that_all_share() -> None:
    default = descriptor_pool.Default()
    ours = POOL.FindMessageTypeByName("tensorflow.serving.PredictRequest")
    try:
        found = default.FindMessageTypeByName("tensorflow.serving.PredictRequest")
    except KeyError:
        found = None
    assert ours is not found


def test_the_class_of_a_message_is_always_the_same() -> None:
    assert message_class("tensorflow.serving.PredictionLog") is PredictionLog


def test_a_name_that_is_not_defined_is_a_key_error() -> None:
    with pytest.raises(KeyError, match="NoSuchMessage"):
        message_class("tensorflow.serving.NoSuchMessage")


@pytest.mark.parametrize("service", SERVICES)
def test_the_services_have_the_methods_of_tensorflow_serving(service: str) -> None:
    found = POOL.FindServiceByName(f"tensorflow.serving.{service}")
    assert sorted(method.name for method in found.methods) == SERVICES[service]


def test_the_states_of_a_version_have_the_same_numbers_here_and_there() -> None:
    theirs = POOL.FindEnumTypeByName("tensorflow.serving.ModelVersionStatus.State")
    numbers = {value.name: value.number for value in theirs.values}
    assert numbers == {"UNKNOWN": 0, **{state.name: state.value for state in ManagerState}}
