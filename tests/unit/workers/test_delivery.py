"""Lines of workers on their way to a callback."""

from __future__ import annotations

import logging
import queue
import threading

import pytest

from servman.clock import SystemClock
from servman.ids import ServableId
from servman.testing.clock import WATCHDOG
from servman.workers.delivery import MOST, LineDelivery

ID = ServableId("m", 1)


def test_lines_come_in_order_with_version_and_worker() -> None:
    lines: list[tuple[str, int, str]] = []
    delivery = LineDelivery(ID, lambda *line: lines.append(line), SystemClock())
    for number in range(3):
        delivery.put(number, f"line {number}")
    assert delivery.close(None)
    assert lines == [("m:1", number, f"line {number}") for number in range(3)]


def test_without_a_callback_lines_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "servman.workers")
    delivery = LineDelivery(ID, None, SystemClock())
    delivery.put(1, "100 % done")
    assert delivery.close(None)
    assert [record.getMessage() for record in caplog.records] == ["m:1: worker 1: 100 % done"]


def test_a_callback_that_raises_gets_the_next_line_all_the_same() -> None:
    lines: list[str] = []

    def receive(_id: str, _index: int, line: str) -> None:
        lines.append(line)
        raise SystemExit(1)

    delivery = LineDelivery(ID, receive, SystemClock())
    delivery.put(0, "one")
    delivery.put(0, "two")
    assert delivery.close(None)
    assert lines == ["one", "two"]


def test_a_callback_that_is_too_slow_loses_lines_and_is_told_how_many() -> None:
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    gate = threading.Event()

    def receive(_id: str, _index: int, line: str) -> None:
        lines.put(line)
        gate.wait(WATCHDOG)

    delivery = LineDelivery(ID, receive, SystemClock())
    delivery.put(0, "first")
    assert lines.get(timeout=WATCHDOG) == "first"
    for _ in range(MOST + 3):
        delivery.put(0, "more")
    gate.set()
    assert delivery.close(None)
    rest = [lines.get() for _ in range(lines.qsize())]
    assert len(rest) == MOST + 1
    assert "3 lines were lost" in rest[-1]


def test_closing_waits_no_longer_than_it_may() -> None:
    gate, entered = threading.Event(), threading.Event()

    def receive(*_: object) -> None:
        entered.set()
        gate.wait(WATCHDOG)

    clock = SystemClock()
    delivery = LineDelivery(ID, receive, clock)
    delivery.put(0, "line")
    assert entered.wait(WATCHDOG)
    assert not delivery.close(clock.monotonic())
    gate.set()
    assert delivery.close(None)


def test_a_delivery_without_lines_has_no_thread() -> None:
    before = threading.active_count()
    delivery = LineDelivery(ID, None, SystemClock())
    assert threading.active_count() == before
    assert delivery.close(None)
