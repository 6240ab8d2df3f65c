from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from servman.adapters.base import Outlet, SourceAdapter
from servman.data import ServableData
from servman.errors import (
    FailedPreconditionError,
    InternalError,
    LoadFailedError,
    NotFoundError,
    ResourceExhaustedError,
)
from servman.flow import connect
from servman.ids import ServableId
from servman.testing import RecordingTarget, Spawned
from servman.testing.clock import WATCHDOG


class Mapped(SourceAdapter[str, str]):
    """Converts with a function, so that each test says what its conversion does."""

    def __init__(self, convert: Callable[[ServableData[str]], ServableData[str]]) -> None:
        super().__init__()
        self._convert = convert

    def convert(self, data: ServableData[str]) -> ServableData[str]:
        return self._convert(data)


class HeldTarget:
    """Holds its first caller until told to go on; records what it was told, and overlaps."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.go_on = threading.Event()
        self.told: list[list[int]] = []
        self.inside = 0
        self.overlapped = False

    def set_aspired_versions(self, name: str, versions: Sequence[ServableData[str]]) -> None:
        self.inside += 1
        self.overlapped |= self.inside > 1
        self.entered.set()
        assert self.go_on.wait(WATCHDOG)
        self.told.append([data.id.version for data in versions])
        self.inside -= 1


def entries(name: str, *versions: int) -> list[ServableData[str]]:
    return [ServableData(ServableId(name, version), f"/{name}/{version}") for version in versions]


def converted_by(
    convert: Callable[[ServableData[str]], ServableData[str]], *data: ServableData[str]
) -> tuple[ServableData[str], ...]:
    adapter = Mapped(convert)
    target: RecordingTarget[str] = RecordingTarget()
    connect(adapter, target)
    adapter.set_aspired_versions(data[0].id.name, data)
    return target.calls[-1][1]


def upper(data: ServableData[str]) -> ServableData[str]:
    return ServableData(data.id, data.payload.upper(), data.origin)


def test_an_outlet_keeps_only_the_newest_list_of_each_stream() -> None:
    outlet: Outlet[str] = Outlet()
    outlet.emit("a", entries("a", 1))
    outlet.emit("b", entries("b", 1))
    outlet.emit("a", entries("a", 2, 3))
    target: RecordingTarget[str] = RecordingTarget()
    outlet.set_target(target)
    assert target.calls == [("b", tuple(entries("b", 1))), ("a", tuple(entries("a", 2, 3)))]


def test_an_outlet_keeps_an_empty_list_since_it_means_that_all_should_go() -> None:
    outlet: Outlet[str] = Outlet()
    outlet.emit("a", [])
    target: RecordingTarget[str] = RecordingTarget()
    outlet.set_target(target)
    assert target.calls == [("a", ())]


def test_a_kept_list_is_not_changed_by_what_the_emitter_does_to_it_later() -> None:
    outlet: Outlet[str] = Outlet()
    versions = entries("a", 1)
    outlet.emit("a", versions)
    versions.clear()
    target: RecordingTarget[str] = RecordingTarget()
    outlet.set_target(target)
    assert target.versions("a") == [1]


def test_a_connected_outlet_delivers_at_once_and_keeps_nothing() -> None:
    outlet: Outlet[str] = Outlet()
    target: RecordingTarget[str] = RecordingTarget()
    outlet.set_target(target)
    outlet.emit("a", entries("a", 1))
    outlet.emit("a", entries("a", 2))
    assert [versions[0].id.version for _, versions in target.calls] == [1, 2]


def test_a_second_target_is_refused_and_changes_nothing() -> None:
    outlet: Outlet[str] = Outlet()
    first: RecordingTarget[str] = RecordingTarget()
    second: RecordingTarget[str] = RecordingTarget()
    outlet.set_target(first)
    with pytest.raises(FailedPreconditionError, match="has a target already"):
        outlet.set_target(second)
    outlet.emit("a", entries("a", 1))
    assert first.versions("a") == [1]
    assert second.calls == []


def test_a_list_emitted_while_the_target_is_being_connected_comes_after_the_kept_one() -> None:
    outlet: Outlet[str] = Outlet()
    target = HeldTarget()
    outlet.emit("a", entries("a", 1))
    connecting = Spawned(lambda: outlet.set_target(target))
    assert target.entered.wait(WATCHDOG)
    Spawned(lambda: outlet.emit("a", entries("a", 2))).result()  # returns: it waits for nobody
    target.go_on.set()
    connecting.result()
    outlet.emit("a", entries("a", 3))
    assert target.told == [[1], [2], [3]]
    assert not target.overlapped


def test_a_target_that_refuses_one_kept_list_still_gets_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    told: list[str] = []

    class Picky:
        def set_aspired_versions(self, name: str, versions: Sequence[ServableData[str]]) -> None:
            if name == "bad":
                raise RuntimeError("not this one")
            told.append(name)

    outlet: Outlet[str] = Outlet()
    for name in ("bad", "good"):
        outlet.emit(name, [])
    outlet.set_target(Picky())
    outlet.emit("later", [])
    assert told == ["good", "later"]
    assert "'bad'" in caplog.text


def test_connecting_amid_emissions_loses_no_last_list() -> None:
    for _ in range(50):
        outlet: Outlet[str] = Outlet()
        target: RecordingTarget[str] = RecordingTarget()
        start = threading.Barrier(3)

        def emit(name: str, outlet: Outlet[str] = outlet, start: threading.Barrier = start) -> None:
            start.wait(WATCHDOG)
            for version in range(20):
                outlet.emit(name, entries(name, version))

        emitters = [Spawned(lambda name=name: emit(name)) for name in ("a", "b")]  # type: ignore[misc] # bound now
        start.wait(WATCHDOG)
        outlet.set_target(target)
        for emitter in emitters:
            emitter.result()
        for name in ("a", "b"):
            heard = [versions[0].id.version for called, versions in target.calls if called == name]
            assert heard == sorted(heard)
            assert heard[-1] == 19


def test_an_entry_with_an_error_passes_unchanged() -> None:
    broken: ServableData[str] = ServableData.from_error(
        ServableId("m", 1), NotFoundError("gone"), "/m/1"
    )
    (passed,) = converted_by(upper, broken)
    assert passed is broken


def raising(error: BaseException) -> Callable[[ServableData[str]], ServableData[str]]:
    def convert(data: ServableData[str]) -> ServableData[str]:
        if data.id.version == 2:
            raise error
        return upper(data)

    return convert


@pytest.mark.parametrize("error", [ValueError("bad path"), SystemExit(3), GeneratorExit()])
def test_whatever_convert_raises_is_the_error_of_that_entry_alone(error: BaseException) -> None:
    one, two, three = converted_by(raising(error), *entries("m", 1, 2, 3))
    assert (one.payload, three.payload) == ("/M/1", "/M/3")
    assert isinstance(two.error, LoadFailedError)
    assert str(two.error).startswith(f"m:2: Mapped raised {type(error).__name__}")
    assert "in convert" in (two.error.traceback or "")
    assert two.error.__traceback__ is None


def test_ctrl_c_on_the_main_thread_goes_to_the_caller_and_nothing_is_handed_on() -> None:
    adapter = Mapped(raising(KeyboardInterrupt()))
    target: RecordingTarget[str] = RecordingTarget()
    connect(adapter, target)
    with pytest.raises(KeyboardInterrupt):
        adapter.set_aspired_versions("m", entries("m", 1, 2))
    assert target.calls == []


def test_on_any_other_thread_a_keyboard_interrupt_is_the_entrys_own_error() -> None:
    *_, two = Spawned(
        lambda: converted_by(raising(KeyboardInterrupt()), *entries("m", 1, 2))
    ).result()
    assert str(two.error).startswith("m:2: Mapped raised KeyboardInterrupt")


def test_a_typed_error_of_convert_keeps_its_class_and_text() -> None:
    *_, two = converted_by(raising(ResourceExhaustedError("m:2 is too big")), *entries("m", 1, 2))
    assert isinstance(two.error, ResourceExhaustedError)
    assert str(two.error) == "m:2 is too big"


def test_an_error_entry_made_for_a_failed_conversion_keeps_the_origin() -> None:
    (failed,) = converted_by(
        raising(ValueError("no")), ServableData(ServableId("m", 2), "/m/2", "/origin")
    )
    assert failed.origin == "/origin"


def test_an_origin_that_convert_leaves_out_is_passed_on() -> None:
    data = ServableData(ServableId("m", 1), "/m/1", "/origin")
    (made,) = converted_by(lambda data: ServableData(data.id, "loader"), data)
    assert (made.payload, made.origin) == ("loader", "/origin")
    (failed,) = converted_by(
        lambda data: ServableData.from_error(data.id, NotFoundError("gone")), data
    )
    assert (str(failed.error), failed.origin) == ("gone", "/origin")


def test_an_origin_that_convert_changes_stands() -> None:
    data = ServableData(ServableId("m", 1), "/m/1", "/origin")
    (made,) = converted_by(lambda data: ServableData(data.id, "loader", "/prefix/origin"), data)
    assert made.origin == "/prefix/origin"


@pytest.mark.parametrize("returned", [None, "loader", ServableData(ServableId("m", 7), "loader")])
def test_a_convert_that_returns_something_else_is_told_so(returned: object) -> None:
    (failed,) = converted_by(lambda _: returned, *entries("m", 1))  # type: ignore[arg-type,return-value] # the point
    assert isinstance(failed.error, InternalError)
    assert "m:1: Mapped.convert returned" in str(failed.error)


def test_a_convert_that_returns_no_payload_is_told_so() -> None:
    (failed,) = converted_by(
        lambda data: ServableData(data.id, None),  # type: ignore[arg-type] # the point
        *entries("m", 1),
    )
    assert isinstance(failed.error, InternalError)
    assert "m:1: Mapped.convert returned no payload; it has to raise" in str(failed.error)


def test_an_adapter_that_forgets_the_constructor_of_the_base_works_all_the_same() -> None:
    class Forgetful(SourceAdapter[str, str]):
        def __init__(self, suffix: str) -> None:
            self.suffix = suffix

        def convert(self, data: ServableData[str]) -> ServableData[str]:
            return ServableData(data.id, data.payload + self.suffix)

    adapter, target = Forgetful("!"), RecordingTarget[str]()
    adapter.set_aspired_versions("m", entries("m", 1))
    connect(adapter, target)
    assert target.calls[0][1][0].payload == "/m/1!"


def test_an_outlet_forgets_a_stream_that_goes_another_way() -> None:
    outlet, target = Outlet[str](), RecordingTarget[str]()
    outlet.emit("m", entries("m", 1))
    outlet.emit("n", entries("n", 1))
    assert outlet.keeps("m")
    outlet.forget("m")
    outlet.forget("nobody")
    assert not outlet.keeps("m")
    connect(outlet, target)
    assert [name for name, _ in target.calls] == ["n"]


def test_nothing_of_what_an_outlet_drops_is_destroyed_under_its_lock() -> None:
    outlet = Outlet[Payload]()
    free: list[bool] = []
    for _ in range(2):
        outlet.emit("m", [ServableData(ServableId("m", 1), Payload(outlet, free))])
    assert free == [True]
    outlet.forget("m")
    assert free == [True, True]


class Payload:
    """Notes, when it is destroyed, whether the lock of an outlet is free."""

    def __init__(self, outlet: Outlet[Any], free: list[bool]) -> None:
        self.outlet, self.free = outlet, free

    def __del__(self) -> None:
        self.free.append(not self.outlet._lock.locked())
