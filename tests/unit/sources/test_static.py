from __future__ import annotations

import pytest

from servman.data import ServableData
from servman.errors import FailedPreconditionError, InvalidArgumentError
from servman.flow import connect
from servman.ids import ServableId
from servman.sources import StaticStoragePathSource
from servman.testing import RecordingTarget


def test_it_aspires_its_version_with_the_path_as_payload_and_origin() -> None:
    target = RecordingTarget[str]()
    connect(StaticStoragePathSource("m", 3, "/models/m/3"), target)
    data = ServableData(ServableId("m", 3), "/models/m/3", origin="/models/m/3")
    assert target.calls == [("m", (data,))]


def test_it_takes_one_target_only() -> None:
    source = StaticStoragePathSource("m", 3, "/models/m/3")
    connect(source, RecordingTarget[str]())
    other = RecordingTarget[str]()
    with pytest.raises(FailedPreconditionError, match="m:3 has a target already"):
        connect(source, other)
    assert other.calls == []


def test_it_refuses_what_cannot_be_a_servable() -> None:
    with pytest.raises(InvalidArgumentError):
        StaticStoragePathSource("m", -1, "/models/m")
