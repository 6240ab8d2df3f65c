"""Publishers that are killed, fail, meet each other, or are watched, at each of their steps.

A step is a call into the operating system. Full disks are simulated: the call raises ENOSPC instead.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from servman import AlreadyExistsError, ServmanError, publish_version
from servman.publishing import rename, staging
from servman.sources.look import list_directory
from servman.sources.versions import All, select
from servman.testing.clock import WATCHDOG
from tests.integration.house import House
from tests.unit.publishing.steps import CONTENT, Steps, names, read_content, write_source

ROOT = Path(__file__).parents[2]
SERVMAN = Path(sys.executable).with_name("servman")
WRITING = frozenset({"mkdir", "open", "write", "fsync", "rename", "chmod", "fchmod"})
OTHER = {**CONTENT, "weights": b"o" * 100}


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Yield a folder in memory where there is one: to sync some thousand files takes its time."""
    memory = Path("/dev/shm")  # noqa: S108 -- with a name of its own
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(prefix="servman-", dir=memory) as name:
        yield Path(name)


@pytest.fixture
def source(folder: Path) -> Path:
    return write_source(folder / "source")


@pytest.fixture
def other(folder: Path) -> Path:
    return write_source(folder / "other", OTHER)


@pytest.fixture
def bases(folder: Path) -> Iterator[Path]:
    """Yield one fresh base path after another, with version 1 in it."""

    def make() -> Iterator[Path]:
        for number in itertools.count(1):
            base = folder / str(number) / "m"
            write_source(base / "1")
            yield base
            shutil.rmtree(base.parent)

    return make()


def versions(base: Path) -> list[str]:
    """Return the versions in *base*, in which nothing else may be."""
    assert all(name.isdigit() for name in names(base)), names(base)
    return names(base)


# ---- killed ------------------------------------------------------------------------------------


def test_a_publisher_killed_at_any_step_leaves_its_version_whole_or_not_at_all(
    folder: Path,
) -> None:
    run = subprocess.run(  # noqa: S603 -- our own interpreter on our own module
        [sys.executable, "-m", "tests.integration.killed_publishers", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=18,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    assert len(found) > 80
    assert all(one["whole"] for one in found), found
    # Before the rename version 1, after it 2 as well; and what was left is gone after the next.
    assert {tuple(one["seen"]) for one in found} == {("1",), ("1", "2")}
    assert {len(one["seen"]) for one in found if one["hidden"]} == {1, 2}, "no kill left anything"
    for one in found:
        assert one["next"] == len(one["seen"]) + 1, one
        assert one["then"] == [*one["seen"], str(one["next"])], one


# ---- disk full, at each write ------------------------------------------------------------------


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EACCES])
def test_a_call_that_fails_at_any_step_publishes_whole_or_nothing_and_leaves_nothing(
    number: int, source: Path, bases: Iterator[Path]
) -> None:
    def fail() -> None:
        raise OSError(number, os.strerror(number))

    failed = 0
    for at, base in enumerate(bases, 1):
        steps, said = Steps(fail, at, WRITING), ""
        try:
            with steps:
                assert publish_version(source, base).version == 2
        except ServmanError as error:
            said = str(error)
        if said:
            failed += 1
            assert said.startswith("servable 'm': "), steps.last
            assert os.strerror(number) in said or "may not be read" in said
            assert versions(base) == ["1"], steps.last
        else:
            assert versions(base) == ["1", "2"], steps.last
            assert read_content(base / "2") == CONTENT
            if not steps.acted:
                break
    assert failed >= 15


# ---- two at once -------------------------------------------------------------------------------


def test_two_publishers_that_meet_at_any_step_both_publish_under_numbers_of_their_own(
    source: Path, other: Path, bases: Iterator[Path]
) -> None:
    for at, base in enumerate(bases, 1):
        ids: list[int] = []

        def overtake(base: Path = base, ids: list[int] = ids) -> None:
            ids.append(publish_version(other, base).version)

        with Steps(overtake, at) as steps:
            first = publish_version(source, base).version
        if not steps.acted:
            break
        assert sorted([first, *ids]) == [int(name) for name in versions(base)[1:]], steps.last
        assert read_content(base / str(first)) == CONTENT, steps.last
        assert read_content(base / str(ids[0])) == OTHER, steps.last
    assert at > 80


def test_of_two_publishers_of_one_number_exactly_one_publishes_it(
    source: Path, other: Path, bases: Iterator[Path]
) -> None:
    winners = set()
    for at, base in enumerate(bases, 1):
        done: list[dict[str, bytes]] = []

        def attempt(what: Path, base: Path = base, done: list[dict[str, bytes]] = done) -> None:
            with contextlib.suppress(ServmanError):
                publish_version(what, base, 2)
                done.append(CONTENT if what.name == "source" else OTHER)

        with Steps(functools.partial(attempt, other), at) as steps:
            attempt(source)
        if not steps.acted:
            break
        assert len(done) == 1, steps.last
        winners.add(done[0]["weights"])
        assert versions(base) == ["1", "2"]
        assert read_content(base / "2") == done[0], steps.last
    assert len(winners) == 2, "it was always the same"


