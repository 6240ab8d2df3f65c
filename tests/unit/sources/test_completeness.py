from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from servman.errors import InvalidArgumentError
from servman.sources import (
    All,
    Completeness,
    Latest,
    ServableToMonitor,
    Specific,
    VersionPolicy,
    immediate,
    marker,
    settled,
)
from servman.sources.completeness import Inspector
from servman.sources.look import list_directory
from servman.testing import FakeClock, Spawned


class Rig:
    """An inspector of real directories, whose looks come when the test says so."""

    def __init__(
        self,
        base: Path,
        completeness: Completeness,
        policy: VersionPolicy = Latest(1),  # noqa: B008 -- immutable
    ) -> None:
        self.base = base
        self.clock = FakeClock()
        self.aspired: set[str] = set()
        servable = ServableToMonitor("m", str(base), policy, completeness)
        self.inspector = Inspector(servable)
        self.due: float | None = None

    def look(self) -> tuple[tuple[int, ...], list[str]]:
        """Return what is chosen, and what is not complete."""
        entries = list_directory(str(self.base))
        selection = self.inspector.select(entries, self.aspired, self.clock)
        now = self.clock.monotonic()
        self.due = None if selection.recheck is None else selection.recheck - now
        return selection.aspired, [str(one) for one in selection.incomplete]


def write(path: Path, text: str = "x", mtime: int = 1_000) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    for one in (path, *path.parents[:2]):
        os.utime(one, (mtime, mtime))
    return path


def answer(**answers: object) -> Callable[[str], bool | str]:
    """Return a check that says or raises of each version, by its name with a "v", what is planted here."""

    def check(path: str) -> bool | str:
        said = answers["v" + path.rpartition("/")[2]]
        if isinstance(said, BaseException):
            raise said
        return said  # type: ignore[return-value] # the point

    return check


# ---- immediate -------------------------------------------------------------------------------


