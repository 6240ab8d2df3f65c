"""A `servman serve` that is killed by kill -9 while others reload, publish and wait, and is started again."""

from __future__ import annotations

import contextlib
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from servman.client import Client, Snapshot
from servman.core import ModelConfig, ServerConfig, format_model_config
from servman.errors import ServerUnreachableError, WaitTimeoutError
from servman.ids import ServableId, ServableRequest
from servman.publishing import publish_version
from servman.testing import Spawned
from servman.testing.clock import WATCHDOG

pytestmark = pytest.mark.timeout(90)

COMMAND = "from servman.cli.main import main; main()"
LONG = 60.0
KILLS = 5

WHOLE = """
import pathlib

def load(context):
    parts = pathlib.Path(context.path).glob("part-*")
    sizes = [one.stat().st_size for one in parts]
    if sizes != [1000] * 20:
        raise RuntimeError(f"half a version: {sizes}")
    return sizes
"""
"""Refuses to load what is not whole."""

HELD = """
import pathlib

def load(context):
    path = pathlib.Path(context.path)
    (path / "loading").touch()
    while not (path / "go").exists():
        if context.cancelled.wait(0.01):
            raise RuntimeError("cancelled")
    return "loaded"
"""
"""Says that it is being loaded, and loads when told to."""


