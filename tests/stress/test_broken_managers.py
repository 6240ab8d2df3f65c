"""The seeded run finds what is wrong: a manager broken on purpose fails it within seconds.

Here one fault for each trap; `python -m tests.stress faults` plants them all.
"""

from __future__ import annotations

import re
from typing import Final

import pytest

from tests.stress import trial

SEED: Final = 1
SECONDS: Final = 45.0

FOUND: Final = {
    "a callback in Python tells of the last handle, and loses that to a signal": r"left: main:\d",
    "a version is unloaded as soon as no lookup finds it, whoever holds it": "which is unloaded",
    "a handle on the latest version does not hold it": "which is unloaded",
    "the death of an entry counts as drained, whatever finalisers still do": "a finaliser .* sees",
    "a lookup that raises does so from a frame that names what it found": r"left: .*quiescing",
    "an idle worker keeps its last job, and the loader in it": r"left: .*part:1 \(quiescing",
    "a lookup takes a lock, which a signal handler or a finaliser meets again": r"Timeout \(.*\)!",
    "AVAILABLE is published before a lookup finds the version": "AVAILABLE, but no lookup finds it",
    "an unload is started twice": "is unloaded twice",
}
"""A fault, and how it shows."""


@pytest.mark.timeout(60)
@pytest.mark.parametrize("fault", FOUND)
def test_a_broken_manager_fails_the_run_within_seconds(fault: str) -> None:
    run = trial.broken(fault, seed=SEED)
    assert not run.well, run.said
    assert re.search(FOUND[fault], run.said), run.said
    assert f"the first seed is {SEED}\n" in run.said
    assert run.seconds < SECONDS


@pytest.mark.timeout(60)
def test_a_sound_manager_passes_the_run() -> None:
    run = trial.sound(seed=SEED, seconds=2.0)
    assert run.well, run.said
