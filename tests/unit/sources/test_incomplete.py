from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from servman.errors import NotFoundError
from servman.flow import connect
from servman.ids import ServableRequest
from servman.reasons import ReasonCode
from servman.sources import (
    All,
    FileSystemStoragePathSource,
    IncompleteVersion,
    Latest,
    ServableToMonitor,
    Specific,
    VersionPolicy,
    settled,
)
from servman.sources.look import PATIENCE
from servman.testing import FakeClock, ManualPool, RecordingTarget
from tests.unit.sources.rig import N, Rig


class Checked(Rig):
    """A source of one servable "m", with a check that finds complete what the test says."""

    def __init__(
        self,
        policy: VersionPolicy = Latest(1),  # noqa: B008 -- immutable
        *others: ServableToMonitor,
        keep_last: bool = False,
        poll_interval: float = 1.0,
        pool: ManualPool | None = None,
    ) -> None:
        self.complete: set[str] = set()
        self.asked: list[str] = []
        self.during_check: Callable[[], object] = lambda: None
        self.servable = ServableToMonitor("m", "/m", policy, self.check)
        super().__init__(
            self.servable, *others, poll_interval=poll_interval, keep_last=keep_last, pool=pool
        )

    def check(self, path: str) -> bool | str:
        self.asked.append(path)
        self.during_check()
        return path in self.complete or "it is half there"

    def poll(self, *names: str) -> list[tuple[str, list[int]]]:
        self.disk.paths["/m"] = list(names)
        self.source.poll()
        return self.sent()


# ---- what is sent ----------------------------------------------------------------------------


@pytest.mark.parametrize("policy", [Latest(1), Latest(3), All(), Specific(1)], ids=str)
def test_while_nothing_wanted_is_complete_nothing_is_sent(policy: VersionPolicy) -> None:
    rig = Checked(policy)
    assert rig.poll("1") == []
    rig.complete = {"/m/1"}
    assert rig.poll("1") == [("m", [1])]


def test_an_incomplete_newer_version_does_not_take_the_place_of_one_that_is_complete() -> None:
    rig = Checked()
    rig.complete = {"/m/1"}
    assert rig.poll("1", "2") == [("m", [1])]
    rig.complete |= {"/m/2"}
    assert rig.poll("1", "2") == [("m", [2])]


def test_once_aspired_a_version_stays_so_until_its_directory_has_gone() -> None:
    rig = Checked()
    rig.complete = {"/m/1"}
    rig.poll("1")
    rig.complete = set()
    rig.asked.clear()
    assert rig.poll("1") == []
    assert rig.asked == []
    assert rig.source.status("m").versions == (1,)
    assert rig.poll() == [("m", [])]
    assert rig.poll("1") == []
    assert rig.asked == ["/m/1"]


def test_what_is_there_but_incomplete_does_not_unload_what_has_gone() -> None:
    rig = Checked()
    rig.complete = {"/m/2"}
    rig.poll("1", "2")
    assert rig.poll("1") == []
    assert rig.source.status("m").versions == (2,)
    rig.complete = {"/m/1"}
    assert rig.poll("1") == [("m", [1])]


def test_of_specific_versions_those_that_are_complete_are_sent() -> None:
    rig = Checked(Specific(1, 2, 3))
    rig.complete = {"/m/2"}
    assert rig.poll("1", "2") == [("m", [2])]
    status = rig.source.status("m")
    assert ([one.version for one in status.incomplete], status.missing) == ([1], (3,))


def test_at_another_base_path_the_same_version_has_to_be_complete_anew() -> None:
    rig = Checked()
    rig.complete = {"/m/1"}
    rig.poll("1")
    rig.disk.paths["/elsewhere"] = ["1"]
    rig.source.update_config([dataclasses.replace(rig.servable, base_path="/elsewhere")])
    assert rig.sent() == []
    rig.complete = {"/elsewhere/1"}
    rig.source.poll()
    assert [data.origin for data in rig.target.calls[0][1]] == ["/elsewhere/1"]


def test_what_is_aspired_stays_so_when_the_policy_or_the_completeness_changes() -> None:
    rig = Checked()
    rig.complete = {"/m/2"}
    rig.poll("1", "2")
    rig.complete = set()
    rig.source.update_config([dataclasses.replace(rig.servable, version_policy=All())])
    rig.source.update_config([dataclasses.replace(rig.servable, completeness=settled(5))])
    assert rig.sent() == []
    assert rig.source.status("m").versions == (2,)


