"""The calls into the operating system, one by one: to stop, break or overtake a publisher at each."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from io import FileIO
from pathlib import Path
from types import FrameType
from typing import Any, final

import pytest

from servman.publishing import staging

_SYSTEM = frozenset({"posix", "fcntl", "io", "_io"})
_PURE = frozenset({"fspath", "fileno", "_path_normpath", "urandom"})  # nothing can happen to them

CONTENT = {
    "weights": b"w" * 100,
    "assets/words": b"words",
    "assets/none": b"",
}


def write_source(path: Path, content: dict[str, bytes] = CONTENT) -> Path:
    """Write a small tree, with an empty directory in it."""
    for name, data in content.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    (path / "empty").mkdir()
    return path


def read_content(path: Path) -> dict[str, bytes]:
    """Return what `write_source` was given, if all of it is there."""
    assert (path / "empty").is_dir(), f"{path} is not whole"
    files = [one for one in path.rglob("*") if one.is_file()]
    return {str(one.relative_to(path)): one.read_bytes() for one in files}


def names(path: Path) -> list[str]:
    return sorted(one.name for one in path.iterdir())


def refusing(monkeypatch: pytest.MonkeyPatch, call: str, number: int, path: str = "") -> None:
    """Have `os.<call>` fail with *number* for what has *path* in its first argument."""
    real: Callable[..., object] = getattr(os, call)

    def refuse(target: object, *rest: object, **more: object) -> object:
        shown = (
            str(Path(f"/proc/self/fd/{target}").readlink())
            if isinstance(target, int)
            else str(target)
        )
        if path in shown:
            raise OSError(number, os.strerror(number), shown)
        return real(target, *rest, **more)

    monkeypatch.setattr(os, call, refuse)


@final
class Steps:
    """Calls *act* before the calls into the system that are made within its `with`, on this thread.

    Args:
        act: What to do; what it raises is raised in the place of the call.
        at: Before which of them, from 1; None: before each.
        only: The names of the calls that count; by default all.

    Attributes:
        taken: How many there were.
        last: The name of the last of them.
    """

    def __init__(
        self, act: Callable[[], object], at: int | None = None, only: frozenset[str] = frozenset()
    ) -> None:
        self.taken = 0
        self.last = ""
        self._act = act
        self._at = at
        self._only = only

    def __enter__(self) -> Steps:
        sys.setprofile(self._see)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    @property
    def acted(self) -> bool:
        return self._at is None or self.taken >= self._at

    def _see(self, frame: FrameType, event: str, function: Any) -> None:
        if event != "c_call" or not _is_system(function) or not self._counts(frame, function):
            return
        self.taken += 1
        self.last = function.__name__
        if self._at is None or self._at == self.taken:
            sys.setprofile(None)  # what is done now is none of the publisher's steps
            self._act()
            sys.setprofile(None if self._at else self._see)

    def _counts(self, frame: FrameType, function: Any) -> bool:
        """Where only some calls count, those that remove what is left do not."""
        if not self._only:
            return True
        return function.__name__ in self._only and staging.remove.__code__ not in _codes(frame)


def _is_system(function: Any) -> bool:
    if function.__name__ in _PURE:
        return False
    module = getattr(function, "__module__", None)
    return module in _SYSTEM or isinstance(getattr(function, "__self__", None), FileIO)


def _codes(frame: FrameType | None) -> Iterator[object]:
    while frame is not None:
        yield frame.f_code
        frame = frame.f_back
