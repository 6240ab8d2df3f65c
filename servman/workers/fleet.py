"""The workers that serve, the connections of each that are free, and which of them a call should have.

Not locked: the dispatcher calls all of it with its own lock held, but what says that it may be read at any time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

    from servman.errors import WorkerDiedError
    from servman.workers.bell import Bell
    from servman.workers.wire import Connection


@final
class Slot:
    """The right of one call to use a connection. Each taking makes another one, so that none can be used twice.

    Attributes:
        connection: For this call alone.
        key: The worker, as it was added.
        member: The worker, for the fleet.
        suspect: Whether the call is a suspect.
        taken: Whether it was not given back yet.

    Threads: whoever has taken it.
    """

    __slots__ = ("connection", "key", "member", "suspect", "taken")

    def __init__(self, member: Member, connection: Connection, *, suspect: bool) -> None:
        self.connection = connection
        self.key = member.key
        self.member = member
        self.suspect = suspect
        self.taken = False


@final
class Member:
    """One worker.

    Attributes:
        key: What it was added as.
        extra: Whether it takes only calls that need no device.
        free: The connections that no call has.
        abandoned: What was taken by callers who have gone, while their calls still run.
        running: How many calls it works on.
        suspects: How many of them are suspects.
        suspected: Whether there was one among them when it got no more calls.
        worked: Whether it has answered a call.
        error: How its process ended, once it has.
        listeners: Are told when `error` is there.
    """

    __slots__ = (
        "abandoned",
        "error",
        "extra",
        "free",
        "key",
        "listeners",
        "running",
        "suspected",
        "suspects",
        "worked",
    )

    def __init__(self, key: Hashable, connections: Iterable[Connection], *, extra: bool) -> None:
        self.key = key
        self.extra = extra
        self.free = list(connections)
        self.abandoned: set[Slot] = set()
        self.running = 0
        self.suspects = 0
        self.suspected = False
        self.worked = False
        self.error: WorkerDiedError | None = None
        self.listeners: list[Bell] = []


@final
class Fleet:
    """All workers of one servable. *several*: more than one replica is wanted.

    Attributes:
        running: How many calls run, on workers that are gone too.
        closing: Connections to workers that are gone, and to be closed now that no call has them: not before, as
            the number of one that is closed under a call might be that of another one at once.
    """

    def __init__(self, *, several: bool) -> None:
        self.running = 0
        self.closing: list[Connection] = []
        self._several = several
        self._members: dict[Hashable, Member] = {}  # until their processes have ended
        self._replicas: list[Member] = []  # of those, what calls may go to
        self._extras: list[Member] = []

    def add(self, key: Hashable, connections: Iterable[Connection], *, extra: bool) -> None:
        """Let calls go to a worker."""
        member = Member(key, connections, extra=extra)
        self._members[key] = member
        (self._extras if extra else self._replicas).append(member)

    def member(self, key: Hashable) -> Member | None:
        """Return the worker *key* until it is removed. May be called at any time."""
        return self._members.get(key)

    def withdraw(self, key: Hashable) -> bool:
        """Let no more calls go to *key*; return whether any might have."""
        member = self._members.get(key)
        for crew in (self._replicas, self._extras):
            if member is not None and member in crew:
                crew.remove(member)
                member.suspected = member.suspects > 0
                return True
        return False

    def remove(self, key: Hashable, error: WorkerDiedError) -> Member | None:
        """Forget *key*, withdrawn before, whose process has ended, and with it abandoned calls; return what it was."""
        member = self._members.pop(key, None)
        if member is not None:
            member.error = error
            self.closing += member.free
            member.free.clear()
            for slot in tuple(member.abandoned):
                self.give_back(slot)
        return member

    def serves(self, *, python: bool, suspect: bool) -> bool:
        """Return whether such a call could run, if nothing else did."""
        replicas, extras = len(self._replicas), len(self._extras) if python else 0
        if suspect and self._several:
            return replicas > 1 or (replicas == 1 and extras > 0)
        return replicas + extras > 0

    def take(self, *, python: bool, suspect: bool) -> Slot | None:
        """Return a free slot for such a call, or None."""
        if python or suspect:
            member = self._chosen(python, suspect)
        else:
            member = _least_loaded(self._replicas)
        if member is None:
            return None
        slot = Slot(member, member.free[-1], suspect=suspect)
        # A Ctrl-C is raised after calls only, so with none from here on all of this happens or nothing.
        slot.taken = True
        self.running += 1
        member.running += 1
        member.suspects += suspect
        del member.free[-1]
        return slot

    def give_back(self, slot: Slot, *, answered: bool = False) -> None:
        """Count the call that took *slot* as ended. A second time nothing happens."""
        if not slot.taken:
            return
        member = slot.member
        if answered:
            member.worked = True
        if member.abandoned:
            member.abandoned.discard(slot)
        slot.taken = False
        self.running -= 1
        member.running -= 1
        member.suspects -= slot.suspect
        if member.error is None:
            member.free.append(slot.connection)
        else:
            self.closing.append(slot.connection)

    def _chosen(self, python: bool, suspect: bool) -> Member | None:
        if suspect:
            replicas = [member for member in self._replicas if self._spares_another(member)]
            extras = [member for member in self._extras if self._spares_another(member)]
        else:
            replicas, extras = self._replicas, self._extras
        chosen = _least_loaded(extras) if python else None
        return _least_loaded(replicas) if chosen is None else chosen

    def _spares_another(self, member: Member) -> bool:
        """Return whether *member* runs no suspect and, where it matters, serves beside a replica without any."""
        if member.suspects:
            return False
        others = (other for other in self._replicas if other is not member)
        return not self._several or any(not other.suspects for other in others)


def _least_loaded(members: list[Member]) -> Member | None:
    least = None
    for member in members:
        if member.free and (least is None or member.running < least.running):
            least = member
    return least
