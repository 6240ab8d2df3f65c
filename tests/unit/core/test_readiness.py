"""Live, ready and healthy: when each is so, when it is not, and what it costs to ask."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from servman.core import ServerCore, ServerCoreOptions, stages
from servman.core.readiness import MissingModels, Readiness, Roll
from servman.ids import ServableId
from servman.reasons import Reason, ReasonCode
from servman.state import ManagerState, ServableState, StreamAspiration
from servman.testing import FailingLoader, Spawned
from tests.unit.core.rig import Rig

S = ManagerState


class Bench:
    """A roll of which the test says what is configured and what happens."""

    def __init__(self, *required: str, optional: int = 0) -> None:
        self.roll = Roll()
        self.generation = 0
        self.configure(*required, optional=optional)

    def configure(self, *required: str, optional: int = 0) -> None:
        self.generation += 1
        self.roll.configure(self.generation, len(required) + optional, required)

    def tell(self, text: str, *states: S) -> None:
        name, _, version = text.partition(":")
        for state in states:
            self.roll.record(ServableState(ServableId(name, int(version)), state))

    @property
    def ready(self) -> bool:
        return not self.roll.awaited

    @property
    def healthy(self) -> bool:
        return not self.roll.absent


UP = (S.START, S.LOADING, S.AVAILABLE)
DOWN = (S.UNLOADING, S.END)


# ---- the roll --------------------------------------------------------------------------------


def test_it_is_ready_when_every_required_model_was_available_once() -> None:
    bench = Bench("a", "b")
    bench.tell("a:1", *UP)
    assert (bench.ready, bench.roll.awaited) == (False, {"b"})
    bench.tell("a:1", *DOWN)  # once is enough
    bench.tell("b:1", *UP)
    assert bench.ready
    assert bench.roll.absent == {"a"}


def test_a_state_before_available_counts_for_nothing() -> None:
    bench = Bench("a")
    bench.tell("a:1", S.START, S.LOADING, S.END)
    bench.roll.record(StreamAspiration("a", frozenset({1})))
    assert (bench.ready, bench.healthy) == (False, False)


def test_any_version_makes_a_model_healthy_and_the_last_one_that_goes_ends_it() -> None:
    bench = Bench("a")
    bench.tell("a:1", *UP)
    bench.tell("a:2", *UP)
    bench.tell("a:1", *DOWN)
    assert not bench.roll.absent
    bench.tell("a:2", S.UNLOADING)  # lookups stop here
    assert bench.roll.absent
    bench.tell("a:2", S.END)
    bench.tell("a:2", *UP)
    assert not bench.roll.absent


def test_an_end_without_unloading_takes_a_version_off_the_roll_too() -> None:
    bench = Bench("a")
    bench.tell("a:1", *UP, S.END)
    assert not bench.healthy


def test_a_reload_never_makes_a_server_unready_that_was_ready() -> None:
    bench = Bench("a")
    bench.tell("a:1", *UP)
    bench.configure("a", "b")
    assert bench.ready
    assert bench.roll.absent == {"b"}
    bench.configure("b")
    bench.tell("a:1", *DOWN)
    assert bench.ready
    bench.configure("c")  # of which nothing is there any more
    assert (bench.ready, bench.roll.absent) == (True, {"c"})


def test_until_a_server_was_ready_the_models_of_the_configuration_in_force_count() -> None:
    bench = Bench("a", "typo")
    bench.tell("a:1", *UP)
    bench.configure("a", "b")
    assert bench.roll.awaited == {"b"}
    bench.tell("b:1", *UP)
    assert bench.ready


def test_taking_out_what_is_missing_makes_a_server_ready() -> None:
    bench = Bench("a", "typo")
    bench.tell("a:1", *UP)
    bench.configure("a")
    assert (bench.ready, bench.healthy) == (True, True)


def test_a_model_that_was_taken_out_and_comes_back_counts_anew() -> None:
    bench = Bench("a", "b")
    bench.tell("a:1", *UP)
    bench.tell("a:1", *DOWN)
    bench.configure("b")
    bench.configure("a", "b")
    assert bench.roll.awaited == {"a", "b"}


def test_a_model_that_still_serves_when_it_is_configured_counts_as_there() -> None:
    bench = Bench("b")
    bench.tell("a:1", *UP)  # an atomic reload lets it in before it comes into force
    bench.configure("a", "b")
    assert bench.roll.awaited == bench.roll.absent == {"b"}


def test_what_is_optional_never_counts() -> None:
    bench = Bench("a", optional=1)
    bench.tell("a:1", *UP)
    bench.tell("o:1", *UP)
    bench.tell("o:1", *DOWN)
    assert (bench.ready, bench.healthy) == (True, True)
    assert (bench.roll.required("a"), bench.roll.required("o")) == (True, False)


def test_a_model_that_becomes_optional_is_no_longer_waited_for_and_one_that_becomes_required_is() -> (
    None
):
    bench = Bench("a", "b")
    bench.configure("a", optional=1)
    assert bench.roll.awaited == {"a"}
    bench.configure("a", "b")
    assert bench.roll.awaited == {"a", "b"}


def test_a_server_of_optional_models_alone_is_ready() -> None:
    bench = Bench(optional=2)
    assert (bench.ready, bench.healthy, bench.roll.models) == (True, True, 2)


def test_a_server_that_was_left_without_models_has_to_become_ready_anew() -> None:
    bench = Bench("a")
    bench.tell("a:1", *UP)
    bench.configure()
    bench.tell("a:1", *DOWN)
    bench.configure("a")
    assert not bench.ready


def test_a_server_that_begins_without_models_waits_for_its_first_ones() -> None:
    bench = Bench()
    bench.configure("a")
    assert (bench.ready, bench.roll.awaits("a")) == (False, True)
    bench.tell("a:1", *UP)
    assert (bench.ready, bench.roll.awaits("a")) == (True, False)


def test_an_older_configuration_that_is_told_late_is_ignored() -> None:
    bench = Bench("a")
    bench.roll.configure(3, 1, ["b"])
    bench.roll.configure(2, 1, ["c"])
    assert bench.roll.absent == {"b"}


def test_nothing_is_kept_of_models_that_have_gone() -> None:
    bench = Bench("a")
    for number in range(100):
        bench.tell(f"m{number}:1", *UP, *DOWN)
    assert bench.roll._available == {}


def test_what_an_event_costs_does_not_depend_on_how_many_models_there_are() -> None:
    bench = Bench(*(f"m{number}" for number in range(10_000)))
    touched: list[str] = []

    class Watched(set[Any]):
        """Tells when it is walked or copied."""

        def __iter__(self) -> Any:
            touched.append("walked")
            return super().__iter__()

        def copy(self) -> Any:
            touched.append("copied")
            return super().copy()

    for table in ("_absent", "_awaited"):
        setattr(bench.roll, table, Watched(getattr(bench.roll, table)))
    touched.clear()
    for number in range(10_000):
        bench.tell(f"m{number}:1", *UP)
    assert (bench.ready, bench.healthy) == (True, True)
    bench.tell("m5:1", *DOWN)
    assert touched == []


def test_reading_takes_no_lock() -> None:
    bench = Bench("a")
    with bench.roll._lock:
        assert (bench.ready, bench.healthy, bench.roll.models) == (False, False, 1)
        assert bench.roll.required("a")
        assert bench.roll.awaits("a")


# ---- the answer ------------------------------------------------------------------------------


def test_reasons_are_looked_up_for_those_only_that_are_read() -> None:
    asked: list[str] = []

    def explain(name: str) -> Reason:
        asked.append(name)
        return Reason(ReasonCode.LOADING, f"{name} is loading")

    missing = MissingModels({f"m{number:05}" for number in range(10_000)}, explain)
    readiness = Readiness("ready", (), missing)
    assert not readiness
    assert len(readiness.missing) == 10_000
    assert next(iter(readiness.missing)) == "m00000"
    assert "m00000" in readiness.missing
    assert asked == []
    assert str(readiness).startswith("not ready: m00000 (m00000 is loading); m00001")
    assert str(readiness).endswith("; and 9995 more models")
    assert len(asked) == 10  # five for each text
    with pytest.raises(KeyError):
        readiness.missing["stranger"]
    assert repr(MissingModels(["b", "a"], explain)) == "MissingModels(['a', 'b'])"


def test_where_nothing_is_wrong_the_answer_is_one_word() -> None:
    assert str(Readiness("healthy", (), {})) == "healthy"


# ---- in a core -------------------------------------------------------------------------------


def alive(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the threads of the core, which the test has in its hands, count as running."""
    for stage in (stages.AspiredVersionsManager.func, type(rig.core._pipeline.source)):  # type: ignore[attr-defined] # a partial here
        monkeypatch.setattr(stage, "running", property(lambda _: True))


