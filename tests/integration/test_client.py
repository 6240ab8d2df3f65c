"""The client against servers that answer, hang, go away, come back, or are none: gRPC's own part is real."""

from __future__ import annotations

import asyncio
import functools
import http.server
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

import servman
from servman.client import AsyncClient, Client, Snapshot
from servman.clock import SystemClock
from servman.errors import (
    ClosedError,
    InternalError,
    InvalidArgumentError,
    ServerUnreachableError,
    UnimplementedError,
)
from servman.forks import _refuse_all, _started
from servman.ids import ServableId, ServableRequest
from servman.protos import message_class
from servman.state import ServableState
from servman.testing import FakeClock, Spawned
from servman.testing.clock import WATCHDOG
from tests.integration.scripted import Scripted, free_address, model_status, waited
from tests.integration.supervised import eventually

M = ServableRequest.latest("m")
M3 = ServableId("m", 3)
THERE = waited(reached=True, ids={"m": "m:3"}, server="a")
MISSING = waited(
    timed_out=True,
    pending=["m"],
    reasons={"m": {"code": "loading", "text": "m:3 is loading"}},
    server="a",
)


def spent(since: float) -> float:
    return SystemClock().monotonic() - since


@pytest.fixture
def now() -> float:
    return SystemClock().monotonic()


# ---- one import, one call ------------------------------------------------------------------------


def test_one_call_returns_which_version_answers() -> None:
    with Scripted(wait_until=THERE).open() as address:
        assert servman.wait_until_available("m", server=address, timeout=5.0) == {M: M3}
        result = servman.wait_until("m", server=address, goal=servman.ManagerState.END)
        assert result.reached


def test_the_environment_names_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    with Scripted(wait_until=THERE).open() as address:
        monkeypatch.setenv("SERVMAN_SERVER", address)
        assert servman.wait_until_available("m") == {M: M3}
    monkeypatch.delenv("SERVMAN_SERVER")
    with pytest.raises(InvalidArgumentError, match="SERVMAN_SERVER"):
        servman.wait_until_available("m")


def test_the_async_form_leaves_the_loop_to_others() -> None:
    script = Scripted()

    def answer_when_told(_: bytes, __: grpc.ServicerContext) -> Any:
        script.hung.set()
        assert script.released.wait(WATCHDOG)
        return THERE(b"", __)

    script.methods["/servman.v1.Servables/WaitUntil"] = answer_when_told

    async def main(address: str) -> dict[ServableRequest, ServableId]:
        wait = asyncio.create_task(servman.wait_until_available_async("m", server=address))
        assert await asyncio.to_thread(script.hung.wait, WATCHDOG)
        script.released.set()
        return await wait

    with script.open() as address:
        assert asyncio.run(main(address)) == {M: M3}


@pytest.mark.parametrize("kind", ["unix", "dns", "ipv6"])
def test_every_kind_of_address_works(kind: str, tmp_path: Path) -> None:
    places = {"unix": f"unix:{tmp_path}/s", "dns": "127.0.0.1:0", "ipv6": "[::1]:0"}
    if kind == "ipv6" and not has_ipv6():
        pytest.skip("this machine has no IPv6")
    with Scripted(wait_until=THERE).open(places[kind]) as address:
        server = f"dns:///localhost:{address.rpartition(':')[2]}" if kind == "dns" else address
        assert servman.wait_until_available("m", server=server, timeout=5.0) == {M: M3}


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as found:
            found.bind(("::1", 0))
    except OSError:
        return False
    return True


def test_a_token_goes_with_every_call(caplog: pytest.LogCaptureFixture) -> None:
    script = Scripted(wait_until=THERE)
    with script.open() as address, Client(address, token="secret") as client:  # noqa: S106 -- a test's
        client.wait_until_available("m")
    assert script.metadata["authorization"] == "Bearer secret"
    assert caplog.records == []


def test_a_token_without_tls_to_another_machine_is_warned_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with (
        caplog.at_level(logging.WARNING, "servman"),
        Client("models.invalid:1", token="secret") as client,  # noqa: S106 -- a test's
        pytest.raises(ServerUnreachableError),
    ):
        client.status()
    assert "the token for models.invalid:1 is sent without TLS" in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.parametrize("token", ["", "with\nnewline", "gehört", 3])
def test_a_token_that_cannot_be_sent_is_refused_and_not_repeated(token: str) -> None:
    with pytest.raises(InvalidArgumentError, match="a token is a text of printable ASCII"):
        Client("host:1", token=token)


