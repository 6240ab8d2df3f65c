"""What a simulation has seen: which models are in memory, who holds them, and what went wrong."""

from __future__ import annotations

from collections import defaultdict
from enum import StrEnum
from typing import TYPE_CHECKING, Final, final

from servman.manager import HarnessState

if TYPE_CHECKING:
    from servman.data import ServableData
    from servman.ids import ServableId
    from servman.loader import LoadContext, Loader


class Rule(StrEnum):
    """What always holds. A violation names the rule; shrinking keeps to one rule."""

    ONE_LIVE_LOAD = "of one id there is at most one model in memory"
    FIRST_LOADER = "an aspired version keeps its first loader, unless its origin changes"
    ATTEMPTS_IN_ORDER = "attempts are numbered 1, 2, 3 up to the limit"
    GIVEN_UP = "after cancel_retry there is no further attempt"
    UNLOADED_ONCE = "every model is unloaded exactly once"
    HANDLES_PIN = "no handle ever sees an unloaded servable"
    HANDLES_COUNTED = "snapshots tell how many handles hold a version"
    FINDS_RIGHT = "a lookup finds the version that it asks for, where that is served"
    DRAINED_AT_ONCE = "a version on its way out waits for handles only while there are some"
    MONOTONE = "public states move forward, and each incarnation has one START and one END"
    ASPIRED_FIRST = "a version is announced as aspired before its START"
    FOUND_WHEN_TOLD = "a lookup finds it when AVAILABLE and when UNLOADING is published"
    ENDED_IS_GONE = "END comes when the model is gone"
    TRANSITIONS = "the harness follows the transition table"
    INCARNATIONS_GROW = "incarnations only grow"
    READY_IS_FOUND = "lookups find exactly what snapshots call READY"
    SNAPSHOTS_AGREE = "the latest snapshots and the latest public states agree"
    STAYS_SERVED = "an aspired version that serves goes on serving, unless it fails"
    SOMETHING_SERVES = (
        "a stream that serves goes on serving, unless nothing of it is wanted, or what serves fails"
    )
    FAILED_LEAVES = "what is reported to have failed is served no more"
    FAILURE_TOLD = "what has failed goes for that cause, and ends with what was reported first; nothing else does"
    EXPLAINED = "every aspired version that is not ready has a reason, and so has every label"
    PLACES = "nothing waits for a place that is free, and no place is given twice"
    MEMORY = "what is set aside covers what is in memory, and is no more than there is"
    NO_FAULT = "the manager raises nothing and logs no fault of its own"
    HELD_STANDS = (
        "lookups in a held stream find what they found when it was held, but for what has failed"
    )
    ONE_CHANGE = "a commit lets all its streams in by one change of what lookups find"
    ASKED = "what the policy in force asks for is done at once"
    IN_TURN = (
        "a list is taken up after the holds, commits and the like that were asked for before it"
    )
    COMMITS_WHOLE = "a commit with expectations is done as a whole, and exactly where they are met"
    ROLLED_BACK = "a rollback takes nothing out, and lets in only what was on its way in before"
    LABELS = "a label points to its wanted version where that serves, else where it did, while that serves"
    LABELS_TOLD = "what was told last of labels is what is so"
    ANSWERED = "whoever asks is answered exactly once, and truly"
    IN_USE = "a caching manager never takes out what is in use"
    WITHIN_LIMIT = "a caching manager never has more in memory than its limit"
    LEAST_RECENT = (
        "a caching manager takes out what was used least recently, and no more than it takes"
    )
    SETTLES = "once inputs stop, the system comes to rest within bounded steps"
    SETTLES_RIGHT = "at rest it serves exactly what is aspired and can be loaded"
    NOTHING_KEPT = "what is no longer aspired leaves nothing behind"
    CLOSES = "close ends everything by its deadline, and reports what it left"


@final
class Violation(AssertionError):  # noqa: N818 -- it is one, whoever is to blame
    """A rule was broken."""

    def __init__(self, rule: StrEnum, text: str) -> None:
        super().__init__(f"{rule}: {text}")
        self.rule = rule


@final
class Model:
    """A servable that knows whether it may still be used.

    Attributes:
        needs: How much memory its loader said that it would need.
        more: How much more than that it needs, now that it is loaded; negative where it is less.
        failed: Whether the manager has taken up that it serves no more.
    """

    def __init__(self, id: ServableId, loader: Loader, needs: int, more: int = 0) -> None:
        self.id = id
        self.loader = loader
        self.needs = needs
        self.more = more
        self.loaded = True
        self.failed = False


