"""What is published, and under which number."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from servman import (
    AlreadyExistsError,
    FailedPreconditionError,
    InvalidArgumentError,
    ResourceExhaustedError,
    ServableId,
    publish_version,
)
from servman.ids import MAX_VERSION
from servman.publishing import copy
from servman.sources.versions import All, select
from tests.unit.publishing.steps import CONTENT, names, read_content, write_source

# ---- what is published ---------------------------------------------------------------------------


def test_the_version_has_the_content_of_the_source_and_nothing_else_is_in_the_base_path(
    source: Path, base: Path
) -> None:
    assert publish_version(source, base, 3) == ServableId("m", 3)
    assert read_content(base / "3") == CONTENT
    assert names(base) == ["3"]
    assert read_content(source) == CONTENT


def test_paths_may_be_texts_and_relative(
    source: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(base)
    assert publish_version(f"../{source.name}", ".") == ServableId("m", 1)
    monkeypatch.chdir(source)
    (base / "sub").mkdir()
    monkeypatch.chdir(base / "sub")
    assert publish_version(source, "..") == ServableId("m", 2)


@pytest.mark.parametrize("path", ["", "a\0b", "\ud800", b"m", None, 7])
@pytest.mark.parametrize("which", ["source_dir", "base_path"])
def test_what_can_be_no_path_is_refused_and_an_empty_text_is_not_the_working_directory(
    which: str, path: object, source: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(source if which == "source_dir" else base)
    paths = {"source_dir": source, "base_path": base} | {which: path}
    with pytest.raises(InvalidArgumentError, match=f"{which} is .* pass the path of a directory"):
        publish_version(**paths)  # type: ignore[arg-type] # the point
    assert names(base) == []


def test_the_name_may_be_another_than_that_of_the_base_path(source: Path, base: Path) -> None:
    assert publish_version(source, base, name="other") == ServableId("other", 1)


def test_the_name_is_that_of_the_link_and_not_of_what_it_leads_to(source: Path, base: Path) -> None:
    link = base.with_name("current")
    link.symlink_to(base)
    assert publish_version(source, link) == ServableId("current", 1)
    assert names(base) == ["1"]


def test_permission_bits_are_kept_but_the_owner_may_always_remove_the_version(
    source: Path, base: Path
) -> None:
    (source / "weights").chmod(0o4640)
    (source / "assets").chmod(0o555)
    source.chmod(0o505)
    publish_version(source, base, 1)
    modes = {
        name: stat.S_IMODE((base / "1" / name).stat().st_mode) for name in ("weights", "assets", "")
    }
    assert modes == {"weights": 0o640, "assets": 0o755, "": 0o705}


def test_links_are_followed_so_that_the_version_needs_nothing_outside(
    source: Path, base: Path
) -> None:
    outside = write_source(source.with_name("outside"))
    (source / "weights").unlink()
    (source / "weights").symlink_to(outside / "weights")
    (source / "assets" / "more").symlink_to(outside / "assets")
    (source / "again").symlink_to(source / "assets" / "words")
    publish_version(source, base, 1)
    links = [one for one in (base / "1").rglob("*") if one.is_symlink()]
    assert links == []
    assert read_content(base / "1") == {
        **CONTENT,
        "assets/more/words": b"words",
        "assets/more/none": b"",
        "again": b"words",
    }


def test_the_source_itself_may_be_a_link_or_a_version_that_is_there(
    source: Path, base: Path
) -> None:
    (base.parent / "link").symlink_to(source)
    publish_version(base.parent / "link", base, 1)
    assert publish_version(base / "1", base).version == 2
    assert read_content(base / "2") == CONTENT


# ---- numbers -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("there", "number"),
    [
        ((), 1),
        (("0",), 1),
        (("1", "2"), 3),
        (("2", "10"), 11),
        (("007",), 8),
        (("tmp", "-5", "v9", "1_0", "١٢", "9 "), 1),
        ((str(MAX_VERSION + 1), "4"), 5),
        (("3", ".9.publishing-ab"), 4),  # left behind
    ],
)
def test_without_a_version_it_takes_the_number_after_the_highest(
    there: tuple[str, ...], number: int, source: Path, base: Path
) -> None:
    for name in there:
        (base / name).mkdir()
    assert publish_version(source, base).version == number
    assert read_content(base / str(number)) == CONTENT


def test_a_file_with_a_number_for_a_name_takes_that_number_too(source: Path, base: Path) -> None:
    (base / "4").write_text("")
    assert publish_version(source, base).version == 5
    with pytest.raises(AlreadyExistsError, match=r"m:4 is there already, as .*/m/4"):
        publish_version(source, base, 4)


@pytest.mark.parametrize("name", ["3", "003", "-3", "+3", " 3", "3 ", "1_0", "٣", "³", str(2**63)])
def test_a_name_is_a_number_here_where_it_is_one_for_a_source(
    name: str, source: Path, base: Path
) -> None:
    (base / name).mkdir()
    seen = select([(name, True)], All()).names
    assert publish_version(source, base).version == max(seen, default=0) + 1


def test_what_is_being_published_counts(source: Path, base: Path, living: Path) -> None:
    assert publish_version(source, base).version == 8
    assert living.exists()


def test_the_number_is_the_highest_when_the_version_appears(source: Path, base: Path) -> None:
    def overtake(done: int, total: int) -> None:
        if done == total and names(base)[-1:] != ["5"]:
            publish_version(source, base, 5)

    assert publish_version(source, base, progress=overtake).version == 6
    assert names(base) == ["5", "6"]


def test_where_no_number_is_left_it_says_so(source: Path, base: Path) -> None:
    (base / str(MAX_VERSION)).mkdir()
    with pytest.raises(ResourceExhaustedError, match="'m': no number is left above those in"):
        publish_version(source, base)
    assert names(base) == [str(MAX_VERSION)]


@pytest.mark.parametrize("there", ["3", "003"])
def test_a_version_that_is_there_is_not_touched(there: str, source: Path, base: Path) -> None:
    (base / there).mkdir()
    before = (base / there).stat()
    with pytest.raises(AlreadyExistsError, match=f"m:3 is there already, as .*/m/{there}, and"):
        publish_version(source, base, 3)
    assert (base / there).stat() == before
    assert names(base) == [there]


def test_a_version_that_is_there_is_refused_before_anything_is_copied(
    source: Path, base: Path
) -> None:
    (base / "3").mkdir()
    told: list[tuple[int, int]] = []
    with pytest.raises(AlreadyExistsError):
        publish_version(source, base, 3, progress=lambda *so_far: told.append(so_far))
    assert told == []


def test_a_version_that_comes_while_it_is_copied_is_not_touched(source: Path, base: Path) -> None:
    def overtake(done: int, total: int) -> None:
        (base / "003").mkdir(exist_ok=True)

    with pytest.raises(AlreadyExistsError):
        publish_version(source, base, 3, progress=overtake)
    assert names(base) == ["003"]
    assert names(base / "003") == []


def test_a_version_that_somebody_is_publishing_is_refused_at_once(
    source: Path, base: Path, living: Path
) -> None:
    with pytest.raises(FailedPreconditionError, match=f"version 7 is being published.*{living}"):
        publish_version(source, base, 7)
    assert living.exists()
    assert publish_version(source, base, 6).version == 6


# ---- progress ------------------------------------------------------------------------------------


def test_progress_goes_from_nothing_to_all_without_a_step_back(
    source: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copy, "_CHUNK", 30)
    told: list[tuple[int, int]] = []
    publish_version(source, base, progress=lambda done, total: told.append((done, total)))
    assert told[0] == (0, 105)
    assert told[-1] == (105, 105)
    assert told == sorted(told)
    assert (52, 105) in told  # all written, nothing read back
    assert {total for _, total in told} == {105}
    assert len(told) == 2 + 2 * (4 + 1)


def test_progress_of_empty_files_is_told_too(base: Path) -> None:
    source = write_source(base.parent / "source", {"a": b""})
    told: list[tuple[int, int]] = []
    publish_version(source, base, progress=lambda done, total: told.append((done, total)))
    assert told == [(0, 0), (0, 0)]


@pytest.mark.parametrize(
    "error", [BrokenPipeError("mine"), KeyboardInterrupt(), ValueError("mine")]
)
@pytest.mark.parametrize("when", [0, 40, 80])
def test_what_progress_raises_ends_it_and_nothing_is_left(
    error: BaseException, when: int, source: Path, base: Path
) -> None:
    def stop(done: int, total: int) -> None:
        if done >= when:
            raise error

    with pytest.raises(type(error)) as raised:
        publish_version(source, base, progress=stop)
    assert raised.value is error
    assert names(base) == []