def test_a_core_is_live_between_its_start_and_its_end(rig: Rig) -> None:
    core = rig.build()
    assert str(core.live) == "not live: the server core was not started; call start()"
    core.start()
    assert (bool(core.live), str(core.live), dict(core.live.missing)) == (True, "live", {})
    Spawned(core.close).result()
    for probe in (core.live, core.ready, core.healthy):
        assert [reason.code for reason in probe.reasons] == [ReasonCode.CLOSED]
        assert "the server core is closed or closing" in str(probe)


@pytest.mark.parametrize("part", ["manager", "source"])
def test_a_core_with_a_thread_that_has_ended_is_not_live(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    with rig.build() as core:
        stage = core.manager if part == "manager" else core._pipeline.source
        ended = threading.Thread()  # noqa: TID251 -- never started
        with monkeypatch.context() as patch:
            patch.setattr(stage, "_thread", ended)
            assert str(core.live) == (
                f"not live: the thread of the {part} has ended; start the server anew"
            )
            assert not core.ready
        assert core.live


def test_ready_tells_which_models_are_missing_and_why(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    core = rig.run(rig.model(), rig.model("gone"))
    alive(rig, monkeypatch)
    rig.bring(1)
    assert not core.ready
    assert list(core.ready.missing) == ["gone"]
    assert core.ready.missing["gone"].code is ReasonCode.BASE_PATH_MISSING
    assert "gone (servable 'gone': base path" in str(core.ready)
    (rig.folder / "gone" / "3").mkdir(parents=True)
    rig.look()
    rig.load()
    assert (str(core.ready), str(core.healthy)) == ("ready", "healthy")


def test_a_model_that_is_lost_again_leaves_a_core_ready_and_not_healthy(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    core = rig.run()
    alive(rig, monkeypatch)
    rig.bring(1)
    (rig.base / "1").rmdir()
    rig.look()
    assert (bool(core.ready), bool(core.healthy)) == (True, False)
    assert core.healthy.missing["m"].code is ReasonCode.NO_VERSIONS


def test_an_older_version_that_serves_is_enough(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.loaders["m:2"] = FailingLoader(ValueError("no such layer"))
    core = rig.run(max_num_load_retries=0)
    alive(rig, monkeypatch)
    rig.bring(1)
    rig.bring(2)
    assert (bool(core.ready), bool(core.healthy)) == (True, True)
    assert not core.explain("m")


def test_optional_models_are_not_waited_for(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    core = rig.run(rig.model(), rig.model("gone", required=False))
    alive(rig, monkeypatch)
    rig.bring(1)
    assert (bool(core.ready), bool(core.healthy)) == (True, True)


@pytest.mark.parametrize("without", [False, True])
def test_a_core_without_models_is_ready_only_where_that_was_asked_for(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, without: bool
) -> None:
    core = ServerCore(options=ServerCoreOptions(clock=rig.clock, ready_without_models=without))
    rig.core = core
    core._started = True
    alive(rig, monkeypatch)
    assert bool(core.ready) is bool(core.healthy) is without
    if not without:
        assert "no model is configured; add one, or set" in str(core.ready)
        assert core.ready.reasons[0].code is ReasonCode.NOT_CONFIGURED


def test_whoever_is_told_of_a_model_by_the_monitor_finds_the_core_ready(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    core = rig.run()
    alive(rig, monkeypatch)
    records, seen = core.monitor.record, []

    def record(event: Any) -> None:
        records(event)  # from here on a wait may return
        if isinstance(event, ServableState):
            seen.append((event.manager_state is S.AVAILABLE, bool(core.ready)))

    monkeypatch.setattr(type(core.monitor), "record", lambda _, event: record(event))
    rig.bring(1)
    assert seen == [(False, False), (False, False), (True, True)]
