"""What is wanted of whole streams: their lists, their labels, and several of them at once. Pure.

Of a stream that is *held* lookups find what they found, labels included, until it is committed or rolled back.
What is wanted of it is loaded beside that. It ends in one of two ways:

- A commit lets in what is loaded by then, and takes out what is no longer wanted. It may be made
  conditional: what is aspired must be what somebody expects, and all of it must be there; else nothing happens.
- A rollback wants again what was wanted when the stream was held. What has served all the time is wanted
  again as it stands; what was loaded since is unloaded, and was never found.

In both, one effect changes what lookups find in all of these streams.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from servman.errors import ClosedError, FailedPreconditionError
from servman.manager.causes import Cause
from servman.manager.effects import Answer, PublishAspiration, PublishState
from servman.manager.harness import HarnessState
from servman.manager.labels import Labels
from servman.manager.lives import Held
from servman.manager.options import NO_OPTIONS
from servman.manager.policies import Policies
from servman.manager.stream import Stream
from servman.state import ManagerState

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from servman.data import ServableData
    from servman.errors import ServmanError
    from servman.loader import Loader
    from servman.manager.messages import Commit
    from servman.manager.options import StreamOptions


class Streams(Policies):
    """Follows what is wanted of each stream."""

    def _aspire(
        self, name: str, wanted: Mapping[int, ServableData[Loader]], cause: Cause = Cause.ASPIRED
    ) -> None:
        if self._closing:
            return
        known = name in self._streams
        stream = self._streams.setdefault(name, Stream(name))
        before = stream.aspired()
        staying, replaced = stream.compared_with(wanted)
        if known and staying == before == wanted.keys() and not stream.successors:
            # Nothing changes, yet a policy that has failed is asked again.
            self._unsettled.add(name)
            return
        if replaced:
            # Aspired anew: whoever waits must not take the old incarnation's END for the new one's.
            self._emit(PublishAspiration(name, frozenset(wanted) - replaced))
        elif not known or before != wanted.keys():
            self._emit(PublishAspiration(name, frozenset(wanted)))
        self._take_over(stream, wanted, staying, cause)
        if replaced:
            self._emit(PublishAspiration(name, frozenset(wanted)))
        for version, data in wanted.items():
            if version not in stream.harnesses:
                self._manage(stream, data, cause)
        if known:
            self._serve(stream)
        self._touch(stream.name)

    def _take_over(
        self,
        stream: Stream,
        wanted: Mapping[int, ServableData[Loader]],
        staying: set[int],
        cause: Cause,
    ) -> None:
        """Let those go that cannot answer for what is wanted, and note what is to come after them."""
        stream.successors.clear()
        for version, harness in list(stream.harnesses.items()):
            if version in staying:
                harness.aspired = True
            else:
                undone = cause is Cause.ROLLED_BACK and harness.aspired
                gone = Cause.ROLLED_BACK if undone else Cause.NO_LONGER_ASPIRED
                self._unaspire(harness, Cause.REPLACED if version in wanted else gone)
        for version in wanted.keys() & stream.harnesses.keys() - staying:
            stream.successors[version] = wanted[version]

    # ---- labels and options --------------------------------------------------------------------

    def _set_labels(self, wanted: Mapping[str, Mapping[str, int]]) -> None:
        if self._closing:
            return
        changed = self._want_labels(wanted)
        self._serve_together(one for one in self._known(changed) if one.name not in self._held)
        self._tell_labels(changed)

    def _want_labels(self, wanted: Mapping[str, Mapping[str, int]]) -> list[str]:
        """Take up the complete table of labels; return the streams whose labels change with it."""
        known = [*self._labels, *(name for name in wanted if name not in self._labels)]
        return [name for name in known if self._want_labels_of(name, wanted.get(name, {}))]

    def _want_labels_of(self, name: str, wanted: Mapping[str, int]) -> bool:
        labels = self._labels.get(name)
        if wanted == (labels.wanted if labels is not None else {}):
            return False
        if labels is None:
            labels = self._labels[name] = Labels()
        labels.wanted = wanted
        return True

    def _configure(self, streams: Mapping[str, StreamOptions]) -> None:
        before, self._configured = self._configured, streams
        for name in before.keys() | streams.keys():
            policy = before.get(name, NO_OPTIONS).policy
            if streams.get(name, NO_OPTIONS).policy is not policy and name in self._streams:
                self._unsettled.add(name)  # it may say something else than the one before it

    # ---- several streams at once ---------------------------------------------------------------

    def _hold(self, names: frozenset[str]) -> None:
        if self._closing:
            return
        for name in names - self._held.keys():
            stream, labels = self._streams.get(name), self._labels.get(name)
            self._held[name] = Held(
                {} if stream is None else stream.wanted(), {} if labels is None else labels.wanted
            )
            if stream is not None:
                self._touch(name)  # what waited for others to go need not wait any more

    def _commit(self, event: Commit) -> None:
        """Let all that the streams hold in by one change of what lookups find."""
        error = self._why_not(event)
        if error is None:
            relabeled = [] if event.labels is None else self._want_labels(event.labels)
            for name in event.names:
                self._held.pop(name, None)
            streams = self._known(event.names)
            for harness in [one for stream in streams for one in stream.to_let_go()]:
                self._quiesce(harness)
            self._let_in(streams, Cause.COMMITTED, relabeled)
        if event.reply is not None:
            self._emit(Answer(event.reply, error))

    def _why_not(self, event: Commit) -> ServmanError | None:
        """Return why that commit cannot be, if it cannot."""
        if self._closing:
            return ClosedError("the manager was closed; nothing is committed any more")
        lacking = [
            what
            for name, versions in sorted(event.expected.items())
            for what in self._lacking(name, versions)
        ]
        if not lacking:
            return None
        return FailedPreconditionError(f"nothing was committed: {'; '.join(lacking)}")

    def _lacking(self, name: str, expected: frozenset[int]) -> Iterator[str]:
        """Tell what of *name* is not as it is expected to be."""
        stream = self._streams.get(name) or Stream(name)
        aspired = stream.aspired()
        if aspired != expected:
            yield f"{name} is expected to have {_listed(expected)} aspired, and has {_listed(aspired)}"
            return
        for version in sorted(aspired):
            harness = stream.harnesses[version]
            if not harness.aspired:
                yield f"{harness.id} is to be loaded anew, and cannot be before the old one has gone"
            elif harness.state is not HarnessState.READY and not harness.held:
                why = f" ({harness.error})" if harness.error is not None else ""
                yield f"{harness.id} is {harness.state.value}{why}"

    def _rollback(self, names: frozenset[str]) -> None:
        if self._closing:
            return  # which has ended every hold
        names &= self._held.keys()
        for name in sorted(names):
            before = self._held[name]
            if before.versions or name in self._streams:
                self._aspire(name, before.versions, Cause.ROLLED_BACK)
            self._want_labels_of(name, before.labels)
        for name in names:
            del self._held[name]
        # What goes after that is the policy's business, as ever.
        self._let_in(self._known(names), Cause.ROLLED_BACK, names)

    def _known(self, names: Iterable[str]) -> list[Stream]:
        return [self._streams[name] for name in sorted(names) if name in self._streams]

    def _let_in(self, streams: list[Stream], cause: Cause, relabeled: Iterable[str]) -> None:
        """Let lookups find what is loaded in *streams*, and labels move, by one change of what they find.

        Those of the *relabeled* move with them, where these are not held.
        """
        entering = [harness for stream in streams for harness in stream.to_let_in()]
        for harness in entering:
            harness.succeed(self._now)
        others = [one for one in self._known(relabeled) if one.name not in self._held]
        self._serve_together(dict.fromkeys([*streams, *others]))
        self._tell_labels(relabeled)
        for harness in entering:
            self._emit(PublishState(harness.id, ManagerState.AVAILABLE, None, cause))
            self._answer(harness.id, None)
        for stream in streams:
            self._to_serve.pop(stream.name, None)  # done, with all the others
            self._touch(stream.name)


def _listed(versions: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(versions))) or "nothing"