def test_immediately_even_an_empty_directory_is_complete(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    rig = Rig(tmp_path, immediate)
    assert rig.look() == ((1,), [])
    assert rig.due is None
    assert not rig.inspector.asks
    assert immediate(str(tmp_path / "1"))


def test_with_immediate_nothing_is_computed_anew_while_nothing_changes() -> None:
    inspector = Inspector(ServableToMonitor("m", "/m"))
    first = inspector.select([("1", True)], (), FakeClock())
    assert inspector.select([("1", True)], (), FakeClock()) is first
    assert inspector.select([("2", True)], (), FakeClock()).aspired == (2,)


# ---- marker ----------------------------------------------------------------------------------


def test_a_version_is_complete_once_it_holds_the_marker(tmp_path: Path) -> None:
    write(tmp_path / "1" / "weights")
    rig = Rig(tmp_path, marker("DONE"))
    assert rig.look() == ((), ["'1' is not complete: it holds no file 'DONE' yet"])
    write(tmp_path / "1" / "DONE", "")
    assert rig.look() == ((1,), [])


def test_a_marker_is_a_file_in_the_version_itself(tmp_path: Path) -> None:
    (tmp_path / "1" / "DONE").mkdir(parents=True)
    write(tmp_path / "2" / "below" / "DONE")
    (tmp_path / "3").mkdir()
    (tmp_path / "3" / "DONE").symlink_to(tmp_path / "nowhere")
    (tmp_path / "4").mkdir()
    (tmp_path / "4" / "DONE").symlink_to(write(tmp_path / "elsewhere"))
    assert Rig(tmp_path, marker("DONE"), All()).look()[0] == (4,)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/DONE", "a\0b", None, 5])
def test_a_marker_that_is_no_plain_file_name_is_refused(name: object) -> None:
    with pytest.raises(InvalidArgumentError, match="plain name of a file"):
        marker(name)  # type: ignore[arg-type] # the point


# ---- settled ---------------------------------------------------------------------------------


def test_a_tree_has_settled_when_two_looks_so_far_apart_see_the_same(tmp_path: Path) -> None:
    write(tmp_path / "1" / "weights")
    rig = Rig(tmp_path, settled(5))
    unsettled = ((), ["'1' is not complete: it has not been unchanged for 5 s yet"])
    assert rig.look() == unsettled
    assert rig.due == 5.0
    rig.clock.advance(4.5)
    assert rig.look() == unsettled
    assert rig.due == 0.5
    rig.clock.advance(0.5)
    assert rig.look() == ((1,), [])
    assert rig.due is None


def _grow(version: Path) -> None:
    write(version / "weights", "xy")


def _touch(version: Path) -> None:
    os.utime(version / "weights", (2_000, 2_000))


def _touch_back(version: Path) -> None:
    os.utime(version / "weights", (500, 500))  # as `cp -p` and `rsync -t` do


def _add(version: Path) -> None:
    write(version / "more")


def _add_below(version: Path) -> None:
    write(version / "below" / "more", mtime=1_000)


def _rename(version: Path) -> None:
    (version / "weights").rename(version / ".weights.Xa7")
    os.utime(version, (1_000, 1_000))


def _remove(version: Path) -> None:
    (version / "weights").unlink()
    write(version / "other")


def _make_directory(version: Path) -> None:
    (version / "empty").mkdir()
    for path in (version / "empty", version):
        os.utime(path, (1_000, 1_000))


def _take_away_and_put_back(version: Path) -> None:
    os.utime(version, (2_000, 2_000))  # all that is left to see of it


@pytest.mark.parametrize(
    "change",
    [
        _take_away_and_put_back,
        _grow,
        _touch,
        _touch_back,
        _add,
        _add_below,
        _rename,
        _remove,
        _make_directory,
    ],
    ids=lambda change: change.__name__.strip("_"),
)
def test_any_change_begins_the_time_anew(tmp_path: Path, change: Callable[[Path], None]) -> None:
    write(tmp_path / "1" / "weights")
    rig = Rig(tmp_path, settled(5))
    rig.look()
    rig.clock.advance(4.0)
    change(tmp_path / "1")
    rig.look()
    assert rig.due == 5.0
    rig.clock.advance(4.9)
    assert rig.look()[0] == ()
    rig.clock.advance(0.1)
    assert rig.look()[0] == (1,)


def test_a_change_that_is_seen_only_when_the_time_is_due_begins_it_anew(tmp_path: Path) -> None:
    write(tmp_path / "1" / "weights")
    rig = Rig(tmp_path, settled(5))
    rig.look()
    rig.clock.advance(1.0)
    _grow(tmp_path / "1")
    rig.clock.advance(4.0)
    assert rig.look()[0] == ()
    assert rig.due == 5.0


def test_however_odd_the_times_of_files_are_only_their_change_counts(tmp_path: Path) -> None:
    write(tmp_path / "1" / "weights", mtime=9_999_999_999)  # in the future
    rig = Rig(tmp_path, settled(5))
    rig.look()
    rig.clock.advance(5.0)
    assert rig.look()[0] == (1,)


def test_a_directory_without_a_file_never_settles_and_is_looked_at_again(tmp_path: Path) -> None:
    (tmp_path / "1" / "below").mkdir(parents=True)
    rig = Rig(tmp_path, settled(5))
    for _ in range(3):
        assert rig.look() == ((), ["'1' is not complete: no file is in it yet"])
        assert rig.due == 5.0
        rig.clock.advance(60.0)
    write(tmp_path / "1" / "weights")
    rig.look()
    rig.clock.advance(5.0)
    assert rig.look()[0] == (1,)


def test_time_that_a_walk_takes_does_not_count_as_stillness(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "1" / "weights")
    rig = Rig(tmp_path, settled(5))
    scandir = os.scandir

    def slow(path: str) -> object:
        rig.clock.advance(4.0)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", slow)
    inspect = rig.inspector.select
    assert inspect([("1", True)], (), rig.clock).recheck == rig.clock.monotonic() + 5.0
    rig.clock.advance(4.5)  # and 4.0 in the walk itself
    assert inspect([("1", True)], (), rig.clock).aspired == ()
    rig.clock.advance(1.0)
    assert inspect([("1", True)], (), rig.clock).aspired == (1,)


def test_the_earliest_time_is_asked_for(tmp_path: Path) -> None:
    rig = Rig(tmp_path, settled(5), All())
    write(tmp_path / "1" / "weights")
    rig.look()
    rig.clock.advance(2.0)
    write(tmp_path / "2" / "weights")
    rig.look()
    assert rig.due == 3.0
    rig.clock.advance(3.0)
    assert rig.look()[0] == (1,)
    assert rig.due == 2.0


def test_a_tree_that_went_and_came_back_begins_anew(tmp_path: Path) -> None:
    weights = write(tmp_path / "1" / "weights")
    rig = Rig(tmp_path, settled(5))
    rig.look()
    (tmp_path / "1").rename(tmp_path.with_name("away"))
    rig.clock.advance(5.0)
    assert rig.look() == ((), [])
    tmp_path.with_name("away").rename(weights.parent)
    assert rig.look()[0] == ()
    assert rig.due == 5.0


def test_a_file_that_vanishes_during_the_walk_is_a_change_and_no_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "1" / "below" / "weights")
    rig = Rig(tmp_path, settled(5))
    gone: list[str] = []
    scandir = os.scandir

    def vanishing(path: str) -> object:
        if path.endswith("below") and not gone:
            gone.append(path)
            Path(path).rename(tmp_path.with_name("gone"))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", vanishing)
    assert rig.look() == ((), ["'1' is not complete: no file is in it yet"])
    write(tmp_path / "1" / "below" / "weights")
    rig.look()
    assert rig.due == 5.0


