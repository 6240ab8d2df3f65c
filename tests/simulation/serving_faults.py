"""Faults in what serves: the map, the actor and handles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from servman.ids import ServableId, ServableRequest
from servman.manager.actor import Actor
from servman.manager.crew import Crew
from servman.manager.drains import Drains
from servman.manager.effects import Serve, Served, StartUnload
from servman.manager.handle import Entry, ServableHandle
from servman.manager.messages import Drained
from servman.manager.serving import ServingMap, StreamEntry
from tests.simulation.plants import fault

if TYPE_CHECKING:
    import pytest

    from servman.manager.drains import Signal


# ---- serving map and actor -------------------------------------------------------------------------


@fault("serving map", "what goes is still found")
def _still_found(patch: pytest.MonkeyPatch) -> None:
    make = Actor._stream_entry

    def merging(self: Actor, name: str, served: Served) -> StreamEntry | None:
        before = self.serving.entries(name)
        entry = make(self, name, served)
        now = entry.versions if entry is not None else {}
        labels = entry.labels if entry is not None else {}
        return StreamEntry({**before, **now}, served.newest, labels) if before or now else None

    patch.setattr(Actor, "_stream_entry", merging)


@fault("serving map", "the latest is the earliest")
def _wrong_latest(patch: pytest.MonkeyPatch) -> None:
    make = StreamEntry.__init__

    def confused(self: StreamEntry, versions: Any, newest: int | None, labels: Any) -> None:
        make(self, versions, newest, labels)
        self.latest = versions[min(versions)]

    patch.setattr(StreamEntry, "__init__", confused)


@fault("serving map", "the newest is the latest that serves")
def _wrong_newest(patch: pytest.MonkeyPatch) -> None:
    make = StreamEntry.__init__

    def lenient(self: StreamEntry, versions: Any, newest: int | None, labels: Any) -> None:
        del newest
        make(self, versions, max(versions), labels)

    patch.setattr(StreamEntry, "__init__", lenient)


@fault("actor", "the entries of a stream are made anew when another version comes or goes")
def _new_entries(patch: pytest.MonkeyPatch) -> None:
    serve = Actor._serve

    def anew(self: Actor, order: Serve) -> None:
        for name in order.streams:
            self.serving.streams.pop(name, None)
        serve(self, order)

    patch.setattr(Actor, "_serve", anew)


@fault("actor", "the end of the last handle is not heard")
def _deaf(patch: pytest.MonkeyPatch) -> None:
    hear = Drains.hear

    def deaf(self: Drains, signal: Signal) -> Drained | None:
        drained = hear(self, signal)
        return None if drained is not None and drained.incarnation % 5 == 0 else drained

    patch.setattr(Drains, "hear", deaf)


@fault("actor", "the death of an entry counts as drained, whatever finalisers still do")
def _one_token(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Drains, "hear", lambda _, signal: Drained(signal.incarnation))


@fault("actor", "an unload is started twice")
def _two_unloads(patch: pytest.MonkeyPatch) -> None:
    unload = Crew.unload

    def twice(self: Crew, order: StartUnload, servable: object) -> None:
        unload(self, order, servable)
        unload(self, order, servable)

    patch.setattr(Crew, "unload", twice)


@fault("actor", "what is kept for the loads of an incarnation is kept for ever")
def _hoarder(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Crew, "forget", lambda *_: None)


@fault("actor", "an incarnation that was forgotten is still listened for")
def _listener(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Drains, "forget", lambda *_: None)


# ---- handle ----------------------------------------------------------------------------------------


@fault("handle", "closing does not let go")
def _leak(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ServableHandle, "close", lambda _: None)


@fault("handle", "leaving a with does not let go")
def _leak_of_with(patch: pytest.MonkeyPatch) -> None:
    kept: list[object] = []

    def leave(self: ServableHandle[object], *_: object) -> None:
        kept.append(self._entry)

    patch.setattr(ServableHandle, "__exit__", leave)


@fault("handle", "an entry does not hold its pin")
def _no_pin(patch: pytest.MonkeyPatch) -> None:
    make = Entry.__init__

    def unpinned(self: Entry, id: ServableId, servable: object, pin: object) -> None:
        make(self, id, servable, None)

    patch.setattr(Entry, "__init__", unpinned)


@fault("handle", "a lookup of one version finds another of its stream")
def _any_version(patch: pytest.MonkeyPatch) -> None:
    find = ServingMap.find

    def loose(self: ServingMap, request: ServableRequest | ServableId | str) -> Entry | None:
        name = request.partition(":")[0] if isinstance(request, str) else request.name
        stream = self.streams.get(name)
        return find(self, request) or (stream.latest if stream is not None else None)

    patch.setattr(ServingMap, "find", loose)
