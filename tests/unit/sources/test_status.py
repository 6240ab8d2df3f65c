from __future__ import annotations

import logging

import pytest

from servman.errors import (
    FailedPreconditionError,
)
from servman.flow import connect
from servman.ids import ServableRequest
from servman.reasons import ReasonCode
from servman.sources import (
    FileSystemStoragePathSource,
    Latest,
    SourceStatus,
    Specific,
    VersionPolicy,
)
from servman.testing import RecordingTarget
from tests.unit.sources.rig import M, Rig, servable


def test_the_status_tells_when_it_looked_and_what_it_found() -> None:
    rig = Rig(servable("m", Specific(2, 9)))
    assert rig.source.status("m") == SourceStatus()
    rig.disk.paths["/m"] = ["1", "2", "tmp"]
    rig.source.poll()
    first = rig.clock.wall()
    status = rig.source.status("m")
    assert (status.versions, status.found, status.missing) == ((2,), (1, 2), (9,))
    assert [one.name for one in status.ignored] == ["tmp"]
    assert (status.last_look, status.last_success, status.error) == (first, first, None)

    rig.disk.paths["/m"] = PermissionError()
    for _ in range(2):
        rig.clock.advance(10.0)
        rig.source.poll()
    status = rig.source.status("m")
    assert isinstance(status.error, FailedPreconditionError)
    assert (status.error_since, status.last_look) == (first + 10.0, first + 20.0)
    assert (status.last_success, status.versions) == (first, (2,))

    rig.disk.paths["/m"] = ["2"]
    rig.source.poll()
    status = rig.source.status("m")
    assert (status.error, status.error_since) == (None, None)


def test_an_error_is_logged_when_it_appears_or_changes_and_its_end_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rig = Rig(M)
    with caplog.at_level(logging.INFO, logger="servman.sources.stream"):
        for content in (FileNotFoundError(), FileNotFoundError(), PermissionError(), ["1"], ["1"]):
            rig.disk.paths["/m"] = content
            rig.source.poll()
    records = [r for r in caplog.records if r.name == "servman.sources.stream"]
    assert [r.levelname for r in records] == ["WARNING", "WARNING", "INFO"]


def test_two_names_for_one_version_are_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    rig = Rig(M)
    for names in (["7", "007"], ["7", "007"], ["7", "007", "8"]):
        rig.disk.paths["/m"] = names
        rig.source.poll()
    assert [r.levelname for r in caplog.records] == ["WARNING"]
    assert "'007' is the same version as '7' in /m" in caplog.text


@pytest.mark.parametrize(
    ("request_text", "policy", "content", "code", "text"),
    [
        ("m", Latest(), FileNotFoundError(), ReasonCode.BASE_PATH_MISSING, "create it"),
        ("m", Latest(), NotADirectoryError(), ReasonCode.BASE_PATH_NOT_A_DIRECTORY, "/m"),
        ("m:3", Latest(), PermissionError(), ReasonCode.BASE_PATH_UNREADABLE, "grant it"),
        ("m", Latest(), [], ReasonCode.NO_VERSIONS, "publish a directory"),
        ("m:newest", Latest(), ["tmp-3"], ReasonCode.NO_VERSIONS, "'tmp-3' is not a number"),
        ("m:3", Latest(), ["2", "4"], ReasonCode.NOT_ON_DISK, "(found 2, 4)"),
        ("m:3", Latest(1), ["3", "4"], ReasonCode.NOT_CHOSEN, "latest 1 takes 4"),
        ("m", Specific(7), ["3", "4"], ReasonCode.NOT_ON_DISK, "version 7 is not in /m"),
        ("m", Specific(), ["3"], ReasonCode.NOT_CHOSEN, "takes none"),
        ("m:earliest", Specific(), ["3"], ReasonCode.NOT_CHOSEN, "change the policy"),
    ],
)
def test_explain_says_why_a_version_is_not_aspired(
    request_text: str,
    policy: VersionPolicy,
    content: list[str] | Exception,
    code: ReasonCode,
    text: str,
) -> None:
    rig = Rig(servable("m", policy))
    rig.disk.paths["/m"] = content
    rig.source.poll()
    explained = rig.explain(request_text)
    assert explained is not None
    assert explained[0] is code
    assert "servable 'm'" in explained[1]
    assert text in explained[1]


def test_explain_names_the_file_that_stands_where_the_version_should() -> None:
    source = FileSystemStoragePathSource(
        [M], watch=False, lister=lambda _: [("6", True), ("7", False)]
    )
    connect(source, RecordingTarget[str]())
    source.poll()
    reason = source.explain(ServableRequest.specific("m", 7))
    assert reason is not None
    assert "(found 6, but '7' is not a directory)" in reason.text


def test_explain_lists_no_more_than_people_read() -> None:
    rig = Rig(M)
    rig.disk.paths["/m"] = [f"tmp-{number:03}" for number in range(100)]
    rig.source.poll()
    explained = rig.explain("m")
    assert explained is not None
    assert "and 92 more" in explained[1]


def test_explain_leaves_to_others_what_is_aspired_and_what_is_not_its_own() -> None:
    rig = Rig(M)
    assert rig.explain("m") == (
        ReasonCode.NOT_LOOKED_YET,
        "servable 'm': base path /m has not been looked at yet",
    )
    rig.disk.paths["/m"] = ["4"]
    rig.source.poll()
    rig.disk.paths["/m"] = PermissionError()
    rig.source.poll()
    for text in ("m", "m:4", "m:newest", "m:earliest", "stranger", "stranger:4"):
        assert rig.explain(text) is None
