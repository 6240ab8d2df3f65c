"""The contract of an adapter, for whoever writes one: `check_adapter`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, final

from servman.data import ServableData
from servman.errors import FailedPreconditionError, NotFoundError, ServmanError
from servman.ids import ServableId
from servman.testing.findings import Findings
from servman.testing.loader_check import LOADER_METHODS
from servman.testing.targets import RecordingTarget
from servman.testing.threads import Spawned

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from servman.adapters import SourceAdapter

_ROUNDS: Final = 20
"""Lists of each stream that are sent while those of another are."""

_BASE: Final = "derive it from servman.SourceAdapter and write convert() alone, which sees to this"


def check_adapter(
    adapter: SourceAdapter[Any, Any],
    *,
    payload: object = "/models/checked/1",
    bad_payload: object = None,
    origin: Callable[[str], str] = str,
    rejects: bool = False,
    makes_loaders: bool = True,
) -> None:
    """Check that an adapter keeps the promises that sources and managers rely on.

    1. What comes before its target is kept, the newest list of each stream, and nobody is blocked.
    2. Each list that comes in goes out once and complete: the same stream, the same versions in the same
       order; the empty list as the empty list, and the same list again whenever it comes again.
    3. An entry with an error passes unchanged; an entry that cannot be converted becomes an error, a
       `ServmanError`, and harms no other.
    4. The origin is passed on.
    5. Converting neither looks at the files nor minds other threads with other streams.
    6. It feeds one target, and refuses a second.
    7. What it makes are loaders, with all three methods of one.

    Args:
        adapter: A new one, without a target.
        payload: What it takes; for a platform, the path of a version directory, which need not exist.
        bad_payload: What it cannot convert; None where there is no such thing.
        origin: What becomes of an origin, for adapters that change it.
        rejects: Whether an error in each payload's place is what the adapter is for.
        makes_loaders: Whether it is the last one before the manager, as that of a platform is.

    Raises:
        AssertionError: It breaks some of them; all are listed, each with what to do.
    """
    findings = Findings(type(adapter).__qualname__)
    missing = [
        name
        for name in ("set_aspired_versions", "set_target")
        if not callable(getattr(adapter, name, None))
    ]
    if findings.require(not missing, f"it has no method {' and '.join(missing)}", _BASE):
        check = _AdapterCheck(findings, adapter, payload, origin)
        check.keeps_what_comes_before_its_target()
        check.feeds_one_target()
        check.passes_the_empty_list_on()
        check.passes_errors_on()
        check.converts(rejects=rejects, makes_loaders=makes_loaders)
        if bad_payload is not None:
            check.turns_failures_into_errors(bad_payload)
        check.takes_other_streams_at_once()
    findings.report()


@final
class _AdapterCheck:
    def __init__(
        self,
        findings: Findings,
        adapter: SourceAdapter[Any, Any],
        payload: object,
        origin: Callable[[str], str],
    ) -> None:
        self._findings = findings
        self._adapter = adapter
        self._payload = payload
        self._origin = origin
        self._target: RecordingTarget[Any] = RecordingTarget()

    def keeps_what_comes_before_its_target(self) -> None:
        for name, versions in (("early", (1,)), ("other", (1,)), ("early", (2, 3))):
            self._send(name, self._entries(name, *versions))
        self._findings.call(
            "set_target(target)", lambda: self._adapter.set_target(self._target), _BASE
        )
        heard = {name: _versions(sent) for name, sent in self._target.calls}
        self._findings.require(
            heard == {"early": [2, 3], "other": [1]} and len(self._target.calls) == len(heard),
            f"of what came before its target it delivered {_told(self._target)}",
            f"keep the newest list of each stream, and deliver it on connecting: {_BASE}",
        )

    def feeds_one_target(self) -> None:
        second: RecordingTarget[Any] = RecordingTarget()
        refused = self._findings.call(
            "set_target(target), a second time,", lambda: self._refuses(second), _BASE
        )
        self._findings.require(refused, "it took a second target", f"refuse it: {_BASE}")
        self._sent_on("after", self._entries("after", 1), "after a second target was refused")

    def _refuses(self, target: RecordingTarget[Any]) -> bool:
        try:
            self._adapter.set_target(target)
        except FailedPreconditionError:
            return True
        return False

    def passes_the_empty_list_on(self) -> None:
        self._sent_on("empty", [], "the empty list")

    def passes_errors_on(self) -> None:
        given: ServableData[object] = ServableData.from_error(
            ServableId("failed", 1), NotFoundError("failed:1 is gone"), "/failed/1"
        )
        for entry in self._sent_on("failed", [given], "an entry with an error"):
            self._findings.require(
                entry == given,
                f"of an entry with the error NotFoundError('failed:1 is gone') it made {entry!r}",
                f"pass errors on as they are: {_BASE}",
            )

    def converts(self, *, rejects: bool, makes_loaders: bool) -> None:
        given = self._entries("fine", 3, 1, 2)
        before = list(given)
        for when in ("a list", "the same list again"):
            for entry in self._sent_on("fine", given, when):
                self._accepts(entry, rejects=rejects)
                self._keeps_origin(entry)
                if makes_loaders and entry.error is None:
                    self._is_loader(entry.payload)
        self._findings.require(
            given == before, "it changed the list that it was given", "make a list of its own"
        )

    def _accepts(self, entry: ServableData[Any], *, rejects: bool) -> None:
        self._findings.require(
            rejects or entry.error is None,
            f"of the payload {self._payload!r} it made the error {entry.error}",
            "convert every payload that may be right; what is wrong with the files is for the load to find",
        )
        self._findings.require(
            entry.error is not None or entry.payload is not None,
            f"of the payload {self._payload!r} it made None",
            "return ServableData(data.id, payload, data.origin) from convert()",
        )

    def _is_loader(self, payload: object) -> None:
        missing = [name for name in LOADER_METHODS if not callable(getattr(payload, name, None))]
        self._findings.require(
            not missing and not isinstance(payload, type),
            f"of the payload {self._payload!r} it made {payload!r}, which is no loader",
            "make an object with all three methods of servman.Loader; where the adapter stands before"
            " another one, pass makes_loaders=False",
        )

    def _keeps_origin(self, entry: ServableData[Any]) -> None:
        given = f"/origin/{entry.id.version}"
        expected = self._origin(given)
        # What could not be converted comes from where it came from.
        unchanged = entry.error is not None and entry.origin == given
        self._findings.require(
            entry.origin == expected or unchanged,
            f"the origin {expected!r} became {entry.origin!r}",
            f"pass data.origin on: the load is told of it, and a version that moves is known by it. {_BASE}",
        )

    def turns_failures_into_errors(self, bad_payload: object) -> None:
        good, worse = self._entries("mixed", 1, 3)
        bad: ServableData[object] = ServableData(ServableId("mixed", 2), bad_payload, "/origin/2")
        what = f"a list with the payload {bad_payload!r}"
        entries = self._sent_on("mixed", [good, bad, worse], what)
        for entry in entries:
            failed = isinstance(entry.error, ServmanError)
            self._findings.require(
                failed == (entry.id.version == bad.id.version),
                f"of {what} {entry.id} became {entry!r}",
                f"raise in convert(), and that entry alone becomes an error: {_BASE}",
            )
            self._keeps_origin(entry)

    def takes_other_streams_at_once(self) -> None:
        before = len(self._target.calls)
        senders = [Spawned(lambda name=name: self._send_rounds(name)) for name in ("a", "b")]  # type: ignore[misc] # bound now
        for sender in senders:
            self._findings.call("set_aspired_versions() on two threads", sender.result, _BASE)
        heard = self._target.calls[before:]
        for name in ("a", "b"):
            numbers = [_versions(sent) for called, sent in heard if called == name]
            self._findings.require(
                numbers == [[number] for number in range(_ROUNDS)],
                f"with two streams on two threads, lists of {name!r} came out as {numbers}",
                f"hand each list on before set_aspired_versions() returns: {_BASE}",
            )

    def _send_rounds(self, name: str) -> None:
        for number in range(_ROUNDS):
            self._adapter.set_aspired_versions(name, self._entries(name, number))

    def _entries(self, name: str, *versions: int) -> list[ServableData[object]]:
        return [
            ServableData(ServableId(name, version), self._payload, f"/origin/{version}")
            for version in versions
        ]

    def _send(self, name: str, versions: Sequence[ServableData[object]]) -> None:
        self._findings.call(
            "set_aspired_versions()",
            lambda: self._adapter.set_aspired_versions(name, versions),
            f"put the error in the entry's place, and wait for nothing: {_BASE}",
        )

    def _sent_on(
        self, name: str, versions: Sequence[ServableData[object]], what: str
    ) -> tuple[ServableData[Any], ...]:
        """Send a list and return what came of it; none of it unless it came out as it has to."""
        before = len(self._target.calls)
        self._send(name, versions)
        heard = self._target.calls[before:]
        wanted = [(name, [data.id for data in versions])]
        kept = self._findings.require(
            [(called, _ids(sent)) for called, sent in heard] == wanted,
            f"{what} came out as {[(called, list(sent)) for called, sent in heard]}",
            f"hand on one list for each, of the same stream, with the same versions in their order: {_BASE}",
        )
        return heard[0][1] if kept else ()


def _ids(sent: Sequence[ServableData[Any]]) -> list[object]:
    return [getattr(data, "id", data) for data in sent]


def _versions(sent: Sequence[ServableData[Any]]) -> list[int]:
    return [data.id.version for data in sent]


def _told(target: RecordingTarget[Any]) -> list[tuple[str, list[int]]]:
    return [(name, _versions(sent)) for name, sent in target.calls]
