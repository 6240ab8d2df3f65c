"""Taking a published version back."""

from __future__ import annotations

from pathlib import Path

import pytest

from servman.errors import FailedPreconditionError, InvalidArgumentError, NotFoundError
from servman.ids import ServableId
from servman.publishing import publish_version, withdraw_version


@pytest.fixture
def base(tmp_path: Path) -> Path:
    for version in ("1", "2"):
        (tmp_path / "m" / version).mkdir(parents=True)
        (tmp_path / "m" / version / "file").write_bytes(b"x")
    return tmp_path / "m"


def names(base: Path) -> list[str]:
    return sorted(one.name for one in base.iterdir())


def test_the_version_is_gone_and_the_others_stay(base: Path) -> None:
    withdraw_version(base, ServableId("m", 2))
    assert names(base) == ["1"]


def test_its_number_may_be_spelled_with_zeros(base: Path) -> None:
    (base / "007").mkdir()
    withdraw_version(base, ServableId("m", 7))
    assert names(base) == ["1", "2"]


def test_a_version_that_is_not_there_is_an_error(base: Path) -> None:
    with pytest.raises(NotFoundError, match="m:3 is not in"):
        withdraw_version(base, ServableId("m", 3))
    with pytest.raises(NotFoundError, match="does not exist"):
        withdraw_version(base / "nowhere", ServableId("m", 3))


def test_an_empty_path_is_not_the_working_directory(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(base)
    with pytest.raises(InvalidArgumentError, match="base_path is ''"):
        withdraw_version("", ServableId("m", 2))
    assert names(base) == ["1", "2"]


def test_it_goes_out_of_sight_by_one_step_before_anything_of_it_is_removed(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[str]] = []
    monkeypatch.setattr("shutil.rmtree", lambda *_, **__: seen.append(names(base)))
    withdraw_version(base, ServableId("m", 2))
    ((hidden, kept),) = seen
    assert hidden.startswith(".discarded-")
    assert kept == "1"
    assert names(base / hidden) == ["file"]


def test_what_could_not_be_removed_is_removed_by_the_next_publisher(
    base: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("shutil.rmtree", lambda *_, **__: None)
        withdraw_version(base, ServableId("m", 2))
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "file").write_bytes(b"y")
    assert publish_version(tmp_path / "source", base) == ServableId("m", 2)
    assert names(base) == ["1", "2"]


def test_a_version_that_cannot_be_renamed_stays_as_it_is(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(FailedPreconditionError, match="may not write"):
        withdraw_version(base, ServableId("m", 2))
    assert names(base) == ["1", "2"]
