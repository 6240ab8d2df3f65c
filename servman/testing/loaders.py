"""Loaders that a test can stop half-way, let fail, and ask what happened to them."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, final

from servman.resources import ResourceAllocation
from servman.testing.clock import WATCHDOG

if TYPE_CHECKING:
    from servman.loader import LoadContext


@final
class GatedLoader:
    """A loader whose load (and unload) waits until the test lets it go on.

    Attributes:
        load_entered, unload_entered: Set when the call has begun.
        let_load, let_unload: Set them to let the call return. Unloads go through unless *gate_unload*.
        contexts: The context of each call of `load`.
        unloaded: What was handed to `unload`.

    Threads: any.
    """

    def __init__(
        self, servable: object = "servable", *, gate_load: bool = True, gate_unload: bool = False
    ) -> None:
        self.servable = servable
        self.load_entered = threading.Event()
        self.let_load = threading.Event()
        self.unload_entered = threading.Event()
        self.let_unload = threading.Event()
        self.contexts: list[LoadContext] = []
        self.unloaded: list[object] = []
        if not gate_load:
            self.let_load.set()
        if not gate_unload:
            self.let_unload.set()

    def estimate_resources(self) -> ResourceAllocation:
        """Return nothing."""
        return ResourceAllocation()

    def load(self, context: LoadContext) -> object:
        """Wait for `let_load`, then return the servable."""
        self.contexts.append(context)
        self.load_entered.set()
        if not self.let_load.wait(WATCHDOG):
            raise AssertionError("the test never set let_load")
        return self.servable

    def unload(self, servable: object) -> None:
        """Wait for `let_unload`."""
        self.unloaded.append(servable)
        self.unload_entered.set()
        if not self.let_unload.wait(WATCHDOG):
            raise AssertionError("the test never set let_unload")


@final
class FailingLoader:
    """A loader whose first loads raise the given errors, one each; later ones succeed.

    Attributes:
        attempts: How often `load` was called.
        files: What `revision` returns; change it to say that the files have changed.
        unloaded: What was handed to `unload`.

    Threads: any, one at a time.
    """

    def __init__(self, *errors: BaseException, servable: object = "servable") -> None:
        self._errors = list(errors)
        self.servable = servable
        self.attempts = 0
        self.files: object = 0
        self.unloaded: list[object] = []

    def estimate_resources(self) -> ResourceAllocation:
        """Return nothing."""
        return ResourceAllocation()

    def load(self, context: LoadContext) -> object:
        """Raise the next error, if one is left."""
        del context
        self.attempts += 1
        if self._errors:
            raise self._errors.pop(0)
        return self.servable

    def unload(self, servable: object) -> None:
        """Remember that it was called."""
        self.unloaded.append(servable)

    def revision(self) -> object:
        """Return `files`."""
        return self.files
