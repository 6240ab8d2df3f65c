"""What callers ask of single versions, and how they are answered. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from servman.errors import (
    ClosedError,
    FailedPreconditionError,
    NotFoundError,
    ServmanError,
    settled,
)
from servman.manager.causes import Cause
from servman.manager.effects import Answer
from servman.manager.harness import ON_ITS_WAY_OUT, HarnessState
from servman.manager.loads import Loads
from servman.manager.messages import Act, Manage, Obtain, StopManaging
from servman.manager.policy import ActionKind
from servman.manager.stream import Stream

if TYPE_CHECKING:
    from servman.ids import ServableId
    from servman.manager.harness import LoaderHarness
    from servman.manager.messages import Call
    from servman.manager.policy import ServableAction


class Calls(Loads):
    """Does what callers ask, and tells each how it has ended."""

    def _serve_caller(self, event: Call) -> None:
        try:
            if self._closing:
                raise ClosedError("the manager was closed; make a new one")
            match event:
                case Manage():
                    self._take_up(event)
                case Act():
                    self._act(event.action)
                    self._replies[event.action.id] = event.reply
                case StopManaging():
                    self._stop_managing(event)
                case Obtain():
                    self._obtain(event)
                case _:
                    assert_never(event)
        except ServmanError as error:
            self._emit(Answer(event.reply, settled(error)))

    def _take_up(self, event: Manage) -> None:
        which = event.data.id
        harness = self._find(which)
        if harness is not None:
            raise FailedPreconditionError(
                f"{which} is managed already; it is {harness.state.value}. Stop managing it first"
            )
        stream = self._streams.get(which.name) or Stream(which.name)
        self._manage(stream, event.data, Cause.MANAGED)
        self._serve(stream)  # for what is the newest
        self._emit(Answer(event.reply, None))

    def _stop_managing(self, event: StopManaging) -> None:
        harness = self._found(event.id)
        if harness.state is not HarnessState.NEW and not harness.ended:
            first = "unload it" if harness.state is HarnessState.READY else "wait for that to end"
            raise FailedPreconditionError(
                f"{event.id} cannot be let go: it is {harness.state.value}; {first} first"
            )
        self._unaspire(harness, Cause.NO_LONGER_MANAGED)
        self._serve(self._streams[event.id.name])
        self._touch(event.id.name)
        self._emit(Answer(event.reply, None))

    def _obtain(self, event: Obtain) -> None:
        which = event.data.id
        harness = self._find(which)
        if harness is not None and harness.state is HarnessState.READY:
            self._emit(Answer(event.reply, None))
            return
        if harness is None and any(one.data.id == which for one in self._given_up.values()):
            raise FailedPreconditionError(
                f"{which}: its last load was given up (load_timeout) and has not returned yet; before that"
                " it is not loaded again"
            )
        self._lookups.setdefault(which, {})[event.reply] = None
        if harness is None:
            stream = self._streams.get(which.name) or Stream(which.name)
            self._manage(stream, event.data, Cause.LOOKED_UP)
        elif not harness.aspired or harness.state in ON_ITS_WAY_OUT:  # from now on to come back
            self._streams[which.name].successors.setdefault(which.version, event.data)
            self.changed.add(which.name)

    def _found(self, id: ServableId) -> LoaderHarness:
        harness = self._find(id)
        if harness is None:
            raise NotFoundError(f"{id} is not managed; manage it first")
        return harness

    def _act(self, action: ServableAction) -> None:
        harness = self._found(action.id)
        match action.kind:
            case ActionKind.LOAD:
                harness.request_load(self._now)
                self._loads.enter(harness.incarnation)
            case ActionKind.UNLOAD:
                self._quiesce(harness)
            case _:
                assert_never(action.kind)
        self.changed.add(action.id.name)
