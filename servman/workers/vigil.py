"""One process under watch: what its descriptors say, as events."""

from __future__ import annotations

import functools
import select
import selectors
from typing import TYPE_CHECKING, Final, final

from servman.errors import LoadFailedError, ResourceExhaustedError, WorkerDiedError, settled
from servman.log import Log
from servman.workers.messages import Beat, Failed, Ready, Started, Unloaded
from servman.workers.turns import (
    BecameReady,
    CallAbandoned,
    CallReturned,
    ConnectionLost,
    HeartBeat,
    LoadRefused,
)
from servman.workers.turns import Unloaded as HasUnloaded
from servman.workers.wire import ConnectionLostError

if TYPE_CHECKING:
    from collections.abc import Callable

    from servman.errors import ServmanError
    from servman.ids import ServableId
    from servman.workers.dispatch import Dispatcher
    from servman.workers.fleet import Slot
    from servman.workers.messages import ChildMessage, Description
    from servman.workers.process import WorkerProcess
    from servman.workers.turns import Child, Event

_log = Log(__name__)

_QUOTED_LINES: Final = 20
"""Lines of its log that the text of an error quotes; the error has all of the end as `log_tail`."""


@final
class Vigil:
    """Watches one process by a selector, whose keys hold what to call when they are readable.

    Args:
        id: The version.
        child: What it is called in events.
        process: The process, which is closed by `end`.
        selector: Of the supervisor's loop.
        tell: Takes the events.
        deliver: Takes the lines that it writes, if they are not for a file.

    Attributes:
        description: What it has said of its servable, when it is ready.
        why: What its end is to be blamed on, if it was brought about.

    Threads: the supervisor's.
    """

    def __init__(
        self,
        id: ServableId,
        child: Child,
        process: WorkerProcess,
        *,
        selector: selectors.BaseSelector,
        tell: Callable[[Event], None],
        deliver: Callable[[int, str], None],
    ) -> None:
        self.child = child
        self.process = process
        self.description: Description | None = None
        self.why = ""
        self._id = id
        self._selector = selector
        self._tell = tell
        self._deliver = deliver
        self._watched: set[int] = set()

    def begin(self, on_end: Callable[[Child], None]) -> None:
        """Watch it from now on; *on_end* is called when the process has gone."""
        self._watch(self.process.status_fd, functools.partial(on_end, self.child))
        self._watch(self.process.control_fd, self._hear)
        log = self.process.log.fileno()
        if log is not None:
            self._watch(log, self._read_log)

    def await_reply(self, slot: Slot, dispatcher: Dispatcher) -> None:
        """Wait for the reply to a call whose caller has gone, and give the slot back then."""
        fd = slot.connection.fileno()
        self._tell(CallAbandoned(self.child, fd))
        self._watch(fd, functools.partial(self._take_reply, fd, slot, dispatcher))

    def end(self) -> WorkerDiedError:
        """Hear its last words, close it, and return what is to be said of its end.

        Blocks: until it has gone; not at all where it is known to have.
        """
        while self._readable(self.process.control_fd):
            self._hear()
        log = self.process.log.fileno()
        if log in self._watched:
            self._read_log()
        self.leave()
        status = self.process.exit_status()
        tail, pid = self.process.tail(), self.process.pid
        self.process.close()
        how = str(status)
        if self.why:
            how = f"{self.why} ({how})" if status.signal is None else self.why
        return WorkerDiedError(
            f"{self._id}: worker {self.child.index} (process {pid}) {how}{_quoted(tail)}",
            exit_code=status.code,
            signal=status.signal,
            log_tail=tail,
        )

    def leave(self) -> None:
        """Watch it no longer."""
        for fd in tuple(self._watched):
            self._ignore(fd)

    def _hear(self) -> None:
        try:
            message = self.process.read_control()
        except Exception as error:  # noqa: BLE001 -- unpickling what a model has a hand in
            self._tell(LoadRefused(self.child, self._unreadable(error)))
            return
        if message is None:
            self._ignore(self.process.control_fd)
            self._tell(ConnectionLost(self.child))
        else:
            self._understand(message)

    def _unreadable(self, error: Exception) -> ServmanError:
        failure = LoadFailedError(
            f"{self._id}: what worker {self.child.index} says of its servable cannot be read here ({error!r});"
            " let its public data and its errors be such as can be pickled"
        )
        failure.traceback = settled(error).traceback
        return failure

    def _understand(self, message: ChildMessage) -> None:
        match message:
            case Started():
                pass  # the process has noted its number
            case Ready():
                self.description = message.description
                self._tell(BecameReady(self.child))
            case Failed():
                self._tell(LoadRefused(self.child, message.error))
            case Beat():
                self._tell(HeartBeat(self.child))
            case Unloaded():
                self._tell(HasUnloaded(self.child, message.error))

    def _read_log(self) -> None:
        lines = self.process.log.read_lines()
        if lines is None:
            fd = self.process.log.fileno()
            if fd is not None:
                self._ignore(fd)
            return
        try:
            for line in lines:
                self._deliver(self.child.index, line)
        except ResourceExhaustedError:
            _log.exception("%s: what its workers write cannot be delivered yet", self._id)

    def _take_reply(self, fd: int, slot: Slot, dispatcher: Dispatcher) -> None:
        try:
            if not slot.connection.discard_reply():
                return
        except ConnectionLostError:
            self._ignore(fd)
            self._tell(ConnectionLost(self.child))
            return
        self._ignore(fd)
        dispatcher.give_back(slot)
        self._tell(CallReturned(self.child, fd))

    def _watch(self, fd: int, react: Callable[[], None]) -> None:
        self._selector.register(fd, selectors.EVENT_READ, react)
        self._watched.add(fd)

    def _ignore(self, fd: int) -> None:
        self._watched.discard(fd)
        self._selector.unregister(fd)

    def _readable(self, fd: int) -> bool:
        if fd not in self._watched:
            return False
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        return bool(poll.poll(0))


def _quoted(tail: str) -> str:
    lines = tail.splitlines()[-_QUOTED_LINES:]
    return "; it wrote nothing" if not lines else "; it wrote at last:\n" + "\n".join(lines)
