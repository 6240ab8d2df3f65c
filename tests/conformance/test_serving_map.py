"""The pointer of section 5.18 under which TensorFlow Serving keeps its map: here, what lookups find."""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import groupby
from types import FrameType
from typing import Any

import pytest

from servman.errors import NotFoundError
from tests.unit.manager.rig import ModelLoader, Rig, entry, sid


def between_all_instructions(look: Callable[[], None], run: Callable[[], object]) -> None:
    """Call *run*, and *look* before each instruction of the manager's, as another thread might."""

    def trace(frame: FrameType, event: str, _: object) -> Any:
        if not frame.f_globals["__name__"].startswith("servman.manager"):
            return None
        frame.f_trace_opcodes = True
        if event in ("line", "opcode"):
            look()
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        run()
    finally:
        sys.settrace(before)


@pytest.mark.case("FP-01")
def test_a_manager_serves_nothing_until_something_is_there_to_serve() -> None:
    rig = Rig()
    assert rig.serving() == []
    with pytest.raises(NotFoundError):
        rig.handle("m")
    rig.bring("m", 1)
    with rig.handle("m") as handle:
        assert handle.id == sid("m:1")


@pytest.mark.case("FP-02")
def test_no_reader_finds_an_older_version_than_before_nor_none_nor_one_that_is_unloaded() -> None:
    rig = Rig()
    found: list[tuple[int, bool]] = []

    def read() -> None:
        try:
            with rig.handle("m") as handle:
                found.append((handle.id.version, handle.servable.loaded))
        except NotFoundError:
            found.append((-1, False))

    rig.bring("m", 1)
    between_all_instructions(read, lambda: rig.bring("m", 2))
    assert [one for one, _ in groupby(found)] == [(1, True), (2, True)]


@pytest.mark.departs("FP-03")
def test_the_map_is_replaced_at_once_and_only_the_unload_waits_for_the_last_reader() -> None:
    rig = Rig()
    loader = ModelLoader()
    rig.bring("m", entry("m:1", loader))
    one, other = rig.handle("m"), rig.handle("m")
    rig.bring("m", 2)
    assert rig.serving() == ["m:2"]
    for reader in (one, other):
        assert reader.servable.loaded
        assert loader.unloads == 0
        reader.close()
        rig.settle()
    assert loader.unloads == 1
