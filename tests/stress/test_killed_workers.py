"""The runs of worker processes, in short; `make stress` has the full minute, and 200 loads and unloads."""

from __future__ import annotations

import sys
from pathlib import Path
from random import SystemRandom

import pytest

from tests.stress.cycles import Cycles
from tests.stress.killings import Killings

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="worker processes need Linux"),
    pytest.mark.timeout(120),
]


def test_with_two_replicas_no_idempotent_request_fails_while_one_is_killed_every_second(
    tmp_path: Path,
) -> None:
    seed = SystemRandom().randrange(1_000_000)
    print(f"the seed is {seed}")
    assert Killings(tmp_path, seed, seconds=8.0, rate=1.0).run()


def test_loads_and_unloads_leave_nothing_behind(tmp_path: Path) -> None:
    assert Cycles(tmp_path, 10).run()