def test_publishers_that_cannot_see_each_others_locks_still_publish_whole_versions_only(
    source: Path, other: Path, bases: Iterator[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    # As on a network file system whose locks hold on one machine only; simulated.
    monkeypatch.setattr(staging, "_claim", lambda _: contextlib.nullcontext())
    lost = 0
    for at, base in enumerate(bases, 1):
        ids: dict[int, dict[str, bytes]] = {1: CONTENT}

        def overtake(base: Path = base, ids: dict[int, dict[str, bytes]] = ids) -> None:
            ids[publish_version(other, base).version] = OTHER

        steps = Steps(overtake, at)
        try:
            with steps:
                ids[publish_version(source, base).version] = CONTENT
        except ServmanError:
            lost += 1
        if not steps.acted:
            break
        assert {int(name): read_content(base / name) for name in versions(base)} == ids, steps.last
    assert lost


def test_what_is_taken_for_left_behind_is_not_published_when_half_of_it_is_gone(
    other: Path, bases: Iterator[Path]
) -> None:
    # Its publisher lives after all, sees it whole, and renames it, at any step of the removal.
    renamed = set()
    for at, base in enumerate(bases, 1):
        left = write_source(base / ".5.publishing-ab" / "tree")

        def publish(left: Path = left, base: Path = base) -> None:
            with contextlib.suppress(FileNotFoundError):
                rename.rename_new(left, base / "5")

        with Steps(publish, at) as steps:
            publish_version(other, base)
        if not steps.acted:
            break
        renamed.add((base / "5").exists())
        if (base / "5").exists():
            assert read_content(base / "5") == CONTENT, steps.last
    assert renamed == {True, False}


@pytest.mark.parametrize("what", [Path.mkdir, Path.touch])
def test_what_appears_under_the_number_at_any_step_is_never_replaced(
    what: Callable[[Path], None], source: Path, bases: Iterator[Path]
) -> None:
    if not rename._renameat2():
        pytest.skip("this system cannot rename and keep what is there in one step")
    kept = 0
    for at, base in enumerate(bases, 1):
        made: list[Path] = []

        def appear(base: Path = base, made: list[Path] = made) -> None:
            if not (base / "2").exists():
                what(base / "2")
                made.append(base / "2")

        with Steps(appear, at) as steps, contextlib.suppress(AlreadyExistsError):
            publish_version(source, base, 2)
        if not steps.acted:
            break
        if made:
            kept += 1
            assert (base / "2").is_file() or names(base / "2") == [], steps.last
        else:
            assert read_content(base / "2") == CONTENT
    assert kept > 50


def test_processes_that_publish_at_once_get_numbers_of_their_own(
    source: Path, bases: Iterator[Path]
) -> None:
    base = next(bases)
    program = (
        "import sys, servman\n"
        "for _ in range(8): print(servman.publish_version(*sys.argv[1:]).version)"
    )
    processes = [
        subprocess.Popen(  # noqa: S603 -- our own interpreter on our own text
            [sys.executable, "-c", program, str(source), str(base)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    numbers: list[int] = []
    for process in processes:
        out, _ = process.communicate(timeout=18)
        assert process.returncode == 0
        numbers += map(int, out.split())
    assert len(set(numbers)) == 32
    assert {1, *numbers} == {int(name) for name in versions(base)}
    assert all(read_content(base / str(number)) == CONTENT for number in numbers)


# ---- watched -----------------------------------------------------------------------------------


def test_a_source_that_looks_at_any_step_sees_the_version_whole_or_not_at_all(
    source: Path, bases: Iterator[Path]
) -> None:
    base = next(bases)
    seen: list[tuple[int, ...]] = []

    def look() -> None:
        found = select(list_directory(str(base)), All())
        seen.append(found.aspired)
        assert all(read_content(base / name) == CONTENT for name in found.names.values())

    with Steps(look):
        publish_version(source, base)
    assert seen == sorted(seen)
    assert set(seen) == {(1,), (1, 2)}


def test_what_is_published_is_served_and_the_id_is_what_to_wait_for(tmp_path: Path) -> None:
    house = House(tmp_path)
    with house.open("m") as core:
        published = publish_version(tmp_path / "healthy" / "1", tmp_path / "m", create=True)
        assert core.wait_until_available(published, timeout=WATCHDOG)
        with core.get_servable_handle("m") as handle:
            assert (handle.id, handle.servable.predict(2)) == (published, 2.0)


# ---- the command -------------------------------------------------------------------------------


def command(*arguments: object) -> tuple[int, str, str]:
    run = subprocess.run(  # noqa: S603 -- our own command
        [sys.executable, str(SERVMAN), "publish", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=18,
        check=False,
    )
    return run.returncode, run.stdout, run.stderr


def test_the_command_prints_the_id_alone_and_its_progress_apart(
    source: Path, tmp_path: Path
) -> None:
    code, out, err = command(source, tmp_path / "m", "--create")
    assert (code, out) == (0, "m:1\n")
    assert err.splitlines()[0] == "0 bytes of 105 bytes"
    assert err.splitlines()[-1] == "105 bytes of 105 bytes"
    assert read_content(tmp_path / "m" / "1") == CONTENT


def test_the_command_says_why_it_has_not_published(source: Path, tmp_path: Path) -> None:
    code, out, err = command(source, tmp_path / "m", 3)
    assert (code, out) == (2, "")
    assert f"base path {tmp_path / 'm'} does not exist; create it" in err
    assert "Traceback" not in err
