"""The client and the command line against a server of servman's own, with real models of plain Python."""

from __future__ import annotations

import asyncio
import functools
import json
import os
import shutil
import statistics
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from click.testing import CliRunner

import servman
from servman.cli.main import main
from servman.client import AsyncClient, Client, Snapshot, WatchEvent
from servman.clock import SystemClock
from servman.core import ModelConfig, ServerConfig, format_model_config
from servman.errors import (
    AccessDeniedError,
    FailedPreconditionError,
    InvalidArgumentError,
    ResourceExhaustedError,
    ServableUnavailableError,
    ServerUnreachableError,
    WaitTimeoutError,
)
from servman.ids import ServableId, ServableRequest
from servman.reasons import ReasonCode
from servman.server import ServerOptions, Tls, start_server
from servman.state import ManagerState, ServableState
from servman.testing import Spawned
from servman.testing.clock import WATCHDOG
from tests.integration.certificates import make_authority
from tests.integration.scripted import free_address
from tests.integration.served import Served

TORN = "def load(context):\n    raise ValueError('torn weights')\n"
SLOW = """
import pathlib, time

def load(context):
    while not (pathlib.Path(context.path) / "go").exists():
        if context.cancelled.wait(0.01):
            raise RuntimeError("cancelled")
    return "loaded"
"""
M1, M2 = ServableId("m", 1), ServableId("m", 2)
NO_RETRIES = {"max_num_load_retries": 0}


@pytest.fixture
def served(tmp_path: Path) -> Served:
    made = Served(tmp_path)
    made.publish("m", 1)
    return made


@pytest.fixture
def client(served: Served) -> Iterator[Client]:
    with served.open(core=NO_RETRIES), Client(served.target) as client:
        client.wait_until_available("m:1", timeout=WATCHDOG)
        yield client


# ---- waiting -------------------------------------------------------------------------------------


def test_a_script_is_told_which_version_each_request_means(served: Served) -> None:
    with served.open(served.model(version_labels={"stable": 1})):
        ids = servman.wait_until_available(
            "m", "m:1", "m:newest", "m@stable", server=served.target, timeout=WATCHDOG
        )
        assert set(ids.values()) == {M1}
        assert [str(request) for request in ids] == ["m", "m:1", "m:newest", "m@stable"]
        everything = servman.wait_until_available(server=served.target, timeout=WATCHDOG)
        assert everything == {ServableRequest.latest("m"): M1}


def test_a_wait_is_told_soon_after_the_version_is_there(served: Served) -> None:
    clock, spans = SystemClock(), []

    def wait(client: Client, version: int) -> float:
        client.wait_until_available(f"m:{version}")
        return clock.wall()

    with served.open(served.model()), Client(served.target) as client:
        for version in range(2, 12):
            waiting = Spawned(functools.partial(wait, client, version))
            served.publish("m", version)
            told = waiting.result()
            state = served.core.monitor.get_state(ServableId("m", version))
            assert state is not None
            spans.append(told - state.time)
    assert statistics.median(spans) < 0.25, spans  # 2 ms on an idle machine


def test_a_wait_for_the_end_is_told(served: Served, client: Client) -> None:
    waiting = Spawned(lambda: client.wait_until("m:1", ManagerState.END, timeout=WATCHDOG))
    served.publish("m", 2)
    result = waiting.result()
    assert result.reached
    assert result.states[M1].manager_state is ManagerState.END


def test_a_failure_ends_the_wait_with_the_error_of_the_load(served: Served, client: Client) -> None:
    served.publish("m", 2, TORN)
    with pytest.raises(ServableUnavailableError, match="torn weights") as raised:
        client.wait_until_available("m:newest", "m:2", "other", timeout=WATCHDOG)
    (reason,) = [one for one in raised.value.reasons.values() if "m:2" in str(one)][:1]
    assert reason.code is ReasonCode.FAILED
    assert "torn weights" in str(reason.error)