def test_the_same_completeness_is_the_same_configuration() -> None:
    rig = Checked()
    rig.poll("1")
    rig.disk.looked()
    rig.source.update_config([ServableToMonitor("m", "/m", Latest(1), rig.check)])
    assert rig.disk.looked() == []


# ---- what is shown ---------------------------------------------------------------------------


def test_the_status_shows_what_is_incomplete_and_why() -> None:
    rig = Checked()
    rig.complete = {"/m/1"}
    rig.poll("1", "002", "tmp")
    status = rig.source.status("m")
    assert status.incomplete == (
        IncompleteVersion(2, "002", "it is half there", "watching is turned off"),
    )
    assert (status.versions, status.found, status.error) == ((1,), (1, 2), None)
    rig.complete |= {"/m/002"}
    rig.poll("1", "002")
    assert rig.source.status("m").incomplete == ()


@pytest.mark.parametrize(
    ("policy", "text", "code"),
    [
        (Latest(1), "m", ReasonCode.STILL_CHANGING),
        (Latest(1), "m:newest", ReasonCode.STILL_CHANGING),
        (Latest(1), "m:2", ReasonCode.STILL_CHANGING),
        (Latest(1), "m:7", ReasonCode.NOT_ON_DISK),
        (Specific(2, 7), "m", ReasonCode.STILL_CHANGING),
        (Specific(2, 7), "m:7", ReasonCode.NOT_ON_DISK),
        (Specific(2, 7), "m:1", ReasonCode.NOT_CHOSEN),
    ],
    ids=str,
)
def test_explain_says_which_version_is_waited_for(
    policy: VersionPolicy, text: str, code: ReasonCode
) -> None:
    rig = Checked(policy)
    rig.poll("1", "2")
    explained = rig.explain(text)
    assert explained is not None
    assert explained[0] is code
    if code is ReasonCode.STILL_CHANGING:
        assert "servable 'm': in /m, " in explained[1]
        assert "'2' is not complete: it is half there" in explained[1]
        assert "completeness, which is Checked.check" in explained[1]


def test_a_check_that_cannot_even_be_named_is_told_by_its_type() -> None:
    class Nameless:
        def __call__(self, path: str) -> bool:
            raise RuntimeError("torn")

        def __repr__(self) -> str:
            raise RuntimeError("no name")

    rig = Rig(ServableToMonitor("m", "/m", completeness=Nameless()), N)
    rig.disk.paths |= {"/m": ["1"], "/n": ["1"]}
    assert rig.run() == [("n", [1])]
    assert [one.why for one in rig.source.status("m").incomplete] == [
        "a Nameless raised RuntimeError: torn"
    ]
    assert "completeness, which is a Nameless" in (rig.explain("m") or ("", ""))[1]


def test_the_facts_of_the_reason_are_for_programs() -> None:
    rig = Checked(Latest(3))
    rig.poll("1", "2")
    reason = rig.source.explain(ServableRequest.specific("m", 2))
    assert reason is not None
    assert reason.facts["versions"] == (2,)
    reason = rig.source.explain(ServableRequest.newest("m"))
    assert reason is not None
    assert reason.facts["versions"] == (1, 2)


def test_a_version_that_waits_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    rig = Checked()
    with caplog.at_level(logging.INFO, logger="servman.sources.stream"):
        rig.poll("1")
        rig.poll("1")
        rig.poll("1", "2")
    assert [record.getMessage() for record in caplog.records] == [
        "servable 'm': '1' is not complete: it is half there",
        "servable 'm': '2' is not complete: it is half there",
    ]


# ---- when and where it is asked --------------------------------------------------------------


def test_an_incomplete_version_is_asked_about_at_every_round() -> None:
    rig = Checked(poll_interval=5.0)
    rig.disk.paths["/m"] = ["1"]
    rig.run()
    rig.complete = {"/m/1"}
    rig.clock.advance(5.0)
    assert rig.run() == [("m", [1])]
    assert rig.asked == ["/m/1", "/m/1"]


def test_an_event_in_the_base_path_has_it_asked_about() -> None:
    rig = Checked(poll_interval=-1.0)
    rig.poll("1")
    rig.complete = {"/m/1"}
    rig.source._actor.look_at_path("/m")
    assert rig.run() == [("m", [1])]


