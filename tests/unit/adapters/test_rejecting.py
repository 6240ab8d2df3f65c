from __future__ import annotations

import pytest

from servman.adapters.rejecting import ErrorInjectingAdapter
from servman.data import ServableData
from servman.errors import UnimplementedError
from servman.flow import connect
from servman.ids import ServableId
from servman.testing import RecordingTarget


def create_adapter_of_x() -> None:
    raise UnimplementedError("platform 'x' was not asked for")


def test_what_stands_for_a_version_keeps_its_origin_and_no_frames() -> None:
    with pytest.raises(UnimplementedError) as raised:
        create_adapter_of_x()
    adapter = ErrorInjectingAdapter(raised.value)
    target: RecordingTarget[str] = RecordingTarget()
    connect(adapter, target)
    adapter.set_aspired_versions("m", [ServableData(ServableId("m", 1), object(), "/m/1")])
    ((_, (rejected,)),) = target.calls
    assert isinstance(rejected.error, UnimplementedError)
    assert rejected.error.__traceback__ is None
    assert rejected.origin == "/m/1"