def test_at_the_deadline_the_reasons_are_there(client: Client) -> None:
    with pytest.raises(WaitTimeoutError) as raised:
        client.wait_until_available("m:7", "nobody", timeout=0.3)
    assert type(raised.value) is WaitTimeoutError
    codes = {str(request): reason.code for request, reason in raised.value.reasons.items()}
    assert codes == {"m:7": ReasonCode.NOT_ON_DISK, "nobody": ReasonCode.NOT_CONFIGURED}


def test_any_of_several_is_enough_where_that_is_asked(client: Client) -> None:
    assert client.wait_until_available("m", "nobody", count=1) == {ServableRequest.latest("m"): M1}


def test_progress_is_told_while_a_version_loads(served: Served, client: Client) -> None:
    told: list[str] = []
    loading = threading.Event()

    def tell(progress: object) -> None:
        told.append(str(progress))
        if "loading" in told[-1]:
            loading.set()

    path = served.publish("m", 2, SLOW)
    waiting = Spawned(lambda: client.wait_until_available("m:2", timeout=WATCHDOG, progress=tell))
    assert loading.wait(WATCHDOG), told
    (path / "go").touch()
    assert waiting.result() == {ServableRequest.specific("m", 2): M2}


def test_many_waits_of_one_loop_end_together(served: Served, client: Client) -> None:
    async def wait() -> list[object]:
        async with AsyncClient(served.target) as many:
            waits = [asyncio.create_task(many.wait_until_available("m:2")) for _ in range(50)]
            await asyncio.to_thread(served.publish, "m", 2)
            return list(await asyncio.gather(*waits))

    assert asyncio.run(wait()) == [{ServableRequest.specific("m", 2): M2}] * 50


def test_a_full_server_is_asked_again_until_there_is_room(served: Served) -> None:
    with (
        served.open(max_waiting_calls=1),
        Client(served.target) as first,
        Client(served.target) as second,
    ):
        first.wait_until_available("m", timeout=WATCHDOG)
        taken = first.watch()
        next(taken)
        told = threading.Event()
        waiting = Spawned(
            lambda: second.wait_until_available(
                "m", timeout=WATCHDOG, progress=lambda _: told.set()
            )
        )
        assert told.wait(WATCHDOG)
        with pytest.raises(ResourceExhaustedError, match="1 calls are waiting already"):
            second.plan(second.config().text)
        taken.close()  # type: ignore[attr-defined] # it is a generator
        assert waiting.result() == {ServableRequest.latest("m"): M1}


# ---- a server that goes away ---------------------------------------------------------------------


def test_a_server_that_restarts_during_the_wait_is_waited_for(served: Served) -> None:
    address = free_address()
    pending = threading.Event()

    def tell(progress: object) -> None:
        if "pending" in str(progress):
            pending.set()

    with Client(address) as client:
        with served.open(addresses=(address,)):
            waiting = Spawned(lambda: client.wait_until("m:2", timeout=WATCHDOG, progress=tell))
            assert pending.wait(WATCHDOG)
        served.publish("m", 2)
        with served.open(addresses=(address,)):
            result = waiting.result()
    assert result.ids == {ServableRequest.specific("m", 2): M2}
    assert result.note == " (meanwhile the server was restarted)"


def test_a_watch_goes_on_over_a_restart_with_a_snapshot(served: Served) -> None:
    address = free_address()
    with Client(address) as client:
        watch = client.watch(timeout=WATCHDOG)
        lives = set()
        for _ in range(2):
            with served.open(addresses=(address,)):
                lives.add(watched_up(watch, M1))
        assert len(lives) == 2
        watch.close()  # type: ignore[attr-defined] # it is a generator


def watched_up(watch: Iterator[WatchEvent], version: ServableId) -> str:
    """Follow *watch* from its next snapshot until *version* is available; return the life of the server."""
    snapshot = next(event for event in watch if isinstance(event, Snapshot))
    state = snapshot.states.get(version)
    while state is None or state.manager_state is not ManagerState.AVAILABLE:
        state = next(
            event for event in watch if isinstance(event, ServableState) and event.id == version
        )
    return snapshot.server


