"""`servman status`, `explain`, `history` and `completion`: what they print, and their exit codes."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator

import click
import pytest
from rich.cells import cell_len
from rich.console import Console

from servman.cli import status as command
from servman.cli.connection import complete_model
from servman.cli.main import main
from servman.cli.plain import echo, speak_any_language
from servman.cli.status_table import status_table
from servman.client import Explanation, ModelStatus, Probe, ServerStatus, Snapshot
from servman.errors import (
    AccessDeniedError,
    LoadFailedError,
    ResourceExhaustedError,
    ServerUnreachableError,
    ServmanError,
    WaitTimeoutError,
)
from servman.ids import ServableId
from servman.reasons import Reason, ReasonCode
from servman.state import ManagerState, ServableState, StreamAspiration, StreamLabels
from tests.unit.cli.remote import FakeClient, run
from tests.unit.worker_states import waiting, worker

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


def screen(width: int = 120) -> tuple[Console, io.StringIO]:
    file = io.StringIO()
    return Console(file=file, force_terminal=True, width=width, color_system=None), file


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


EMPTY = Probe(
    ok=False, missing={"": Reason(ReasonCode.NOT_CONFIGURED, "no model is configured; add one")}
)


def test_what_is_wrong_with_the_server_as_a_whole_is_told_once(client: FakeClient) -> None:
    empty = ServerStatus({}, ready=EMPTY, healthy=EMPTY, generation=1)
    client.answers(status=empty)
    assert run("status")[:2] == (
        1,
        "host:8500: live, not ready, not healthy, generation 1\nno model is configured; add one\n",
    )
    console, file = screen()
    console.print(status_table(empty, "host:8500"))
    assert file.getvalue().count("no model is configured; add one") == 1


def test_where_all_is_well_it_exits_0(client: FakeClient) -> None:
    client.answers(status=WELL)
    assert run("status", "m", "--timeout", "3") == (
        0,
        "host:8500: live, ready, healthy\nm:3 AVAILABLE\n",
        "",
    )
    assert client.calls == [("status", (("m",),), {"timeout": 3.0})]


def test_a_model_that_the_server_does_not_know_is_not_well(client: FakeClient) -> None:
    unknown = ModelStatus("x", reason=Reason(ReasonCode.NOT_CONFIGURED, "no model 'x'"))
    client.answers(status=ServerStatus({**WELL.models, "x": unknown}))
    assert run("status", "m", "x")[0] == 1
    assert run("status")[0] == 0  # a model that is on its way out is shown, too


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


ISOLATED = ServerStatus(
    {
        "m": ModelStatus(
            "m", versions=(DOWN, UP), workers={3: (worker(), waiting(1)), 4: (worker(),)}
        ),
        "n": ModelStatus("n", versions=(ServableState(ServableId("n", 1), ManagerState.LOADING),)),
    }
)


def test_of_a_version_that_is_there_it_is_told_how_many_workers_it_has(client: FakeClient) -> None:
    client.answers(status=ISOLATED)
    assert run("status")[1].splitlines()[1:] == [
        "m:4 END: torn [weights]",
        "m:3 AVAILABLE 1/2 workers",
        "n:1 LOADING",
    ]
    console, file = screen()
    console.print(status_table(ISOLATED, "host:8500"))
    rows = [line.split("│") for line in file.getvalue().splitlines() if "│" in line]
    assert [row[4].strip() for row in rows] == ["", "1/2", ""]
    assert "workers" in file.getvalue()


def test_without_any_workers_there_is_no_column_for_them() -> None:
    console, file = screen()
    console.print(status_table(STATUS, "host:8500"))
    assert "workers" not in file.getvalue()


def test_as_json_all_of_each_worker_is_told(client: FakeClient) -> None:
    client.answers(status=ISOLATED)
    models = json.loads(run("status", "--json")[1])["models"]
    assert models["n"]["workers"] == {}
    assert models["m"]["workers"]["3"][1] == {
        "index": 1,
        "kind": "plain",
        "device": None,
        "pid": None,
        "state": "waiting",
        "restarts": 2,
        "since": 0.0,
        "running": 0,
        "error": "m:1: worker 1 was killed by SIGKILL\nand wrote much",
        "log_path": None,
        "due": None,
    }


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


@pytest.mark.parametrize("width", [60, 80, 200])
def test_a_table_fits_its_terminal_and_its_headline_is_no_narrower(width: int) -> None:
    console, file = screen(width)
    server = "models.example.com:8500"
    console.print(status_table(WELL, server, f"{server} cannot be reached: refused"))
    lines = file.getvalue().splitlines()
    assert lines[0].rstrip() == f"{server}: live, ready, healthy"
    assert lines[-1].rstrip() == f"{server} cannot be reached: refused"
    long = {name: ModelStatus(name, versions=(UP, DOWN)) for name in ("x" * 120, "模型" * 30)}
    console.print(status_table(ServerStatus(long), server))
    assert all(cell_len(line) <= width for line in file.getvalue().splitlines())
    told = "".join(line.split("│")[1] for line in file.getvalue().splitlines() if "│" in line)
    assert "".join(told.split()) == "m" + "x" * 120 + "模型" * 30


def test_a_name_stands_once_beside_its_versions() -> None:
    console, file = screen()
    console.print(status_table(STATUS, "host:8500"))
    assert [line.split("│")[1].strip() for line in file.getvalue().splitlines() if "│" in line] == [
        "m",
        "",
        "n",
    ]


EVIL = "a\x1b[31mb\r\nc\x9bd\u202ee\x07"
WRITTEN = r"a\x1b[31mb\r\nc\x9bd\u202ee\x07"


def evil_status() -> ServerStatus:
    state = ServableState(ServableId(EVIL, 1), ManagerState.END, LoadFailedError(f"torn {EVIL}"))
    reason = Reason(ReasonCode.FAILED, f"because {EVIL}")
    return ServerStatus(
        {EVIL: ModelStatus(EVIL, versions=(state,), labels={EVIL: 1}, reason=reason)}
    )


def test_what_a_model_is_called_does_not_steer_the_terminal(client: FakeClient) -> None:
    console, file = screen(200)
    console.print(status_table(evil_status(), EVIL, EVIL))
    assert not set(file.getvalue()) & {"\x1b", "\r", "\x9b", "\u202e", "\x07"}
    assert file.getvalue().count(WRITTEN) >= 5
    client.answers(
        status=evil_status(),
        explain=Explanation(EVIL, Reason(ReasonCode.FAILED, EVIL), f"{EVIL}: not well"),
        history=({"time": 0.0, "event": "END", "name": EVIL, "version": 4, "error": EVIL},),
        wait_until_available=LoadFailedError(EVIL),
    )
    assert run("status")[1].count(WRITTEN) >= 3
    assert run("history")[1].count(WRITTEN) >= 2
    client.answers(watch=iter([ServableState(ServableId(EVIL, 4), ManagerState.LOADING)]))
    assert run("status", "--watch")[1] == f"{WRITTEN}:4 LOADING\n"
    several = WRITTEN.replace(r"\n", "\n")
    assert run("explain", "m")[1] == f"{several}: not well\n"
    assert run("wait", "m")[2] == f"Error: {several}\n"


def test_on_a_stream_that_cannot_write_a_name_it_is_written_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="latin-1", errors="strict")
    monkeypatch.setattr("sys.stdout", stream)
    monkeypatch.setattr("sys.stderr", io.StringIO())  # what a host may have put there
    speak_any_language()
    echo("é 模")
    assert stream.buffer.getvalue() == b"\xe9 \\u6a21\n"


def test_the_live_table_goes_on_over_a_server_that_is_gone_for_a_while(
    client: FakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = live_table(client, monkeypatch, STATUS, ServerUnreachableError("gone for a while"), WELL)
    assert text.index("not healthy") < text.index("gone for a while") < text.rindex(", healthy")


@pytest.mark.parametrize(
    "trouble",
    [
        ServerUnreachableError("not now"),
        ResourceExhaustedError("not now"),
        WaitTimeoutError("not now"),
    ],
)
def test_the_live_table_waits_for_a_server_that_does_not_answer_yet(
    trouble: ServmanError, client: FakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = live_table(client, monkeypatch, trouble, trouble, WELL)
    assert text.index("waiting: not now") < text.index("host:8500: live, ready, healthy")


def test_the_live_table_ends_where_the_server_refuses_it(
    client: FakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    live_table(client, monkeypatch, AccessDeniedError("wrong token"), code=2)


def live_table(
    client: FakeClient,
    monkeypatch: pytest.MonkeyPatch,
    *found: ServerStatus | ServmanError,
    code: int = 130,
) -> str:
    """Return what a live table has shown of looks that have *found* this, until Ctrl-C."""
    looks: Iterator[ServerStatus | BaseException] = iter([*found, KeyboardInterrupt()])

    def look(*_: object, **__: object) -> ServerStatus:
        found = next(looks)
        if isinstance(found, BaseException):
            raise found
        return found

    console, file = screen()
    monkeypatch.setattr(command, "Console", lambda: console)
    monkeypatch.setattr(command, "_LOOK_INTERVAL", 0.0)
    client.answers(status=look)
    assert run("status", "--watch")[0] == code
    return file.getvalue()


def test_a_snapshot_is_followed_by_what_is_wanted_and_the_labels_like_single_events(
    client: FakeClient,
) -> None:
    aspirations = {"m": StreamAspiration("m", frozenset([3]))}
    labels = {"m": StreamLabels("m", {"stable": 3}, {"stable": 3})}
    snapshot = Snapshot({UP.id: UP}, "life", aspirations, labels)
    client.answers(watch=lambda *_: iter([snapshot]))
    told = "server life\nm:3 AVAILABLE\nm: wanted 3\nm: labels stable is 3\n"
    assert run("status", "--watch")[1] == told
    lines = [json.loads(one) for one in run("status", "--watch", "--json")[1].splitlines()]
    assert lines[0].keys() == {"snapshot", "server"}
    assert lines[1:] == [
        {"wanted": {"name": "m", "versions": [3]}},
        {"labels": {"name": "m", "wanted": {"stable": 3}, "targets": {"stable": 3}}},
    ]


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
