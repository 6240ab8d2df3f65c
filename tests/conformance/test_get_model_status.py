"""Section 5.13 of the catalogue: what is told of the states of versions, and errors as messages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from servman.core import ServerCore
from servman.errors import InvalidArgumentError, NotFoundError, ResourceExhaustedError
from servman.protos import message_class
from servman.server.model_service import ModelService
from servman.server.statuses import write_status
from servman.sources import All
from servman.testing import FailingLoader
from tests.unit.core.rig import Rig

Request = message_class("tensorflow.serving.GetModelStatusRequest")
Status = message_class("tensorflow.serving.StatusProto")

START, LOADING, AVAILABLE, UNLOADING, END = 10, 20, 30, 40, 50


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rig:
    return Rig(tmp_path, monkeypatch)


@pytest.fixture
def core(rig: Rig) -> ServerCore:
    """Versions 1 and 2 of "m" serve."""
    rig.publish(1, 2)
    return rig.serve(rig.model(version_policy=All(), version_labels={"stable": 1, "next": 9}))


def asked(core: ServerCore, spec: dict[str, Any] | None) -> list[Any]:
    request = Request() if spec is None else Request(model_spec=spec)
    call: Any = None
    response = ModelService(core, reload_timeout=1.0).get_model_status(request, call)
    return list(response.model_version_status)


@pytest.mark.case("GS-01")
def test_a_question_without_a_model_is_an_invalid_argument(core: ServerCore) -> None:
    with pytest.raises(InvalidArgumentError, match="Missing ModelSpec"):
        asked(core, None)


@pytest.mark.case("GS-02")
@pytest.mark.parametrize("name", ["no", "", "m:1"])
def test_an_unknown_name_is_not_found(name: str, core: ServerCore) -> None:
    with pytest.raises(NotFoundError, match=f"Could not find any versions of model {name}"):
        asked(core, {"name": name})


@pytest.mark.case("GS-03")
@pytest.mark.parametrize("version", [3, -1])
def test_an_unknown_version_is_not_found(version: int, core: ServerCore) -> None:
    with pytest.raises(NotFoundError, match=f"Could not find version {version} of model m"):
        asked(core, {"name": "m", "version": {"value": version}})


@pytest.mark.case("GS-04")
def test_all_versions_are_told_with_their_states_and_no_error(core: ServerCore) -> None:
    found = asked(core, {"name": "m"})
    assert [(one.version, one.state) for one in found] == [(2, AVAILABLE), (1, AVAILABLE)]
    assert all(one.HasField("status") and one.status.error_code == 0 for one in found)
    assert [one.status.error_message for one in found] == ["", ""]


@pytest.mark.case("GS-05")
def test_one_version_is_told_and_just_that(core: ServerCore) -> None:
    (one,) = asked(core, {"name": "m", "version": {"value": 1}})
    assert (one.version, one.state) == (1, AVAILABLE)


def test_the_version_of_a_label_is_told_where_it_has_one(core: ServerCore) -> None:
    (one,) = asked(core, {"name": "m", "version_label": "stable"})
    assert one.version == 1
    with pytest.raises(NotFoundError, match=r"Label\(m, next\): .*9"):
        asked(core, {"name": "m", "version_label": "next"})
    with pytest.raises(InvalidArgumentError, match=r"unrecognized servable version label.*stable"):
        asked(core, {"name": "m", "version_label": "no"})


def test_the_error_of_a_version_is_told_and_the_question_succeeds(rig: Rig) -> None:
    rig.loaders["m:1"] = FailingLoader(OSError("no such device"))
    rig.publish(1)
    core = rig.serve(rig.model(max_num_load_retries=0))
    (one,) = asked(core, {"name": "m"})
    assert one.state == END
    assert one.status.error_code != 0
    assert "no such device" in one.status.error_message


def test_a_model_of_which_nothing_is_known_is_told_why(rig: Rig) -> None:
    core = rig.serve(rig.model("empty"))
    with pytest.raises(NotFoundError, match=r"any versions of model empty: .*does not exist"):
        asked(core, {"name": "empty"})


@pytest.mark.case("SU-01")
def test_success_becomes_a_message() -> None:
    status = Status()
    write_status(None, status)
    assert status == Status(error_code=0, error_message="")


@pytest.mark.case("SU-02")
def test_an_error_becomes_a_message() -> None:
    status = Status()
    write_status(ResourceExhaustedError("no memory"), status)
    assert status == Status(error_code=8, error_message="no memory")
