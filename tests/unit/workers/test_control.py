from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from servman.testing import Spawned
from servman.workers.control import ControlChannel
from servman.workers.exit_status import ExitStatus


@pytest.fixture
def ends() -> Iterator[tuple[ControlChannel, ControlChannel]]:
    one, other = ControlChannel.pair()
    yield one, other
    one.close()
    other.close()


@pytest.mark.parametrize("message", [ExitStatus(code=1), "x" * 5_000_000, b"y" * 65_000])
def test_a_message_of_any_size_arrives(
    ends: tuple[ControlChannel, ControlChannel], message: object
) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    assert ends[0].send(message)
    assert ends[1].receive() == message
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_messages_of_many_threads_come_whole(
    ends: tuple[ControlChannel, ControlChannel],
) -> None:
    senders = [
        Spawned(lambda n=n: [ends[0].send(str(n) * 3000) for _ in range(50)])  # type: ignore[misc] # bound now
        for n in range(4)
    ]
    received = [ends[1].receive() for _ in range(200)]
    assert sorted(map(str, received)) == sorted(str(n) * 3000 for n in range(4) for _ in range(50))
    for sender in senders:
        sender.result()


def test_the_end_of_the_other_side_is_told(ends: tuple[ControlChannel, ControlChannel]) -> None:
    ends[1].send("last")
    ends[1].close()
    assert ends[0].receive() == "last"
    assert ends[0].receive() is None
    assert not ends[0].send("too late")
    ends[0].send_text("too late")
