from __future__ import annotations

from pathlib import Path

import pytest

from servman.errors import FailedPreconditionError, NotFoundError
from servman.reasons import ReasonCode
from servman.sources.look import Look, failure, identity, list_directory
from servman.testing import FakeClock


@pytest.mark.parametrize(
    ("error", "code", "kind", "remedy"),
    [
        (FileNotFoundError(), ReasonCode.BASE_PATH_MISSING, NotFoundError, "create it"),
        (
            NotADirectoryError(),
            ReasonCode.BASE_PATH_NOT_A_DIRECTORY,
            FailedPreconditionError,
            "correct the path",
        ),
        (PermissionError(), ReasonCode.BASE_PATH_UNREADABLE, FailedPreconditionError, "grant it"),
        (OSError(5, "I/O error"), ReasonCode.BASE_PATH_UNREADABLE, FailedPreconditionError, "I/O"),
    ],
    ids=["missing", "file", "permission", "other"],
)
def test_each_failure_names_the_servable_the_path_and_the_remedy(
    error: Exception, code: ReasonCode, kind: type[Exception], remedy: str
) -> None:
    reason = failure("m", "/models/m", error)
    assert reason.code is code
    assert isinstance(reason.error, kind)
    assert str(reason.error) == reason.text
    for part in ("'m'", "/models/m", remedy):
        assert part in reason.text
    assert reason.facts == {"name": "m", "base_path": "/models/m"}


def test_listing_tells_directories_and_links_to_them_from_everything_else(tmp_path: Path) -> None:
    (tmp_path / "4").mkdir()
    (tmp_path / "7").write_text("a file")
    (tmp_path / "5").symlink_to(tmp_path / "nowhere")
    (tmp_path / "6").symlink_to(tmp_path / "4")
    (tmp_path / "8").symlink_to(tmp_path / "8")  # in a circle
    assert dict(list_directory(str(tmp_path))) == {
        "4": True,
        "5": False,
        "6": True,
        "7": False,
        "8": False,
    }


def test_whatever_a_storage_raises_is_the_failure_of_its_look_but_ctrl_c_is_for_the_host() -> None:
    def look_raising(error: BaseException) -> Look:
        def lister(path: str) -> list[tuple[str, bool]]:
            raise error

        look = Look(("m", "/m"))
        if isinstance(error, KeyboardInterrupt):
            with pytest.raises(KeyboardInterrupt):
                look.run(lister, FakeClock())
        else:
            look.run(lister, FakeClock())
        return look

    for error in (ValueError("torn"), SystemExit(3), KeyboardInterrupt()):
        look = look_raising(error)
        assert look.failure is not None
        assert type(error).__name__ in look.failure.text
        assert not look.is_running


def test_a_directory_that_takes_the_place_of_another_has_another_identity(tmp_path: Path) -> None:
    base, other = tmp_path / "m", tmp_path / "n"
    base.mkdir()
    other.mkdir()
    before = identity(str(base))
    (base / "1").mkdir()
    assert identity(str(base)) == before
    base.rename(tmp_path / "old")
    other.rename(base)
    assert identity(str(base)) != before


def test_a_look_can_tell_the_identity_too(tmp_path: Path) -> None:
    look = Look(("m", str(tmp_path)), None, identify=True)
    look.run(list_directory, FakeClock())
    assert look.identity == identity(str(tmp_path))
