"""The catalogue's cases of the storage path sources, on real directories, without threads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from servman.data import ServableData
from servman.errors import NotFoundError, ServmanError
from servman.flow import connect
from servman.ids import ServableId
from servman.sources import (
    All,
    FileSystemStoragePathSource,
    Latest,
    ServableToMonitor,
    Specific,
    StaticStoragePathSource,
    VersionPolicy,
    marker,
)
from servman.testing import FakeClock, RecordingTarget


def publish(base: Path, *names: str) -> Path:
    for name in names:
        (base / name).mkdir(parents=True)
    return base


def make(
    *servables: ServableToMonitor, poll_interval: float = -1.0, fail: bool = False
) -> tuple[FileSystemStoragePathSource, RecordingTarget[str]]:
    target = RecordingTarget[str]()
    source = FileSystemStoragePathSource(
        servables,
        poll_interval=poll_interval,
        watch=False,
        fail_if_zero_versions_at_startup=fail,
        clock=FakeClock(),
    )
    connect(source, target)
    return source, target


def aspired(base: Path, policy: VersionPolicy) -> Sequence[int] | None:
    source, target = make(ServableToMonitor("m", str(base), policy))
    source.poll()
    return target.versions("m")


@pytest.mark.case("FS-01")
@pytest.mark.parametrize("exists", [False, True])
def test_with_the_fail_flag_a_source_without_versions_does_not_start(
    tmp_path: Path, exists: bool
) -> None:
    base = tmp_path / "m"
    if exists:
        base.mkdir()
    source, target = make(ServableToMonitor("m", str(base)), fail=True)
    with pytest.raises(NotFoundError, match="servable 'm'"):
        source.start()
    assert target.calls == []


@pytest.mark.case("FS-01")
@pytest.mark.parametrize("source_says", [False, True])
def test_the_fail_flag_of_a_servable_goes_before_that_of_the_source(
    tmp_path: Path, source_says: bool
) -> None:
    flagged = ServableToMonitor(
        "m", str(tmp_path / "m"), fail_if_zero_versions_at_startup=not source_says
    )
    source, _ = make(fail=source_says)
    if source_says:
        source.update_config([flagged])
        assert isinstance(source.status("m").error, NotFoundError)
    else:
        with pytest.raises(NotFoundError, match="servable 'm'"):
            source.update_config([flagged])


@pytest.mark.case("FS-01")
def test_without_the_fail_flag_a_missing_base_path_is_an_error_without_a_callback(
    tmp_path: Path,
) -> None:
    source, target = make(ServableToMonitor("m", str(tmp_path / "m")))
    source.poll()
    assert target.calls == []
    assert isinstance(source.status("m").error, NotFoundError)


@pytest.mark.case("FS-01")
def test_without_the_fail_flag_a_base_path_without_versions_gives_the_empty_list(
    tmp_path: Path,
) -> None:
    assert aspired(tmp_path, Latest()) == []


@pytest.mark.case("FS-02")
def test_a_base_path_that_appears_after_the_start_is_noticed(tmp_path: Path) -> None:
    source, target = make(ServableToMonitor("m", str(tmp_path / "m")))
    source.poll()
    assert isinstance(source.status("m").error, ServmanError)
    publish(tmp_path / "m", "3")
    source.poll()
    assert target.versions("m") == [3]
    assert source.status("m").error is None


@pytest.mark.case("FS-03")
@pytest.mark.case("FS-09")
@pytest.mark.case("FS-10")
def test_the_default_policy_takes_the_highest_version_only(tmp_path: Path) -> None:
    publish(tmp_path, "42", "17", "text")
    source, target = make(ServableToMonitor("m", str(tmp_path)))
    source.poll()
    path = str(tmp_path / "42")
    assert target.calls == [("m", (ServableData(ServableId("m", 42), path, origin=path),))]
    assert aspired(tmp_path, Latest()) == [42]


@pytest.mark.case("FS-03")
def test_to_rename_a_directory_to_what_is_no_number_withdraws_the_version(tmp_path: Path) -> None:
    source, target = make(ServableToMonitor("m", str(publish(tmp_path, "41", "42"))))
    source.poll()
    (tmp_path / "42").rename(tmp_path / "42.denied")
    source.poll()
    assert target.versions("m") == [41]


@pytest.mark.case("FS-04")
def test_all_takes_17_then_42(tmp_path: Path) -> None:
    assert aspired(publish(tmp_path, "42", "17", "text"), All()) == [17, 42]


@pytest.mark.case("FS-05")
def test_latest_takes_the_highest_in_descending_order(tmp_path: Path) -> None:
    publish(tmp_path, "42", "33", "30", "21", "17", "text")
    assert aspired(tmp_path, Latest(3)) == [42, 33, 30]


@pytest.mark.case("FS-06")
def test_specific_takes_what_it_names(tmp_path: Path) -> None:
    publish(tmp_path, "42", "33", "30", "21", "17")
    assert aspired(tmp_path, Specific(17, 30)) == [17, 30]


@pytest.mark.case("FS-06")
def test_specific_goes_by_number_and_tells_what_is_missing(tmp_path: Path) -> None:
    base = publish(tmp_path, "00017", "18")
    source, target = make(ServableToMonitor("m", str(base), Specific(17, 30)))
    source.poll()
    assert [(one.id.version, one.payload) for one in target.calls[0][1]] == [
        (17, str(base / "00017"))
    ]
    assert source.status("m").missing == (30,)


@pytest.mark.case("FS-08")
def test_specific_without_versions_gives_the_empty_list(tmp_path: Path) -> None:
    assert aspired(publish(tmp_path, "42"), Specific()) == []


@pytest.mark.case("FS-11")
def test_each_servable_gets_its_own_list(tmp_path: Path) -> None:
    publish(tmp_path / "a", "1", "3")
    publish(tmp_path / "b", "42")
    publish(tmp_path / "c")
    (tmp_path / "c").mkdir()
    source, target = make(*(ServableToMonitor(name, str(tmp_path / name)) for name in "abc"))
    source.poll()
    assert [target.versions(name) for name in "abc"] == [[3], [42], []]


@pytest.mark.departs("FS-11")
def test_a_missing_base_path_among_them_stops_nobody_else(tmp_path: Path) -> None:
    publish(tmp_path / "b", "42")
    source, target = make(*(ServableToMonitor(name, str(tmp_path / name)) for name in "ab"))
    source.poll()
    assert [target.versions(name) for name in "ab"] == [None, [42]]


@pytest.mark.case("FS-14")
def test_the_poll_interval_is_no_part_of_an_update(tmp_path: Path) -> None:
    source, _ = make(ServableToMonitor("m", str(tmp_path)))
    with pytest.raises(TypeError):
        source.update_config([], poll_interval=5.0)  # type: ignore[call-arg] # the point


@pytest.mark.case("FS-15")
def test_a_time_stamp_is_a_version(tmp_path: Path) -> None:
    assert aspired(publish(tmp_path, "20170111173521", "1"), Latest()) == [20170111173521]


@pytest.mark.case("FS-19")
def test_with_interval_zero_there_is_exactly_one_poll(tmp_path: Path) -> None:
    publish(tmp_path, "42")
    clock, target = FakeClock(), RecordingTarget[str]()
    source = FileSystemStoragePathSource(
        [ServableToMonitor("m", str(tmp_path))], poll_interval=0, watch=False, clock=clock
    )
    connect(source, target)
    while source.step():
        pass
    assert target.versions("m") == [42]
    publish(tmp_path, "43")
    clock.advance(3600.0)
    assert not source.step()
    assert target.versions("m") == [42]


@pytest.mark.case("FS-20")
def test_a_static_source_calls_back_once_when_it_is_connected() -> None:
    target = RecordingTarget[str]()
    connect(StaticStoragePathSource("m", 42, "/models/m/42"), target)
    (call,) = target.calls
    assert call[0] == "m"
    assert [(one.id, one.payload) for one in call[1]] == [(ServableId("m", 42), "/models/m/42")]


@pytest.mark.departs("FS-04")
def test_all_goes_by_number_where_the_text_order_differs(tmp_path: Path) -> None:
    assert aspired(publish(tmp_path, "100", "20"), All()) == [20, 100]


@pytest.mark.departs("FS-04")
def test_of_two_names_for_one_version_all_takes_one_too(tmp_path: Path) -> None:
    source, target = make(ServableToMonitor("m", str(publish(tmp_path, "7", "007")), All()))
    source.poll()
    assert [(one.id.version, one.origin) for one in target.calls[0][1]] == [
        (7, str(tmp_path / "7"))
    ]


@pytest.mark.departs("FS-03")
def test_a_file_named_like_a_version_is_none_and_a_link_to_a_directory_is(tmp_path: Path) -> None:
    publish(tmp_path, "4", "-5", "+5", " 5 ", "1_000", "3.partial")
    (tmp_path / "9").write_text("a file")
    (tmp_path / "5").symlink_to(tmp_path / "nowhere")
    (tmp_path / "6").symlink_to(tmp_path / "4")
    assert aspired(tmp_path, All()) == [4, 6]


@pytest.mark.departs("FS-19")
def test_a_list_is_sent_when_it_changed_and_not_at_every_poll(tmp_path: Path) -> None:
    source, target = make(ServableToMonitor("m", str(publish(tmp_path, "1"))))
    source.poll()
    source.poll()
    assert len(target.calls) == 1


@pytest.mark.parametrize("policy", [Latest(1), All(), Specific(17)], ids=str)
def test_what_is_there_and_not_complete_is_never_an_empty_list(
    tmp_path: Path, policy: VersionPolicy
) -> None:
    base = publish(tmp_path, "17")
    source, target = make(ServableToMonitor("m", str(base), policy, marker("DONE")))
    source.poll()
    assert target.calls == []
    (base / "17" / "DONE").touch()
    source.poll()
    assert target.versions("m") == [17]


def test_all_versions_that_are_gone_at_once_are_unloaded_unless_they_are_always_present(
    tmp_path: Path,
) -> None:
    base = publish(tmp_path, "17", "42")
    always = ServableToMonitor("kept", str(base), All(), servable_versions_always_present=True)
    source, target = make(ServableToMonitor("m", str(base), All()), always)
    source.poll()
    for name in ("17", "42"):
        (base / name).rmdir()
    source.poll()
    assert (target.versions("m"), target.versions("kept")) == ([], [17, 42])
    assert source.status("m").error is None
    assert isinstance(source.status("kept").error, NotFoundError)


def test_a_base_path_that_is_a_file_is_an_error_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "m").write_text("a file")
    source, target = make(ServableToMonitor("m", str(tmp_path / "m")))
    source.poll()
    assert target.calls == []
    assert "is not a directory" in str(source.status("m").error)
