"""A small source, and a base path to publish it to."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.publishing.steps import write_source


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_source(tmp_path / "source")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    (tmp_path / "m").mkdir()
    return tmp_path / "m"


@pytest.fixture
def living(base: Path) -> Iterator[Path]:
    """A hidden directory for version 7, whose publisher is at work."""
    hidden = base / ".7.publishing-ab"
    (hidden / "tree").mkdir(parents=True)
    with (hidden / "lock").open("xb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield hidden
