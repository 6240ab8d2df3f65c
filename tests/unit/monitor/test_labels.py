from __future__ import annotations

from collections.abc import Iterator

import pytest

from servman.errors import InvalidArgumentError, LoadCancelledError
from servman.events import EventBus
from servman.ids import ServableId, ServableRequest
from servman.monitor.explanation import explain
from servman.monitor.goals import decide
from servman.monitor.monitor import ServableStateMonitor
from servman.reasons import ReasonCode
from servman.state import ManagerState, StreamAspiration, StreamLabels
from servman.testing import FakeClock, Spawned
from tests.unit.monitor.feed import (
    AVAILABLE,
    END,
    FAILURE,
    LOADING,
    START,
    UNLOADING,
    Script,
    bring,
    publish,
    view_of,
)

STABLE = ServableRequest.labeled("m", "stable")
UP_1: tuple[Script, ...] = ({1}, (1, START), (1, AVAILABLE))


@pytest.fixture
def labeling(bus: EventBus, clock: FakeClock) -> Iterator[ServableStateMonitor]:
    monitor = ServableStateMonitor(bus, labels=True, clock=clock)
    yield monitor
    monitor.close()


def test_what_is_aspired_and_the_labels_can_be_read_until_they_are_gone(
    labeling: ServableStateMonitor, bus: EventBus
) -> None:
    publish(bus, {3, 4}, ({"s": 4}, {"s": 3}))
    assert labeling.get_aspirations() == {"m": StreamAspiration("m", frozenset([3, 4]))}
    assert labeling.get_labels() == {"m": StreamLabels("m", {"s": 4}, {"s": 3})}
    publish(bus, set(), ({}, {}))
    assert (labeling.get_aspirations(), labeling.get_labels()) == ({}, {})


@pytest.mark.parametrize(
    ("script", "goal", "expected"),
    [
        ([], AVAILABLE, None),
        ([*UP_1], AVAILABLE, None),  # no such label
        ([*UP_1, ({"other": 1}, {"other": 1})], AVAILABLE, None),
        ([({"stable": 1}, {})], AVAILABLE, None),  # nothing is aspired yet
        ([{1}, ({"stable": 1}, {}), (1, START)], AVAILABLE, None),
        ([{1}, ({"stable": 1}, {"stable": 1}), (1, START)], AVAILABLE, None),  # not yet published
        ([*UP_1, ({"stable": 1}, {})], AVAILABLE, None),  # lookups by it do not find it yet
        ([*UP_1, ({"stable": 1}, {"stable": 1})], AVAILABLE, (True, 1)),
        # it is to move: the old target does not count
        ([*UP_1, ({"stable": 2}, {"stable": 1}), {1, 2}], AVAILABLE, None),
        ([*UP_1, {1, 2}, ({"stable": 2}, {"stable": 2}), (2, AVAILABLE)], AVAILABLE, (True, 2)),
        # it fails as its version does
        ([({"stable": 2}, {}), {2}, (2, START), (2, END, FAILURE)], AVAILABLE, (False, 2)),
        (
            [*UP_1, ({"stable": 2}, {"stable": 1}), {1, 2}, (2, START), (2, END, FAILURE)],
            AVAILABLE,
            (False, 2),
        ),
        ([({"stable": 2}, {}), {1}, (2, END, FAILURE)], AVAILABLE, None),  # not aspired
        (
            [({"stable": 2}, {}), {2}, (2, START), (2, END, LoadCancelledError("late"))],
            AVAILABLE,
            None,
        ),
        # labels that are no longer wanted
        ([*UP_1, ({"stable": 1}, {"stable": 1}), ({}, {})], AVAILABLE, None),
        # where nobody tells what is aspired
        ([(1, AVAILABLE), ({"stable": 1}, {"stable": 1})], AVAILABLE, (True, 1)),
        ([(1, END), ({"stable": 1}, {})], AVAILABLE, (False, 1)),
        # any other goal is a matter of the version's states
        ([{1}, (1, START), (1, LOADING), ({"stable": 1}, {})], LOADING, (True, 1)),
        ([{1}, (1, START), (1, UNLOADING), ({"stable": 1}, {})], LOADING, None),
        ([*UP_1, {1, 2}, (2, LOADING), ({"stable": 1}, {"stable": 1})], LOADING, None),
    ],
)
def test_a_label_is_decided_by_the_version_that_it_is_to_mean(
    script: list[Script], goal: ManagerState, expected: tuple[bool, int] | None
) -> None:
    decision = decide(STABLE, goal, view_of(*script))
    got = None if decision is None else (decision.reached, decision.state.id.version)
    assert got == expected


