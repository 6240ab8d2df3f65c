"""What the tests of the core share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.core.rig import Rig


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rig:
    """Return a test bench with an empty base path for the model "m"."""
    return Rig(tmp_path, monkeypatch)