def test_a_tree_that_cannot_be_read_counts_as_changed_and_is_looked_at_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "1" / "weights")
    rig = Rig(tmp_path, settled(5))
    rig.look()

    def refuse(path: str) -> object:
        raise PermissionError(13, "Permission denied", path)

    entries = list_directory(str(tmp_path))
    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", refuse)
        rig.clock.advance(5.0)
        selection = rig.inspector.select(entries, (), rig.clock)
    assert "settled(5) raised" in selection.incomplete[0].why
    assert "Permission denied" in selection.incomplete[0].why
    assert selection.recheck == rig.clock.monotonic() + 5.0
    rig.clock.advance(1.0)
    assert rig.look()[0] == ()
    assert rig.due == 5.0


def test_links_are_followed_and_may_lead_in_a_circle_or_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = write(tmp_path / "store" / "weights")
    version = tmp_path / "base" / "1"
    version.mkdir(parents=True)
    (version / "data").symlink_to(store.parent)
    (version / "self").symlink_to(version)
    (version / "loop").symlink_to(version / "loop")
    (version / "nowhere").symlink_to(tmp_path / "nowhere")
    scandir = os.scandir
    scans: list[str] = []

    def counted(path: str) -> object:
        scans.append(path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", counted)
    rig = Rig(tmp_path / "base", settled(5))
    rig.look()
    assert len(scans) <= 4
    rig.clock.advance(4.0)
    write(store, "changed")
    rig.look()
    assert rig.due == 5.0
    rig.clock.advance(5.0)
    assert rig.look()[0] == (1,)


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), 10**400, True, "5", None])
def test_settled_refuses_what_is_no_number_of_seconds(seconds: object) -> None:
    with pytest.raises(InvalidArgumentError, match="a number above 0"):
        settled(seconds)  # type: ignore[arg-type] # the point


# ---- callables -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (False, "answer.<locals>.check says so"),
        ("its hash is wrong", "its hash is wrong"),
        ("", "answer.<locals>.check returned ''; let it return a bool or a text"),
        (None, "answer.<locals>.check returned None; let it return a bool or a text"),
        (1, "answer.<locals>.check returned 1; let it return a bool or a text"),
        (ValueError("torn"), "answer.<locals>.check raised ValueError: torn"),
        (SystemExit(3), "answer.<locals>.check raised SystemExit: 3"),
    ],
)
def test_whatever_a_callable_says_but_true_is_the_reason(
    tmp_path: Path, said: object, why: str
) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "2").mkdir()
    rig = Rig(tmp_path, answer(v1=said, v2=True), All())
    assert rig.look() == ((2,), [f"'1' is not complete: {why}"])
    assert rig.due is None


def test_a_callable_is_given_the_path_as_spelled_on_disk(tmp_path: Path) -> None:
    (tmp_path / "007").mkdir()
    paths: list[str] = []

    def check(path: str) -> bool:
        paths.append(path)
        return True

    Rig(tmp_path, check).look()
    assert paths == [str(tmp_path / "007")]


def test_ctrl_c_in_a_check_goes_to_the_host_on_the_main_thread_and_is_a_reason_elsewhere(
    tmp_path: Path,
) -> None:
    (tmp_path / "1").mkdir()
    rig = Rig(tmp_path, answer(v1=KeyboardInterrupt()))
    assert threading.current_thread() is threading.main_thread()
    with pytest.raises(KeyboardInterrupt):
        rig.look()
    ((_, (why,)),) = [Spawned(rig.look).result()]
    assert "raised KeyboardInterrupt" in why


# ---- who is asked ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "complete", "chosen", "asked"),
    [
        (Latest(1), {1, 2, 3, 4}, (4,), [4]),
        (Latest(1), {1, 2}, (2,), [4, 3, 2]),
        (Latest(2), {1, 3}, (3, 1), [4, 3, 2, 1]),
        (All(), {2, 4}, (2, 4), [1, 2, 3, 4]),
        (Specific(9, 3, 1), {1, 2}, (1,), [3, 1]),
        (Specific(), {1}, (), []),
    ],
    ids=str,
)
def test_the_policy_chooses_among_complete_versions_and_asks_about_no_more_than_it_needs(
    tmp_path: Path,
    policy: VersionPolicy,
    complete: set[int],
    chosen: tuple[int, ...],
    asked: list[int],
) -> None:
    for version in (1, 2, 3, 4):
        (tmp_path / str(version)).mkdir()
    heard: list[int] = []

    def check(path: str) -> bool:
        heard.append(int(Path(path).name))
        return heard[-1] in complete

    assert Rig(tmp_path, check, policy).look()[0] == chosen
    assert heard == asked


def test_what_is_aspired_is_not_asked_about(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    rig = Rig(tmp_path, answer(v1=False))
    rig.aspired = {str(tmp_path / "1")}
    assert rig.look() == ((1,), [])


@pytest.mark.parametrize("completeness", [settled(5), marker("DONE")], ids=repr)
def test_completeness_is_a_value(completeness: Completeness) -> None:
    assert settled(5) == settled(5.0) != settled(6)
    assert marker("DONE") == marker("DONE") != marker("done")
    assert hash(completeness) == hash(completeness)
    assert repr(completeness) in ("settled(5)", "marker('DONE')")
