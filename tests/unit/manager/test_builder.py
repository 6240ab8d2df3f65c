"""The builder: who starts, closes and feeds whom."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from servman.adapters import SourceAdapter
from servman.data import ServableData
from servman.errors import FailedPreconditionError, InvalidArgumentError
from servman.flow import Target
from servman.loader import Loader, SimpleLoader
from servman.manager import AspiredVersionsManager, AspiredVersionsManagerBuilder
from servman.manager.upstream import Upstream
from servman.sources import FileSystemStoragePathSource, ServableToMonitor
from servman.testing import FakeClock, ManualPool, Spawned
from servman.testing.clock import WATCHDOG
from tests.unit.manager.rig import entry, sid


class Stage:
    """A stage that writes down what is done to it; the test says what that does."""

    def __init__(self, name: str, told: list[str]) -> None:
        self.name = name
        self.told = told
        self.target: Target[Any] | None = None
        self.fail: dict[str, BaseException] = {}
        self.on_close: Callable[[], object] = lambda: None

    def set_target(self, target: Target[Any]) -> None:
        if self.target is not None:
            raise FailedPreconditionError(f"{self.name} has a target already")
        self.target = target

    def set_aspired_versions(self, name: str, versions: Any) -> None:
        assert self.target is not None
        self.target.set_aspired_versions(name, versions)

    def start(self) -> None:
        self._do("start")

    def close(self, timeout: float | None) -> None:
        self.on_close()
        self._do(f"close({timeout})")

    def _do(self, what: str) -> None:
        self.told.append(f"{what} {self.name}")
        if what[:5] in self.fail:
            raise self.fail[what[:5]]


class Silent:
    """A source that is neither started nor closed."""

    def set_target(self, target: Target[Loader]) -> None:
        target.set_aspired_versions("m", [entry("m:1")])


def built(told: list[str], **options: Any) -> tuple[AspiredVersionsManager, dict[str, Stage]]:
    """Return a manager behind two chains, not started, and their stages."""
    stages = {name: Stage(name, told) for name in ("s1", "a1", "b1", "s2", "a2")}
    builder = AspiredVersionsManagerBuilder(**{"clock": FakeClock(), **options})
    builder.add_source_chain(stages["s1"], stages["a1"], stages["b1"])
    manager = builder.add_source_chain(stages["s2"], stages["a2"]).build()
    return manager, stages


def test_stages_are_started_from_the_manager_back_to_the_source() -> None:
    told: list[str] = []
    manager, _ = built(told)
    assert told == [], "nothing starts before the manager"
    manager.start()
    assert told == [f"start {one}" for one in ("a2", "s2", "b1", "a1", "s1")]
    assert manager._thread is not None
    manager.close(WATCHDOG)


def test_stages_are_closed_from_the_source_on_and_all_of_them_before_the_manager() -> None:
    told: list[str] = []
    manager, stages = built(told)
    still_open: list[bool] = []
    for stage in stages.values():
        stage.on_close = lambda: still_open.append(not manager._closing)
    assert manager.close(5.0)
    assert told == [f"close(5.0) {one}" for one in ("s1", "a1", "b1", "s2", "a2")]
    assert still_open == [True] * 5
    assert manager._closing


def test_all_close_by_one_deadline() -> None:
    told: list[str] = []
    clock = FakeClock()
    manager, stages = built(told, clock=clock)
    stages["s1"].on_close = lambda: clock.advance(2.0)
    stages["b1"].on_close = lambda: clock.advance(9.0)
    assert manager.close(5.0)
    assert told == [
        "close(5.0) s1",
        "close(3.0) a1",
        "close(3.0) b1",
        "close(0.0) s2",
        "close(0.0) a2",
    ]
    assert manager.close(5.0), "and only once"
    assert len(told) == 5


def test_without_a_timeout_none_has_one() -> None:
    told: list[str] = []
    manager, _ = built(told)
    assert manager.close(None)
    assert {one.partition(" ")[0] for one in told} == {"close(None)"}


def test_a_stage_that_cannot_be_closed_stops_neither_the_others_nor_the_manager() -> None:
    told: list[str] = []
    manager, stages = built(told)
    stages["a1"].fail["close"] = OSError("the disk is gone")
    manager.start()
    with pytest.raises(OSError, match="the disk is gone"):
        manager.close(WATCHDOG)
    assert [one for one in told if one.startswith("close")] == [
        f"close({WATCHDOG}) {one}" for one in ("s1", "a1", "b1", "s2", "a2")
    ]
    assert manager._has_ended
    assert manager.close(WATCHDOG)


def test_after_a_ctrl_c_a_further_close_closes_the_stages_anew() -> None:
    told: list[str] = []
    manager, stages = built(told)
    stages["a1"].fail["close"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        manager.close(WATCHDOG)
    del stages["a1"].fail["close"], told[:]
    assert manager.close(WATCHDOG)
    assert [one.partition(" ")[2] for one in told] == ["s1", "a1", "b1", "s2", "a2"]
    assert manager.close(WATCHDOG)
    assert len(told) == 5


def test_a_stage_that_cannot_be_closed_is_not_closed_anew() -> None:
    told: list[str] = []
    manager, stages = built(told)
    stages["a1"].fail["close"] = OSError("the disk is gone")
    with pytest.raises(OSError, match="the disk is gone"):
        manager.close(WATCHDOG)
    del told[:]
    assert manager.close(WATCHDOG)
    assert told == []


def test_whoever_waits_for_a_close_that_a_ctrl_c_ends_closes_the_stages_itself() -> None:
    told: list[str] = []
    begun, go_on = threading.Event(), threading.Event()

    def interrupted() -> None:
        stage.on_close = lambda: None
        begun.set()
        assert go_on.wait(WATCHDOG)
        raise KeyboardInterrupt

    stage, clock = Stage("s1", told), FakeClock()
    stage.on_close = interrupted
    upstream = Upstream([stage])
    first = Spawned(lambda: upstream.close(clock, clock.monotonic() + 1.0))
    assert begun.wait(WATCHDOG)
    second = Spawned(lambda: upstream.close(clock, clock.monotonic() + 1.0))
    clock.wait_until_parked(1)
    go_on.set()
    with pytest.raises(KeyboardInterrupt):
        first.result()
    second.result()
    assert told == ["close(1.0) s1"]


def test_a_stage_that_cannot_be_started_is_told_and_a_second_start_goes_on() -> None:
    told: list[str] = []
    manager, stages = built(told)
    stages["s2"].fail["start"] = FailedPreconditionError("no versions")
    with pytest.raises(FailedPreconditionError, match="no versions"):
        manager.start()
    stages["s2"].fail.clear()
    manager.start()
    assert told[-1] == "start s1"
    assert manager.close(WATCHDOG)


def test_a_with_block_that_cannot_be_entered_leaves_nothing_running() -> None:
    told: list[str] = []
    manager, stages = built(told)
    stages["s1"].fail["start"] = FailedPreconditionError("no versions")
    with pytest.raises(FailedPreconditionError, match="no versions"), manager:
        raise AssertionError("it was entered")
    assert manager._has_ended
    assert sum(one.startswith("close") for one in told) == 5


def test_a_with_block_starts_and_closes_all() -> None:
    told: list[str] = []
    manager, _ = built(told)
    with manager:
        assert len(told) == 5
    assert (len(told), manager._has_ended) == (10, True)


def test_stages_need_neither_start_nor_close() -> None:
    pools = (ManualPool(), ManualPool(), ManualPool())
    manager = AspiredVersionsManagerBuilder(_pools=pools).add_source(Silent()).build()
    while manager.step():
        pass
    assert [one.id for one in manager.snapshots()] == [sid("m:1")]
    manager.start()
    assert not manager.close(0), "its load was never run"


def test_what_passes_through_a_chain_arrives_at_the_manager() -> None:
    manager, stages = built([], _pools=(loads := ManualPool(), ManualPool(), ManualPool()))
    stages["s1"].set_aspired_versions("m", [entry("m:1")])
    stages["s2"].set_aspired_versions("n", [entry("n:1")])
    while manager.step() or loads.run_all():
        pass
    assert manager.list_available_ids() == [sid("m:1"), sid("n:1")]


def test_a_builder_is_used_up_when_it_has_built() -> None:
    builder = AspiredVersionsManagerBuilder()
    builder.build()
    with pytest.raises(FailedPreconditionError, match="make another builder"):
        builder.build()
    with pytest.raises(FailedPreconditionError, match="make another builder"):
        builder.add_source(Silent())


def test_a_source_that_feeds_another_target_is_refused_with_its_own_words() -> None:
    source = Stage("source", [])
    AspiredVersionsManagerBuilder().add_source(source)
    with pytest.raises(FailedPreconditionError, match="source has a target already"):
        AspiredVersionsManagerBuilder().add_source(source)


def test_options_are_those_of_the_manager() -> None:
    manager = AspiredVersionsManagerBuilder(num_load_threads=7).build()
    assert manager.num_load_threads == 7
    with pytest.raises(InvalidArgumentError, match="num_load_threads"):
        AspiredVersionsManagerBuilder(num_load_threads=0)
    with pytest.raises(TypeError, match="num_threads"):
        AspiredVersionsManagerBuilder(num_threads=3)  # type: ignore[call-arg]


def test_a_builder_that_builds_nothing_has_started_nothing() -> None:
    told: list[str] = []
    AspiredVersionsManagerBuilder().add_source(Stage("source", told))
    assert told == []


def test_the_sources_and_adapters_of_servman_fit(tmp_path: Any) -> None:
    class Text(SourceAdapter[str, Loader]):
        def convert(self, data: ServableData[str]) -> ServableData[Loader]:
            return ServableData(data.id, SimpleLoader(lambda _: data.payload), data.origin)

    (tmp_path / "1").mkdir()
    source = FileSystemStoragePathSource([ServableToMonitor("m", str(tmp_path))], watch=False)
    builder = AspiredVersionsManagerBuilder().add_source_chain(source, Text())
    with builder.build() as manager:
        manager.start()  # starting twice does nothing
    assert manager._has_ended
