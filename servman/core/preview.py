"""What models would serve by a configuration, and what that takes: looked up, and nothing of it loaded."""

from __future__ import annotations

import functools
import queue
from typing import TYPE_CHECKING, Final, final

from servman.adapters import PrefixStoragePathAdapter, create_adapter
from servman.core.pipeline import servable_of
from servman.core.plan import Findings
from servman.data import ServableData
from servman.errors import settled
from servman.flow import connect
from servman.ids import ServableId, ServableRequest
from servman.reasons import Reason, ReasonCode
from servman.resources import MAIN_MEMORY
from servman.sources import FileSystemStoragePathSource
from servman.threads import WorkerPool
from servman.workers.loader import IsolatedLoader

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from servman.clock import Clock
    from servman.core.config import ModelConfig
    from servman.core.options import ServerCoreOptions
    from servman.resources import ResourceAllocation
    from servman.sources import SourceStatus

_CLOSING: Final = 1.0
"""Seconds that looks which hang are given to come back."""

_THREADS: Final = 4
"""How many estimates are made at once."""


@final
class _Collector:
    """A target that keeps the last list of each stream."""

    def __init__(self) -> None:
        self.lists: dict[str, Sequence[ServableData[str]]] = {}

    def set_aspired_versions(self, name: str, versions: Sequence[ServableData[str]]) -> None:
        self.lists[name] = versions


def find_versions(
    models: Iterable[ModelConfig], *, prefix: str, clock: Clock, deadline: float | None
) -> dict[str, Findings]:
    """Look at the base path of each model, which is absolute, and say what would be served.

    Blocks: until all have been looked at, or until *deadline* (None: for ever) and a second more; the findings
        of those that hang say so.
    """
    by_name = {model.name: model for model in models}
    if not by_name:
        return {}
    collector, looked = _Collector(), queue.SimpleQueue[str]()
    source = FileSystemStoragePathSource(
        [servable_of(model, at_startup=False) for model in by_name.values()],
        poll_interval=0,
        watch=False,
        on_change=looked.put,
        clock=clock,
    )
    prefixed = PrefixStoragePathAdapter(prefix)
    connect(source, prefixed)
    connect(prefixed, collector)
    try:
        source.start()
        pending = set(by_name)
        while pending and (deadline is None or clock.monotonic() < deadline):
            name = clock.receive(looked, deadline)
            if name is not None and _is_decided(source.status(name)):
                pending.discard(name)
        return {name: _findings(name, source, collector) for name in by_name}
    finally:
        source.end(_CLOSING)


def _is_decided(status: SourceStatus) -> bool:
    """Whether there is something to say; of a look that hangs there is, too."""
    return status.last_look is not None or status.looking_since is not None


def _findings(name: str, source: FileSystemStoragePathSource, collector: _Collector) -> Findings:
    found = collector.lists.get(name)
    if found:
        return Findings({one.id.version: one.origin for one in found})
    reason = source.explain(ServableRequest.latest(name))
    reason = reason or Reason(ReasonCode.NO_VERSIONS, f"{name}: no versions found")
    return Findings(reason=reason, is_known=found is not None)


def main_memory(amount: ResourceAllocation) -> int:
    """Return how many bytes of main memory *amount* is, however its entries are spelt."""
    return sum(
        quantity
        for one, quantity in amount.quantities.items()
        if (one.device, one.kind) == (MAIN_MEMORY.device, MAIN_MEMORY.kind)
    )


@final
class Estimates:
    """What versions take, asked of their loaders, and why some cannot be asked.

    Threads: any.
    """

    def __init__(self) -> None:
        self.known: dict[ServableId, int] = {}
        self.unknown: dict[ServableId, str] = {}


def estimate(
    wanted: Mapping[ServableId, str | None],
    models: Mapping[str, ModelConfig],
    *,
    options: ServerCoreOptions,
    clock: Clock,
    deadline: float | None,
) -> Estimates:
    """Ask what each version takes of main memory, of a loader for what is at its path.

    Blocks: until all have answered, or until *deadline* (None: for ever); those that have not are unknown.
    """
    found = Estimates()
    pool = WorkerPool("plan", _THREADS, clock)
    answers: queue.SimpleQueue[tuple[ServableId, int | str]] = queue.SimpleQueue()
    asked = set()
    try:
        for which, path in wanted.items():
            model = models[which.name]
            if path is None:
                found.unknown[which] = "it is not known where it comes from"
            elif model.memory_bytes is not None:
                found.known[which] = model.memory_bytes
            elif model.platform not in options.platforms:
                found.unknown[which] = f"platform {model.platform!r} is not enabled"
            else:
                asked.add(which)
                pool.submit(functools.partial(_ask, which, path, model, answers))
        while asked and (deadline is None or clock.monotonic() < deadline):
            answer = clock.receive(answers, deadline)
            if answer is None:
                continue
            which, said = answer
            asked.discard(which)
            if isinstance(said, int):
                found.known[which] = said
            else:
                found.unknown[which] = said
    finally:  # also after a Ctrl-C
        pool.close()
    found.unknown.update(dict.fromkeys(asked, "its loader has not answered in time"))
    return found


def _ask(
    id: ServableId,
    path: str,
    model: ModelConfig,
    answers: queue.SimpleQueue[tuple[ServableId, int | str]],
) -> None:
    try:
        loader = create_adapter(model.platform).adapt_one(ServableData(id, path, path)).payload
        workers = model.workers_of(id.version)
        if workers is not None:
            loader = IsolatedLoader(id, loader, workers)
        answers.put((id, main_memory(loader.estimate_resources())))
    except BaseException as error:  # noqa: BLE001 -- foreign code; what it raised is the answer
        answers.put((id, str(settled(error))))
