"""How a server stands, for people: a table on a terminal, plain lines in a pipe, an object for programs."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, final

from rich.console import Group
from rich.table import Table
from rich.text import Text

from servman.cli.exits import reason_as_dict, state_as_dict
from servman.cli.plain import plain_line
from servman.state import ManagerState
from servman.worker_state import ready_count

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from servman.client import ModelStatus, Probe, ServerStatus
    from servman.worker_state import WorkerSnapshot

STYLES: Final[Mapping[ManagerState, str]] = {
    ManagerState.START: "dim",
    ManagerState.LOADING: "yellow",
    ManagerState.AVAILABLE: "bold green",
    ManagerState.UNLOADING: "magenta",
    ManagerState.END: "dim",
}

_WORKERS: Final = "workers"
"""The heading of a column that there is only where some model has such."""

_HEADINGS: Final = ("model", "version", "state", _WORKERS, "labels", "why")


def status_table(status: ServerStatus, server: str, trouble: str = "") -> Group:
    """Return the table of *status* under its headline, with the *trouble* of the last look beneath."""
    table = Table(expand=False)
    isolated = any(model.workers for model in status.models.values())
    for heading in _HEADINGS:
        if isolated or heading != _WORKERS:
            table.add_column(heading, overflow="fold")
    for model in status.models.values():
        for number, row in enumerate(_rows(model)):
            state = Text(row.state or "-", style=row.style)
            name = "" if number else model.name
            workers = (row.workers,) if isolated else ()
            texts = (name, row.version or "-", state, *workers, row.labels, row.why)
            table.add_row(*(one if isinstance(one, Text) else _text(one) for one in texts))
    # Not the table's own title and caption: those are broken where the table ends.
    headline = _text(f"{server}: {_summary(status)}", "italic")
    why = [_text(line, "yellow") for line in _wrong(status)]
    return Group(headline, *why, table, *([trouble_text(trouble)] if trouble else []))


def trouble_text(trouble: str) -> Text:
    """Return the *trouble* of a look as it is shown, with a table or without."""
    return _text(trouble, "red")


def _text(text: str, style: str = "") -> Text:
    return Text(plain_line(text), style=style)


def status_lines(status: ServerStatus, server: str) -> Iterator[str]:
    """Yield *status* in plain lines: the server, and each version of each model."""
    yield f"{server}: {_summary(status)}"
    yield from _wrong(status)
    for model in status.models.values():
        for row in _rows(model):
            subject = f"{model.name}:{row.version}" if row.version else model.name
            names = f"({row.labels})" if row.labels else ""
            workers = f"{row.workers} workers" if row.workers else ""
            line = " ".join(word for word in (subject, row.state, workers, names) if word)
            yield f"{line}: {row.why}" if row.why else line


def status_as_dict(status: ServerStatus) -> dict[str, object]:
    """Return *status*, ready for JSON."""
    return {
        "generation": status.generation,
        "live": _probe_as_dict(status.live),
        "ready": _probe_as_dict(status.ready),
        "healthy": _probe_as_dict(status.healthy),
        "models": {name: _model_as_dict(model) for name, model in status.models.items()},
    }


def _summary(status: ServerStatus) -> str:
    words = [
        word if probe else f"not {word}"
        for word, probe in (
            ("live", status.live),
            ("ready", status.ready),
            ("healthy", status.healthy),
        )
    ]
    return ", ".join(words) + (f", generation {status.generation}" if status.generation else "")


def _wrong(status: ServerStatus) -> list[str]:
    """Return what is wrong with the server as a whole, each once; of models their rows tell."""
    probes = (status.live, status.ready, status.healthy)
    return list(dict.fromkeys(str(probe.missing[""]) for probe in probes if "" in probe.missing))


@final
@dataclass(frozen=True, slots=True)
class _Row:
    """What is told of one version; or, without one, of what is wanted and not there."""

    version: str = ""
    state: str = ""
    style: str = ""
    workers: str = ""
    labels: str = ""
    why: str = ""


def _rows(model: ModelStatus) -> Iterator[_Row]:
    """Yield what is told of each version that is there or has failed, and why something is missing."""
    missing = "" if model.reason is None else str(model.reason)
    for state in model.versions:
        if state.manager_state is ManagerState.END and state.error is None:
            continue  # it was unloaded, and nobody misses it
        why = "" if state.error is None else str(state.error).removeprefix(f"{state.id}: ")
        missing = "" if why and why in missing else missing
        names = sorted(one for one, version in model.labels.items() if version == state.id.version)
        yield _Row(
            str(state.id.version),
            state.manager_state.name,
            "red" if why else STYLES[state.manager_state],
            "" if state.manager_state is ManagerState.END else _counted(model, state.id.version),
            ", ".join(names),
            why,
        )
    if missing or not model.versions:
        yield _Row(why=missing)


def _counted(model: ModelStatus, version: int) -> str:
    """Return how many of its workers take calls: "1/2"; nothing where it has none."""
    workers = model.workers.get(version, ())
    return f"{ready_count(workers)}/{len(workers)}" if workers else ""


def _model_as_dict(model: ModelStatus) -> dict[str, object]:
    return {
        "base_path": model.base_path,
        "platform": model.platform,
        "wanted": list(model.wanted),
        "available": list(model.available),
        "versions": [state_as_dict(state) for state in model.versions],
        "labels": dict(model.labels),
        "reason": None if model.reason is None else reason_as_dict(model.reason),
        "workers": {
            str(version): [_worker_as_dict(one) for one in workers]
            for version, workers in model.workers.items()
        },
    }


def _worker_as_dict(worker: WorkerSnapshot) -> dict[str, object]:
    return {
        **dataclasses.asdict(dataclasses.replace(worker, error=None)),
        "state": worker.state.value,
        "error": None if worker.error is None else str(worker.error),
    }


def _probe_as_dict(probe: Probe) -> dict[str, object]:
    missing = {name: reason_as_dict(reason) for name, reason in probe.missing.items()}
    return {"ok": probe.ok, "missing": missing}
