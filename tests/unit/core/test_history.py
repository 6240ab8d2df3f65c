"""What a history keeps, in which order, for how long, and what it costs to ask."""

from __future__ import annotations

import json
import pickle
from typing import Any

import pytest

from servman.core.history import History
from servman.core.journal import Journal, Render
from servman.core.transition import Transition, change_in_words, labels_in_words
from servman.errors import InvalidArgumentError, LoadFailedError
from servman.events import EventBus
from servman.ids import ServableId
from servman.state import ManagerState, ServableState, StreamAspiration, StreamLabels
from servman.testing import FakeClock
from tests.unit.core.rig import Rig, sid

S = ManagerState


class Bench:
    """A history on an event bus, in the test's time."""

    def __init__(self, capacity: int = 100, max_age: float = 1_000.0) -> None:
        self.clock = FakeClock()
        self.causes: dict[str, str] = {}
        self.journal = Journal(None, self.clock)
        self.history = History(
            capacity=capacity,
            max_age=max_age,
            clock=self.clock,
            cause_of=lambda name: self.causes.get(name, ""),
            journal=self.journal,
        )
        self.bus = EventBus(clock=self.clock)
        self.bus.attach(self.history)

    def tell(self, text: str, state: S, cause: str = "", error: Any = None) -> None:
        name, _, version = text.partition(":")
        self.bus.publish(ServableState(ServableId(name, int(version)), state, error, cause=cause))

    def live(self, text: str, *states: S, seconds: float = 0.0) -> None:
        for state in states:
            self.tell(text, state)
            self.clock.advance(seconds)

    def events(self, name: str | None = None, limit: int | None = None) -> list[str]:
        return [
            f"{one.id or one.name} {one.event}".strip()
            for one in self.history.transitions(name, limit)
        ]


LIFE = (S.START, S.LOADING, S.AVAILABLE, S.UNLOADING, S.END)


# ---- what is told ----------------------------------------------------------------------------


def test_each_state_is_told_with_its_time_and_how_long_the_one_before_has_lasted() -> None:
    bench = Bench()
    began = bench.clock.wall()
    bench.live("m:1", *LIFE, seconds=2.0)
    told = bench.history.transitions("m")
    assert [one.state for one in told] == list(LIFE)
    assert [one.time - began for one in told] == [0.0, 2.0, 4.0, 6.0, 8.0]
    assert [one.duration for one in told] == [None, 2.0, 2.0, 2.0, 2.0]
    assert {one.id for one in told} == {sid(1)}


def test_the_next_incarnation_has_no_state_before_its_start() -> None:
    bench = Bench()
    bench.live("m:1", *LIFE, seconds=2.0)
    bench.live("m:1", S.START, S.LOADING, seconds=3.0)
    assert [one.duration for one in bench.history.transitions("m", 2)] == [None, 3.0]


def test_versions_of_one_model_have_durations_of_their_own() -> None:
    bench = Bench()
    bench.live("m:1", S.START, seconds=1.0)
    bench.live("m:2", S.START, seconds=1.0)
    bench.tell("m:1", S.LOADING)
    bench.tell("m:2", S.LOADING)
    assert [one.duration for one in bench.history.transitions("m", 2)] == [2.0, 1.0]


@pytest.mark.parametrize("step", [-3_600.0, 3_600.0])
def test_a_clock_that_is_set_changes_times_and_no_durations(step: float) -> None:
    bench = Bench()
    bench.live("m:1", S.START, seconds=2.0)
    bench.clock._wall_offset += step
    bench.tell("m:1", S.LOADING)
    first, second = bench.history.transitions("m")
    assert second.time - first.time == 2.0 + step
    assert second.duration == 2.0


def test_a_duration_is_known_though_the_state_before_was_crowded_out() -> None:
    bench = Bench(capacity=1)
    bench.live("m:1", S.START, seconds=5.0)
    bench.tell("m:1", S.LOADING)
    assert [one.duration for one in bench.history.transitions("m")] == [5.0]


def test_causes_are_those_of_the_events_and_of_the_source() -> None:
    bench = Bench()
    bench.causes["m"] = "file event"
    bench.bus.publish(StreamAspiration("m", frozenset({2, 10, 1})))
    bench.causes["m"] = "poll"  # of a list that was sent since
    bench.tell("m:1", S.START, cause="aspired")
    aspired, started = bench.history.transitions("m")
    assert (aspired.event, aspired.cause, aspired.text) == ("ASPIRED", "file event", "1, 2, 10")
    assert aspired.facts == {"versions": [1, 2, 10]}
    assert (started.event, started.cause) == ("START", "aspired")


def test_an_empty_list_and_labels_are_told_in_words() -> None:
    bench = Bench()
    bench.bus.publish(StreamAspiration("m", frozenset()))
    bench.bus.publish(StreamLabels("m", {"stable": 2, "canary": 3}, {"stable": 1, "old": 1}))
    nothing, labels = bench.history.transitions("m")
    assert nothing.text == "no version"
    assert labels.text == (
        "canary names nothing until 3 is available, old names 1, stable names 1 until 2 is available"
    )
    assert labels.facts["wanted"] == {"stable": 2, "canary": 3}
    assert labels_in_words({}, {}) == "none"