@pytest.mark.parametrize("interval", [0.0, -1.0, 3600.0])
def test_what_settles_is_looked_at_when_it_is_due_though_no_poll_comes(
    tmp_path: Path, interval: float
) -> None:
    version = tmp_path / "1"
    version.mkdir()
    (version / "weights").write_text("x")
    clock, target = FakeClock(), RecordingTarget[str]()
    source = FileSystemStoragePathSource(
        [ServableToMonitor("m", str(tmp_path), Latest(1), settled(5))],
        poll_interval=interval,
        watch=False,
        clock=clock,
    )
    connect(source, target)
    source.poll()
    clock.advance(4.0)
    assert not source.step()
    os.utime(version / "weights", (1_000, 1_000))
    clock.advance(1.0)
    while source.step():  # it has changed, and so has to wait once more
        pass
    clock.advance(4.9)
    assert not source.step()
    assert target.calls == []
    clock.advance(0.2)
    while source.step():
        pass
    assert target.versions("m") == [1]


def test_the_source_asks_to_be_woken_for_what_may_have_settled_and_for_nothing_else(
    tmp_path: Path,
) -> None:
    version = tmp_path / "1"
    version.mkdir()
    clock = FakeClock()
    servable = ServableToMonitor("m", str(tmp_path), Latest(1), settled(5))
    source = FileSystemStoragePathSource([servable], poll_interval=-1, watch=False, clock=clock)
    connect(source, RecordingTarget[str]())
    source.poll()
    assert source._actor._deadline() == clock.monotonic() + 5.0
    version.rmdir()
    source.poll()
    assert source._actor._deadline() is None


def test_a_check_that_hangs_holds_up_no_other_servable_and_the_status_says_so() -> None:
    pool = ManualPool()
    rig = Checked(Latest(1), N, pool=pool)
    rig.disk.paths |= {"/m": ["1"], "/n": ["1"]}
    seen: list[object] = []

    def hang() -> None:
        rig.during_check = lambda: None
        rig.clock.advance(PATIENCE)
        rig.source.step()
        pool.run_all()
        seen.append(rig.run())
        seen.append(rig.source.status("m").looking_since is not None)
        seen.append((rig.explain("m") or ("", ""))[1])

    rig.during_check = hang
    rig.source.step()
    pool.run()
    assert seen[:2] == [[("n", [1])], True]
    assert "and the check of what is complete, Checked.check" in str(seen[2])


def test_a_check_that_raises_makes_its_version_incomplete_and_nothing_else() -> None:
    rig = Checked(All(), N)
    rig.disk.paths["/n"] = ["1"]
    faults = [RuntimeError("torn")]

    def fail() -> None:
        if faults:
            raise faults.pop()

    rig.during_check = fail
    rig.complete = {"/m/1", "/m/2"}
    assert rig.poll("1", "2") == [("m", [2]), ("n", [1])]
    status = rig.source.status("m")
    assert [str(one) for one in status.incomplete] == [
        "'1' is not complete: Checked.check raised RuntimeError: torn"
    ]
    assert status.error is None
    assert rig.poll("1", "2") == [("m", [1, 2])]


def test_after_ctrl_c_in_a_check_the_source_goes_on() -> None:
    rig = Checked(Latest(1), N)
    rig.disk.paths["/n"] = ["1"]
    rig.complete = {"/m/1"}
    interrupts = [KeyboardInterrupt()]

    def interrupt() -> None:
        if interrupts:
            raise interrupts.pop()

    rig.during_check = interrupt
    with pytest.raises(KeyboardInterrupt):
        rig.poll("1")
    assert sorted(rig.poll("1")) == [("m", [1]), ("n", [1])]


# ---- the guard, and what each servable decides for itself ------------------------------------


@pytest.mark.parametrize(
    ("source", "own", "kept"),
    [
        (False, None, False),
        (True, None, True),
        (False, True, True),
        (True, False, False),
    ],
)
def test_whether_versions_are_always_present_is_for_the_source_or_the_servable_to_say(
    source: bool, own: bool | None, kept: bool
) -> None:
    one = ServableToMonitor("m", "/m", servable_versions_always_present=own)
    rig = Rig(one, keep_last=source)
    rig.disk.paths["/m"] = ["1"]
    rig.source.poll()
    rig.disk.paths["/m"] = []
    rig.source.poll()
    assert rig.sent() == [("m", [1])] + ([] if kept else [("m", [])])
    assert (rig.source.status("m").error is not None) is kept


