"""What the tests of the manager share."""

from __future__ import annotations

import pytest

from tests.unit.manager.rig import Rig


@pytest.fixture
def rig() -> Rig:
    """Return a manager on a test bench, with default options."""
    return Rig()
