"""What the tests of the manager share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from servman.testing.clock import WATCHDOG
from tests.unit.manager.basic_bench import BasicBench
from tests.unit.manager.rig import Rig


@pytest.fixture
def rig() -> Rig:
    """Return a manager on a test bench, with default options."""
    return Rig()


@pytest.fixture
def bench() -> Iterator[BasicBench]:
    """Return a basic manager that is driven by hand, and let its callbacks end."""
    bench = BasicBench()
    yield bench
    bench.close()


@pytest.fixture
def live() -> Iterator[BasicBench]:
    """Return a basic manager with threads."""
    bench = BasicBench(threads=(2, 2))
    yield bench
    bench.manager.close(WATCHDOG)