def test_a_loss_that_is_kept_is_told_once_whatever_else_comes_and_goes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rig = Checked(All(), keep_last=True)
    rig.complete = {"/m/1", "/m/2"}
    rig.poll("1", "2")
    since = rig.clock.wall()
    for names in ([], ["tmp-1"], ["tmp-2"], []):
        assert rig.poll(*names) == []
        rig.clock.advance(1.0)
    status = rig.source.status("m")
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert caplog.records[0].getMessage() == str(status.error)
    assert str(status.error) == (
        "servable 'm': nothing is left in /m for the policy (all versions) to choose; all aspired"
        " versions (1, 2) stay, as servable_versions_always_present asks; publish a version there, or"
        " turn that off to unload them"
    )
    assert isinstance(status.error, NotFoundError)
    assert (status.error_since, status.versions, status.found) == (since, (1, 2), ())
    unpublished = "servable 'm': no versions found in /m; publish a directory"
    explained = rig.explain("m:3")
    assert explained is not None
    assert (explained[0], explained[1][: len(unpublished)]) == (
        ReasonCode.NO_VERSIONS,
        unpublished,
    )


def test_each_loss_is_told(caplog: pytest.LogCaptureFixture) -> None:
    rig = Checked(keep_last=True)
    rig.complete = {"/m/1"}
    for names in (["1"], [], ["1"], []):
        rig.poll(*names)
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]


def test_losing_some_versions_is_no_loss_of_all() -> None:
    rig = Checked(All(), keep_last=True)
    rig.complete = {"/m/1", "/m/2"}
    rig.poll("1", "2")
    assert rig.poll("2") == [("m", [2])]
    assert rig.source.status("m").error is None


def test_while_another_version_is_on_its_way_nothing_is_lost(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rig = Checked(keep_last=True)
    rig.complete = {"/m/2"}
    rig.poll("1", "2")
    rig.complete = set()
    assert rig.poll("1") == []
    assert rig.source.status("m").error is None
    assert caplog.records == []


def test_without_the_guard_they_are_unloaded_and_the_log_says_what_would_have_kept_them(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rig = Checked()
    rig.complete = {"/m/1"}
    rig.poll("1")
    assert rig.poll() == [("m", [])]
    assert rig.poll() == []
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage() == (
        "servable 'm': nothing is left in /m for the policy (latest 1) to choose; all aspired"
        " versions (1) are unloaded; servable_versions_always_present would keep them"
    )


def test_to_ask_for_no_version_is_no_loss(caplog: pytest.LogCaptureFixture) -> None:
    for keep_last in (False, True):
        rig = Checked(keep_last=keep_last)
        rig.complete = {"/m/1"}
        rig.poll("1")
        rig.source.update_config([dataclasses.replace(rig.servable, version_policy=Specific())])
        assert rig.sent() == [("m", [])]
        assert rig.source.status("m").error is None
    assert caplog.records == []


@pytest.mark.parametrize(
    ("source", "own", "fails"),
    [(False, None, False), (True, None, True), (False, True, True), (True, False, False)],
)
def test_whether_to_fail_without_versions_is_for_the_source_or_the_servable_to_say(
    tmp_path: Path, source: bool, own: bool | None, fails: bool
) -> None:
    one = ServableToMonitor("m", str(tmp_path), fail_if_zero_versions_at_startup=own)
    made = FileSystemStoragePathSource(watch=False, fail_if_zero_versions_at_startup=source)
    connect(made, RecordingTarget[str]())
    if fails:
        with pytest.raises(NotFoundError, match="servable 'm': no versions found"):
            made.update_config([one])
    else:
        made.update_config([one])
    made.close()


def test_a_version_that_is_not_complete_yet_is_enough_to_start() -> None:
    rig = Checked()
    rig.disk.paths["/m"] = ["1"]
    rig.source.update_config(
        [dataclasses.replace(rig.servable, fail_if_zero_versions_at_startup=True)]
    )
    assert rig.sent() == []
    assert rig.source.status("m").incomplete != ()
