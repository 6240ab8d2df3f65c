"""A table of what a core serves, drawn anew whenever it is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

from rich.markup import escape
from rich.table import Table

from servman.state import ManagerState

if TYPE_CHECKING:
    from collections.abc import Mapping

    from servman.core import ServerCore
    from servman.state import ServableState

_STYLES: Final[Mapping[ManagerState, str]] = {
    ManagerState.START: "dim",
    ManagerState.LOADING: "yellow",
    ManagerState.AVAILABLE: "bold green",
    ManagerState.UNLOADING: "magenta",
    ManagerState.END: "dim",
}


@final
class StateTable:
    """The last state of every version of every configured model. A renderable for rich."""

    def __init__(self, core: ServerCore) -> None:
        self._core = core

    def __rich__(self) -> Table:
        table = Table(title="states", title_justify="left", expand=False)
        for heading in ("model", "version", "state", "handles", "why"):
            table.add_column(heading, overflow="fold")
        states = self._core.monitor.get_all_states()
        for model in self._core.config.models:
            versions = states.get(model.name, {})
            if not versions:
                why = str(self._core.explain(model.name).reason)
                table.add_row(escape(model.name), "-", "-", "-", escape(why))
            for state in versions.values():
                self._add(table, state)
        return table

    def _add(self, table: Table, state: ServableState) -> None:
        failed = state.manager_state is ManagerState.END and state.error is not None
        handles = sum(
            one.handles for one in self._core.manager.snapshots(state.id.name) if one.id == state.id
        )
        table.add_row(
            escape(state.id.name),
            str(state.id.version),
            f"[{'red' if failed else _STYLES[state.manager_state]}]{state.manager_state.name}",
            str(handles) if handles else "-",
            escape(str(state.error)) if state.error is not None else "",
        )