# ---- TLS and tokens ------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificates")
def test_with_tls_the_client_and_the_command_line_need_the_right_certificates(
    served: Served, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("authority")
    make_authority(folder)
    tls = Tls.from_files(f"{folder}/server.key", f"{folder}/server.pem", f"{folder}/ca.pem")
    ca, key, cert = ((folder / one).read_bytes() for one in ("ca.pem", "client.key", "client.pem"))
    with served.open(tls=tls):
        server = f"localhost:{served.server.port}"
        good = grpc.ssl_channel_credentials(ca, key, cert)
        assert servman.wait_until_available("m", server=server, credentials=good)
        options = ["--server", server, "--ca", f"{folder}/ca.pem"]
        proof = ["--cert", f"{folder}/client.pem", "--key", f"{folder}/client.key"]
        assert run("wait", "m", *options, *proof)[0] == 0
        assert run("wait", "m", *options, "--timeout", "0.5")[0] == 4, "without a certificate"
        with pytest.raises(ServerUnreachableError, match="never reached"):
            servman.wait_until_available("m", server=server, timeout=0.3)  # in the open


def test_a_token_is_needed_where_one_is_asked_for(served: Served) -> None:
    with served.open(token="secret"):  # noqa: S106 -- a test's
        for token in (None, "guessed"):
            with pytest.raises(AccessDeniedError, match="refuses the call"):
                servman.wait_until_available("m", server=served.target, token=token)
        assert servman.wait_until_available("m", server=served.target, token="secret")  # noqa: S106 -- as above
        assert run("wait", "m", "--server", served.target)[0] == 2
        assert run("wait", "m", "--server", served.target, "--token", "secret")[0] == 0


# ---- looking and changing ------------------------------------------------------------------------


def test_the_status_tells_what_is_there_and_what_is_missing(served: Served) -> None:
    with served.open(served.model(), served.model("n")), Client(served.target) as client:
        client.wait_until_available("m", timeout=WATCHDOG)
        status = client.status()
        assert (status.models["m"].available, bool(status.models["m"])) == ((1,), True)
        assert status.generation == served.core.config.generation
        assert not status.healthy
        missing = status.healthy.missing["n"]
        assert missing.code is ReasonCode.BASE_PATH_MISSING
        assert list(client.status("m").models) == ["m"]


def test_an_explanation_and_the_history_come_from_the_core(client: Client) -> None:
    assert client.explain("m")
    told = client.explain("m:7")
    assert told.reason is not None
    assert told.reason.code is ReasonCode.NOT_ON_DISK
    assert "m:7: not well" in str(told)
    assert "AVAILABLE" in [one["event"] for one in client.history("m")]
    assert len(client.history(limit=1)) == 1


def test_a_configuration_goes_there_and_back(served: Served, client: Client) -> None:
    served.publish("n", 1)
    before = client.config()
    after = format_model_config(ServerConfig([served.model(), served.model("n")]))
    plan = client.plan(after)
    assert plan
    assert "add n: load 1" in str(plan)
    assert client.config().generation == before.generation, "a plan changes nothing"
    done = client.reload(after, timeout=WATCHDOG)
    assert done, str(done)
    assert {name: one.outcome for name, one in done.models.items()} == {
        "m": "unchanged",
        "n": "available",
    }
    assert client.config().text == after
    assert client.config().origin == "rpc"
    back = client.reload(
        before.text, atomic=True, timeout=WATCHDOG, expected_generation=done.generation
    )
    assert back, str(back)
    assert back.models["n"].outcome == "removed"


def test_an_atomic_reload_that_fails_is_taken_back(served: Served, client: Client) -> None:
    served.publish("n", 1, TORN)
    after = format_model_config(ServerConfig([served.model(), served.model("n")]))
    done = client.reload(after, atomic=True, timeout=WATCHDOG)
    assert (bool(done), done.rolled_back) == (False, True)
    assert "torn weights" in str(done)
    assert client.status().generation == 1


def test_a_reload_that_is_refused_says_why(client: Client) -> None:
    text = client.config().text
    with pytest.raises(FailedPreconditionError):
        client.reload(text, expected_generation=99)
    twice = format_model_config(ServerConfig([ModelConfig("m", "/a"), ModelConfig("m", "/b")]))
    with pytest.raises(InvalidArgumentError):
        client.reload(twice)
    assert client.plan(twice).faults


def test_the_async_client_does_as_the_blocking_one(served: Served, client: Client) -> None:
    async def look() -> None:
        async with AsyncClient(served.target) as other:
            assert other.server == client.server
            assert await other.status() == client.status()
            assert (await other.explain("m:7")).reason is not None
            assert await other.config() == client.config()
            assert await other.history("m", limit=2) == client.history("m", limit=2)
            text = client.config().text
            assert await other.plan(text) == client.plan(text)
            assert await other.reload(text, timeout=WATCHDOG)
            assert await other.wait_until("m:1")
            assert not await other.wait_until("m:7", timeout=0)
            with pytest.raises(WaitTimeoutError):
                await other.wait_until_available("m:7", timeout=0)

    asyncio.run(look())


# ---- the command line ----------------------------------------------------------------------------


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(main, arguments)
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def command(served: Served, client: Client) -> Callable[..., tuple[int, str, str]]:
    return lambda *arguments: run(*map(str, arguments), "--server", served.target)


def test_a_deploy_is_one_line(
    served: Served, command: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    good, bad = tmp_path / "good", tmp_path / "bad"
    for folder, text in ((good, "def load(context):\n    return 1\n"), (bad, TORN)):
        folder.mkdir()
        (folder / "servable.py").write_text(text)
    assert command("publish", good, tmp_path / "m", "--wait")[:2] == (0, "m:2\n")
    code, out, err = command("publish", bad, tmp_path / "m", "--wait")
    assert (code, out) == (1, "")
    assert "m:3 was taken back" in err
    assert "torn weights" in err
    assert not (tmp_path / "m" / "3").exists()
    assert command("wait", "m:2")[0] == 0, "what served before goes on serving"


def write_model(folder: Path, text: str) -> Path:
    folder.mkdir()
    (folder / "servable.py").write_text(text)
    return folder


def test_a_deploy_does_not_wait_for_an_attempt_that_comes_too_late(
    served: Served, tmp_path: Path
) -> None:
    source, clock = write_model(tmp_path / "bad", TORN), SystemClock()
    with served.open(core={"load_retry_interval": 600.0}):
        began = clock.monotonic()
        arguments = ["publish", str(source), str(tmp_path / "m"), "--wait", "--timeout", "300"]
        code, out, err = run(*arguments, "--server", served.target)
        assert (code, out, (tmp_path / "m" / "2").exists()) == (1, "", False)
        assert clock.monotonic() - began < WATCHDOG, "it has waited in vain"
    assert "attempt 1 of 6 failed: " in err
    assert "m:2 was taken back" in err
    assert "torn weights" in err


def test_a_deploy_waits_for_an_attempt_that_comes_in_time(served: Served, tmp_path: Path) -> None:
    flaky = (
        "def load(context):\n    if context.attempt < 3:\n        raise ValueError('not yet')\n"
        "    return 1\n"
    )
    source = write_model(tmp_path / "flaky", flaky)
    arguments = ["publish", str(source), str(tmp_path / "m"), "--wait", "--timeout", str(WATCHDOG)]
    with served.open(core={"load_retry_interval": 0.05}):
        assert run(*arguments, "--server", served.target)[:2] == (0, "m:2\n")
    with served.open(core={"load_retry_interval": 3.0}):
        code, _, err = run(*arguments, "--server", served.target, "--fail-fast")
        assert (code, sorted(one.name for one in (tmp_path / "m").iterdir())) == (1, ["1", "2"])
        assert "m:3 was taken back" in err


def test_a_version_that_still_loads_when_the_time_is_up_stays(
    served: Served, tmp_path: Path
) -> None:
    source = write_model(tmp_path / "slow", SLOW)
    with served.open():
        arguments = ["publish", str(source), str(tmp_path / "m"), "--wait", "--timeout", "0.5"]
        code, _, err = run(*arguments, "--server", served.target)
        assert (code, (tmp_path / "m" / "2").exists()) == (3, True)
        assert "m:2 is published, and stays so" in err


def test_the_commands_speak_to_the_server(
    command: Callable[..., tuple[int, str, str]], client: Client, tmp_path: Path
) -> None:
    assert command("wait", "m", "m:1")[:2] == (0, "m m:1\nm:1 m:1\n")
    assert command("wait", "m:7", "--timeout", "0.3")[0] == 3
    told = json.loads(command("wait", "m:7", "--timeout", "0.3", "--json")[1])
    assert told["reasons"]["m:7"]["code"] == "version not on disk"
    code, out, _ = command("status")
    assert (code, "m:1 AVAILABLE" in out) == (0, True)
    assert command("explain", "m")[0] == 0
    assert command("explain", "m:7")[0] == 1
    assert "m:1 AVAILABLE" in command("history", "m")[1]
    (tmp_path / "models.config").write_text(client.config().text)
    assert command("plan", tmp_path / "models.config")[0] == 0
    code, out, _ = command("reload", tmp_path / "models.config", "--atomic")
    assert (code, "all is well" in out) == (0, True)


@pytest.mark.parametrize("given", [None, "debug"])
def test_the_command_line_keeps_grpc_silent_unless_told_otherwise_and_the_library_leaves_it_alone(
    given: str | None,
) -> None:
    program = (
        "import os, servman, servman.client, servman.server; print(os.environ.get('GRPC_VERBOSITY'))\n"
        "import servman.cli; print(os.environ['GRPC_VERBOSITY'])"
    )
    rest = {name: value for name, value in os.environ.items() if name != "GRPC_VERBOSITY"}
    done = subprocess.run(  # noqa: S603 -- our own interpreter on our own text
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env=rest if given is None else {**rest, "GRPC_VERBOSITY": given},
    )
    assert done.stdout.split() == [str(given), given or "NONE"]


def test_a_server_that_cannot_listen_says_why(served: Served) -> None:
    with served.open():
        options = ServerOptions(addresses=(served.target,))
        with pytest.raises(FailedPreconditionError, match="Address already in use; is the address"):
            start_server(served.core, options)


def test_what_grpc_says_on_its_own_is_not_printed(tmp_path: Path) -> None:
    program = "from servman.cli.main import main; main()"
    rest = {name: value for name, value in os.environ.items() if name != "GRPC_VERBOSITY"}
    done = subprocess.run(  # noqa: S603 -- as above
        [sys.executable, "-c", program, "status", "--server", "xds:///nowhere"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=rest,
        cwd=tmp_path,
    )
    assert done.returncode == 4
    assert done.stderr.startswith("Error: xds:///nowhere cannot be reached: ")


def test_a_pipe_gets_plain_lines_and_nothing_but_text(served: Served, client: Client) -> None:
    program = "from servman.cli.main import main; main()"
    arguments = ["wait", "m:7", "--timeout", "0.5", "--server", served.target]
    done = subprocess.run(  # noqa: S603 -- our own interpreter on our own text
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        timeout=15,
        check=False,
    )
    assert (done.returncode, done.stdout) == (3, "")
    first, *rest = done.stderr.splitlines()
    assert first.startswith("0 of 1 decided; pending: m:7: ")
    assert rest[0].startswith("Error: not everything was available on ")
    assert "\x1b" not in done.stderr
