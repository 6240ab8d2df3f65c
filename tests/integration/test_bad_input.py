"""What is wrong with one model is told, with the remedy, and harms no other model."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from servman.errors import (
    InvalidArgumentError,
    LoadFailedError,
    ServmanError,
)
from servman.ids import ServableId
from servman.reasons import ReasonCode
from servman.sources import All, Latest, Specific, VersionPolicy
from servman.state import ManagerState, ServableState
from servman.testing.clock import WATCHDOG
from tests.integration.house import GOOD, House, ask, failure

TOO_LARGE = "9999999999999999999999"


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


# ---- base paths that are wrong -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "remedy"),
    [("models/m", "write it out"), ("", "name the directory"), ("~/m", "write it out")],
)
def test_a_base_path_that_can_never_be_right_is_refused_before_anything_starts(
    house: House, path: str, remedy: str
) -> None:
    with pytest.raises(InvalidArgumentError, match=rf"\('m'\).*not an absolute path; {remedy}"):
        house.open(base_path=path)


def test_a_missing_base_path_harms_no_other_model_and_is_taken_up_when_it_appears(
    house: House,
) -> None:
    with house.open() as core:
        reason = house.why("m", ReasonCode.BASE_PATH_MISSING)
        assert f"'m': base path {house.folder / 'm'} does not exist; create it" in str(reason)
        house.assert_healthy()
        house.publish("m", 4)
        core.wait_until_available("m:4", timeout=WATCHDOG)
        assert ask(core, "m") == 4


def test_a_base_path_that_is_a_file_harms_no_other_model(house: House) -> None:
    (house.folder / "m").touch()
    with house.open():
        reason = house.why("m", ReasonCode.BASE_PATH_NOT_A_DIRECTORY)
        assert "'m'" in str(reason)
        assert "put the version directories into one, or correct the path" in str(reason)
        house.assert_healthy()


def test_a_base_path_that_cannot_be_read_harms_no_other_model(house: House) -> None:
    (house.folder / "m").symlink_to(house.folder / "m")  # who is root may read all but this
    with house.open():
        reason = house.why("m", ReasonCode.BASE_PATH_UNREADABLE)
        assert f"'m': base path {house.folder / 'm'} cannot be read" in str(reason)
        house.assert_healthy()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_base_path_that_may_not_be_read_says_what_to_grant(house: House) -> None:
    house.publish("m", 1)
    (house.folder / "m").chmod(0)
    try:
        with house.open():
            reason = house.why("m", ReasonCode.BASE_PATH_UNREADABLE)
            assert "grant it read and search permission" in str(reason)
            house.assert_healthy()
    finally:
        (house.folder / "m").chmod(0o700)


def test_a_base_path_that_vanishes_leaves_what_is_served(house: House) -> None:
    house.publish("m", 1)
    with house.open() as core:
        core.wait_until_available(timeout=WATCHDOG)
        (house.folder / "m").rename(house.folder / "elsewhere")
        reason = house.why("m:7", ReasonCode.BASE_PATH_MISSING)
        assert "does not exist" in str(reason)
        assert ask(core, "m") == 1
        house.assert_healthy()


# ---- names that are wrong ----------------------------------------------------------------------


def test_names_that_are_no_versions_are_told_and_harm_nothing(house: House) -> None:
    bad = ["tmp-3", "3.partial", "-5", "+5", " 5", "1_000", TOO_LARGE, "٣"]
    for name in bad:
        house.publish("m", name)
    with house.open() as core:
        reason = house.why("m", ReasonCode.NO_VERSIONS)
        assert "publish a directory there that is named with the version's number" in str(reason)
        diagnosis = str(core.explain("m"))
        assert all(f"  ignored: {name!r} is " in diagnosis for name in bad)
        house.assert_healthy()
        house.publish("m", 3)
        core.wait_until_available("m:3", timeout=WATCHDOG)


def test_a_file_that_is_named_like_a_version_is_told_and_harms_nothing(house: House) -> None:
    house.publish("m", 1)
    (house.folder / "m" / "2").touch()
    with house.open() as core:
        core.wait_until_available("m:1", timeout=WATCHDOG)
        assert "'2' is not a directory" in str(house.why("m:2", ReasonCode.NOT_ON_DISK))
        house.assert_healthy()


@pytest.mark.parametrize("policy", [Latest(2), All(), Specific(7)])
def test_of_two_names_for_one_version_exactly_one_is_taken(
    house: House, policy: VersionPolicy
) -> None:
    house.publish("m", "007", "def load(context): raise ValueError('the wrong one')")
    house.publish("m", "7")
    with house.open(policy=policy) as core:
        core.wait_until_available("m:7", timeout=WATCHDOG)
        assert ask(core, "m") == 7
        assert "ignored: '007' is the same version as '7'" in str(core.explain("m"))
        house.assert_healthy()


def test_a_version_that_the_policy_names_and_that_is_not_there_is_told(house: House) -> None:
    house.publish("m", 1)
    with house.open(policy=Specific(3)):
        reason = house.why("m", ReasonCode.NOT_ON_DISK)
        assert "version 3 is not in" in str(reason)
        assert "(found 1); publish it there" in str(reason)
        house.assert_healthy()


# ---- models that are wrong ---------------------------------------------------------------------

LOADS = {
    "raises an error": ("def load(context): raise ValueError('odd')", "ValueError: odd"),
    "exits": ("import sys\ndef load(context): sys.exit('bye')", "SystemExit: bye"),
    "is interrupted": ("def load(context): raise KeyboardInterrupt", "KeyboardInterrupt"),
    "raises a BaseException": ("def load(context): raise BaseException('b')", "BaseException: b"),
    "raises what has no text": (
        "class Mute(Exception):\n    __str__ = None\ndef load(context): raise Mute",
        "(its text cannot be read)",
    ),
    "exits at import": ("raise SystemExit(3)", "SystemExit: 3"),
    "is cut off": ("def load(context", "SyntaxError"),
    "has no function": ("loads = 1", "has no function load; define load(context) there"),
    "returns nothing": ("def load(context): pass", "has to return the servable"),
    "is not there": (None, "no servable.py in"),
}


@pytest.mark.parametrize("case", LOADS)
def test_a_load_that_fails_in_any_way_is_told_and_harms_no_other_model(
    house: House, case: str
) -> None:
    text, said = LOADS[case]
    house.publish("m", 1)
    with house.open(max_num_load_retries=0) as core:
        core.wait_until_available(timeout=WATCHDOG)
        house.publish("m", 2, text)
        error = failure(core, "m:2")
        assert "m:2 failed after 1 attempt" in str(error)
        assert said in str(error)
        (reason,) = error.reasons.values()
        assert isinstance(reason.error, ServmanError)
        assert ask(core, "m") == 1
        assert not core.explain("m")
        house.assert_healthy()


def test_an_unload_that_raises_is_the_error_of_that_version_alone(house: House) -> None:
    house.publish("m", 1, GOOD + "\ndef unload(model): raise ValueError('stuck')\n")
    with house.open() as core:
        core.wait_until_available("m:1", timeout=WATCHDOG)
        house.publish("m", 2)
        result = core.wait_until("m:1", ManagerState.END, timeout=WATCHDOG)
        state = result.states[ServableId("m", 1)]
        assert isinstance(state.error, LoadFailedError)
        assert "stuck" in str(state.error)
        core.wait_until_available("m:2", timeout=WATCHDOG)
        house.assert_healthy()


def test_a_version_that_failed_is_tried_again_at_once_when_its_files_change(house: House) -> None:
    place = house.publish("m", 1, "def load(context): raise ValueError('odd')")
    with house.open(max_num_load_retries=0, load_retry_interval=3600.0) as core:
        failure(core, "m:1")
        available = threading.Event()

        def look(state: ServableState) -> None:
            if state.id.name == "m" and state.manager_state is ManagerState.AVAILABLE:
                available.set()

        with core.event_bus.subscribe(look):
            (place / "servable.py").write_text(GOOD)
            assert available.wait(WATCHDOG)
        assert ask(core, "m") == 1


def test_a_version_that_pauses_is_tried_again_at_once_when_its_files_change(house: House) -> None:
    place = house.publish("m", 1, "def load(context): raise ValueError('odd')")
    with house.open(max_num_load_retries=5, load_retry_interval=3600.0) as core:
        reason = house.why("m:1", ReasonCode.RETRYING)
        assert "attempt 1 of 6 failed" in str(reason)
        house.assert_healthy()
        (place / "servable.py").write_text(GOOD)
        core.wait_until_available("m:1", timeout=WATCHDOG)
        assert ask(core, "m") == 1