def test_credentials_that_are_none_are_refused() -> None:
    wrong: Any = b"pem"
    with pytest.raises(InvalidArgumentError, match="ssl_channel_credentials"):
        Client("host:1", credentials=wrong)


@pytest.mark.parametrize("timeout", [float("inf"), 1e12])
def test_a_timeout_that_grpc_cannot_hold_is_as_good_as_none(timeout: float) -> None:
    response = message_class("servman.v1.GetStatusResponse")().SerializeToString()
    script = Scripted(wait_until=THERE, get_status=lambda *_: response, watch=Stream().tell)
    with script.open() as address, Client(address) as client:
        assert client.wait_until("m", timeout=timeout)
        assert client.status(timeout=timeout).models == {}
        watch = client.watch(timeout=timeout)
        assert isinstance(next(watch), Snapshot)
        watch.close()  # type: ignore[attr-defined] # it is a generator


# ---- a server that is not there ------------------------------------------------------------------


def test_a_server_that_comes_up_during_the_wait_is_found() -> None:
    address = free_address()
    told = threading.Event()
    with Client(address) as client:
        waiting = Spawned(
            lambda: client.wait_until_available(
                "m", timeout=WATCHDOG, progress=lambda _: told.set()
            )
        )
        assert told.wait(WATCHDOG)
        with Scripted(wait_until=THERE).open(address):
            assert waiting.result() == {M: M3}


def test_a_server_that_is_replaced_during_the_wait_is_found_and_told() -> None:
    first = Scripted()
    looks = iter([MISSING])

    def look_and_hang(request: bytes, context: grpc.ServicerContext) -> Any:
        look = next(looks, None)
        return first.hang(request, context) if look is None else look(request, context)

    first.methods["/servman.v1.Servables/WaitUntil"] = look_and_hang
    address = free_address()
    with Client(address) as client:
        with first.open(address):
            waiting = Spawned(lambda: client.wait_until("m", timeout=WATCHDOG))
            assert first.hung.wait(WATCHDOG)
        other = waited(reached=True, ids={"m": "m:3"}, server="b")
        with Scripted(wait_until=other).open(address):
            result = waiting.result()
    assert result.ids == {M: M3}
    assert result.note == " (meanwhile the server was restarted)"


def test_a_server_that_goes_away_for_good_is_told_as_that() -> None:
    address = free_address()
    seen = threading.Event()
    with Client(address) as client:
        with Scripted(wait_until=MISSING).open(address):
            waiting = Spawned(
                lambda: client.wait_until("m", timeout=2.0, progress=lambda _: seen.set())
            )
            assert seen.wait(WATCHDOG)
        with pytest.raises(
            ServerUnreachableError, match=r"(?s)has gone away.*m:3 is loading"
        ) as raised:
            waiting.result()
    assert raised.value.ever_reached


def test_a_port_where_nobody_listens_is_told_with_what_the_system_says(now: float) -> None:
    address = free_address()
    with pytest.raises(ServerUnreachableError, match=r"never reached.*onnection refused") as raised:
        servman.wait_until_available("m", server=address, timeout=0.3)
    assert not raised.value.ever_reached
    assert raised.value.server == address
    assert 0.3 <= spent(now) < 3


def test_a_name_that_does_not_exist_is_told_as_that() -> None:
    with pytest.raises(ServerUnreachableError, match=r"errors resolving models.invalid:8500"):
        servman.wait_until_available("m", server="models.invalid:8500", timeout=0)


def test_a_server_that_takes_calls_and_never_answers_is_told_as_that(now: float) -> None:
    script = Scripted()
    script.methods["/servman.v1.Servables/WaitUntil"] = script.hang
    with (
        script.open() as address,
        pytest.raises(ServerUnreachableError, match="it does not answer"),
    ):
        servman.wait_until_available("m", server=address, timeout=0.2)
    assert spent(now) < WATCHDOG


def test_a_port_that_takes_connections_and_says_nothing_is_told_as_that() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(ServerUnreachableError, match=r"never reached within 0.2 s"):
            servman.wait_until_available("m", server=address, timeout=0.2)


def test_the_port_of_a_web_server_is_told_as_that(capfd: pytest.CaptureFixture[str]) -> None:
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as web:
        serving = Spawned(web.serve_forever)
        try:
            with pytest.raises(ServerUnreachableError, match=r"never reached.*HTTP/2"):
                servman.wait_until_available(
                    "m", server=f"127.0.0.1:{web.server_port}", timeout=0.2
                )
        finally:
            web.shutdown()
            serving.result()
    capfd.readouterr()  # what the web server says of it


