"""A `servman serve` that is killed in the middle: what its callers are told, and how it stands after a restart."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from servman.client import Client
from servman.core import ModelConfig, ServerConfig, format_model_config
from servman.errors import ServerUnreachableError
from servman.ids import ServableId, ServableRequest
from servman.testing import Spawned
from servman.testing.clock import WATCHDOG

pytestmark = pytest.mark.timeout(60)

COMMAND = "from servman.cli.main import main; main()"
GOOD = "def load(context):\n    return 'loaded'\n"
SLOW = """
import pathlib

def load(context):
    go = pathlib.Path(context.path) / "go"
    (go.parent / "loading").touch()
    while not go.exists():
        if context.cancelled.wait(0.01):
            raise RuntimeError("cancelled")
    return "loaded"
"""
LONG = 40.0


class Place:
    """A folder of models, and the processes that serve it, one after the other, at one unix socket."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.server = f"unix:{folder}/socket"
        self.config = folder / "models.config"
        (folder / "staging").mkdir()

    def publish(self, name: str, version: int, text: str = GOOD) -> Path:
        staged = self.folder / "staging" / f"{name}-{version}"
        staged.mkdir()
        (staged / "servable.py").write_text(text)
        (self.folder / name).mkdir(exist_ok=True)
        return staged.rename(self.folder / name / str(version))

    def write_config(self, *names: str) -> str:
        models = [ModelConfig(name, str(self.folder / name), "python") for name in names]
        text = format_model_config(ServerConfig(models))
        self.config.write_text(text)
        return text

    @contextmanager
    def serving(self) -> Iterator[subprocess.Popen[str]]:
        """Serve in the block; its end, or the test, kills the process."""
        flags = [f"--grpc_socket_path={self.folder}/socket", f"--model_config_file={self.config}"]
        command = [sys.executable, "-c", COMMAND, "serve", "--port=0", "--platforms=python", *flags]
        process = subprocess.Popen(  # noqa: S603 -- our own interpreter and words
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
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
    made.publish("m", 1)
    made.write_config("m")
    return made


class Told:
    """Progress of a wait; knows when the server has said that something is pending."""

    def __init__(self) -> None:
        self.pending = threading.Event()

    def __call__(self, progress: object) -> None:
        if "pending" in str(progress):
            self.pending.set()


def test_a_wait_outlives_a_server_that_is_killed_and_started_again(place: Place) -> None:
    told = Told()
    with Client(place.server) as client:
        with place.serving():
            waiting = Spawned(lambda: client.wait_until("m:2", timeout=LONG, progress=told))
            assert told.pending.wait(WATCHDOG)
        place.publish("m", 2)
        with place.serving():
            result = waiting.result(LONG)
    assert result.ids == {ServableRequest.specific("m", 2): ServableId("m", 2)}
    assert result.note == " (meanwhile the server was restarted)"


def test_a_wait_on_a_server_that_is_killed_for_good_says_that_it_has_gone(place: Place) -> None:
    told = Told()
    with Client(place.server) as client:
        with place.serving():
            waiting = Spawned(lambda: client.wait_until("m:2", timeout=3.0, progress=told))
            assert told.pending.wait(WATCHDOG)
        with pytest.raises(ServerUnreachableError, match="has gone away") as raised:
            waiting.result()
    assert raised.value.ever_reached
    assert [str(request) for request in raised.value.reasons] == ["m:2"]


def test_a_reload_in_whose_middle_the_server_is_killed_is_told_as_not_known(place: Place) -> None:
    path = place.publish("n", 1, SLOW)
    with Client(place.server) as client:
        with place.serving() as process:
            client.wait_until_available("m", timeout=LONG)
            text = place.write_config("m", "n")
            reloading = Spawned(lambda: client.reload(text, atomic=True, timeout=LONG))
            while not (path / "loading").exists():
                client.status()  # takes its time
            process.kill()
            with pytest.raises(ServerUnreachableError, match="it is not known whether"):
                reloading.result()
        (path / "go").touch()
        with place.serving():
            ids = client.wait_until_available(timeout=LONG)
            assert sorted(map(str, ids.values())) == ["m:1", "n:1"]
            assert client.config().text == text


def test_a_deploy_outlives_a_server_that_is_killed_while_it_loads(place: Place) -> None:
    source = place.folder / "source"
    source.mkdir()
    (source / "servable.py").write_text(SLOW)
    arguments = ["publish", str(source), str(place.folder / "m"), "--wait"]
    options = ["--server", place.server, "--timeout", str(LONG)]
    with place.serving():
        deploy = subprocess.Popen(  # noqa: S603 -- as above
            [sys.executable, "-c", COMMAND, *arguments, *options],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        with Client(place.server) as client:
            while not (place.folder / "m" / "2" / "loading").exists():
                client.status()  # takes its time
    with place.serving():
        (place.folder / "m" / "2" / "go").touch()
        out, told = deploy.communicate(timeout=LONG)
    assert (deploy.returncode, out) == (0, "m:2\n"), told
    assert "is not reachable" in told
