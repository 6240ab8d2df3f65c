"""What the server tells of signatures and of itself (5.19), and what a client makes of a status (5.13)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from servman.client.reading import read_error
from servman.core import ServerCore
from servman.errors import InvalidArgumentError, NotFoundError
from servman.ids import ServableId
from servman.protos import message_class
from servman.server.lookup import write_spec
from servman.server.prediction import PredictionService
from servman.server.request_log import RequestLog
from servman.testing import FakeClock
from tests.unit.core.rig import Rig

Request = message_class("tensorflow.serving.GetModelMetadataRequest")
ModelSpec = message_class("tensorflow.serving.ModelSpec")
Status = message_class("tensorflow.serving.StatusProto")

FIELD = ["signature_def"]


@pytest.fixture
def core(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ServerCore:
    """Nothing is published."""
    return Rig(tmp_path, monkeypatch).serve()


def ask(core: ServerCore, **request: Any) -> Any:
    call: Any = None
    service = PredictionService(core, RequestLog(core, FakeClock()))
    return service.get_model_metadata(Request(**request), call)


@pytest.mark.case("MM-01")
@pytest.mark.parametrize("fields", [[], ["assets"], ["signature_def", "assets"]])
def test_metadata_without_a_field_or_with_an_unknown_one_is_refused(
    fields: list[str], core: ServerCore
) -> None:
    with pytest.raises(InvalidArgumentError, match=r"metadata_field|not supported"):
        ask(core, model_spec={"name": "m"}, metadata_field=fields)


@pytest.mark.case("MM-02")
@pytest.mark.parametrize("spec", [{}, {"model_spec": {}}])
def test_metadata_without_a_model_or_its_name_is_refused(
    spec: dict[str, Any], core: ServerCore
) -> None:
    with pytest.raises(InvalidArgumentError, match=r"Missing ModelSpec|name"):
        ask(core, metadata_field=FIELD, **spec)


@pytest.mark.case("MM-02")
def test_the_metadata_of_an_unknown_model_are_not_found(core: ServerCore) -> None:
    with pytest.raises(NotFoundError, match="no model 'no' is configured"):
        ask(core, model_spec={"name": "no"}, metadata_field=FIELD)


@pytest.mark.case("UT-02")
@pytest.mark.parametrize(
    ("asked", "signature"),
    [
        ({"name": "m"}, "serving_default"),
        ({"name": "m", "signature_name": "other"}, "other"),
        ({"name": "m", "version_label": "stable", "signature_name": ""}, "serving_default"),
    ],
)
def test_an_answer_names_the_version_that_gave_it_and_the_signature(
    asked: dict[str, Any], signature: str
) -> None:
    spec = ModelSpec()
    write_spec(ServableId("m", 7), ModelSpec(**asked), spec)
    assert (spec.name, spec.version.value, spec.signature_name) == ("m", 7, signature)


@pytest.mark.case("SU-03")
def test_a_status_without_a_code_is_no_error() -> None:
    assert read_error(Status()) is None
    assert read_error(Status(error_code=0, error_message="ignored")) is None


@pytest.mark.case("SU-04")
@pytest.mark.parametrize("code", [3, 5, 8, 13])
def test_a_status_with_a_code_is_an_error_with_its_text(code: int) -> None:
    error = read_error(Status(error_code=code, error_message="the weights are torn"))
    assert error is not None
    assert "the weights are torn" in str(error)