# ---- a server that is another --------------------------------------------------------------------


def test_tensorflow_serving_is_asked_for_states_until_the_version_is_there() -> None:
    with Scripted(get_model_status=model_status(10, 20, 30)).open() as address:
        ids = servman.wait_until_available("m:3", server=address, timeout=WATCHDOG)
    assert ids == {ServableRequest.specific("m", 3): M3}


def test_a_grpc_server_of_another_kind_is_told_as_that() -> None:
    with (
        Scripted().open() as address,
        pytest.raises(UnimplementedError, match="is this its gRPC port"),
    ):
        servman.wait_until_available("m", server=address)


def test_garbage_is_told_as_the_servers_fault() -> None:
    with (
        Scripted(wait_until=lambda *_: b"\xff\xff").open() as address,
        pytest.raises(InternalError, match="cannot be read"),
    ):
        servman.wait_until_available("m", server=address)


# ---- the end of a call ---------------------------------------------------------------------------


def hanging() -> Scripted:
    script = Scripted()
    script.methods["/servman.v1.Servables/WaitUntil"] = script.hang
    return script


def test_closing_the_client_ends_a_wait_and_the_call_on_the_server() -> None:
    script = hanging()
    with script.open() as address:
        client = Client(address)
        waiting = Spawned(lambda: client.wait_until_available("m", timeout=None))
        assert script.hung.wait(WATCHDOG)
        client.close()
        with pytest.raises(ClosedError, match="the client was closed"):
            waiting.result()
        assert script.released.wait(WATCHDOG)
    client.close()
    with pytest.raises(ClosedError):
        client.status()
    with pytest.raises(ClosedError):
        next(client.watch())


def test_closing_the_client_ends_a_pause() -> None:
    clock = FakeClock()  # which stands still, so that the pause has no end of its own
    client = Client(free_address(), clock=clock)
    waiting = Spawned(lambda: client.wait_until("m", timeout=None))
    clock.wait_until_parked(1)
    client.close()
    with pytest.raises(ClosedError):
        waiting.result()


def test_cancelling_the_async_form_ends_the_call_on_the_server() -> None:
    script = hanging()

    async def main(address: str) -> None:
        async with AsyncClient(address) as client:
            wait = asyncio.create_task(client.wait_until_available("m", timeout=None))
            assert await asyncio.to_thread(script.hung.wait, WATCHDOG)
            wait.cancel()
            with pytest.raises(asyncio.CancelledError):
                await wait
            assert await asyncio.to_thread(script.released.wait, WATCHDOG)

    with script.open() as address:
        asyncio.run(main(address))


def test_closing_the_async_client_ends_a_wait() -> None:
    script = hanging()

    async def main(address: str) -> None:
        client = AsyncClient(address)
        wait = asyncio.create_task(client.wait_until_available("m", timeout=None))
        assert await asyncio.to_thread(script.hung.wait, WATCHDOG)
        client.close()
        with pytest.raises(ClosedError):
            await wait

    with script.open() as address:
        asyncio.run(main(address))


def rests(pid: int) -> Callable[[], bool]:
    """Return what tells whether a process has used no time at twenty looks in a row."""
    seen: list[str] = []

    def look() -> bool:
        seen.append(" ".join(Path(f"/proc/{pid}/stat").read_text().split()[13:15]))
        return len(seen) >= 20 and len(set(seen[-20:])) == 1

    return look


def test_ctrl_c_ends_the_command_at_once_and_the_call_on_the_server() -> None:
    script = hanging()
    with script.open() as address:
        command = [sys.executable, "-m", "servman.cli.main", "wait", "m", "--server", address]
        program = "from servman.cli.main import main; main()"
        command = [sys.executable, "-c", program, *command[3:]]
        with subprocess.Popen(command, stderr=subprocess.PIPE) as process:  # noqa: S603 -- our own
            try:
                assert script.hung.wait(WATCHDOG)
                # What is raised while gRPC still begins the call may be lost in its destructors.
                eventually(rests(process.pid))
                since = SystemClock().monotonic()
                process.send_signal(signal.SIGINT)
                _, told = process.communicate(timeout=WATCHDOG)
            finally:
                process.kill()
        assert (process.returncode, told) == (130, b"")
        assert script.released.wait(WATCHDOG)
    assert spent(since) < 5


