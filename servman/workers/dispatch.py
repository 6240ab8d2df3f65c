"""Which worker takes a call: the least loaded one, and a bounded line where all are busy.

For the supervisor: `add` when a worker serves, `withdraw` when it is to get no more calls, `remove` when its process
has ended, with how; `give_back` an abandoned slot once its late reply was taken; `close`, then `drain`.
"""

from __future__ import annotations

import math
import threading
from typing import TYPE_CHECKING, Final, final

from servman.clock import SystemClock
from servman.errors import (
    ClosedError,
    ResourceExhaustedError,
    WaitTimeoutError,
    WorkerUnavailableError,
    settled,
)
from servman.workers.bell import Bell
from servman.workers.fleet import Fleet
from servman.workers.line import WaitingLine

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable

    from servman.clock import Clock
    from servman.errors import ServmanError, WorkerDiedError
    from servman.ids import ServableId
    from servman.workers.fleet import Slot
    from servman.workers.line import Waiter
    from servman.workers.wire import Connection

_CLOCK: Final = SystemClock()


@final
class Dispatcher:
    """Hands out the connections of the workers of one servable.

    A call that needs a device goes to a replica; one that needs none to an extra worker or, where these are busy,
    to a replica as well. Each time the one with the fewest calls is chosen. Where none is free the call waits
    in line: whoever came first gets the next slot that it may use, directly from whoever gives it back.

    A *suspect* is a call that was running when a process died. It never runs beside another suspect in one
    worker and, where `several` replicas are wanted, only while another replica serves that runs no suspect; so
    no call takes the last replica down.

    Args:
        id: The servable, for errors.
        max_queue: How many calls may wait.
        hold_timeout: How many seconds a call is held while nothing serves.
        start_timeout: How many seconds a suspect is held for another replica, while one serves.
        several: Whether more than one replica is wanted.
        why: Says why nothing serves; called with no lock held.
        on_abandoned: Is told of a slot whose caller has gone while its call still runs; with no lock held, on the
            thread of the caller. Whoever is told has to give the slot back, unless the process has ended.
        on_lost: Is told of a worker that has closed a connection; with no lock held, on the thread of a caller.
        clock: The time.

    Threads: any.
    """

    def __init__(
        self,
        id: ServableId,
        *,
        max_queue: int,
        hold_timeout: float,
        start_timeout: float,
        several: bool,
        why: Callable[[], str],
        on_abandoned: Callable[[Slot], None],
        on_lost: Callable[[Hashable], None],
        clock: Clock = _CLOCK,
    ) -> None:
        self._id = id
        self._max_queue = max_queue
        self._hold_timeout = hold_timeout
        self._start_timeout = max(hold_timeout, start_timeout)
        self._several = several
        self._why = why
        self._on_abandoned = on_abandoned
        self._on_lost = on_lost
        self._clock = clock
        # Guards everything below. Nobody waits with it: each who waits has a bell, so that a Ctrl-C finds it
        # with nothing in its hands.
        self._lock = threading.Lock()
        self._fleet = Fleet(several=several)
        self._line = WaitingLine()
        self._refusal: ServmanError | None = None
        self._drains: list[Bell] = []

    def add(self, key: Hashable, connections: Iterable[Connection], *, extra: bool = False) -> None:
        """Give calls to the worker *key*, as many at a time as it has connections, which are closed after `remove`."""
        with self._lock:
            self._fleet.add(key, connections, extra=extra)
            self._hand_over_locked()
            self._line.ring_all()

    def withdraw(self, key: Hashable) -> None:
        """Give no more calls to *key*; those that run may finish. Nothing happens if it is not there."""
        with self._lock:
            self._withdraw_locked(key)

    def remove(self, key: Hashable, error: WorkerDiedError) -> None:
        """Forget *key*, whose process has ended as *error* tells: what its calls raise. Idempotent.

        Its connections are closed, each as soon as no call has it.
        """
        with self._lock:
            self._withdraw_locked(key)
            member = self._fleet.remove(key, error)
            for bell in () if member is None else member.listeners:
                bell.ring()
            self._tell_locked()
        self._close_gone()

    def running(self, key: Hashable) -> int:
        """Return how many calls *key* works on, abandoned ones among them; 0 if it is not there. Takes no lock."""
        member = self._fleet.member(key)
        return 0 if member is None else member.running

    def worked(self, key: Hashable) -> bool:
        """Return whether *key*, which was not removed, has answered a call. Takes no lock."""
        member = self._fleet.member(key)
        return member is not None and member.worked

    def take(
        self, *, python: bool = False, suspect: bool = False, deadline: float | None = None
    ) -> Slot:
        """Return a slot for one call.

        Args:
            python: Whether it needs no device.
            suspect: Whether a process died over it.
            deadline: The instant until which to wait, on the clock's scale.

        Blocks: until there is a slot for it, for `hold_timeout` while nothing serves, for `start_timeout` while a
            suspect lacks a second replica, and until *deadline*.

        Raises:
            ResourceExhaustedError: As many calls wait as may; at once.
            WaitTimeoutError: No slot came free before *deadline*.
            WorkerUnavailableError: Nothing served for as long.
            ServmanError: The dispatcher is closed, or was meanwhile: what it was closed with.
        """
        slot = waiter = None
        try:
            with self._lock:
                if self._refusal is None:
                    slot = self._fleet.take(python=python, suspect=suspect)
                    if slot is None and self._line.length < self._max_queue:
                        waiter = self._line.join(python=python, suspect=suspect)
            if slot is None:
                slot = self._wait(waiter, deadline)
        except BaseException:
            self._call_off(slot, waiter)
            raise
        return slot

    def give_back(self, slot: Slot, *, answered: bool = True) -> None:
        """Let the next call have *slot*, which the caller uses no more. Never blocks; a second time nothing happens.

        Args:
            slot: What `take` returned.
            answered: Whether the worker has answered.
        """
        with self._lock:
            self._fleet.give_back(slot, answered=answered)
            if self._line.length or self._drains:
                self._tell_locked()
        if self._fleet.closing:
            self._close_gone()

    def abandon(self, slot: Slot) -> None:
        """Leave *slot*, whose call still runs, to `on_abandoned`. Never blocks."""
        with self._lock:
            left = slot.taken and slot.member.error is None
            if left:
                slot.member.abandoned.add(slot)
            else:
                self._give_back_locked(slot)
        if left:
            self._on_abandoned(slot)
        else:
            self._close_gone()

    def lost(self, slot: Slot) -> None:
        """Tell that the connection of *slot*, which is used no more, has broken: its worker gets no more calls."""
        with self._lock:
            self._withdraw_locked(slot.key)
            self._give_back_locked(slot)
        self._close_gone()
        self._on_lost(slot.key)

    def end_of(self, slot: Slot, deadline: float) -> WorkerDiedError | None:
        """Return how the process ended that *slot* belonged to; None if that is not known by *deadline*.

        Blocks: until `remove` tells, or until *deadline*.
        """
        member = slot.member
        bell = Bell()
        with self._lock:
            member.listeners.append(bell)
        while member.error is None and self._clock.monotonic() < deadline:
            bell.wait(self._clock, deadline)
        return member.error

    def close(self, error: ServmanError | None = None) -> None:
        """Refuse all calls from now on, those that wait too: with *error*, or as closed. Idempotent."""
        refusal = error or ClosedError(
            f"{self._id}: its workers are being stopped; look the servable up again"
        )
        with self._lock:
            self._refusal = self._refusal or refusal
            self._line.ring_all()

    def drain(self, deadline: float | None) -> bool:
        """Wait until no call runs, or until *deadline*; return whether none does. Call it after `close`."""
        bell = Bell()
        with self._lock:
            self._drains.append(bell)
        while self._fleet.running:
            if deadline is not None and self._clock.monotonic() >= deadline:
                return False
            bell.wait(self._clock, deadline)
        return True

    # ---- waiting ---------------------------------------------------------------------------------

    def _wait(self, waiter: Waiter | None, deadline: float | None) -> Slot:
        """Return the slot that *waiter* is given; None stands for a call that could not join the line."""
        if waiter is None:
            raise self._refused()
        until = math.inf if deadline is None else deadline
        held_since = math.inf
        while True:
            with self._lock:
                slot, refusal = waiter.slot, self._refusal
                serves = self._fleet.serves(python=waiter.python, suspect=waiter.suspect)
                others = self._fleet.serves(python=waiter.python, suspect=False)
            if slot is not None:
                return slot
            if refusal is not None:
                raise settled(refusal)
            now = self._clock.monotonic()
            held_since = math.inf if serves else min(held_since, now)
            hold = self._start_timeout if others else self._hold_timeout
            first = min(until, held_since + hold)
            if now >= first:
                raise self._not_in_time(waiter, serves=serves, late=now >= until, hold=hold)
            waiter.bell.wait(self._clock, None if first == math.inf else first)

    def _call_off(self, slot: Slot | None, waiter: Waiter | None) -> None:
        """Pass on what a call holds that is not going to be made."""
        with self._lock:
            if waiter is not None:
                self._line.leave(waiter)
                slot = waiter.slot
            if slot is not None:
                self._give_back_locked(slot)
        self._close_gone()

    def _close_gone(self) -> None:
        with self._lock:
            closing, self._fleet.closing = self._fleet.closing, []
        for connection in closing:
            connection.close()

    def _refused(self) -> ServmanError:
        if self._refusal is not None:
            return settled(self._refusal)
        return ResourceExhaustedError(
            f"{self._id}: {self._max_queue} calls wait for a free worker already (max_queue); send fewer at a"
            " time, or give it more replicas or more concurrency"
        )

    def _not_in_time(
        self, waiter: Waiter, *, serves: bool, late: bool, hold: float
    ) -> ServmanError:
        if serves:
            return WaitTimeoutError(
                f"{self._id}: no worker came free for the call before its deadline; allow it more time, or give"
                " the servable more replicas or more concurrency"
            )
        wanted = "no second replica" if waiter.suspect and self._several else "no worker"
        if late:
            return WaitTimeoutError(
                f"{self._id}: {wanted} serves, and none did before the deadline of the call: {self._why()}"
            )
        return WorkerUnavailableError(
            f"{self._id}: {wanted} serves, and none did for {hold:g} s: {self._why()}"
        )

    # ---- with the lock held ----------------------------------------------------------------------

    def _give_back_locked(self, slot: Slot) -> None:
        self._fleet.give_back(slot)
        self._tell_locked()

    def _tell_locked(self) -> None:
        """Let those who wait have what they wait for, if it is there."""
        self._hand_over_locked()
        if not self._fleet.running:
            for bell in self._drains:
                bell.ring()

    def _hand_over_locked(self) -> None:
        """Give free slots to those who wait for them, until no one can have one."""
        while any(self._served_locked(waiter) for waiter in self._line.heads()):
            pass

    def _served_locked(self, waiter: Waiter) -> bool:
        slot = self._fleet.take(python=waiter.python, suspect=waiter.suspect)
        if slot is None:
            return False
        waiter.slot = slot
        self._line.leave(waiter)
        waiter.bell.ring()
        return True

    def _withdraw_locked(self, key: Hashable) -> None:
        if self._fleet.withdraw(key):
            self._line.ring_all()
