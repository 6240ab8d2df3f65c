"""Threads of tests."""

from __future__ import annotations

import threading

import pytest

from servman.testing import Spawned
from servman.testing.clock import WATCHDOG


def test_the_result_is_what_the_function_returned() -> None:
    assert Spawned(lambda: 7).result() == 7


@pytest.mark.parametrize("error", [ValueError("in the thread"), SystemExit(3)])
def test_what_the_function_raised_is_raised_in_the_test(error: BaseException) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        Spawned(fail).result()
    assert caught.value is error


def test_a_thread_that_does_not_end_is_a_failure_not_a_hang() -> None:
    gate = threading.Event()
    thread = Spawned(lambda: gate.wait(WATCHDOG))
    assert not thread.done
    with pytest.raises(AssertionError, match="has not ended after"):
        thread.result(timeout=0.001)
    gate.set()
    assert thread.result()
    assert thread.done
