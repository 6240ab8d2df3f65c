"""A loader that does as the test says. Worker processes import this: as little as can be."""

from __future__ import annotations

from dataclasses import dataclass

from servman.loader import LoadContext
from servman.resources import Resource, ResourceAllocation
from tests.integration.worker_loaders import Toy


@dataclass(frozen=True)
class Obedient:
    """Loads a `Toy`, and runs what the test has written down, in the process."""

    on_load: str = ""
    on_unload: str = ""

    def estimate_resources(self) -> ResourceAllocation:
        return ResourceAllocation({Resource("main", "ram"): 7})

    def load(self, context: LoadContext) -> object:
        exec("import os, signal, sys, threading\n" + self.on_load, {"context": context})  # noqa: S102 -- the test's own
        return Toy(context.path)

    def unload(self, servable: object) -> None:
        exec("import os, signal, sys, threading\n" + self.on_unload, {"servable": servable})  # noqa: S102 -- likewise


@dataclass(frozen=True)
class Revised(Obedient):
    """One with a revision."""

    def revision(self) -> str:
        return "as of today"
