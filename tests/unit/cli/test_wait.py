"""`servman wait`: what it asks, what it prints where, and its exit codes."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import grpc
import pytest
from rich.console import Console

from servman.cli.connection import Connection
from servman.cli.wait_display import show_wait
from servman.client import RemoteProgress, RemoteWaitResult
from servman.errors import (
    AccessDeniedError,
    FailedPreconditionError,
    InvalidArgumentError,
    ServableUnavailableError,
    ServerUnreachableError,
    ServmanError,
    UnimplementedError,
    WaitTimeoutError,
)
from servman.ids import ServableId, ServableRequest
from servman.reasons import Reason, ReasonCode
from servman.state import ManagerState, ServableState
from tests.unit.cli.remote import FakeClient, run

M = ServableRequest.newest("m")
M3 = ServableId("m", 3)
REASONS = {M: Reason(ReasonCode.LOADING, "m:3 is loading")}
STATES = {M3: ServableState(M3, ManagerState.LOADING, time=5.0, cause="aspired")}


def test_what_is_available_is_printed_alone_and_exits_0(client: FakeClient) -> None:
    client.answers(wait_until_available={M: M3, ServableRequest.latest("n"): ServableId("n", 1)})
    assert run("wait", "m:newest", "n", "--server", "host:1") == (0, "m:newest m:3\nn n:1\n", "")
    ((name, arguments, options),) = client.calls
    assert (name, arguments) == ("wait_until_available", ("m:newest", "n"))
    assert (options["timeout"], options["count"]) == (60.0, None)
    assert client.made == [("host:1", None, None)]


def test_as_json_it_is_one_object(client: FakeClient) -> None:
    client.answers(wait_until_available={M: M3})
    code, out, err = run("wait", "m:newest", "--json", "--timeout", "5", "--any")
    assert (code, json.loads(out), err) == (0, {"exit_code": 0, "ids": {"m:newest": "m:3"}}, "")
    assert client.calls[0][2]["timeout"] == 5.0
    assert client.calls[0][2]["count"] == 1


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ServableUnavailableError("m:3 failed: torn"), 1),
        (FailedPreconditionError("no"), 1),
        (InvalidArgumentError("no server is named"), 2),
        (AccessDeniedError("no token"), 2),
        (UnimplementedError("no such call"), 2),
        (WaitTimeoutError("late"), 3),
        (ServerUnreachableError("gone", ever_reached=True), 3),
        (ServerUnreachableError("never there"), 4),
    ],
)
def test_each_end_has_its_exit_code_and_its_text_on_the_standard_error(
    error: ServmanError, code: int, client: FakeClient
) -> None:
    client.answers(wait_until_available=error)
    assert run("wait", "m") == (code, "", f"Error: {error}\n")
    got, out, err = run("wait", "m", "--json")
    assert (got, err) == (code, "")
    told = json.loads(out)
    assert (told["exit_code"], told["error"]) == (code, {"code": error.code, "text": str(error)})


def test_as_json_a_deadline_tells_states_and_reasons(client: FakeClient) -> None:
    client.answers(wait_until_available=WaitTimeoutError("late", states=STATES, reasons=REASONS))
    told = json.loads(run("wait", "m", "--json")[1])
    assert told["reasons"] == {"m:newest": {"code": "loading", "text": "m:3 is loading"}}
    assert told["states"] == [
        {"name": "m", "version": 3, "state": "LOADING", "time": 5.0, "cause": "aspired"}
    ]


def test_ctrl_c_exits_130_and_closes_the_client(client: FakeClient) -> None:
    client.answers(wait_until_available=KeyboardInterrupt())
    assert run("wait", "m") == (130, "", "")


def test_another_goal_is_waited_for(client: FakeClient) -> None:
    client.answers(wait_until=RemoteWaitResult(reached=True, timed_out=False, ids={M: M3}))
    assert run("wait", "m:newest", "--for", "end")[:2] == (0, "m:newest m:3\n")
    ((_, arguments, _),) = client.calls
    assert arguments == (("m:newest",), ManagerState.END)


@pytest.mark.parametrize(("late", "code"), [(True, 3), (False, 1)])
def test_another_goal_that_is_not_reached_is_told(
    code: int, client: FakeClient, *, late: bool
) -> None:
    client.answers(
        wait_until=RemoteWaitResult(
            reached=False, timed_out=late, reasons=REASONS, server="host:8500"
        )
    )
    got, out, err = run("wait", "m:newest", "--for", "end")
    assert (got, out) == (code, "")
    assert "m:3 is loading" in err


@pytest.mark.parametrize(
    "arguments", [["--timeout", "-1"], ["--timeout", "x"], ["--for", "ready"], ["--ca", "/nowhere"]]
)
def test_options_that_can_never_be_right_exit_2(arguments: list[str], client: FakeClient) -> None:
    assert run("wait", "m", *arguments)[0] == 2
    assert client.made == []


def test_the_help_tells_the_exit_codes() -> None:
    code, out, _ = run("wait", "--help")
    text = " ".join(out.split())
    assert code == 0
    assert "0 when all is available; 1 when something has failed; 2 for bad usage" in text
    assert "3 when the time is up" in text
    assert "4 when the server was never reached" in text


# ---- the server ----------------------------------------------------------------------------------


def test_the_environment_names_the_server_and_the_token(
    client: FakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERVMAN_SERVER", "models:8500")
    monkeypatch.setenv("SERVMAN_TOKEN", "secret")
    client.answers(wait_until_available={})
    run("wait")
    run("wait", "--server", "other:1", "--token", "else")
    assert client.made == [("models:8500", None, "secret"), ("other:1", None, "else")]


def test_without_a_server_it_exits_2_and_says_how_to_name_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("SERVMAN_SERVER", raising=False)
    code, out, err = run("wait", "m")
    assert (code, out) == (2, "")
    assert "--server), or set SERVMAN_SERVER" in err


def test_certificates_are_read_from_files(
    client: FakeClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Any] = []

    def credentials(*files: bytes | None) -> str:
        made.append(files)
        return "tls"

    monkeypatch.setattr(grpc, "ssl_channel_credentials", credentials)
    monkeypatch.setattr(Connection, "_check_files", lambda _: None)  # they are none
    client.answers(wait_until_available={})
    for name in ("ca", "cert", "key"):
        (tmp_path / name).write_bytes(name.encode())
    options = [f"--{name}={tmp_path / name}" for name in ("ca", "cert", "key")]
    run("wait", "m", "--tls")
    run("wait", "m", options[0])
    run("wait", "m", *options)
    assert made == [(None, None, None), (b"ca", None, None), (b"ca", b"key", b"cert")]
    assert [used for _, used, _ in client.made] == ["tls"] * 3


def test_a_certificate_without_its_key_exits_2(client: FakeClient, tmp_path: Path) -> None:
    (tmp_path / "cert").write_bytes(b"cert")
    code, _, err = run("wait", "m", "--cert", tmp_path / "cert")
    assert (code, "--cert and --key belong together" in err) == (2, True)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--ca=junk"], "--ca cannot be used: "),
        (["--ca=/proc/self/mem"], "--ca cannot be used: "),
        (["--cert=junk", "--key=junk"], "--cert and --key cannot be used: "),
    ],
)
def test_files_that_hold_no_certificates_are_bad_usage(
    options: list[str],
    text: str,
    client: FakeClient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "junk").write_text("no certificate")
    code, _, err = run("wait", "m", "--server", "host:1", *options)
    assert (code, text in err, client.made) == (2, True, [])


# ---- progress ------------------------------------------------------------------------------------

PROGRESS = RemoteProgress("host:8500", reachable=True, pending=REASONS)


def test_in_a_pipe_progress_is_plain_lines() -> None:
    screen = io.StringIO()
    with show_wait(Console(file=screen, width=20), quiet=False) as tell:
        tell(PROGRESS)
        tell(RemoteProgress("host:8500", reachable=False, complaint="refused [/]"))
    assert screen.getvalue() == (
        "0 of 1 decided; pending: m:newest: m:3 is loading\nhost:8500 is not reachable: refused [/]\n"
    )


def test_on_a_terminal_progress_is_a_line_that_changes_and_goes() -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=100, color_system=None)
    with show_wait(console, quiet=False) as tell:
        tell(RemoteProgress("host:8500", reachable=False, complaint="refused [/]"))
    assert "host:8500 is not reachable: refused [/]" in screen.getvalue()
    assert screen.getvalue().endswith("\x1b[2K")


def test_quiet_progress_is_nothing(client: FakeClient) -> None:
    def wait(*_: object, progress: Any, **__: object) -> dict[ServableRequest, ServableId]:
        progress(PROGRESS)
        return {}

    client.answers(wait_until_available=wait)
    assert run("wait", "m", "-q") == (0, "", "")
    assert "m:3 is loading" in run("wait", "m")[2]
