"""The target that writes down what it is told."""

from __future__ import annotations

import pytest

import servman.testing.targets
from servman.data import ServableData
from servman.ids import ServableId
from servman.testing import RecordingTarget, Spawned


def entries(name: str, *versions: int) -> list[ServableData[str]]:
    return [ServableData(ServableId(name, version), "path") for version in versions]


def test_the_last_list_of_each_stream_counts() -> None:
    target = RecordingTarget[str]()
    target.set_aspired_versions("m", entries("m", 1))
    target.set_aspired_versions("n", entries("n", 9))
    target.set_aspired_versions("m", entries("m", 2, 1))
    assert target.versions("m") == [2, 1]
    assert target.versions("n") == [9]
    assert [name for name, _ in target.calls] == ["m", "n", "m"]


def test_an_empty_list_is_told_from_none() -> None:
    target = RecordingTarget[str]()
    assert target.versions("m") is None
    target.set_aspired_versions("m", [])
    assert target.versions("m") == []


def test_a_list_that_changes_afterwards_was_written_down_as_it_came() -> None:
    target, versions = RecordingTarget[str](), entries("m", 1)
    target.set_aspired_versions("m", versions)
    versions.clear()
    assert target.versions("m") == [1]


def test_a_wait_ends_when_the_list_has_come() -> None:
    target = RecordingTarget[str]()
    thread = Spawned(lambda: target.wait_for("m", [1]))
    target.set_aspired_versions("m", entries("m", 2))
    target.set_aspired_versions("m", entries("m", 1))
    thread.result()


def test_a_list_that_does_not_come_is_a_failure_that_shows_what_did(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(servman.testing.targets, "WATCHDOG", 0.001)
    target = RecordingTarget[str]()
    target.set_aspired_versions("m", entries("m", 2))
    with pytest.raises(AssertionError, match=r"m: aspired \[2\], not \[1\]"):
        target.wait_for("m", [1])
