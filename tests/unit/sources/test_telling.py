"""What a source tells whoever reconfigures it: when it is taken up, what has changed, and how things stand."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from servman.data import ServableData
from servman.errors import ClosedError, InvalidArgumentError
from servman.flow import connect
from servman.ids import ServableRequest
from servman.reasons import ReasonCode
from servman.sources import (
    FileSystemStoragePathSource,
    Latest,
    Outlook,
    ServableToMonitor,
    Specific,
    marker,
)
from servman.testing import FakeClock, ManualPool
from tests.unit.sources.rig import Disk, M, N, Rig, servable


class Told:
    """A source that is told of on record, in one order: lists, changes, and what is taken up."""

    def __init__(self, *servables: ServableToMonitor, pool: ManualPool | None = None) -> None:
        self.disk = Disk()
        self.log: list[str] = []
        self.clock = FakeClock()
        self.fails: Callable[[], None] = lambda: None
        self.source = FileSystemStoragePathSource(
            servables,
            watch=False,
            clock=self.clock,
            lister=self.disk.entries,
            pool=pool,
            on_change=self._change,
        )
        connect(self.source, self)

    def set_aspired_versions(self, name: str, versions: Sequence[ServableData[str]]) -> None:
        self.fails()
        self.log.append(f"{name} {[one.id.version for one in versions]}")

    def _change(self, name: str) -> None:
        self.log.append(f"{name} changed")

    def take_up(self) -> None:
        self.log.append("taken up")

    def told(self) -> list[str]:
        log, self.log = self.log, []
        return log


# ---- on_change ---------------------------------------------------------------------------------


def test_a_look_tells_of_what_it_has_changed_after_the_list_was_sent() -> None:
    told = Told(M, N)
    told.disk.paths |= {"/m": ["1"], "/n": ["1"]}
    told.source.poll()
    assert told.told() == ["m [1]", "m changed", "n [1]", "n changed"]
    told.source.poll()
    assert told.told() == []
    told.disk.paths["/m"] = ["1", "2"]
    told.source.poll()
    assert told.told() == ["m [2]", "m changed"]


def test_an_error_that_appears_changes_or_goes_is_told() -> None:
    told = Told(M)
    told.source.poll()
    assert told.told() == ["m changed"]
    told.source.poll()
    assert told.told() == []
    told.disk.paths["/m"] = PermissionError(13, "Permission denied")
    told.source.poll()
    assert told.told() == ["m changed"]
    told.disk.paths["/m"] = ["1"]
    told.source.poll()
    assert told.told() == ["m [1]", "m changed"]


def test_a_name_that_is_ignored_is_told_though_nothing_is_sent() -> None:
    told = Told(M)
    told.disk.paths["/m"] = ["1"]
    told.source.poll()
    told.told()
    told.disk.paths["/m"] = ["1", "tmp"]
    told.source.poll()
    assert told.told() == ["m changed"]


def test_a_new_configuration_is_told_for_what_it_changes_alone() -> None:
    told = Told(M, N)
    told.disk.paths |= {"/m": ["1"], "/n": ["1"]}
    told.source.poll()
    told.told()
    told.source.update_config([N, servable("o")])
    assert told.told() == ["m []", "m changed", "o changed", "o changed"]


def test_one_that_raises_stops_nobody(caplog: pytest.LogCaptureFixture) -> None:
    disk = Disk()
    disk.paths |= {"/m": ["1"], "/n": ["1"]}
    sent: list[str] = []

    def fail(name: str) -> None:
        raise ValueError(name)

    class Target:
        def set_aspired_versions(self, name: str, _: Sequence[ServableData[str]]) -> None:
            sent.append(name)

    source = FileSystemStoragePathSource([M, N], watch=False, lister=disk.entries, on_change=fail)
    connect(source, Target())
    source.poll()
    assert sent == ["m", "n"]
    assert "on_change raised" in caplog.text


# ---- first -------------------------------------------------------------------------------------


def test_first_comes_before_all_that_is_sent_under_the_new_configuration() -> None:
    told = Told(M)
    told.disk.paths |= {"/m": ["1"], "/n": ["1"]}
    told.source.poll()
    told.told()
    told.source.update_config([N], first=told.take_up)
    assert told.told() == ["taken up", "m []", "m changed", "n changed", "n [1]", "n changed"]


def test_a_look_of_the_old_configuration_sends_nothing_after_it() -> None:
    pool = ManualPool()
    told = Told(M, pool=pool)
    told.disk.paths |= {"/m": ["1"], "/elsewhere": ["5"]}
    told.source.poll()
    told.source.update_config([ServableToMonitor("m", "/elsewhere")], first=told.take_up)
    pool.run_all()
    while told.source.step():
        pool.run_all()
    assert [one for one in told.told() if "changed" not in one] == ["taken up", "m [5]"]


def test_it_is_not_called_where_the_configuration_is_refused_or_the_source_closed() -> None:
    told = Told(M)
    with pytest.raises(InvalidArgumentError):
        told.source.update_config([ServableToMonitor("m", "relative")], first=told.take_up)
    told.source.close()
    with pytest.raises(ClosedError):
        told.source.update_config([N], first=told.take_up)
    assert told.told() == []


# ---- again -------------------------------------------------------------------------------------


def again(told: Told, *servables: ServableToMonitor) -> list[str]:
    told.source.update_config(servables, again={"m"})
    return [one for one in told.told() if "changed" not in one]


def test_what_was_to_be_sent_again_and_never_was_is_unaspired_when_it_goes() -> None:
    told = Told(M, N)
    assert again(told, M, N) == []  # its base path is not there
    told.source.update_config([N])
    assert "m []" in told.told()


def test_what_is_to_be_sent_again_is_though_it_is_the_same() -> None:
    told = Told(M, N)
    told.disk.paths |= {"/m": ["1"], "/n": ["1"]}
    told.source.poll()
    told.told()
    assert again(told, M, N) == ["m [1]"]
    told.source.poll()
    assert told.told() == []


def test_what_is_to_be_sent_again_is_not_known_until_then() -> None:
    told = Told(M)
    told.disk.paths["/m"] = ["1"]
    told.source.poll()
    told.disk.paths["/m"] = FileNotFoundError(2, "No such file or directory")
    told.told()
    assert again(told, M) == []
    assert told.source.outlook("m") == Outlook((1,), (), known=False)
    told.disk.paths["/m"] = ["1"]
    told.source.poll()
    assert told.told() == ["m [1]", "m changed"]
    assert told.source.outlook("m").known


def test_what_is_to_be_sent_again_and_is_gone_is_unaspired_even_if_nothing_was_sent() -> None:
    told = Told(M)
    told.source.poll()
    told.told()
    assert again(told, N) == ["m []"]
    told = Told(M)
    told.disk.paths["/m"] = ["1"]
    told.source.poll()
    told.told()
    assert again(told) == ["m []"]


# ---- how it stands -----------------------------------------------------------------------------


def test_it_is_up_to_date_when_the_list_is_what_the_policy_chooses_now() -> None:
    rig = Rig(M)
    assert rig.source.outlook("m") == Outlook((), (), known=False)
    assert not rig.source.status("m").up_to_date
    rig.disk.paths["/m"] = ["1"]
    rig.source.poll()
    assert rig.source.outlook("m") == Outlook((1,), (), known=True)
    assert rig.source.status("m").up_to_date


def test_an_error_leaves_what_was_known_and_is_not_up_to_date() -> None:
    rig = Rig(M)
    rig.disk.paths["/m"] = ["1"]
    rig.source.poll()
    rig.disk.paths["/m"] = FileNotFoundError(2, "No such file or directory")
    rig.source.poll()
    assert rig.source.outlook("m") == Outlook((1,), (), known=True)
    assert not rig.source.status("m").up_to_date
    rig.source.update_config([servable("m", Latest(2))])
    assert not rig.source.outlook("m").known  # that was another configuration


def test_a_list_that_is_kept_against_what_is_there_is_not_what_should_be() -> None:
    rig = Rig(M, keep_last=True)
    rig.disk.paths["/m"] = ["1"]
    rig.source.poll()
    rig.disk.paths["/m"] = []
    rig.source.poll()
    assert not rig.source.status("m").up_to_date
    assert rig.source.outlook("m") == Outlook((1,), (), known=False)


def test_what_is_missing_is_named() -> None:
    rig = Rig(servable("m", Specific(1, 7)))
    rig.disk.paths["/m"] = ["1"]
    rig.source.poll()
    assert rig.source.outlook("m") == Outlook((1,), (7,), known=True)


def test_while_all_that_would_be_chosen_is_incomplete_nothing_is_known() -> None:
    rig = Rig(ServableToMonitor("m", "/m", completeness=marker("DONE")))
    rig.disk.paths["/m"] = ["1"]
    rig.source.poll()
    assert not rig.source.outlook("m").known


def test_a_list_that_the_target_refused_is_not_known() -> None:
    told = Told(M)
    told.disk.paths["/m"] = ["1"]

    def refuse() -> None:
        raise ValueError("the target is ill")

    told.fails = refuse
    told.source.poll()
    assert not told.source.outlook("m").known


def test_of_a_stranger_nothing_is_known() -> None:
    rig = Rig(M)
    assert rig.source.outlook("stranger") == Outlook((), (), known=False)
    assert rig.source.explain_outlook(ServableRequest.latest("stranger")) is None


def test_why_nothing_else_is_aspired_is_told_whatever_is() -> None:
    rig = Rig(M)
    rig.disk.paths["/m"] = ["1"]
    rig.source.poll()
    rig.disk.paths["/m"] = FileNotFoundError(2, "No such file or directory")
    rig.source.poll()
    request = ServableRequest.newest("m")
    assert rig.source.explain(request) is None
    reason = rig.source.explain_outlook(request)
    assert reason is not None
    assert reason.code is ReasonCode.BASE_PATH_MISSING


def test_what_comes_back_as_it_was_is_still_protected_from_losing_all_at_once() -> None:
    kept = ServableToMonitor("m", "/m", servable_versions_always_present=True)
    told = Told(kept)
    told.disk.paths["/m"] = ["1"]
    told.source.poll()
    told.source.update_config([])  # an atomic reload that removes it, and is taken back
    told.disk.paths["/m"] = []
    told.told()
    assert again(told, kept) == []
    assert "servable_versions_always_present" in str(told.source.status("m").error)


def test_what_comes_back_as_something_new_has_no_past() -> None:
    kept = ServableToMonitor("m", "/m", servable_versions_always_present=True)
    told = Told(kept)
    told.disk.paths["/m"] = ["1"]
    told.source.poll()
    told.source.update_config([])
    told.disk.paths["/m"] = []
    told.source.update_config([kept])
    assert told.source.status("m").error is None
