"""Following what happens on a server, over connections that break."""

from __future__ import annotations

from typing import Any

import pytest

from servman.client.talk import Answer, Failure
from servman.client.watching import ENDED, Snapshot, Watching
from servman.errors import (
    InternalError,
    InvalidArgumentError,
    ServerUnreachableError,
    UnimplementedError,
)
from servman.ids import ServableId
from servman.state import ManagerState, ServableState, StreamAspiration, StreamLabels
from tests.unit.client.script import (
    DROPPED,
    REFUSED,
    SERVER,
    SILENT,
    UNIMPLEMENTED,
    Script,
    answer,
    state,
)


def watching(timeout: float | None = None, *names: str) -> tuple[Watching, Script]:
    script = Script(DROPPED)
    return Watching(names, timeout, SERVER, script.clock), script


def event(number: int, *, life: str = "a", **what: Any) -> bytes:
    made: Answer = answer("servman.v1.WatchResponse", server=life, number=number, **what)
    return made.content


def snapshot(number: int, life: str = "a") -> bytes:
    return event(number, life=life, snapshot={"states": [state("m", 3, 30)]})


def test_each_kind_of_event_is_told_as_what_it_is() -> None:
    watch, _ = watching()
    told = watch.take(snapshot(1))
    assert isinstance(told, Snapshot)
    assert (told.server, list(told.states)) == ("a", [ServableId("m", 3)])
    told = watch.take(event(2, state=state("m", 4, 20)))
    assert isinstance(told, ServableState)
    assert (told.id, told.manager_state) == (ServableId("m", 4), ManagerState.LOADING)
    told = watch.take(event(3, aspiration={"name": "m", "versions": [4]}))
    assert told == StreamAspiration("m", frozenset([4]))
    told = watch.take(event(4, labels={"name": "m", "wanted": {"s": 4}, "targets": {"s": 3}}))
    assert told == StreamLabels("m", {"s": 4}, {"s": 3})


def test_a_snapshot_tells_what_is_wanted_and_the_labels_as_single_events_do() -> None:
    labels = {"name": "m", "wanted": {"s": 4}, "targets": {"s": 3}}
    told = watching()[0].take(
        event(1, snapshot={"aspirations": [{"name": "m", "versions": [3, 4]}], "labels": [labels]})
    )
    assert isinstance(told, Snapshot)
    assert told.aspirations == {"m": StreamAspiration("m", frozenset([3, 4]))}
    assert told.labels == {"m": StreamLabels("m", {"s": 4}, {"s": 3})}


def test_it_is_asked_for_what_comes_after_what_was_told_last() -> None:
    watch, _ = watching(None, "m", "n")
    first = watch.call()
    assert (list(first.request.names), first.request.server) == (["m", "n"], "")
    assert first.timeout is None
    watch.take(snapshot(7))
    watch.take(event(9, state=state("m", 4, 20)))
    again = watch.call().request
    assert (again.server, again.after) == ("a", 9)


def test_what_was_told_already_is_not_told_again_and_a_snapshot_always_is() -> None:
    watch, _ = watching()
    watch.take(snapshot(7))
    assert watch.take(event(7, state=state("m", 4, 20))) is None
    assert watch.take(snapshot(7)) is not None


def test_another_life_of_the_server_counts_anew() -> None:
    watch, _ = watching()
    watch.take(snapshot(7))
    assert watch.take(event(1, life="b", state=state("m", 4, 20))) is not None
    assert watch.call().request.server == "b"


BAD = event(1, snapshot={"labels": [{"name": "a:b"}]})


@pytest.mark.parametrize("content", [b"\xff", event(1), event(1, aspiration={"name": "a:b"}), BAD])
def test_an_event_that_makes_no_sense_is_the_servers_fault(content: bytes) -> None:
    with pytest.raises(InternalError, match="cannot be read"):
        watching()[0].take(content)


def test_a_lost_connection_is_made_again_after_a_pause() -> None:
    watch, script = watching()
    watch.take(snapshot(1))
    script.play(watch.bear(DROPPED))
    script.play(watch.bear(ENDED))
    assert script.pauses == pytest.approx([0.1, 0.2])


def test_it_is_over_when_the_time_is_up_and_the_server_was_there() -> None:
    watch, script = watching(10.0)
    assert watch.call().timeout == 10.0
    watch.take(snapshot(1))
    assert not watch.is_over(SILENT), "the server gave up early"
    script.clock.advance(10.0)
    assert watch.is_over(SILENT)
    assert not watch.is_over(DROPPED)


def test_without_a_server_at_the_end_it_is_an_error() -> None:
    watch, script = watching(10.0, "m")
    script.clock.advance(9.95)
    with pytest.raises(ServerUnreachableError, match=r"never reached within 10 s.*the events of m"):
        script.play(watch.bear(REFUSED))
    assert not watch.is_over(SILENT)


def test_what_cannot_be_watched_is_told_as_that() -> None:
    watch, script = watching()
    with pytest.raises(UnimplementedError, match="host:8500 cannot be watched"):
        script.play(watch.bear(UNIMPLEMENTED))
    with pytest.raises(InvalidArgumentError):
        script.play(watch.bear(Failure("INVALID_ARGUMENT", "no name")))


@pytest.mark.parametrize("names", [["a:b"], [""], [3]])
def test_a_name_that_is_none_is_refused(names: list[str]) -> None:
    with pytest.raises(InvalidArgumentError, match="not a servable name"):
        Watching(names, None, SERVER, Script().clock)
