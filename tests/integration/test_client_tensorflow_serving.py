"""The client and the command line against what answers as TensorFlow Serving does."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
from click.testing import CliRunner

import servman
from servman.cli.main import main
from servman.client import Client
from servman.errors import (
    LoadCancelledError,
    ServableUnavailableError,
    ServerUnreachableError,
    UnimplementedError,
    WaitTimeoutError,
)
from servman.ids import ServableId
from servman.reasons import ReasonCode
from servman.state import ManagerState
from servman.testing import Spawned
from servman.testing.clock import WATCHDOG
from tests.integration.reference_server import (
    AVAILABLE,
    CANCELLED,
    END,
    INVALID_ARGUMENT,
    LOADING,
    START,
    UNLOADING,
    ReferenceServer,
    comes_to,
    nothing,
)
from tests.integration.scripted import free_address

pytest.importorskip("tensorflow_serving")
pytestmark = [pytest.mark.tensorflow, pytest.mark.timeout(120)]

M3 = ServableId("m", 3)


def wait(server: ReferenceServer, *requests: str, timeout: float = WATCHDOG) -> list[ServableId]:
    with server.open() as address:
        found = servman.wait_until_available(*requests, server=address, timeout=timeout)
        return list(found.values())


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(main, list(map(str, arguments)))
    return result.exit_code, result.stdout, result.stderr


def test_a_version_that_becomes_available_ends_the_wait() -> None:
    states = [comes_to("m", 3, state) for state in (START, LOADING, AVAILABLE)]
    server = ReferenceServer(nothing, *states)
    assert wait(server, "m:3") == [M3]
    assert len(server.asked) == 4


def test_a_version_that_fails_ends_the_wait_with_its_error() -> None:
    server = ReferenceServer(
        comes_to("m", 3, START),
        comes_to("m", 3, LOADING),
        comes_to("m", 3, END, INVALID_ARGUMENT, "torn weights"),
    )
    with pytest.raises(ServableUnavailableError, match="m:3 failed: torn weights") as raised:
        wait(server, "m:3")
    assert isinstance(raised.value.states[M3].error, ValueError), "INVALID_ARGUMENT, as told"


def test_an_older_version_that_has_failed_or_gone_does_not_count() -> None:
    server = ReferenceServer(comes_to("m", 4, LOADING), nothing, comes_to("m", 4, AVAILABLE))
    server.record("m", 2, END)
    server.record("m", 3, END, INVALID_ARGUMENT, "torn weights")
    assert wait(server, "m") == [ServableId("m", 4)]


def test_what_was_never_configured_is_late_and_told_as_that() -> None:
    with pytest.raises(WaitTimeoutError, match="m:3 is not known to the server") as raised:
        wait(ReferenceServer(), "m:3", timeout=0.3)
    assert type(raised.value) is WaitTimeoutError
    with ReferenceServer().open() as address:
        assert run("wait", "m", "--server", address, "--timeout", 0.3)[0] == 3


def test_a_model_that_is_removed_while_it_is_served_may_come_back_until_the_deadline() -> None:
    server = ReferenceServer(comes_to("m", 3, UNLOADING), comes_to("m", 3, END))
    with pytest.raises(WaitTimeoutError) as raised:
        wait(server, "m:3", timeout=0.5)
    assert [one.code for one in raised.value.reasons.values()] == [ReasonCode.UNLOADED]


def test_a_model_that_is_removed_while_it_loads_ends_the_wait() -> None:
    cancelled = comes_to("m", 3, END, CANCELLED, "Load cancelled")
    with pytest.raises(ServableUnavailableError) as raised:
        wait(ReferenceServer(comes_to("m", 3, LOADING), cancelled), "m:3")
    assert isinstance(raised.value.states[M3].error, LoadCancelledError)


def test_a_server_that_restarts_is_waited_for_and_told() -> None:
    address, seen, missed = free_address(), threading.Event(), threading.Event()
    first, second = ReferenceServer(comes_to("m", 3, LOADING)), ReferenceServer()
    second.record("m", 3, AVAILABLE)

    def tell(progress: servman.client.RemoteProgress) -> None:
        (seen if progress.reachable else missed).set()

    with Client(address) as client:
        with first.open(address):
            waiting = Spawned(lambda: client.wait_until("m:3", timeout=WATCHDOG, progress=tell))
            assert seen.wait(WATCHDOG)
        assert missed.wait(WATCHDOG)
        with second.open(address):
            result = waiting.result()
    assert list(result.ids.values()) == [M3]
    assert result.note == " (meanwhile the connection to it was lost)"


def test_a_server_that_goes_away_is_told_with_what_it_said_last() -> None:
    address, seen = free_address(), threading.Event()
    with Client(address) as client:
        with ReferenceServer(comes_to("m", 3, LOADING)).open(address):
            waiting = Spawned(
                lambda: client.wait_until("m:3", timeout=2.0, progress=lambda _: seen.set())
            )
            assert seen.wait(WATCHDOG)
        with pytest.raises(ServerUnreachableError, match=r"(?s)gone away.*state LOADING") as raised:
            waiting.result()
    assert raised.value.ever_reached


def test_the_end_of_a_version_can_be_waited_for() -> None:
    server = ReferenceServer(
        comes_to("m", 3, AVAILABLE), comes_to("m", 3, UNLOADING), comes_to("m", 3, END)
    )
    with server.open() as address, Client(address) as client:
        result = client.wait_until("m:3", ManagerState.END, timeout=WATCHDOG)
    assert result.reached
    assert result.states[M3].manager_state is ManagerState.END


def test_the_newest_version_is_refused_at_once_with_what_to_ask() -> None:
    with ReferenceServer().open() as address:
        with pytest.raises(UnimplementedError, match='name it, as in "m:3"'):
            servman.wait_until_available("m:newest", server=address, timeout=WATCHDOG)
        assert run("wait", "m:newest", "--server", address)[0] == 2
        assert run("wait", "--server", address)[0] == 2


def test_version_0_is_a_version_and_no_version_is_none() -> None:
    server = ReferenceServer()
    server.record("m", 0, AVAILABLE)
    server.record("m", 1, LOADING)
    assert wait(server, "m:0", "m") == [ServableId("m", 0)] * 2
    assert [one.WhichOneof("version_choice") for one in server.asked] == ["version", None]


def test_a_label_can_be_waited_for_from_before_there_are_any() -> None:
    def set_labels(**labels: int) -> None:
        server.labels = {"m": labels}

    server = ReferenceServer(
        nothing,
        lambda _: set_labels(canary=3),
        lambda _: set_labels(canary=3, stable=3),
        comes_to("m", 3, LOADING),
        comes_to("m", 3, AVAILABLE),
    )
    with server.open() as address, Client(address) as client:
        result = client.wait_until("m@stable", timeout=WATCHDOG)
    assert list(result.ids.values()) == [M3]
    assert (result.note, len(server.asked)) == ("", 5), "a label that is not there is an answer"


def test_the_status_of_a_model_is_told_newest_first() -> None:
    server = ReferenceServer()
    server.record("m", 2, END)
    server.record("m", 3, AVAILABLE)
    server.record("m", 4, END, INVALID_ARGUMENT, "torn weights")
    with server.open() as address:
        code, out, _ = run("status", "m", "--server", address)
        assert (code, out.splitlines()[1:]) == (0, ["m:4 END: torn weights", "m:3 AVAILABLE"])
        told = json.loads(run("status", "m", "n", "--server", address, "--json")[1])
        assert told["models"]["n"]["reason"]["code"] == "not configured"
        assert [one["version"] for one in told["models"]["m"]["versions"]] == [4, 3, 2]


@pytest.mark.parametrize(("state", "kept"), [(END, False), (LOADING, True)])
def test_a_deploy_takes_back_what_has_failed_and_not_what_still_loads(
    state: int, tmp_path: Path, *, kept: bool
) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "file").write_text("x")
    server = ReferenceServer(comes_to("m", 1, LOADING))
    if state == END:
        server = ReferenceServer(nothing, comes_to("m", 1, END, INVALID_ARGUMENT, "torn"))
    with server.open() as address:
        arguments = ["--create", "--wait", "--server", address, "--timeout", 1]
        code, _, err = run("publish", tmp_path / "source", tmp_path / "m", *arguments)
    assert code == (3 if kept else 1), err
    assert (tmp_path / "m" / "1").exists() is kept
