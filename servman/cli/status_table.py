"""How a server stands, for people: a table on a terminal, plain lines in a pipe, an object for programs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, final

from rich.markup import escape
from rich.table import Table

from servman.cli.exits import reason_as_dict, state_as_dict
from servman.state import ManagerState

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from servman.client import ModelStatus, Probe, ServerStatus

STYLES: Final[Mapping[ManagerState, str]] = {
    ManagerState.START: "dim",
    ManagerState.LOADING: "yellow",
    ManagerState.AVAILABLE: "bold green",
    ManagerState.UNLOADING: "magenta",
    ManagerState.END: "dim",
}

_HEADINGS: Final = ("model", "version", "state", "labels", "why")


def status_table(status: ServerStatus, server: str, trouble: str = "") -> Table:
    """Return the table of *status*, with the *trouble* of the last look beneath it."""
    table = Table(
        title=f"{escape(server)}: {_summary(status)}",
        title_justify="left",
        caption=escape(trouble) or None,
        caption_justify="left",
        caption_style="red",
        expand=False,
    )
    for heading in _HEADINGS:
        table.add_column(heading, overflow="fold")
    for model in status.models.values():
        for row in _rows(model):
            state = f"[{row.style}]{row.state}" if row.state else "-"
            told = (escape(one) for one in (row.labels, row.why))
            table.add_row(escape(model.name), row.version or "-", state, *told)
    return table


def status_lines(status: ServerStatus, server: str) -> Iterator[str]:
    """Yield *status* in plain lines: the server, and each version of each model."""
    yield f"{server}: {_summary(status)}"
    for model in status.models.values():
        for row in _rows(model):
            subject = f"{model.name}:{row.version}" if row.version else model.name
            names = f"({row.labels})" if row.labels else ""
            line = " ".join(word for word in (subject, row.state, names) if word)
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


@final
@dataclass(frozen=True, slots=True)
class _Row:
    """What is told of one version; or, without one, of what is wanted and not there."""

    version: str = ""
    state: str = ""
    style: str = ""
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
            ", ".join(names),
            why,
        )
    if missing or not model.versions:
        yield _Row(why=missing)


def _model_as_dict(model: ModelStatus) -> dict[str, object]:
    return {
        "base_path": model.base_path,
        "platform": model.platform,
        "wanted": list(model.wanted),
        "available": list(model.available),
        "versions": [state_as_dict(state) for state in model.versions],
        "labels": dict(model.labels),
        "reason": None if model.reason is None else reason_as_dict(model.reason),
    }


def _probe_as_dict(probe: Probe) -> dict[str, object]:
    missing = {name: reason_as_dict(reason) for name, reason in probe.missing.items()}
    return {"ok": probe.ok, "missing": missing}
