"""`servman reload` and `plan --server`, and `publish --wait`: what they ask, print, and their exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from servman.client import RemoteOutcome, RemotePlan, RemoteReload
from servman.core import parse_model_config, read_model_config_file
from servman.errors import (
    FailedPreconditionError,
    ServableUnavailableError,
    ServerUnreachableError,
    WaitTimeoutError,
)
from servman.ids import ServableId, ServableRequest
from servman.reasons import Reason, ReasonCode
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
    ((_, arguments, options),) = client.calls
    assert (arguments, options["timeout"]) == ((ServableId("m", 1),), 5.0)
    assert names(base) == ["1"]


def test_a_version_that_fails_to_load_is_taken_back(
    client: FakeClient, source: Path, base: Path
) -> None:
    client.answers(wait_until_available=ServableUnavailableError("m:1 failed: torn"))
    code, out, err = run("publish", source, base, "--wait")
    assert (code, out, names(base)) == (1, "", [])
    assert "m:1 was taken back\nError: m:1 failed: torn\n" in err


def test_a_version_that_cannot_be_taken_back_is_told_beside_its_failure(
    client: FakeClient, source: Path, base: Path
) -> None:
    def fail(*_: object, **__: object) -> None:
        (base / "1").rename(base / "elsewhere")
        raise ServableUnavailableError("m:1 failed: torn")

    client.answers(wait_until_available=fail)
    code, _, err = run("publish", source, base, "--wait")
    assert code == 1
    assert "m:1 could not be taken back: m:1 is not in" in err
    assert "Error: m:1 failed: torn" in err


def test_a_version_that_fails_to_load_stays_if_it_is_to_be_kept(
    client: FakeClient, source: Path, base: Path
) -> None:
    client.answers(wait_until_available=ServableUnavailableError("m:1 failed: torn"))
    assert run("publish", source, base, "--wait", "--keep-failed")[0] == 1
    assert names(base) == ["1"]


@pytest.mark.parametrize(
    ("end", "code"),
    [
        (WaitTimeoutError("late"), 3),
        (ServerUnreachableError("never there"), 4),
        (KeyboardInterrupt(), 130),
    ],
)
def test_a_version_of_which_nothing_is_known_stays(
    end: BaseException, code: int, client: FakeClient, source: Path, base: Path
) -> None:
    client.answers(wait_until_available=end)
    got, out, err = run("publish", source, base, "--wait")
    assert (got, out, names(base)) == (code, "", ["1"])
    assert "m:1 is published, and stays so" in err


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
