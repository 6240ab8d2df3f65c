from __future__ import annotations

from collections.abc import Sequence

import pytest

from servman.data import ServableData
from servman.errors import (
    NotFoundError,
)
from servman.ids import ServableId
from servman.sources import (
    ServableToMonitor,
    Specific,
)
from tests.unit.sources.rig import M, N, Rig, servable


def test_payload_and_origin_are_the_path_as_spelled_on_disk() -> None:
    rig = Rig(ServableToMonitor("m", "/models/m/"))
    rig.disk.paths["/models/m"] = ["00017"]
    rig.source.poll()
    path = "/models/m/00017"
    assert rig.target.calls == [("m", (ServableData(ServableId("m", 17), path, origin=path),))]


def test_a_list_is_sent_only_when_it_changed() -> None:
    rig = Rig(M)
    rig.disk.paths["/m"] = ["1"]
    rig.source.poll()
    rig.source.poll()
    rig.disk.paths["/m"] = ["1", "tmp-2"]
    rig.source.poll()
    assert rig.sent() == [("m", [1])]
    rig.disk.paths["/m"] = ["1", "2"]
    rig.source.poll()
    assert rig.sent() == [("m", [2])]


def test_a_version_that_moved_to_another_spelling_is_sent_again() -> None:
    rig = Rig(M)
    rig.disk.paths["/m"] = ["7"]
    rig.source.poll()
    rig.disk.paths["/m"] = ["007"]
    rig.source.poll()
    assert rig.sent() == [("m", [7]), ("m", [7])]


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(),
        NotADirectoryError(),
        PermissionError(),
        OSError(5, "I/O error"),
        ValueError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_cannot_be_read_is_never_sent_and_the_last_list_stands(error: Exception) -> None:
    rig = Rig(M, N)
    rig.disk.paths |= {"/m": ["1"], "/n": ["1"]}
    rig.source.poll()
    rig.sent()
    rig.disk.paths |= {"/m": error, "/n": ["2"]}
    rig.source.poll()
    assert rig.sent() == [("n", [2])]
    status = rig.source.status("m")
    assert status.versions == (1,)
    assert status.error is not None
    assert "/m" in str(status.error)
    assert rig.source.status("n").error is None


def test_a_readable_base_path_without_versions_is_sent_as_the_empty_list() -> None:
    rig = Rig(M)
    rig.disk.paths["/m"] = ["1"]
    rig.source.poll()
    rig.disk.paths["/m"] = []
    rig.source.poll()
    assert rig.sent() == [("m", [1]), ("m", [])]


def test_versions_always_present_keeps_the_last_list_and_says_so() -> None:
    rig = Rig(M, keep_last=True)
    rig.disk.paths["/m"] = ["1"]
    rig.source.poll()
    rig.disk.paths["/m"] = ["tmp"]
    rig.source.poll()
    assert rig.sent() == [("m", [1])]
    status = rig.source.status("m")
    assert status.versions == (1,)
    assert isinstance(status.error, NotFoundError)
    assert "servable_versions_always_present" in str(status.error)
    rig.disk.paths["/m"] = ["2"]
    rig.source.poll()
    assert rig.sent() == [("m", [2])]
    assert rig.source.status("m").error is None


def test_versions_always_present_lets_the_first_list_be_empty() -> None:
    rig = Rig(M, keep_last=True)
    rig.disk.paths["/m"] = []
    rig.source.poll()
    assert rig.sent() == [("m", [])]


def test_versions_always_present_does_not_overrule_a_policy_that_asks_for_none() -> None:
    rig = Rig(M, keep_last=True)
    rig.disk.paths["/m"] = ["1"]
    rig.source.poll()
    rig.source.update_config([servable("m", Specific())])
    assert rig.sent() == [("m", [1]), ("m", [])]


def test_a_target_that_raises_is_told_again_and_disturbs_no_other_servable(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rig = Rig(M, N)
    rig.disk.paths |= {"/m": ["1"], "/n": ["1"]}
    record = rig.target.set_aspired_versions
    faults = [RuntimeError("not now")]

    def take(name: str, versions: Sequence[ServableData[str]]) -> None:
        if faults:
            raise faults.pop()
        record(name, versions)

    rig.target.set_aspired_versions = take  # type: ignore[method-assign] # a target that fails once
    rig.source.poll()
    assert rig.sent() == [("n", [1])]
    assert "servable 'm': the source's target raised" in caplog.text
    rig.source.poll()
    assert rig.sent() == [("m", [1])]


def test_whom_it_tells_of_changes_may_raise(caplog: pytest.LogCaptureFixture) -> None:
    rig = Rig(M, N)
    rig.disk.paths |= {"/m": ["1"], "/n": ["1"]}
    told: list[str] = []

    def fail(name: str) -> None:
        told.append(name)
        raise RuntimeError("not now")

    rig.source._actor._on_change = fail
    rig.source.poll()
    assert rig.sent() == [("m", [1]), ("n", [1])]
    rig.source.update_config([N])
    assert told == ["m", "n", "m"]
    assert "servable 'n': the source's on_change raised" in caplog.text
