"""What the descriptors of one process say."""

from __future__ import annotations

import os
import selectors
from collections.abc import Iterator
from typing import Any, final

import pytest

from servman.errors import LoadFailedError
from servman.ids import ServableId
from servman.workers.exit_status import ExitStatus
from servman.workers.messages import Beat, Failed, Started
from servman.workers.turns import Child, ConnectionLost, Event, HeartBeat, LoadRefused
from servman.workers.vigil import Vigil

CHILD = Child(0, 1)
REFUSAL = LoadFailedError("no such file")


@final
class Process:
    """A process that is not there: one pipe for what it says, one for its end."""

    def __init__(self, status: ExitStatus) -> None:
        self.pid = 4711
        self.log = self
        self.messages: list[Any] = []
        self._status = status
        self.control_fd, self._say = os.pipe()
        self.status_fd, self._die = os.pipe()

    def say(self, message: object) -> None:
        self.messages.append(message)
        os.write(self._say, b"x")

    def read_control(self) -> object:
        os.read(self.control_fd, 1)
        message = self.messages.pop(0)
        if isinstance(message, Exception):
            raise message
        return message

    def fileno(self) -> None:
        """The log is a file."""

    def tail(self) -> str:
        return "\n".join(f"line {number}" for number in range(1, 31))

    def exit_status(self) -> ExitStatus:
        return self._status

    def close(self) -> None:
        for fd in (self.control_fd, self._say, self.status_fd, self._die):
            os.close(fd)


@final
class Watch:
    """A vigil over such a process, and what it has told."""

    def __init__(self, status: ExitStatus) -> None:
        self.told: list[Event] = []
        self.selector = selectors.DefaultSelector()
        self.process = Process(status)
        self.vigil = Vigil(
            ServableId("m", 1),
            CHILD,
            self.process,  # type: ignore[arg-type] # as much of one as is needed
            selector=self.selector,
            tell=self.told.append,
            deliver=lambda *_: None,
        )
        self.vigil.begin(lambda _: None)

    def look(self) -> None:
        for key, _ in self.selector.select(0):
            key.data()


@pytest.fixture
def watch() -> Iterator[Watch]:
    watch = Watch(ExitStatus(code=3))
    yield watch
    watch.selector.close()


def test_a_message_becomes_an_event(watch: Watch) -> None:
    watch.process.say(Started(4711))
    watch.look()
    watch.process.say(Beat())
    watch.look()
    assert watch.told == [HeartBeat(CHILD)]
    watch.vigil.end()


def test_the_last_words_of_a_process_are_heard_after_its_end(watch: Watch) -> None:
    watch.process.say(Beat())
    watch.process.say(Failed(REFUSAL))
    watch.vigil.end()
    assert watch.told == [HeartBeat(CHILD), LoadRefused(CHILD, REFUSAL)]
    assert not watch.selector.get_map()


def test_a_closed_connection_is_told_once(watch: Watch) -> None:
    watch.process.say(None)
    watch.look()
    watch.look()
    assert watch.told == [ConnectionLost(CHILD)]
    watch.vigil.end()


def test_what_cannot_be_read_ends_the_worker_and_says_why(watch: Watch) -> None:
    watch.process.say(ModuleNotFoundError("No module named 'model'"))
    watch.look()
    (refused,) = watch.told
    assert isinstance(refused, LoadRefused)
    assert "No module named 'model'" in str(refused.error)
    watch.vigil.end()


def test_an_end_is_told_with_its_status_and_the_last_lines(watch: Watch) -> None:
    error = watch.vigil.end()
    assert "worker 0 (process 4711) exited with code 3; it wrote at last:\nline 11" in str(error)
    assert str(error).endswith("line 30")
    assert (error.exit_code, error.signal) == (3, None)
    assert error.log_tail.startswith("line 1\n")


def test_an_end_that_was_brought_about_is_told_with_its_cause(watch: Watch) -> None:
    watch.vigil.why = "had not unloaded after 10 s (stop_timeout) and was ended by force"
    assert "ended by force (exited with code 3)" in str(watch.vigil.end())
