"""A folder of models of the platform "python", and a core that serves them in real time."""

from __future__ import annotations

from pathlib import Path
from typing import Any, final

import pytest

from servman.clock import SystemClock
from servman.core import ModelConfig, ServerConfig, ServerCore, ServerCoreOptions
from servman.errors import (
    ServableUnavailableError,
)
from servman.ids import ServableRequest
from servman.reasons import Reason, ReasonCode
from servman.sources import Latest, VersionPolicy
from servman.testing.clock import WATCHDOG

GOOD = """
class Model:
    def __init__(self, version):
        self.version = version
        self.loaded = True

    def predict(self, x):
        assert self.loaded
        return x / 2 + self.version

def load(context):
    return Model(context.id.version)

def unload(model):
    model.loaded = False
"""


@final
class House:
    """A folder with models of the platform "python", and the core that serves them.

    Attributes:
        core: What `open` made.
    """

    core: ServerCore

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "staging").mkdir()
        self._next = 2
        self.publish("healthy", 1)

    def publish(self, name: str, version: int | str, text: str | None = GOOD) -> Path:
        """Write a version elsewhere and rename it into place; without *text* it holds no file."""
        staged = self.folder / "staging" / f"{name}-{version}"
        staged.mkdir()
        if text is not None:
            (staged / "servable.py").write_text(text)
        (self.folder / name).mkdir(exist_ok=True)
        return staged.rename(self.folder / name / str(version))

    def open(
        self, name: str = "m", policy: VersionPolicy | None = None, **options: Any
    ) -> ServerCore:
        """Make a core for the models "healthy" and *name*."""
        path = options.pop("base_path", self.folder / name)
        platform = options.pop("platform", "python")
        options = {"platforms": ("python",), "poll_interval": 0.05, **options}
        models = [
            ModelConfig("healthy", str(self.folder / "healthy"), "python"),
            ModelConfig(name, str(path), platform, policy or Latest()),
        ]
        self.core = ServerCore(ServerConfig(models), options=ServerCoreOptions(**options))
        return self.core

    def assert_healthy(self) -> None:
        """Assert that the other model serves, and that a new version of it comes up."""
        version, self._next = self._next, self._next + 1
        self.core.wait_until_available("healthy", timeout=WATCHDOG)
        self.publish("healthy", version)
        self.core.wait_until_available(f"healthy:{version}", timeout=WATCHDOG)
        assert ask(self.core, "healthy") == version

    def why(self, request: str, code: ReasonCode) -> Reason:
        """Wait until the reason for *request* is of that kind, and return it."""
        clock = SystemClock()
        deadline = clock.monotonic() + WATCHDOG
        while True:
            result = self.core.wait_until(request, timeout=0.02)
            reason = result.reasons.get(ServableRequest.parse(request))
            if reason is not None and reason.code is code:
                return reason
            assert clock.monotonic() < deadline, f"never {code}: {result}"


def ask(core: ServerCore, request: str) -> float:
    """Return the answer to 0, which is the version that gave it."""
    with core.get_servable_handle(request) as handle:
        return float(handle.servable.predict(0))


def failure(core: ServerCore, request: str) -> ServableUnavailableError:
    """Wait for *request* to fail."""
    with pytest.raises(ServableUnavailableError) as raised:
        core.wait_until_available(request, timeout=WATCHDOG)
    return raised.value