def test_an_error_is_told_without_repeating_its_version() -> None:
    bench = Bench()
    error = LoadFailedError("m:1: no such layer")
    bench.tell("m:1", S.END, error=error)
    (ended,) = bench.history.transitions("m")
    assert (ended.error, str(ended)) == (
        "no such layer",
        "2023-11-14 22:13:20Z m:1 END: no such layer",
    )


def test_a_transition_is_ready_for_json_and_for_other_processes() -> None:
    bench = Bench()
    bench.tell("m:1", S.START, cause="aspired")
    (told,) = bench.history.transitions("m")
    assert pickle.loads(pickle.dumps(told)) == told
    assert json.loads(json.dumps(told.as_dict())) == {
        "time": 1_700_000_000.0,
        "event": "START",
        "name": "m",
        "version": 1,
        "cause": "aspired",
        "generation": 0,
    }
    assert Transition(0.0, "CONFIG").state is None
    assert Transition(0.0, "CONFIG").id is None


def test_version_0_and_a_duration_of_0_are_not_left_out() -> None:
    bench = Bench()
    bench.live("m:0", S.START, S.LOADING)
    told = bench.history.transitions("m")[-1]
    assert told.as_dict() | {"version": 0, "duration": 0.0} == told.as_dict()
    assert str(told.id) == "m:0"


# ---- configurations --------------------------------------------------------------------------


def test_each_event_tells_which_configuration_was_in_force() -> None:
    bench = Bench()
    bench.history.note_config(1, "call", "1 model")
    bench.tell("m:1", S.START)
    bench.history.note_config(1, "file", "generation 2 did not come into force", "m has failed")
    bench.tell("m:1", S.LOADING)
    bench.history.note_config(3, "rpc", "2 models")
    bench.tell("m:1", S.AVAILABLE)
    told = bench.history.transitions()
    assert [(one.event, one.generation, one.cause) for one in told] == [
        ("CONFIG", 1, "call"),
        ("START", 1, ""),
        ("CONFIG_REFUSED", 1, "file"),
        ("LOADING", 1, ""),
        ("CONFIG", 3, "rpc"),
        ("AVAILABLE", 3, ""),
    ]
    assert told[2].error == "m has failed"
    assert bench.events("m") == ["m:1 START", "m:1 LOADING", "m:1 AVAILABLE"]


def test_what_a_configuration_changes_is_told_by_name_and_cut_short() -> None:
    before = {"kept": 1, "changed": 1, "gone": 1}
    after = {"kept": 1, "changed": 2} | {f"n{number}": 1 for number in range(7)}
    assert change_in_words(before, after) == (
        "9 models; new: n0, n1, n2, n3, n4 and 2 more; gone: gone; changed: changed"
    )
    assert change_in_words({}, {"m": 1}) == "1 model; new: m"


# ---- what is kept ----------------------------------------------------------------------------


def test_each_model_keeps_its_own_last_transitions() -> None:
    bench = Bench(capacity=3)
    bench.tell("quiet:1", S.START)
    for version in range(10):
        bench.tell(f"busy:{version}", S.START)
    assert bench.events("busy") == ["busy:7 START", "busy:8 START", "busy:9 START"]
    assert bench.events("quiet") == ["quiet:1 START"]


def test_a_history_of_nothing_keeps_nothing() -> None:
    bench = Bench(capacity=0)
    bench.live("m:1", *LIFE)
    assert bench.history.transitions() == ()


def test_what_is_too_old_is_not_told_even_where_nothing_happens_any_more() -> None:
    bench = Bench(max_age=10.0)
    bench.live("m:1", *LIFE)
    bench.clock.advance(10.0)
    assert len(bench.history.transitions("m")) == 5
    bench.clock.advance(0.1)
    assert bench.history.transitions("m") == bench.history.transitions() == ()


def test_what_is_too_old_is_let_go_of_when_the_model_is_told_of_again() -> None:
    bench = Bench(max_age=10.0)
    for version in range(100):
        bench.live(f"m:{version}", S.START, seconds=1.0)
    assert len(bench.history._streams["m"].entries) == 11


def test_the_last_transition_of_what_is_wanted_or_loaded_is_kept_whatever_its_age() -> None:
    bench = Bench(max_age=10.0)
    bench.history.note_config(1, "call", "1 model")
    bench.live("loaded:1", S.START, S.LOADING, S.AVAILABLE)
    bench.bus.publish(StreamAspiration("failed", frozenset({1})))
    bench.live("failed:1", S.START, S.END)
    bench.live("gone:1", *LIFE)
    bench.clock.advance(1e6)
    assert bench.events() == ["CONFIG", "loaded:1 AVAILABLE", "failed:1 END"]


