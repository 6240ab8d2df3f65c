"""The contract of a source, for whoever writes one: `check_source`."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, final

from servman.data import ServableData
from servman.errors import FailedPreconditionError, ServmanError
from servman.testing.findings import Findings

if TYPE_CHECKING:
    from collections.abc import Callable

    from servman.flow import Source

_COMPLETE = "send the complete list of the stream each time: what is left out is unloaded"


def check_source(
    make_source: Callable[[], Source[Any]],
    *,
    look: Callable[[Any], object] | None = None,
    change: Callable[[], object] | None = None,
    lose: Callable[[], object] | None = None,
) -> None:
    """Check that a source keeps the promises that its target relies on.

    1. It takes one target, sends what there is to it, and refuses a second.
    2. A list is a sequence of `ServableData` of its stream, each version once, each with a payload or an
       error; a payload that is a path has an origin, by which a version that moves is known.
    3. A list is complete: a source that has watched a change says in the end what a new one would say.
    4. It is sent when it has changed, and not at every look.
    5. That it could not look is never sent, and least of all as an empty list.
    6. Lists of one stream come one at a time, and none comes after `close()`, which may be called twice.

    The source is not started: its looks are made by *look*, so that the check can tell when they are
    over. Also for the ports of a router: let *make_source* send through the router and return the port.

    Args:
        make_source: Makes a new source over the same storage, without a target.
        look: Makes a source look once, and returns when what it found was sent. Default: its `poll()`,
            where it has one.
        change: Changes what there is to find.
        lose: Makes the storage unreachable, as when a mount is lost. Called last.

    Raises:
        AssertionError: It breaks some of them; all are listed, each with what to do.
    """
    findings = Findings("the source")
    check = _SourceCheck(findings, make_source, look or _poll)
    target = check.begins()
    if target is not None:
        check.is_quiet_when_nothing_changes(target)
        if change is not None:
            change()
            check.follows(target)
        check.is_silent_once_closed()
        if lose is not None:
            lose()
            check.is_quiet_when_it_cannot_look(target)
        check.ends(target)
    findings.report()


@final
class _SourceCheck:
    def __init__(
        self,
        findings: Findings,
        make_source: Callable[[], Source[Any]],
        look: Callable[[Any], object],
    ) -> None:
        self._findings = findings
        self._make = make_source
        self._look_once = look
        self._source: Any = None

    def begins(self) -> _CheckedTarget | None:
        source = self._made()
        if source is None:
            return None
        if not self._findings.require(
            callable(getattr(source, "set_target", None)),
            f"{type(source).__name__} has no method set_target",
            "define it as servman.Source does",
        ):
            return None
        self._source = source
        target = self._connected(source)
        self._findings.require(
            self._findings.call(
                "set_target(), a second time,", self._refuses, "raise FailedPreconditionError"
            ),
            "it took a second target",
            "raise FailedPreconditionError and change nothing: a source feeds one target",
        )
        self._look(source)
        self._findings.require(
            target.sent, "it sent nothing", "send what there is; let look= make it look once"
        )
        return target

    def is_quiet_when_nothing_changes(self, target: _CheckedTarget) -> None:
        before = len(target.sent)
        self._look(self._source)
        self._look(self._source)
        self._findings.require(
            len(target.sent) == before,
            f"it sent {target.told(before)} although nothing had changed",
            "remember what was sent last of each stream, and send a list when it differs",
        )

    def follows(self, target: _CheckedTarget) -> None:
        before = len(target.sent)
        self._look(self._source)
        self._findings.require(
            len(target.sent) > before, "it sent nothing after a change", "send what there is now"
        )
        fresh = self._made()
        if fresh is None:
            return
        other = self._connected(fresh)
        self._look(fresh)
        self._findings.require(
            target.last == other.last,
            f"after a change it has said {target.last}, and a new source says {other.last}",
            _COMPLETE,
        )
        self._close(fresh)

    def is_silent_once_closed(self) -> None:
        source = self._made()
        if source is None or not callable(getattr(source, "close", None)):
            return
        target = self._connected(source)
        self._close(source)
        before = len(target.sent)
        self._findings.call(
            "looking after close()",
            lambda: self._look_once(source),
            "do nothing after close(), or raise ClosedError",
            may_raise=ServmanError,
        )
        self._findings.require(
            len(target.sent) == before,
            f"after close() it sent {target.told(before)}",
            "send nothing after close(): the target may be closed as well",
        )

    def is_quiet_when_it_cannot_look(self, target: _CheckedTarget) -> None:
        before = len(target.sent)
        self._look(self._source)
        self._findings.require(
            len(target.sent) == before,
            f"it sent {target.told(before)} when its storage was out of reach",
            "send nothing and keep the error as a status: an empty list means that all should be unloaded",
        )

    def ends(self, target: _CheckedTarget) -> None:
        before = len(target.sent)
        self._close(self._source)
        if callable(getattr(self._source, "close", None)):
            self._close(self._source)
        self._findings.require(
            len(target.sent) == before,
            f"closing it sent {target.told(before)}",
            "let what is loaded be when the source goes: whoever closes the manager unloads",
        )
        self._findings.require(
            not target.overlapped,
            "lists of one stream came at the same time",
            "send the lists of one stream one at a time, in the order of the looks",
        )

    def _made(self) -> Source[Any] | None:
        return self._findings.call(
            "make_source()", self._make, "make the source without a look at its storage"
        )

    def _connected(self, source: Source[Any]) -> _CheckedTarget:
        target = _CheckedTarget(self._findings)
        self._findings.call(
            "set_target(target)", lambda: source.set_target(target), "take any target, once"
        )
        return target

    def _refuses(self) -> bool:
        try:
            self._source.set_target(_CheckedTarget(self._findings))
        except FailedPreconditionError:
            return True
        return False

    def _look(self, source: Source[Any]) -> None:
        self._findings.call(
            "looking",
            lambda: self._look_once(source),
            "keep what is wrong with the storage as a status; raise nothing at a look",
        )

    def _close(self, source: Any) -> None:
        close = getattr(source, "close", None)
        if callable(close):
            self._findings.call("close()", close, "let it be called at any time, and twice")


@final
class _CheckedTarget:
    """A target that looks at every list it is sent.

    Attributes:
        sent: (stream, list) of each call.
        last: The last list of each stream.
        overlapped: Whether two lists of one stream came at once.
    """

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._lock = threading.Lock()  # guards everything below
        self._inside: list[str] = []
        self.sent: list[tuple[str, list[ServableData[Any]]]] = []
        self.last: dict[str, list[ServableData[Any]]] = {}
        self.overlapped = False

    def set_aspired_versions(self, name: str, versions: Sequence[ServableData[Any]]) -> None:
        with self._lock:
            self.overlapped |= name in self._inside
            self._inside.append(name)
        try:
            self._check(name, versions)
        finally:
            with self._lock:
                self._inside.remove(name)
                self.sent.append((name, list(versions)))
                self.last[name] = list(versions)

    def told(self, first: int) -> list[tuple[str, list[ServableData[Any]]]]:
        """Return what was sent since there were *first* lists."""
        return self.sent[first:]

    def _check(self, name: str, versions: Sequence[ServableData[Any]]) -> None:
        entries = [data for data in versions if isinstance(data, ServableData)]
        well_formed = isinstance(versions, Sequence) and len(entries) == len(versions)
        self._findings.require(
            well_formed,
            f"as the list of {name!r} it sent {versions!r}",
            "send a list or tuple of ServableData",
        )
        ids = [data.id for data in entries]
        self._findings.require(
            all(one.name == name for one in ids),
            f"in the list of {name!r} it sent {[str(one) for one in ids]}",
            "send one list for each stream, with the versions of that stream",
        )
        self._findings.require(
            len(set(ids)) == len(ids),
            f"in the list of {name!r} a version stands twice: {[str(one) for one in ids]}",
            "choose one of them, and tell of the other in a log or a status",
        )
        for data in entries:
            self._check_entry(data)

    def _check_entry(self, data: ServableData[Any]) -> None:
        if data.error is not None:
            return
        self._findings.require(
            data.payload is not None,
            f"{data.id} came with the payload None",
            "use ServableData.from_error() for a version that there is no payload of",
        )
        self._findings.require(
            data.origin is not None or not isinstance(data.payload, str),
            f"{data.id} came with the path {data.payload!r} and no origin",
            "pass origin=path: a version that moves is known by it, and its load is told of it",
        )


def _poll(source: Any) -> None:
    poll = getattr(source, "poll", None)
    if callable(poll):
        poll()