class ReportedError(Exception):
    """What planted loaders report."""


@final
class Attempt:
    """One load, of which a failure may be reported, then or later.

    Attributes:
        model: What it has made, if it has.
    """

    def __init__(self, context: LoadContext) -> None:
        self.context = context
        self.model: Model | None = None


@final
class Ledger:
    """Keeps the books.

    Attributes:
        violations: What was found wrong, oldest first. Collected and raised later: some are found
            inside finalisers, loaders and recorders, where an exception would be swallowed.
        in_memory: The models of an id that were loaded and not unloaded.
        late: The models of loads that had been given up when they returned, likewise.
        held: What holds a model (a handle's number, or a knot), and the model.
        expected: The entry whose loader is to be used for an id.
        attempts: All loads that have begun, oldest first.
        reports: Every report that was made, and of which load, by its text.
        limits: Name to every number of retries that the stream has had for its own.
    """

    def __init__(self) -> None:
        self.violations: list[Violation] = []
        self.in_memory: defaultdict[ServableId, list[Model]] = defaultdict(list)
        self.late: list[Model] = []
        self.held: dict[object, Model] = {}
        self.limits: defaultdict[str, set[int]] = defaultdict(set)
        self.expected: dict[ServableId, ServableData[Loader]] = {}
        self.attempts: list[Attempt] = []
        self.reports: dict[str, Attempt] = {}

    def blame(self, rule: StrEnum, text: str) -> None:
        """Write a violation down."""
        self.violations.append(Violation(rule, text))

    def require(self, holds: object, rule: StrEnum, text: str) -> None:
        """Write a violation down unless it *holds*."""
        if not holds:
            self.blame(rule, text)

    def raise_first(self) -> None:
        """Raise the first violation, if there is one."""
        if self.violations:
            raise self.violations[0]

    def begun(self, context: LoadContext) -> Attempt:
        """Enter a load into the books."""
        attempt = Attempt(context)
        self.attempts.append(attempt)
        return attempt

    def report(self, attempt: Attempt) -> None:
        """Report a failure of what *attempt* makes, or has made."""
        text = f"planted report {len(self.reports)}"
        self.reports[text] = attempt
        attempt.context.report_failure(ReportedError(text))

    def loaded(self, model: Model, *, late: bool) -> None:
        """Enter a model into the books."""
        if late:
            self.late.append(model)
            return
        others = self.in_memory[model.id]
        self.require(not others, Rule.ONE_LIVE_LOAD, f"{model.id} is loaded twice")
        others.append(model)

    def give_up(self, id: ServableId) -> None:
        """Count what a load of *id* has brought as late: the manager has not waited for it."""
        self.late += self.in_memory.pop(id, [])

    def unloaded(self, model: Model) -> None:
        """Take a model out of the books."""
        self.require(model.loaded, Rule.UNLOADED_ONCE, f"{model.id} is unloaded twice")
        holders = [str(holder) for holder, held in self.held.items() if held is model]
        self.require(not holders, Rule.HANDLES_PIN, f"{model.id} is unloaded under {holders}")
        model.loaded = False
        (self.late if model in self.late else self.in_memory[model.id]).remove(model)

    def used(self, model: Model, by: object) -> None:
        """Check that a model may be used."""
        self.require(model.loaded, Rule.HANDLES_PIN, f"{by} uses {model.id}, which is unloaded")


_S = HarnessState

EDGES: Final = {
    _S.NEW: (_S.LOAD_REQUESTED, _S.ERROR),
    _S.LOAD_REQUESTED: (_S.LOAD_APPROVED, _S.ERROR),
    _S.LOAD_APPROVED: (_S.LOADING, _S.ERROR),
    _S.LOADING: (_S.READY, _S.UNLOADING, _S.ERROR),
    _S.READY: (_S.UNLOAD_REQUESTED, _S.ERROR),
    _S.UNLOAD_REQUESTED: (_S.QUIESCING, _S.ERROR),
    _S.QUIESCING: (_S.QUIESCED, _S.ERROR),
    _S.QUIESCED: (_S.UNLOADING, _S.ERROR),
    _S.UNLOADING: (_S.DISABLED, _S.ERROR),
    _S.DISABLED: (),
    _S.ERROR: (),
}
"""The transition table once more, so that a fault in the manager's own shows."""


def _reachable(state: HarnessState) -> frozenset[HarnessState]:
    return frozenset({state}.union(*map(_reachable, EDGES[state])))


REACHABLE: Final = {state: _reachable(state) for state in EDGES}
"""State to where an incarnation may be seen next: one step of the manager can make several moves."""
