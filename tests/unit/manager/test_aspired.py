"""The manager as a whole: its options, its policy, what it publishes and in which order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from servman.errors import FailedPreconditionError, InvalidArgumentError
from servman.events import Event
from servman.ids import ServableId
from servman.loader import SimpleLoader
from servman.manager import (
    ActionKind,
    AspiredVersionsManager,
    AvailabilityPreservingPolicy,
    HarnessState,
    ServableAction,
    ServableStateSnapshot,
)
from servman.state import ManagerState, ServableState
from tests.unit.manager.rig import ModelLoader, Rig, entry, sid

NAN = float("nan")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("policy", 3),
        ("num_load_threads", 0),
        ("num_load_threads", 1.5),
        ("num_load_threads", True),
        ("num_unload_threads", 0),
        ("max_num_load_retries", -1),
        ("max_num_load_retries", None),
        ("load_retry_interval", -0.1),
        ("load_retry_interval", NAN),
        ("load_retry_interval", "60"),
        ("revision_interval", -1),
        ("revision_interval", None),
    ],
)
def test_an_option_that_can_never_be_right_is_refused_by_name(option: str, value: object) -> None:
    options: dict[str, Any] = {option: value}
    with pytest.raises(InvalidArgumentError, match=option):
        AspiredVersionsManager(**options)


def test_a_number_of_load_threads_that_can_never_be_right_changes_nothing(rig: Rig) -> None:
    with pytest.raises(InvalidArgumentError, match="num_load_threads"):
        rig.manager.num_load_threads = 0
    assert (rig.manager.num_load_threads, rig.loads.size) == (4, 1)


def test_a_manager_does_nothing_before_it_is_started(rig: Rig) -> None:
    rig.manager.set_aspired_versions("m", [entry("m:1")])
    assert (rig.events, rig.loads.jobs) == ([], [])


def test_a_step_says_whether_it_did_anything(rig: Rig) -> None:
    assert not rig.manager.step()
    rig.manager.set_aspired_versions("m", [entry("m:1")])
    assert rig.manager.step()
    assert not rig.manager.step()


def test_a_manager_that_was_started_cannot_be_stepped() -> None:
    manager = AspiredVersionsManager()
    manager.start()
    manager.start()  # starting twice does nothing
    with pytest.raises(FailedPreconditionError, match="its own thread steps"):
        manager.step()
    assert manager.close(10.0)


# ---- what is published, and when ----------------------------------------------------------------


def watch(rig: Rig, look: Callable[[ServableState], None]) -> None:
    """Call *look* inside every publication of a state."""

    class Watch:
        def record(self, event: Event) -> None:
            if isinstance(event, ServableState):
                look(event)

    rig.bus.attach(Watch())


def test_a_version_is_found_when_available_is_published_and_until_after_unloading() -> None:
    rig, found = Rig(), {}

    def look(event: ServableState) -> None:
        found[event.manager_state] = rig.serving()

    watch(rig, look)
    rig.bring("m", 1)
    rig.bring("m")
    assert found == {
        ManagerState.START: [],
        ManagerState.LOADING: [],
        ManagerState.AVAILABLE: ["m:1"],
        ManagerState.UNLOADING: ["m:1"],
        ManagerState.END: [],
    }


def test_snapshots_have_changed_when_a_state_is_published() -> None:
    rig = Rig(max_num_load_retries=0)
    seen: list[tuple[str, HarnessState | None]] = []
    watch(rig, lambda one: seen.append((one.manager_state.name, rig.state(str(one.id)))))
    rig.bring("m", 1)
    with rig.handle("m"):
        rig.bring("m")
    rig.settle()
    assert seen == [
        ("START", HarnessState.NEW),
        ("LOADING", HarnessState.LOADING),
        ("AVAILABLE", HarnessState.READY),
        ("UNLOADING", HarnessState.QUIESCING),
        ("END", None),
    ]


def test_loads_begin_after_loading_was_published() -> None:
    rig = Rig()
    loader = SimpleLoader(lambda context: rig.states(str(context.id)))
    rig.bring("m", entry("m:1", loader))
    with rig.manager.get_servable_handle("m") as handle:
        assert handle.servable == ["START", "LOADING"]


def test_unloads_begin_after_lookups_have_stopped_finding_the_version() -> None:
    rig, begun = Rig(), []
    loader = SimpleLoader(lambda _: "servable", destroy=lambda _: begun.append(rig.serving()))
    rig.bring("m", entry("m:1", loader))
    rig.bring("m")
    assert begun == [[]]


def test_snapshots_of_a_stream_and_of_all_are_in_order(rig: Rig) -> None:
    rig.bring("b", 2, 1)
    rig.bring("a", 1)
    assert [str(one.id) for one in rig.manager.snapshots()] == ["a:1", "b:1", "b:2"]
    assert [str(one.id) for one in rig.manager.snapshots("b")] == ["b:1", "b:2"]
    assert rig.manager.snapshots("c") == ()


def test_a_step_that_takes_long_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    rig = Rig()
    watch(rig, lambda _: rig.clock.advance(2.0))
    rig.aspire("m", 1)
    assert "a step of the manager took 4.0 s, at Aspire" in caplog.text


# ---- policies -----------------------------------------------------------------------------------


class Scripted:
    """A policy that does as it is told for the stream "bad", and as usual for others."""

    def __init__(self, answer: Callable[[], Any]) -> None:
        self.answer = answer
        self.broken = True

    def next_action(self, snapshots: Sequence[ServableStateSnapshot]) -> ServableAction | None:
        if self.broken and snapshots and snapshots[0].id.name == "bad":
            return self.answer()  # type: ignore[no-any-return]
        return AvailabilityPreservingPolicy().next_action(snapshots)


def fail(error: BaseException) -> Callable[[], Any]:
    def answer() -> None:
        raise error

    return answer


def act(kind: ActionKind, id: str) -> Callable[[], Any]:
    return lambda: ServableAction(kind, sid(id))


@pytest.mark.parametrize(
    "answer",
    [
        fail(ValueError("confused")),
        fail(SystemExit(3)),
        act(ActionKind.LOAD, "bad:9"),
        act(ActionKind.LOAD, "good:1"),
        act(ActionKind.UNLOAD, "bad:1"),
        lambda: ServableAction("explode", sid("bad:1")),  # type: ignore[arg-type]
        lambda: "nonsense",
    ],
)
def test_a_policy_that_raises_or_asks_for_what_cannot_be_stops_its_own_stream_alone(
    answer: Callable[[], Any], caplog: pytest.LogCaptureFixture
) -> None:
    policy = Scripted(answer)
    rig = Rig(policy=policy)
    rig.manager.set_aspired_versions("bad", [entry("bad:1")])
    rig.bring("good", 1)
    assert (rig.serving(), rig.state("bad:1")) == (["good:1"], HarnessState.NEW)
    assert "stream bad stands still: its policy failed" in caplog.text
    policy.broken = False
    rig.bring("bad", 1)
    assert rig.serving() == ["bad:1", "good:1"]


def test_a_policy_that_asks_for_a_load_twice_has_it_loaded_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rig = Rig(policy=Scripted(act(ActionKind.LOAD, "bad:1")))
    loader = ModelLoader()
    rig.bring("bad", entry("bad:1", loader))
    assert (len(loader.models), rig.serving()) == (1, ["bad:1"])
    assert "duplicate load request" in caplog.text


def test_a_version_that_the_policy_unloads_ends_without_an_error_and_stays_on_record() -> None:
    policy = Scripted(act(ActionKind.UNLOAD, "bad:1"))
    policy.broken = False
    rig = Rig(policy=policy)
    rig.bring("bad", 1)
    policy.broken = True
    rig.bring("bad", 1)
    assert (rig.ends("bad:1"), rig.state("bad:1")) == ([None], HarnessState.DISABLED)
    assert str(rig.why("bad")) == "bad:1 was unloaded"


def test_a_version_that_the_policy_unloads_gives_its_unload_thread_back() -> None:
    policy = Scripted(act(ActionKind.UNLOAD, "bad:1"))
    policy.broken = False
    rig = Rig(policy=policy, num_unload_threads=1)
    rig.bring("bad", 1)
    rig.bring("good", 1)
    policy.broken = True
    rig.bring("bad", 1)
    rig.bring("good")
    assert rig.ends("good:1") == [None]


def test_the_policy_is_asked_for_streams_in_the_same_order_in_every_run() -> None:
    asked: list[str] = []

    class Telling:
        def next_action(self, snapshots: Sequence[ServableStateSnapshot]) -> None:
            asked.extend({one.id.name for one in snapshots})

    rig = Rig(policy=Telling())
    names = [f"stream-{number}" for number in range(20)]
    for name in names:
        rig.manager.set_aspired_versions(name, [entry(f"{name}:1")])
    rig.step()
    asked.clear()
    for name in names:
        rig.manager._actor._reconciler._unsettled.add(name)
    rig.aspire("one more")
    assert asked == sorted(names)


def test_slow_destructors_of_servables_run_on_the_unload_pool(rig: Rig) -> None:
    dead: list[str] = []

    class Mortal:
        def __init__(self, id: ServableId) -> None:
            self.id = id

        def __del__(self) -> None:
            dead.append(str(self.id))

    rig.bring("m", entry("m:1", SimpleLoader(lambda context: Mortal(context.id))))
    rig.aspire("m")
    assert dead == []
    rig.unloads.run()
    assert dead == ["m:1"]
