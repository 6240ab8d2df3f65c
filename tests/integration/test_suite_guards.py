"""The guards of the suite itself: each bad test below must fail, and say where."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

BAD_TESTS = """
import threading

def test_leaves_a_thread():
    threading.Thread(target=threading.Event().wait, name="left-behind", daemon=True).start()

def test_thread_raises():
    def fall_over():
        raise RuntimeError("fell over in a thread")
    thread = threading.Thread(target=fall_over)
    thread.start()
    thread.join()

def test_thread_raises_after_the_test_body():
    go = threading.Event()
    def fall_over_late():
        go.wait(5)
        raise RuntimeError("fell over late")
    threading.Thread(target=fall_over_late).start()
    go.set()

def park_here(event):
    event.wait(30)

def test_hangs():
    event = threading.Event()
    thread = threading.Thread(target=park_here, args=(event,), daemon=True)
    thread.start()
    try:
        threading.Event().wait()
    finally:
        event.set()

def test_is_fine():
    thread = threading.Thread(target=print)
    thread.start()
"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("bad")
    shutil.copy(ROOT / "tests" / "conftest.py", folder)
    (folder / "test_bad.py").write_text(BAD_TESTS)
    options = ["-o", "thread_grace=0.1", "-o", "timeout=1", "-p", "no:cacheprovider", "--tb=short"]
    config = ["-c", str(ROOT / "pyproject.toml"), "--rootdir", str(folder)]
    run = subprocess.run(  # noqa: S603 -- our own interpreter on our own file
        [sys.executable, "-m", "pytest", *config, *options, "test_bad.py"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    return run.stdout + run.stderr


def test_a_thread_left_behind_fails_the_test_and_is_shown(report: str) -> None:
    assert "ERROR test_bad.py::test_leaves_a_thread" in report
    assert "--- left-behind (daemon=True)" in report


def test_an_exception_in_a_thread_fails_the_test_it_happened_in(report: str) -> None:
    assert "FAILED test_bad.py::test_thread_raises " in report
    assert "fell over in a thread" in report


def test_an_exception_after_the_body_still_belongs_to_its_test(report: str) -> None:
    assert "ERROR test_bad.py::test_thread_raises_after_the_test_body" in report
    assert "fell over late" in report


def test_a_hang_fails_with_the_stacks_of_all_threads(report: str) -> None:
    assert "FAILED test_bad.py::test_hangs - Failed: Timeout" in report
    assert "in park_here" in report


def test_a_thread_that_goes_by_itself_harms_nothing(report: str) -> None:
    assert "test_bad.py::test_is_fine" not in report
    assert "2 failed, 3 passed, 2 errors" in report  # guards act at teardown, after the body passed
