"""`servman reload` and `plan --server`, and `publish --wait`: what they ask, print, and their exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from servman.client import RemoteOutcome, RemotePlan, RemoteProgress, RemoteReload
from servman.core import parse_model_config, read_model_config_file
from servman.errors import (
    AccessDeniedError,
    FailedPreconditionError,
    LoadCancelledError,
    LoadFailedError,
    ResourceExhaustedError,
    ServableUnavailableError,
    ServerUnreachableError,
    ServmanError,
    WaitTimeoutError,
)
from servman.ids import ServableId, ServableRequest
from servman.reasons import Reason, ReasonCode
from servman.state import ManagerState, ServableState
from tests.unit.cli.remote import FakeClient, run

CONFIG = 'model_config_list { config { name: "m" base_path: "/m" model_platform: "python" } }'


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "models.config"
    path.write_text(CONFIG)
    return path


# ---- reload --------------------------------------------------------------------------------------


def done(*, well: bool = True, late: bool = False, back: bool = False) -> RemoteReload:
    reason = None if well else Reason(ReasonCode.LOADING, "loading")
    return RemoteReload(
        well=well,
        generation=4,
        models={"m": RemoteOutcome("available" if well else "pending", reason)},
        timed_out=late,
        rolled_back=back,
        text="generation 4: as told",
    )


def test_a_reload_sends_the_file_and_prints_what_has_become_of_it(
    client: FakeClient, config: Path
) -> None:
    client.answers(reload=done())
    assert run("reload", config) == (0, "generation 4: as told\n", "")
    ((_, (text,), options),) = client.calls
    assert parse_model_config(text) == read_model_config_file(config)
    assert options == {
        "wait": True,
        "timeout": 60.0,
        "atomic": False,
        "expected_generation": None,
    }


def test_a_file_that_was_emptied_by_accident_unloads_nothing(
    client: FakeClient, config: Path
) -> None:
    config.write_text("")
    code, _, err = run("reload", config)
    assert code == 2
    assert "--allow-empty" in err
    assert not client.calls
    client.answers(reload=done())
    assert run("reload", config, "--allow-empty")[0] == 0


def test_what_a_reload_is_told_goes_to_the_server(client: FakeClient, config: Path) -> None:
    client.answers(reload=done())
    arguments = ["--atomic", "--no-wait", "--timeout", "5", "--expected-generation", "0"]
    assert run("reload", config, *arguments)[0] == 0
    assert client.calls[0][2] == {
        "wait": False,
        "timeout": 5.0,
        "atomic": True,
        "expected_generation": 0,
    }


@pytest.mark.parametrize(
    ("result", "arguments", "code"),
    [
        (done(well=False), [], 1),
        (done(well=False, late=True), [], 3),
        (done(well=False), ["--no-wait"], 0),
        (done(well=False, back=True), ["--no-wait"], 1),
    ],
)
def test_the_end_of_a_reload_is_told_by_the_exit_code(
    result: RemoteReload, arguments: list[str], code: int, client: FakeClient, config: Path
) -> None:
    client.answers(reload=result)
    assert run("reload", config, *arguments)[0] == code
    told = json.loads(run("reload", config, *arguments, "--json")[1])
    assert (told["exit_code"], told["generation"], told["well"]) == (code, 4, False)
    assert told["models"]["m"]["reason"] == {"code": "loading", "text": "loading"}


def test_a_file_that_holds_no_configuration_is_not_sent(client: FakeClient, config: Path) -> None:
    config.write_text("nonsense {")
    code, out, err = run("reload", config)
    assert (code, out, client.made) == (2, "", [])
    assert f"{config}:1:" in err


@pytest.mark.parametrize(
    "arguments",
    [("reload", "missing"), ("plan", "missing"), ("plan", "new", "--from", "missing")],
    ids=" ".join,
)
def test_a_file_that_cannot_be_read_is_bad_usage(
    arguments: tuple[str, ...], client: FakeClient, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(config.parent)
    (config.parent / "new").write_text("")
    code, out, err = run(*arguments)
    assert (code, out, client.made) == (2, "", [])
    assert "config file missing: it does not exist" in err


def test_a_reload_that_is_refused_exits_1(client: FakeClient, config: Path) -> None:
    client.answers(reload=FailedPreconditionError("generation 5 is in force"))
    assert run("reload", config) == (1, "", "Error: generation 5 is in force\n")


# ---- plan ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("faults", "code"), [((), 0), (("no path",), 1)])
def test_with_a_server_the_plan_is_made_there(
    faults: tuple[str, ...], code: int, client: FakeClient, config: Path
) -> None:
    client.answers(plan=RemotePlan(faults, {}, (), "add m"))
    assert run("plan", config, "--server", "host:1", "--timeout", 5) == (code, "add m\n", "")
    ((_, _, options),) = client.calls
    assert options == {"timeout": 5.0}


def test_as_json_a_plan_is_one_object(client: FakeClient, config: Path) -> None:
    faults, why = ("no path",), {"m": "the policy"}
    client.answers(plan=RemotePlan(faults, why, ("memory",), "text"))
    code, out, _ = run("plan", config, "--server", "host:1", "--json")
    assert (code, json.loads(out)) == (
        1,
        {
            "exit_code": 1,
            "faults": ["no path"],
            "interruptions": {"m": "the policy"},
            "atomic_obstacles": ["memory"],
            "text": "text",
        },
    )
    code, out, _ = run("plan", config, "--platform", "python", "--json")
    told = json.loads(out)
    assert (code, told["exit_code"], told["faults"]) == (0, 0, [])
    assert "add m" in told["text"]
    code, out, _ = run("plan", "missing", "--json")
    assert (code, json.loads(out)["error"]["code"]) == (2, "INVALID_ARGUMENT")


def test_a_platform_that_there_is_not_is_bad_usage(config: Path) -> None:
    code, _, err = run("plan", config, "--platform", "torch")
    assert code == 2
    assert "none is called 'torch'; there are python, tensorflow" in err


def test_numbers_beyond_what_a_message_can_hold_are_told_as_that(config: Path) -> None:
    number, server = "9" * 30, ("--server", "127.0.0.1:1")
    code, _, err = run("reload", config, "--expected-generation", number, *server)
    assert (code, "a generation is None or an int from 0 on" in err) == (2, True)
    assert run("history", "--limit", number, *server)[0] == 4


def test_without_a_server_the_plan_is_made_here_whatever_the_environment_says(
    client: FakeClient, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERVMAN_SERVER", "host:8500")
    code, out, _ = run("plan", config, "--platform", "python")
    assert (code, client.made) == (0, [])
    assert "add m" in out


@pytest.mark.parametrize("option", ["--from", "--platform", "--memory-limit"])
def test_what_the_server_knows_better_is_refused_beside_it(
    option: str, client: FakeClient, config: Path
) -> None:
    code, _, err = run("plan", config, "--server", "host:1", option, 5)
    assert (code, client.made) == (2, [])
    assert f"{option} is what the server knows" in err


def test_a_server_that_is_not_there_makes_no_plan(client: FakeClient, config: Path) -> None:
    client.answers(plan=ServerUnreachableError("not there"))
    assert run("plan", config, "--server", "host:1")[0] == 4


# ---- publish -------------------------------------------------------------------------------------


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "file").write_bytes(b"x")
    return tmp_path / "source"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    (tmp_path / "m").mkdir()
    return tmp_path / "m"


def names(base: Path) -> list[str]:
    return sorted(one.name for one in base.iterdir())


def test_publishing_waits_for_the_version_that_it_has_published(
    client: FakeClient, source: Path, base: Path
) -> None:
    client.answers(wait_until_available={ServableRequest.specific("m", 1): ServableId("m", 1)})
    assert run("publish", source, base, "--wait", "--timeout", 5)[:2] == (0, "m:1\n")
    (check, (_, arguments, options)) = client.calls
    assert (check[1], check[2]["timeout"]) == (("m",), 0.0)
    assert (arguments, options["timeout"]) == ((ServableId("m", 1),), 5.0)
    assert names(base) == ["1"]


def test_a_server_that_refuses_the_caller_is_told_before_anything_is_published(
    client: FakeClient, source: Path, base: Path
) -> None:
    client.answers(wait_until=AccessDeniedError("host:8500 refuses the call: wrong token"))
    code, out, err = run("publish", source, base, "--wait")
    assert (code, out, names(base)) == (2, "", [])
    assert err == "Error: host:8500 refuses the call: wrong token\n"


@pytest.mark.parametrize(
    "trouble",
    [
        ServerUnreachableError("not there yet"),
        WaitTimeoutError("busy"),
        ResourceExhaustedError("full"),
    ],
)
def test_a_server_that_cannot_answer_yet_is_no_reason_not_to_publish(
    trouble: ServmanError, client: FakeClient, source: Path, base: Path
) -> None:
    client.answers(wait_until=trouble, wait_until_available={M1: ServableId("m", 1)})
    assert run("publish", source, base, "--wait")[:2] == (0, "m:1\n")


M1 = ServableRequest.specific("m", 1)
TORN = LoadFailedError("m:1: torn")
RETRYING = Reason(
    ReasonCode.RETRYING,
    "m:1 is tried again in 59.9 s; attempt 1 of 6 failed: torn",
    {"attempts": 1, "retry_in": 59.9},
)


def unavailable(error: ServmanError | None = TORN) -> ServableUnavailableError:
    """Return what a wait raises whose version has ended with *error*."""
    state = ServableState(ServableId("m", 1), ManagerState.END, error)
    return ServableUnavailableError(f"m:1 failed: {error}", states={state.id: state})


def late(code: ReasonCode, **facts: object) -> WaitTimeoutError:
    """Return what a wait raises whose time is up."""
    return WaitTimeoutError("late", reasons={M1: Reason(code, f"m:1 is {code}", facts)})


def once(error: ServmanError, then: object) -> Callable[..., object]:
    """Return an answer that raises *error*, and the next time gives *then*."""
    answers = iter([error, then])

    def answer(*_: object, **__: object) -> object:
        found = next(answers)
        if isinstance(found, BaseException):
            raise found
        return found

    return answer


def test_a_version_that_fails_to_load_is_taken_back(
    client: FakeClient, source: Path, base: Path
) -> None:
    client.answers(wait_until_available=unavailable())
    code, out, err = run("publish", source, base, "--wait")
    assert (code, out, names(base)) == (1, "", [])
    assert "m:1 was taken back\nError: m:1 failed: m:1: torn\n" in err


def test_as_json_it_is_told_that_a_version_was_taken_back(
    client: FakeClient, source: Path, base: Path
) -> None:
    client.answers(wait_until_available=unavailable())
    told = json.loads(run("publish", source, base, "--wait", "--json")[1])
    assert (told["exit_code"], told["published"], told["taken_back"]) == (1, "m:1", True)
    assert told["error"]["code"] == "UNAVAILABLE"
    assert told["states"][0]["error"] == "m:1: torn"


@pytest.mark.parametrize(
    "end",
    [
        late(ReasonCode.RETRYING),
        late(ReasonCode.RETRYING, attempts=3, retry_in=2.0),
        late(ReasonCode.LOADING, attempts=2),
        late(ReasonCode.QUEUED, attempts=1),
    ],
)
def test_a_version_whose_load_has_failed_when_the_time_is_up_has_failed(
    end: WaitTimeoutError, client: FakeClient, source: Path, base: Path
) -> None:
    client.answers(wait_until_available=end)
    code, out, err = run("publish", source, base, "--wait")
    assert (code, out, names(base)) == (1, "", [])
    assert "m:1 was taken back\nError: m:1 has failed to load on host:8500" in err
    assert str(end.reasons[M1]) in err


def test_a_version_that_cannot_be_taken_back_is_told_beside_its_failure(
    client: FakeClient, source: Path, base: Path
) -> None:
    def fail(*_: object, **__: object) -> None:
        if (base / "1").exists():
            (base / "1").rename(base / "elsewhere")
        raise unavailable()

    client.answers(wait_until_available=fail)
    code, _, err = run("publish", source, base, "--wait")
    assert code == 1
    assert "m:1 could not be taken back: m:1 is not in" in err
    assert "Error: m:1 failed: m:1: torn" in err


def test_a_version_that_fails_to_load_stays_if_it_is_to_be_kept(
    client: FakeClient, source: Path, base: Path
) -> None:
    client.answers(wait_until_available=unavailable())
    code, out, err = run("publish", source, base, "--wait", "--keep-failed", "--json")
    assert (code, names(base), "taken back" in err) == (1, ["1"], False)
    assert json.loads(out)["taken_back"] is False


@pytest.mark.parametrize("end", [unavailable(), late(ReasonCode.LOADING, attempts=2)])
def test_a_version_that_has_become_available_meanwhile_is_not_taken_back(
    end: ServmanError, client: FakeClient, source: Path, base: Path
) -> None:
    client.answers(wait_until_available=once(end, {M1: ServableId("m", 1)}))
    assert run("publish", source, base, "--wait")[:2] == (0, "m:1\n")
    assert names(base) == ["1"]
    assert client.calls[2][2] == {"timeout": 0.0}


def test_a_version_that_may_be_available_on_a_server_that_is_gone_is_not_taken_back(
    client: FakeClient, source: Path, base: Path
) -> None:
    gone = ServerUnreachableError("gone", ever_reached=True)
    client.answers(wait_until_available=once(unavailable(), gone))
    code, out, err = run("publish", source, base, "--wait")
    assert (code, out, names(base)) == (1, "", ["1"])
    assert "m:1 stays: the server has gone away" in err


@pytest.mark.parametrize(
    ("end", "code"),
    [
        (WaitTimeoutError("late"), 3),
        (late(ReasonCode.LOADING, attempts=1), 3),
        (late(ReasonCode.LOADING), 3),
        (late(ReasonCode.HELD, attempts=2), 3),
        (late(ReasonCode.NOT_CHOSEN), 3),
        (ServerUnreachableError("never there"), 4),
        (ServerUnreachableError("gone", ever_reached=True, reasons={M1: RETRYING}), 3),
        (unavailable(None), 1),
        (unavailable(LoadCancelledError("m:1 is no longer wanted")), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_a_version_of_which_nothing_bad_is_known_stays(
    end: BaseException, code: int, client: FakeClient, source: Path, base: Path
) -> None:
    client.answers(wait_until_available=end)
    got, out, err = run("publish", source, base, "--wait")
    assert (got, out, names(base)) == (code, "", ["1"])
    assert "m:1 is published, and stays so" in err


@pytest.mark.parametrize(
    ("options", "reason", "remaining", "given_up"),
    [
        ([], RETRYING, 59.0, True),
        ([], RETRYING, 60.0, False),
        (["--fail-fast"], RETRYING, 60.0, True),
        ([], Reason(ReasonCode.RETRYING, "of an older server"), 1.0, False),
        (["--fail-fast"], Reason(ReasonCode.LOADING, "loading", {"attempts": 1}), 0.0, False),
        (["--fail-fast"], Reason(ReasonCode.LOADING, "loading", {"attempts": 2}), 9.0, True),
    ],
)
def test_a_repeat_that_comes_too_late_is_not_waited_for(
    options: list[str],
    reason: Reason,
    remaining: float,
    client: FakeClient,
    tmp_path: Path,
    *,
    given_up: bool,
) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "file").write_bytes(b"x")
    asked = []

    def wait(*_: object, give_up: Any = None, **__: object) -> dict[object, object]:
        known: dict[str, Any] = {"reachable": True, "remaining": remaining}
        asked.append(give_up(RemoteProgress("s", **known, pending={M1: reason})))
        asked.append(give_up(RemoteProgress("s", **known)))
        return {}

    client.answers(wait_until_available=wait)
    arguments = [tmp_path / "source", tmp_path / "m", "--create", "--wait", *options]
    assert run("publish", *arguments)[0] == 0
    assert asked == [given_up, False]


def test_an_address_that_can_never_be_right_publishes_nothing(
    source: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SERVMAN_SERVER", raising=False)
    assert run("publish", source, base, "--wait")[0] == 2
    assert run("publish", source, base, "--wait", "--server", "nowhere")[0] == 2
    assert names(base) == []


def test_a_server_without_a_wait_is_refused_and_one_in_the_environment_is_not(
    client: FakeClient, source: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, _, err = run("publish", source, base, "--server", "host:1")
    assert (code, names(base)) == (2, [])
    assert "--server is of use with --wait" in err
    monkeypatch.setenv("SERVMAN_SERVER", "host:1")
    assert run("publish", source, base)[:2] == (0, "m:1\n")
    assert client.made == []
