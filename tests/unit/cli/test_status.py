"""`servman status`, `explain`, `history` and `completion`: what they print, and their exit codes."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator

import click
import pytest
from rich.console import Console

from servman.cli import status as command
from servman.cli.connection import complete_model
from servman.cli.main import main
from servman.cli.status_table import status_table
from servman.client import Explanation, ModelStatus, Probe, ServerStatus, Snapshot
from servman.errors import LoadFailedError, ServerUnreachableError
from servman.ids import ServableId
from servman.reasons import Reason, ReasonCode
from servman.state import ManagerState, ServableState, StreamAspiration, StreamLabels
from tests.unit.cli.remote import FakeClient, run

TORN = LoadFailedError("m:4: torn [weights]")
FAILED = Reason(ReasonCode.FAILED, "m:4 failed after 1 attempt: torn [weights]")
MISSING = Reason(ReasonCode.BASE_PATH_MISSING, "base path /n does not exist")
UP = ServableState(ServableId("m", 3), ManagerState.AVAILABLE, time=5.0)
DOWN = ServableState(ServableId("m", 4), ManagerState.END, TORN)
GONE = ServableState(ServableId("m", 2), ManagerState.END)
M = ModelStatus("m", "/m", "python", (4,), (DOWN, UP, GONE), {"stable": 3}, FAILED)
N = ModelStatus("n", reason=MISSING)
STATUS = ServerStatus(
    {"m": M, "n": N}, healthy=Probe(ok=False, missing={"n": MISSING}), generation=7
)
WELL = ServerStatus({"m": ModelStatus("m", versions=(UP,))})


def screen() -> tuple[Console, io.StringIO]:
    file = io.StringIO()
    return Console(file=file, force_terminal=True, width=120, color_system=None), file


def test_in_a_pipe_it_is_a_line_for_each_version_that_counts(client: FakeClient) -> None:
    client.answers(status=STATUS)
    assert run("status") == (
        1,
        (
            "host:8500: live, ready, not healthy, generation 7\n"
            "m:4 END: torn [weights]\n"
            "m:3 AVAILABLE (stable)\n"
            "n: base path /n does not exist\n"
        ),
        "",
    )


def test_where_all_is_well_it_exits_0(client: FakeClient) -> None:
    client.answers(status=WELL)
    assert run("status", "m", "--timeout", "3") == (
        0,
        "host:8500: live, ready, healthy\nm:3 AVAILABLE\n",
        "",
    )
    assert client.calls == [("status", (("m",),), {"timeout": 3.0})]


def test_as_json_all_of_it_is_told(client: FakeClient) -> None:
    client.answers(status=STATUS)
    code, out, _ = run("status", "--json")
    told = json.loads(out)
    assert (code, told["generation"], told["healthy"]["ok"]) == (1, 7, False)
    assert told["healthy"]["missing"]["n"]["code"] == "base path missing"
    model = told["models"]["m"]
    assert (model["wanted"], model["available"], model["labels"]) == ([4], [3], {"stable": 3})
    assert [one["version"] for one in model["versions"]] == [4, 3, 2]
    assert model["versions"][0]["error"] == "m:4: torn [weights]"
    assert model["reason"]["code"] == "failed"


def test_a_server_that_is_not_there_exits_4(client: FakeClient) -> None:
    client.answers(status=ServerUnreachableError("host:8500 cannot be reached"))
    assert run("status") == (4, "", "Error: host:8500 cannot be reached\n")


def test_on_a_terminal_it_is_a_table() -> None:
    console, file = screen()
    console.print(status_table(STATUS, "host:8500", "host:8500 cannot be reached"))
    text = file.getvalue()
    for part in ("not healthy", "AVAILABLE", "stable", "torn [weights]", "base path /n"):
        assert part in text
    assert "host:8500 cannot be reached" in text
    assert "m:2" not in text


def test_the_live_table_goes_on_over_a_server_that_is_gone_for_a_while(
    client: FakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: Iterator[ServerStatus | BaseException] = iter(
        [STATUS, ServerUnreachableError("gone for a while"), WELL, KeyboardInterrupt()]
    )

    def look(*_: object, **__: object) -> ServerStatus:
        found = next(looks)
        if isinstance(found, BaseException):
            raise found
        return found

    console, file = screen()
    monkeypatch.setattr(command, "Console", lambda: console)
    monkeypatch.setattr(command, "_LOOK_INTERVAL", 0.0)
    client.answers(status=look)
    assert run("status", "--watch")[0] == 130
    text = file.getvalue()
    assert text.index("not healthy") < text.index("gone for a while") < text.rindex(", healthy")


EVENTS = [
    Snapshot({UP.id: UP}, "life"),
    ServableState(ServableId("m", 4), ManagerState.LOADING),
    ServableState(ServableId("m", 3), ManagerState.UNLOADING, cause="replaced"),
    StreamAspiration("m", frozenset([5, 4])),
    StreamAspiration("m", frozenset()),
    StreamLabels("m", {"stable": 4}, {"stable": 3}),
    StreamLabels("m", {}, {}),
]


def test_in_a_pipe_watching_tells_line_by_line_what_happens(client: FakeClient) -> None:
    client.answers(watch=iter(EVENTS))
    assert run("status", "m", "--watch")[:2] == (
        0,
        (
            "server life\nm:3 AVAILABLE\nm:4 LOADING\nm:3 UNLOADING (replaced)\nm: wanted 4, 5\n"
            "m: wanted nothing\nm: labels stable is 3\nm: labels none\n"
        ),
    )


def test_as_json_watching_tells_an_object_a_line(client: FakeClient) -> None:
    client.answers(watch=iter(EVENTS))
    lines = run("status", "--watch", "--json")[1].splitlines()
    told = [json.loads(line) for line in lines]
    assert told[0]["server"] == "life"
    assert told[0]["snapshot"][0]["state"] == "AVAILABLE"
    assert told[1] == {"state": {"name": "m", "version": 4, "state": "LOADING"}}
    assert told[3] == {"wanted": {"name": "m", "versions": [4, 5]}}
    assert told[5]["labels"] == {"name": "m", "wanted": {"stable": 4}, "targets": {"stable": 3}}


# ---- explain and history -------------------------------------------------------------------------


def test_an_explanation_is_printed_and_exits_1_where_something_is_missing(
    client: FakeClient,
) -> None:
    client.answers(explain=Explanation("m:4", FAILED, "m:4: not well\n  why: torn"))
    assert run("explain", "m:4") == (1, "m:4: not well\n  why: torn\n", "")
    told = json.loads(run("explain", "m:4", "--json")[1])
    assert (told["exit_code"], told["reason"]["code"], told["request"]) == (1, "failed", "m:4")
    client.answers(explain=Explanation("m", None, "m: well"))
    assert run("explain", "m")[0] == 0
    assert json.loads(run("explain", "m", "--json")[1])["reason"] is None


def test_the_history_is_told_line_by_line(client: FakeClient) -> None:
    line = {"time": 0.0, "event": "END", "name": "m", "version": 4, "error": "torn", "made_up": 1}
    client.answers(history=(line,))
    assert run("history", "m", "--limit", 5) == (0, "1970-01-01 00:00:00Z m:4 END: torn\n", "")
    assert client.calls == [("history", ("m",), {"limit": 5})]
    assert json.loads(run("history", "--json")[1]) == line
    assert client.calls[1][1] == (None,)


# ---- completion ----------------------------------------------------------------------------------


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_of_a_shell_is_printed(shell: str) -> None:
    code, out, _ = run("completion", shell)
    assert code == 0
    assert f"_SERVMAN_COMPLETE={shell}_complete" in out


def test_another_shell_exits_2() -> None:
    assert run("completion", "cmd")[0] == 2


def complete(incomplete: str, **params: object) -> list[str]:
    context = click.Context(main)
    context.params = params
    return complete_model(context, click.Argument(["requests"]), incomplete)


def test_models_are_completed_by_the_server(client: FakeClient) -> None:
    client.answers(status=STATUS)
    assert complete("", server="host:8500") == ["m", "n"]
    assert complete("n", server="host:8500", tls=False, ca=None) == ["n"]


def test_without_a_server_nothing_is_completed(client: FakeClient) -> None:
    client.answers(status=ServerUnreachableError("gone"))
    assert complete("m", server="host:8500") == []
    assert complete("m", cert="/nowhere") == []