def test_a_client_that_had_a_connection_refuses_every_use_in_a_forked_child() -> None:
    with Scripted(wait_until=THERE).open() as address:
        client = Client(address)
        client.wait_until_available("m")
        others = {one: pid for one, pid in _started.items() if one is not client._channel}
        kept = client._channel
        try:
            for one in others:
                _started[one] = os.getpid()
            _started[kept] = -1  # as after a fork
            _refuse_all()
            with pytest.raises(servman.FailedPreconditionError, match="make a new one here"):
                client.wait_until_available("m")
        finally:
            for one in (client, kept):
                object.__setattr__(one, "__class__", type(one).__mro__[1])
            client.close()


# ---- watching ------------------------------------------------------------------------------------


def events(life: str, *numbers: int) -> Iterator[bytes]:
    response = message_class("servman.v1.WatchResponse")
    for number in numbers:
        state = {"name": "m", "version": number, "state": 30}
        what = {"snapshot": {"states": [state]}} if number == 0 else {"state": state}
        yield response(server=life, number=number, **what).SerializeToString()


class Stream:
    """Watches that tell numbered events, and remember after which they were asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []
        self.broken = threading.Event()

    def tell(self, content: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        """Tell two events, break off, and then the next ones."""
        request = message_class("servman.v1.WatchRequest").FromString(content)
        self.asked.append((request.server, request.after))
        if len(self.asked) == 1:
            yield from events("a", 0, 1)
            context.abort(grpc.StatusCode.UNAVAILABLE, "going down")
        try:
            yield from events("a", 2, 3)
            if context.add_callback(self.broken.set):
                self.broken.wait(WATCHDOG)
        finally:  # where it was broken off before it came to wait, too
            self.broken.set()


def test_a_watch_goes_on_after_a_break_where_it_was() -> None:
    stream = Stream()
    with Scripted(watch=stream.tell).open() as address, Client(address) as client:
        watch = client.watch("m")
        told = [next(watch) for _ in range(4)]
        assert stream.asked == [("", 0), ("a", 1)]
        watch.close()  # type: ignore[attr-defined] # it is a generator
        assert stream.broken.wait(WATCHDOG), "the server goes on telling nobody"
    assert isinstance(told[0], Snapshot)
    assert [one.id.version for one in told if isinstance(one, ServableState)] == [1, 2, 3]


def test_a_watch_ends_when_its_time_is_up() -> None:
    stream = Stream()
    with Scripted(watch=stream.tell).open() as address, Client(address) as client:
        assert len(list(client.watch("m", timeout=1.0))) == 4


def test_an_async_watch_goes_on_after_a_break_where_it_was() -> None:
    stream = Stream()

    async def main(address: str) -> list[object]:
        async with AsyncClient(address) as client:
            watch = client.watch("m")
            told: list[object] = [await anext(watch) for _ in range(4)]
            await watch.aclose()
            assert await asyncio.to_thread(stream.broken.wait, WATCHDOG)
            return told

    with Scripted(watch=stream.tell).open() as address:
        told = asyncio.run(main(address))
    assert isinstance(told[0], Snapshot)
    assert [one.id.version for one in told if isinstance(one, ServableState)] == [1, 2, 3]


def wait_for(event: threading.Event) -> None:
    assert event.wait(WATCHDOG)


def test_an_async_watch_ends_when_its_time_is_up_and_when_it_is_closed() -> None:
    stream, busy = Stream(), threading.Event()

    async def main(address: str) -> None:
        client = AsyncClient(address)
        assert len([event async for event in client.watch("m", timeout=1.0)]) == 4
        watch = client.watch("m")
        await anext(watch)
        await anext(watch)
        client._pool.resize(1)
        client._pool.submit(functools.partial(wait_for, busy))
        following = asyncio.ensure_future(anext(watch))
        await asyncio.sleep(0)  # its next event is waited for behind the other
        client.close()
        busy.set()
        with pytest.raises(ClosedError):
            await following

    with Scripted(watch=stream.tell).open() as address:
        asyncio.run(main(address))


# ---- what it costs -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "program",
    [
        "import servman.client",
        "from servman import wait_until_available",
        "from servman.cli.main import main; main(['wait', '--help'], standalone_mode=False)",
    ],
)
def test_a_deploy_script_imports_neither_numpy_nor_tensorflow(program: str) -> None:
    check = "import sys; print([one for one in ('numpy', 'tensorflow') if one in sys.modules])"
    run = subprocess.run(  # noqa: S603 -- our own interpreter on our own text
        [sys.executable, "-c", f"{program}\n{check}"],
        capture_output=True,
        text=True,
        timeout=15,
        check=True,
    )
    assert run.stdout.splitlines()[-1] == "[]"