def test_a_wait_by_label_ends_when_the_label_has_moved(
    labeling: ServableStateMonitor, bus: EventBus, clock: FakeClock
) -> None:
    bring(bus, "m", 1)
    publish(bus, ({"stable": 2}, {"stable": 1}))
    waiting = Spawned(lambda: labeling.wait_until_available("m@stable", timeout=5.0))
    clock.wait_until_parked(1)
    publish(bus, {1, 2}, (2, START), (2, LOADING))
    publish(bus, ({"stable": 2}, {"stable": 2}))  # before AVAILABLE, as the manager does
    clock.wait_until_parked(1)
    publish(bus, (2, AVAILABLE))
    assert waiting.result() == {STABLE: ServableId("m", 2)}


def test_a_label_that_comes_during_the_wait_is_waited_for(
    labeling: ServableStateMonitor, bus: EventBus, clock: FakeClock
) -> None:
    bring(bus, "m", 1)
    waiting = Spawned(lambda: labeling.wait_until("m@stable", timeout=5.0))
    clock.wait_until_parked(1)
    publish(bus, ({"stable": 1}, {"stable": 1}))
    assert waiting.result().reached


def test_a_label_pending_at_the_deadline_says_what_its_version_waits_for(
    labeling: ServableStateMonitor, bus: EventBus
) -> None:
    publish(bus, ({"stable": 1}, {}), {1}, (1, START), (1, LOADING))
    result = labeling.wait_until(["m@stable", "m@canary", "n@stable"], timeout=0)
    assert result.timed_out
    texts = [str(reason) for reason in result.reasons.values()]
    assert texts[0] == "m:1 has been loading for 0.0 s"
    assert texts[1] == "'m' has no label 'canary'; there are: stable"
    assert texts[2].startswith("nothing is known of 'n'")


@pytest.mark.parametrize(
    ("script", "code", "text"),
    [
        ([*UP_1], ReasonCode.NO_LABEL, "'m' has no label 'stable'; there are: none"),
        ([({"stable": 1}, {})], ReasonCode.NOT_CONFIGURED, "nothing is known of 'm'"),
        ([*UP_1, ({"stable": 2}, {})], ReasonCode.NOT_ASPIRED, "m:2 is not aspired"),
        ([*UP_1, ({"stable": 1}, {})], ReasonCode.WAITING, "m@stable is to mean m:1, which is"),
        ([*UP_1, ({"stable": 1}, {"stable": 1})], ReasonCode.AVAILABLE, "m:1 is available"),
    ],
)
def test_the_states_alone_tell_why_a_label_means_nothing(
    script: list[Script], code: ReasonCode, text: str
) -> None:
    reason = explain(STABLE, view_of(*script), now=0.0)
    assert reason.code is code
    assert reason.text.startswith(text)


def test_a_monitor_refuses_labels_unless_it_was_told_to_follow_them(
    monitor: ServableStateMonitor,
) -> None:
    for call in (monitor.wait_until, monitor.wait_future):
        with pytest.raises(InvalidArgumentError, match=r"m@stable asks by label.*labels=True"):
            call(["m", "m@stable"])
    with pytest.raises(InvalidArgumentError, match="by label"):
        monitor.wait_until_available(STABLE)
    with pytest.raises(InvalidArgumentError, match="by label"):
        monitor.notify_when("m@stable", AVAILABLE, print)


def test_labels_outlast_the_versions_and_vanish_when_they_are_no_longer_wanted(
    bus: EventBus,
) -> None:
    monitor = ServableStateMonitor(bus, labels=True, ended_streams_capacity=1)
    publish(bus, ({"stable": 1}, {}), {1}, (1, START), (1, END), set())
    publish(bus, (1, END), name="other")
    publish(bus, (1, END), name="another")
    assert set(monitor._history.names()) == {"m", "another"}
    publish(bus, ({}, {}))
    assert set(monitor._history.names()) == {"m"}
    assert monitor._history.view("m").labels == {}
    publish(bus, ({"stable": 1}, {}), name="new")
    publish(bus, ({}, {}), name="new")
    assert "new" not in monitor._history.names()
