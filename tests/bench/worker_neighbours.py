"""What others in the host notice when SavedModels load and unload in worker processes.

The host is a process of its own without TensorFlow in it. The floor is a bare process that loads the same: on a machine
with few cores that alone takes one away from the ticker.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from servman.adapters.saved_model import SavedModelLoader
from servman.ids import ServableId
from servman.loader import LoadContext
from servman.workers.loader import IsolatedLoader
from servman.workers.options import Workers
from tests.bench.measure import Row, ms
from tests.bench.ticker import QUIET, Span, longest_gaps, ticking

_ID = ServableId("m", 1)
_LOADS = 5
_BAR = 0.015

_SAVE = """
import sys
from pathlib import Path
from tests.bench.saved_models import save
save(*map(Path, sys.argv[1:]))
"""

_LOAD = """
import sys
import tensorflow as tf
tf.saved_model.load(sys.argv[1])
"""

Gaps = dict[str, float]


def rows() -> list[Row]:
    """Run them all."""
    done = subprocess.run(  # noqa: S603 -- our own interpreter
        [sys.executable, "-m", __name__], stdout=subprocess.PIPE, check=True
    )
    gaps, own = json.loads(done.stdout.splitlines()[-1])
    return [_row(phase, gaps, own) for phase in ("load", "unload")]


def _row(phase: str, gaps: Gaps, own: Gaps) -> Row:
    late = gaps[phase] > _BAR
    # Late for want of a core, or beside who is late at rest, it is late by the fault of other programs.
    ours = gaps["rest"] < QUIET and own[phase] > _BAR
    return Row(
        f"1 kHz ticker in the host while a SavedModel of 20 MB {phase}s in a worker",
        f"longest gap {ms(gaps[phase])}; without waits for a core {ms(own[phase])}",
        f"at rest: {ms(gaps['rest'])}; beside a bare process that loads it: {ms(gaps['bare'])},"
        f" without waits for a core {ms(own['bare'])}",
        "at most 15 ms",
        None if late and not ours else not late,
    )


def main() -> None:
    """Measure in this process, and print the gaps as JSON: as they are, and without waits for a core."""
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(_gaps(Path(folder))))


def _gaps(folder: Path) -> tuple[Gaps, Gaps]:
    """Return the longest gaps at rest, beside a bare process that loads, in loads, and in unloads; see `main`."""
    small, large = folder / "small", folder / "large"
    _run(_SAVE, small, large)
    isolated = IsolatedLoader(_ID, SavedModelLoader(_ID, str(large)), Workers())
    spans: list[Span] = []
    with ticking() as ticks:

        def timed(name: str, call: Callable[[], Any]) -> Any:
            started = time.perf_counter()
            result = call()
            spans.append((name, started, time.perf_counter()))
            return result

        for _ in range(_LOADS):
            timed("rest", lambda: time.sleep(1))
            timed("bare", lambda: _run(_LOAD, large))
            model = timed("load", lambda: isolated.load(LoadContext(_ID)))
            timed("unload", lambda: isolated.unload(model))  # noqa: B023 -- called at once
    return longest_gaps(ticks, spans), longest_gaps(ticks, spans, without_waits=True)


def _run(program: str, *arguments: Path) -> None:
    subprocess.run(  # noqa: S603 -- our own interpreter
        [sys.executable, "-c", program, *map(str, arguments)],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


if __name__ == "__main__":
    main()