def test_models_that_have_gone_are_forgotten_by_age_and_so_nothing_grows() -> None:
    bench = Bench(max_age=100.0)
    bench.tell("stays:1", S.AVAILABLE)
    for number in range(1_000):
        bench.live(f"m{number}:1", *LIFE, seconds=1.0)
    assert len(bench.history._streams) < 30
    assert len(bench.history._gone) < 30
    assert bench.events("stays") == ["stays:1 AVAILABLE"]


def test_a_model_that_comes_back_is_not_forgotten_as_one_that_has_gone() -> None:
    bench = Bench(max_age=10.0)
    bench.live("m:1", *LIFE)
    bench.bus.publish(StreamAspiration("m", frozenset({1})))
    bench.clock.advance(50.0)
    bench.live("n:1", *LIFE)
    assert bench.events("m") == ["m ASPIRED"]


# ---- asking ----------------------------------------------------------------------------------


def test_of_all_models_the_order_is_that_of_the_bus() -> None:
    bench = Bench()
    expected = []
    for number in range(20):
        bench.tell(f"m{number * 7 % 5}:{number}", S.START)
        expected.append(f"m{number * 7 % 5}:{number} START")
    assert bench.events() == expected
    assert bench.events(limit=3) == expected[-3:]


@pytest.mark.parametrize(("limit", "count"), [(None, 5), (0, 0), (2, 2), (99, 5)])
def test_a_limit_gives_the_last_ones(limit: int | None, count: int) -> None:
    bench = Bench()
    bench.live("m:1", *LIFE)
    assert [one.state for one in bench.history.transitions("m", limit)] == list(LIFE[5 - count :])


@pytest.mark.parametrize("name", [3, b"m", [], ("m",), True])
def test_what_is_no_name_is_refused(name: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="the name of a model"):
        Bench().history.transitions(name)


@pytest.mark.parametrize("limit", [-1, "3", 2.0, True])
def test_a_limit_that_is_no_number_is_refused(limit: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="a number of transitions"):
        Bench().history.transitions("m", limit)


def test_a_model_that_nothing_is_known_of_has_no_history() -> None:
    assert Bench().history.transitions("nobody") == ()


def test_what_comes_while_it_is_read_is_left_out_with_all_that_follows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench()
    bench.tell("a:1", S.START)
    bench.tell("b:1", S.START)
    monotonic = bench.clock.monotonic

    def busy() -> float:  # called by a reader once it has begun
        monkeypatch.setattr(bench.clock, "monotonic", monotonic)
        bench.tell("b:1", S.LOADING)
        bench.tell("a:1", S.LOADING)
        return monotonic()

    monkeypatch.setattr(bench.clock, "monotonic", busy)
    assert bench.events() == ["a:1 START", "b:1 START"]
    assert len(bench.events()) == 4


def test_writing_makes_no_text_and_reading_takes_no_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    renders: list[Render] = []
    monkeypatch.setattr(bench.journal, "post", renders.append)
    bench.live("m:1", *LIFE)
    with bench.history._lock:  # which a reader would wait for, for ever
        assert len(bench.history.transitions("m")) == 5
        assert len(bench.history.transitions()) == 5
    assert [render() for render in renders] == list(bench.history.transitions("m"))


# ---- in a core -------------------------------------------------------------------------------


def test_a_core_tells_of_its_models_and_of_its_configurations(rig: Rig) -> None:
    core = rig.run(rig.model(), rig.model("n"))
    rig.bring(1)
    assert [str(one).partition("Z ")[2] for one in core.history(limit=4)] == [
        "m ASPIRED 1 (poll() was called)",
        "m:1 START (aspired)",
        "m:1 LOADING after 0.0 s",
        "m:1 AVAILABLE after 0.0 s",
    ]
    first = core.history()[0]
    assert (first.event, first.generation, first.text) == ("CONFIG", 1, "2 models; new: m, n")
    assert core.history("m", limit=1) == core.history()[-1:]


def test_whoever_is_told_of_something_by_the_monitor_finds_it_in_the_history(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    core = rig.run()
    monitor_records, seen = core.monitor.record, []

    def record(event: Any) -> None:
        monitor_records(event)  # from here on a wait may return
        if isinstance(event, ServableState):
            last = core.history("m")[-1]
            seen.append((last.state, event.manager_state))

    monkeypatch.setattr(type(core.monitor), "record", lambda _, event: record(event))
    rig.bring(1)
    assert [found for found, _ in seen] == [told for _, told in seen]
    assert len(seen) == 3


def test_the_options_of_a_core_bound_its_history(rig: Rig) -> None:
    core = rig.run(history_capacity=2, history_max_age=60.0)
    rig.bring(1)
    assert [one.event for one in core.history("m")] == ["LOADING", "AVAILABLE"]
    rig.clock.advance(61.0)
    assert [one.event for one in core.history("m")] == ["AVAILABLE"]
