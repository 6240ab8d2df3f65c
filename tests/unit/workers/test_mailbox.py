"""A queue that can be waited for together with descriptors."""

from __future__ import annotations

import os
import select

import pytest

from servman.errors import ResourceExhaustedError
from servman.testing import Spawned
from servman.workers.mailbox import Mailbox


def readable(mailbox: Mailbox[int], timeout: float = 0.0) -> bool:
    return bool(select.select([mailbox], [], [], timeout)[0])


def test_what_is_posted_makes_it_readable_and_is_taken_in_order() -> None:
    mailbox: Mailbox[int] = Mailbox()
    mailbox.open()
    assert list(mailbox.take()) == []
    assert not readable(mailbox)
    mailbox.post(1)
    mailbox.post(2)
    assert readable(mailbox)
    assert list(mailbox.take()) == [1, 2]
    assert not readable(mailbox)
    mailbox.close()


def test_what_was_posted_before_it_was_opened_is_not_lost() -> None:
    mailbox: Mailbox[int] = Mailbox()
    mailbox.post(1)
    mailbox.open()
    assert readable(mailbox)
    assert list(mailbox.take()) == [1]
    mailbox.close()


def test_a_post_of_another_thread_wakes_the_reader() -> None:
    mailbox: Mailbox[int] = Mailbox()
    mailbox.open()
    list(mailbox.take())
    post = Spawned(lambda: mailbox.post(7))
    assert readable(mailbox, 10.0)
    assert list(mailbox.take()) == [7]
    post.result()
    mailbox.close()


def test_a_post_after_the_close_touches_no_descriptor_of_others() -> None:
    mailbox: Mailbox[int] = Mailbox()
    mailbox.open()
    number = mailbox.fileno()
    mailbox.close()
    mailbox.close()
    other = os.eventfd(0, os.EFD_NONBLOCK)
    try:
        assert other == number  # the system gives the lowest one that is free
        mailbox.post(1)
        with pytest.raises(BlockingIOError):
            os.eventfd_read(other)
    finally:
        os.close(other)


def test_a_process_without_descriptors_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(*_: int) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "eventfd", none_left)
    with pytest.raises(ResourceExhaustedError, match="ulimit -n"):
        Mailbox[int]().open()
