"""What the forced interleavings share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.manager.live import Live
from tests.unit.manager.rig import Rig


@pytest.fixture
def live() -> Iterator[Live]:
    """Return a started manager with one thread for loads and one for unloads, and close it."""
    live = Live(num_load_threads=1, num_unload_threads=1)
    yield live
    live.close()


@pytest.fixture
def rig() -> Rig:
    """Return a manager on a test bench, where messages come in the order of the test's calls."""
    return Rig()
