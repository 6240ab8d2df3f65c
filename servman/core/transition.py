"""One line of a core's history: what became of a version, a model's list, its labels, or the configuration."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, final

from servman.clock import utc
from servman.ids import ServableId
from servman.state import ManagerState

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

_STATES: Final = ManagerState.__members__

_NAMED: Final = 5
"""How many models a text names at most."""


@final
@dataclass(frozen=True, slots=True)
class Transition:
    """Something that has happened.

    Attributes:
        time: When, in seconds since the epoch.
        event: "START", "LOADING", "AVAILABLE", "UNLOADING" or "END": a version came into that state.
            "ASPIRED": another list of versions is wanted of the model. "LABELS": its labels have changed.
            "CONFIG": a configuration came into force. "CONFIG_REFUSED": one did not. "DROPPED": so many lines
            of the history file are missing here.
        name: The model; empty where it concerns all of them.
        version: The version, where it concerns one.
        duration: How many seconds the version was in the state before; None where there was none.
        cause: What brought it about, in a few words: "file event", "aspired", "replaced"; for
            configurations who asked for it.
        text: What else there is to say, for people.
        error: What went wrong; empty where nothing did.
        generation: Which configuration was in force.
        facts: The versions, labels and numbers in the text, for programs.

    Threads: immutable; any thread.
    """

    time: float
    event: str
    name: str = ""
    version: int | None = None
    duration: float | None = None
    cause: str = ""
    text: str = ""
    error: str = ""
    generation: int = 0
    facts: Mapping[str, object] = field(default_factory=dict, hash=False)

    @property
    def id(self) -> ServableId | None:
        """The version, where it concerns one."""
        return None if self.version is None else ServableId(self.name, self.version)

    @property
    def state(self) -> ManagerState | None:
        """The state that the version came into, where it concerns one."""
        return _STATES.get(self.event)

    def as_dict(self) -> dict[str, object]:
        """Return what is known, ready for JSON; what is empty is left out."""
        known: dict[str, object] = {
            "time": self.time,
            "event": self.event,
            "name": self.name,
            "version": self.version,
            "duration": self.duration,
            "cause": self.cause,
            "text": self.text,
            "error": self.error,
            "generation": self.generation,
            **self.facts,
        }
        return {key: value for key, value in known.items() if value not in (None, "")}

    @property
    def what(self) -> str:
        """What has happened, for people, without the time."""
        subject = self.id or self.name
        after = "" if self.duration is None else f"after {self.duration:.1f} s"
        cause = f"({self.cause})" if self.cause else ""
        words = (str(subject), self.event, self.text, after, cause)
        line = " ".join(word for word in words if word)
        return f"{line}: {self.error}" if self.error else line

    def __str__(self) -> str:
        return f"{utc(self.time)} {self.what}"


def change_in_words(before: Mapping[str, object], after: Mapping[str, object]) -> str:
    """Return what has changed from the models *before* to those *after*, each by name."""
    groups = {
        "new": after.keys() - before.keys(),
        "gone": before.keys() - after.keys(),
        "changed": {
            one
            for one in after.keys() & before.keys()
            if after[one] is not before[one]
            and after[one] != before[one]  # most are one and the same
        },
    }
    texts = [f"{what}: {_some(names)}" for what, names in groups.items() if names]
    return "; ".join([f"{len(after)} models" if len(after) != 1 else "1 model", *texts])


def labels_in_words(wanted: Mapping[str, int], targets: Mapping[str, int]) -> str:
    """Return what each label names, and what it is to name where that differs."""
    texts = []
    for label in sorted(wanted.keys() | targets.keys()):
        now, then = targets.get(label), wanted.get(label)
        text = f"{label} names {'nothing' if now is None else now}"
        texts.append(text if then == now or then is None else f"{text} until {then} is available")
    return ", ".join(texts) or "none"


def _some(names: Collection[str]) -> str:
    first = heapq.nsmallest(_NAMED, names)
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(first) + more
