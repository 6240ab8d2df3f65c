"""The state diagram in docs/architecture.md, drawn from the table of legal moves.

`python -m tests.unit.manager.diagram` draws it anew; `test_diagram.py` fails while it is out of date.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from itertools import pairwise
from pathlib import Path
from typing import Final

from servman.manager.harness import NEXT, HarnessState
from servman.state import ManagerState

DOCUMENT: Final = Path(__file__).parents[3] / "docs" / "architecture.md"

BEGIN: Final = (
    "<!-- states: drawn from servman/manager/harness.py"
    " by `python -m tests.unit.manager.diagram` -->\n"
)
END: Final = "<!-- /states -->\n"

_S = HarnessState

Moves = Mapping[HarnessState, AbstractSet[HarnessState]]

PUBLIC: Final[Mapping[HarnessState, ManagerState]] = {
    _S.NEW: ManagerState.START,
    _S.LOAD_REQUESTED: ManagerState.START,
    _S.LOAD_APPROVED: ManagerState.START,
    _S.LOADING: ManagerState.LOADING,
    _S.READY: ManagerState.AVAILABLE,
    _S.UNLOAD_REQUESTED: ManagerState.AVAILABLE,
    _S.QUIESCING: ManagerState.UNLOADING,
    _S.QUIESCED: ManagerState.UNLOADING,
    _S.UNLOADING: ManagerState.UNLOADING,
    _S.DISABLED: ManagerState.END,
    _S.ERROR: ManagerState.END,
}
"""What outsiders see of an incarnation that came to a state by way of those above it."""

_WHEN: Final = {(_S.LOADING, _S.UNLOADING): ": no longer wanted when its load returns"}
"""What there is to say of a move that its states do not."""


def main() -> None:
    """Write the section of the document anew."""
    DOCUMENT.write_text(redrawn(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")


def redrawn(document: str, moves: Moves = NEXT) -> str:
    """Return *document* with its section as the table says.

    Raises:
        ValueError: It has no such section, or several.
    """
    before, after_begin = document.split(BEGIN)
    _, after = after_begin.split(END)
    section = "\n".join(["", "```mermaid", *_chart(moves), "```", "", *_table(), "", ""])
    return f"{before}{BEGIN}{section}{END}{after}"


def _chart(moves: Moves) -> Iterator[str]:
    """Draw the moves in Mermaid: one box around all that can fail spares as many arrows."""
    alive = [state for state in moves if _S.ERROR in moves[state]]
    yield "stateDiagram-v2"
    yield '    state "each of these can fail" as ALIVE {'
    yield f"        [*] --> {_S.NEW.name}"
    for here, there in _moves(moves):
        if here in alive and there in alive:
            yield f"        {_move(here, there)}"
    yield "    }"
    yield f"    ALIVE --> {_S.ERROR.name}"
    for here, there in _moves(moves):
        if there is not _S.ERROR and not (here in alive and there in alive):
            yield f"    {_move(here, there)}"
    for state in moves:
        if not moves[state]:
            yield f"    {state.name} --> [*]"
    for state in moves:
        yield f"    {state.name}: {state.name}"
        yield f"    {state.name}: {PUBLIC[state].name}"


def _moves(moves: Moves) -> Iterator[tuple[HarnessState, HarnessState]]:
    for here, nexts in moves.items():
        yield from ((here, there) for there in HarnessState if there in nexts)


def _move(here: HarnessState, there: HarnessState) -> str:
    return f"{here.name} --> {there.name}{_WHEN.get((here, there), '')}"


def _table() -> Iterator[str]:
    yield "| state | outsiders see | meaning |"
    yield "| --- | --- | --- |"
    for state, meaning in meanings().items():
        yield f"| `{state.name}` | `{PUBLIC[state].name}` | {meaning} |"


def meanings() -> dict[HarnessState, str]:
    """Return what stands below each state in the source: attributes have no docstring at run time."""
    (cls,) = ast.parse(inspect.getsource(HarnessState)).body
    assert isinstance(cls, ast.ClassDef)
    found = {}
    for pair in pairwise(cls.body):
        match pair:
            case (
                ast.Assign(targets=[ast.Name(id=name)]),
                ast.Expr(value=ast.Constant(value=str(meaning))),
            ):
                found[HarnessState[name]] = meaning
            case _:
                pass
    return found


if __name__ == "__main__":
    main()
