"""Kill a publisher before each of its calls into the system, in a process forked for it.

Usage: python -m tests.integration.killed_publishers FOLDER. It prints, for each kill, what was found then
and what the next publisher made of it, as JSON. Nothing else runs in it, so that it may fork.
"""

from __future__ import annotations

import functools
import itertools
import json
import os
import shutil
import signal
import sys
from pathlib import Path

from servman.publishing import publish_version
from tests.unit.publishing.steps import CONTENT, Steps, names, read_content, write_source


def kill_each(folder: Path) -> list[dict[str, object]]:
    source = write_source(folder / "source")
    found: list[dict[str, object]] = []
    for number in itertools.count(1):
        base = prepare(folder / "m")
        if not killed(source, base, number):
            return found
        found.append({"kill": number, **outcome(source, base)})
    raise AssertionError


def prepare(base: Path) -> Path:
    """Make a base path with a version, and with what two killed publishers have left."""
    shutil.rmtree(base, ignore_errors=True)
    write_source(base / "1")
    write_source(base / ".2.publishing-ab" / "tree")
    write_source(base / f".discarded-{'ab' * 16}")
    return base


def killed(source: Path, base: Path, number: int) -> bool:
    child = os.fork()
    if child == 0:
        with Steps(functools.partial(os.kill, os.getpid(), signal.SIGKILL), number):
            publish_version(source, base, create=True)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        return os.WTERMSIG(status) == signal.SIGKILL
    assert os.WEXITSTATUS(status) == 0
    return False


def outcome(source: Path, base: Path) -> dict[str, object]:
    seen = [name for name in names(base) if not name.startswith(".")]
    hidden = len(names(base)) - len(seen)
    whole = [read_content(base / name) == CONTENT for name in seen]
    following = publish_version(source, base).version
    return {
        "seen": seen,
        "whole": all(whole),
        "hidden": hidden,
        "next": following,
        "then": names(base),
    }


if __name__ == "__main__":
    json.dump(kill_each(Path(sys.argv[1])), sys.stdout)
