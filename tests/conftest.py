"""What holds for every test: no thread outlives it, no hang outlives its seconds."""

from __future__ import annotations

import sys
import threading
import traceback
from importlib.util import find_spec
from typing import TYPE_CHECKING

import hypothesis
import pytest

from servman.clock import SystemClock
from servman.threads import Thread, join

if TYPE_CHECKING:
    from collections.abc import Iterator

# A failing random test prints the line that reproduces it. No deadline: the machine may be busy.
hypothesis.settings.register_profile("servman", deadline=None, print_blob=True)
hypothesis.settings.load_profile("servman")

_PROCESS_WIDE = ("grpc", "keras", "tensorflow")
"""Packages whose threads live as long as the process, whoever started them."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini(
        "thread_grace", "real seconds that threads at their end have to go", default="5.0"
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    newer = tuple(sys.version_info) >= (3, 14)  # as a tuple, of which mypy assumes nothing
    if not newer or find_spec("tensorflow"):
        return  # where there are wheels, TensorFlow that is missing is a fault and no reason to skip
    skip = pytest.mark.skip(reason="TensorFlow has no wheels for this Python")
    for item in items:
        if item.get_closest_marker("tensorflow"):
            item.add_marker(skip)


@pytest.fixture(autouse=True)
def no_thread_outlives_the_test(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that leaves a thread behind; autouse, so it is torn down after all others."""
    before = set(threading.enumerate())
    yield
    left = _still_alive(before, grace=float(request.config.getini("thread_grace")))
    if left:
        stacks = "\n".join(_stack(thread) for thread in left)
        pytest.fail(f"the test left {len(left)} thread(s) behind:\n{stacks}", pytrace=False)


def _still_alive(before: set[Thread], grace: float) -> list[Thread]:
    clock = SystemClock()
    deadline = clock.monotonic() + grace
    started = [thread for thread in threading.enumerate() if thread not in before]
    own = [thread for thread in started if not _is_process_wide(thread)]
    return [thread for thread in own if not join(thread, clock, deadline)]


def _is_process_wide(thread: Thread) -> bool:
    """Tell threads that no test can end: those of C++ runtimes that have called into Python, too."""
    if isinstance(thread, threading._DummyThread):
        return True
    target = getattr(thread, "_target", None)
    homes = (type(thread).__module__, getattr(target, "__module__", None) or "")
    return any(home.partition(".")[0] in _PROCESS_WIDE for home in homes)


def _stack(thread: Thread) -> str:
    frame = sys._current_frames().get(thread.ident or 0)
    lines = traceback.format_stack(frame) if frame is not None else ["  (no frame)\n"]
    return f"--- {thread.name} (daemon={thread.daemon})\n{''.join(lines)}"
