from __future__ import annotations

import pytest

from servman.adapters import deferred
from servman.adapters.base import SourceAdapter
from servman.adapters.deferred import DeferredAdapter
from servman.adapters.python_model import PythonModelAdapter
from servman.data import ServableData
from servman.errors import ResourceExhaustedError
from servman.flow import connect
from servman.ids import ServableId
from servman.loader import Loader
from servman.testing import RecordingTarget

DATA = [ServableData(ServableId("m", 1), "/m/1")]


def test_two_first_lists_at_once_make_one_adapter() -> None:
    made: list[SourceAdapter[str, Loader]] = []

    def make() -> SourceAdapter[str, Loader]:
        made.append(PythonModelAdapter())
        return made[-1]

    adapter, target = DeferredAdapter("x", make), RecordingTarget[Loader]()
    connect(adapter, target)
    adapter.set_aspired_versions("m", DATA)
    adapter._begin()  # as the other thread would, which has seen that nobody had begun
    target.wait_for("m", [1])
    assert len(made) == 1


def test_where_no_thread_is_left_the_next_list_tries_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ResourceExhaustedError("no thread is left")

    adapter, target = DeferredAdapter("x", PythonModelAdapter), RecordingTarget[Loader]()
    connect(adapter, target)
    with monkeypatch.context() as patch:
        patch.setattr(deferred, "spawn", refuse)
        with pytest.raises(ResourceExhaustedError):
            adapter.set_aspired_versions("m", DATA)
    adapter.set_aspired_versions("m", DATA)
    target.wait_for("m", [1])