class Place:
    """A folder of models and a config file, and the processes that serve it, one after the other, at one socket."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.server = f"unix:{folder}/socket"
        self.config = folder / "models.config"
        self.source = folder / "source"
        self.source.mkdir()
        (self.source / "servable.py").write_text(WHOLE)
        for number in range(20):
            (self.source / f"part-{number}").write_bytes(bytes(1000))
        for name in ("m", "n"):
            (folder / name).mkdir()

    def text(self, *names: str) -> str:
        """Return a configuration of these models."""
        models = [ModelConfig(name, str(self.folder / name), "python") for name in names]
        return format_model_config(ServerConfig(models))

    def write_config(self, text: str) -> None:
        """Put it into the file by one step."""
        staged = self.folder / "models.config.new"
        staged.write_text(text)
        staged.rename(self.config)

    def hold(self, name: str) -> Path:
        """Place version 1 of a model that loads when "go" is in its directory; return that."""
        path = self.folder / name / "1"
        path.mkdir()
        (path / "servable.py").write_text(HELD)
        return path

    @contextlib.contextmanager
    def serving(self) -> Iterator[subprocess.Popen[str]]:
        """Serve in the block, whose end kills the process."""
        flags = [f"--grpc_socket_path={self.folder}/socket", f"--model_config_file={self.config}"]
        command = [sys.executable, "-c", COMMAND, "serve", "--port=0", "--platforms=python", *flags]
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(  # noqa: S603 -- our own interpreter and words
                command, stdout=subprocess.PIPE, stderr=log, text=True
            )
        try:
            assert process.stdout is not None
            assert any(line.startswith("servman: serving on") for line in process.stdout)
            yield process
        finally:
            process.kill()
            process.communicate(timeout=WATCHDOG)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(tmp_path)
    publish_version(made.source, tmp_path / "m")
    made.write_config(made.text("m"))
    return made


class Told:
    """Progress of a wait; knows when the server has said that something is pending."""

    def __init__(self) -> None:
        self.pending = threading.Event()

    def __call__(self, progress: object) -> None:
        if "pending" in str(progress):
            self.pending.set()


def served(client: Client) -> dict[str, tuple[int, ...]]:
    """Return which versions of which model answer, once all have come."""
    client.wait_until_available(timeout=LONG)
    return {name: one.available for name, one in client.status().models.items()}


def until_it_loads(path: Path, client: Client) -> None:
    while not (path / "loading").exists():
        client.status()  # takes its time


@pytest.mark.parametrize("atomic", [False, True])
def test_of_a_reload_that_the_file_knows_nothing_of_a_restart_leaves_nothing(
    atomic: bool, place: Place
) -> None:
    path = place.hold("n")
    told = Told()
    with Client(place.server) as client:
        with place.serving() as process:
            assert served(client) == {"m": (1,)}
            reload = Spawned(
                lambda: client.reload(place.text("m", "n"), atomic=atomic, timeout=LONG)
            )
            until_it_loads(path, client)
            waiting = Spawned(lambda: client.wait_until("n", timeout=4.0, progress=told))
            assert told.pending.wait(WATCHDOG)
            process.kill()
            with pytest.raises(ServerUnreachableError, match="it is not known whether"):
                reload.result()
        (path / "go").touch()
        with place.serving():
            assert served(client) == {"m": (1,)}
            assert client.config().text == place.text("m")
            result = waiting.result(LONG)
    (reason,) = result.reasons.values()
    assert (result.timed_out, reason.code.value) == (True, "not configured")
    assert result.note == " (meanwhile the server was restarted)"


def test_a_version_that_is_being_published_meanwhile_is_served_when_it_is_whole(
    place: Place,
) -> None:
    halfway, go = threading.Event(), threading.Event()
    told = Told()

    def hold(done: int, total: int) -> None:
        if 2 * done > total and not halfway.is_set():
            halfway.set()
            assert go.wait(WATCHDOG)

    with Client(place.server) as client:
        with place.serving():
            assert served(client) == {"m": (1,)}
            waiting = Spawned(lambda: client.wait_until("m:2", timeout=LONG, progress=told))
            publishing = Spawned(
                lambda: publish_version(place.source, place.folder / "m", progress=hold)
            )
            assert halfway.wait(WATCHDOG)
            assert told.pending.wait(WATCHDOG)
        with place.serving():
            assert served(client) == {"m": (1,)}
            with pytest.raises(WaitTimeoutError, match="m:2"):
                client.wait_until_available("m:2", timeout=0.3)
            go.set()
            assert publishing.result() == ServableId("m", 2)
            result = waiting.result(LONG)
            assert served(client) == {"m": (2,)}
    assert result.ids == {ServableRequest.specific("m", 2): ServableId("m", 2)}
    assert result.note == " (meanwhile the server was restarted)"


class Storm:
    """Reloads, each from the file, and publications, one after the other, until it is told to stop."""

    def __init__(self, place: Place, client: Client) -> None:
        self._place = place
        self._client = client
        self._stopped = threading.Event()
        self._threads = [Spawned(self._reload), Spawned(self._publish)]

    def stop(self) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.result(LONG)

    def _reload(self) -> None:
        texts = [self._place.text(*names) for names in (["m", "n"], ["m"])]
        for count in range(10_000):
            if self._stopped.is_set():
                return
            self._place.write_config(texts[count % 2])
            with contextlib.suppress(ServerUnreachableError):
                self._client.reload(texts[count % 2], atomic=count % 3 == 0, timeout=LONG)

    def _publish(self) -> None:
        for count in range(10_000):
            if self._stopped.is_set():
                return
            publish_version(self._place.source, self._place.folder / "mn"[count % 2])


def until_events(client: Client, count: int) -> None:
    """Return when so many events have happened on the server."""
    events = client.watch(timeout=LONG)
    while count:
        count -= not isinstance(next(events), Snapshot)


def newest(path: Path) -> tuple[int, ...]:
    return (max(int(one.name) for one in path.iterdir() if one.name.isdigit()),)


def test_wherever_it_is_killed_file_and_disk_say_what_is_served_afterwards(place: Place) -> None:
    seed = random.randrange(2**32)  # noqa: S311 -- no secret
    print("seed", seed)
    choose = random.Random(seed)  # noqa: S311 -- likewise
    publish_version(place.source, place.folder / "n")
    told = Told()
    with Client(place.server) as client, Client(place.server) as patient:
        waiting = Spawned(
            lambda: patient.wait_until("m:1000000", timeout=LONG + WATCHDOG, progress=told)
        )
        for _ in range(KILLS):
            with place.serving() as process:
                client.wait_until_available(timeout=LONG)
                assert told.pending.wait(WATCHDOG)  # the wait has met the first server
                storm = Storm(place, client)
                until_events(client, choose.randrange(1, 60))
                process.kill()
                storm.stop()
            with place.serving():
                text = place.config.read_text()
                names = ["m", "n"] if text == place.text("m", "n") else ["m"]
                assert served(client) == {name: newest(place.folder / name) for name in names}
                assert client.config().text == text
        with place.serving():
            publish_version(place.source, place.folder / "m", 1_000_000)
            result = waiting.result(LONG)
    assert result.reached
    assert "the server was restarted" in result.note
    assert "half a version" not in (place.folder / "log").read_text()
