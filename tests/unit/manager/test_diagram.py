"""The diagram of states says what the table of moves says, and what a manager publishes."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest

from servman.manager import ActionKind, HarnessState, ServableAction, ServableStateSnapshot
from servman.manager.harness import NEXT
from servman.state import ManagerState
from tests.unit.manager.diagram import BEGIN, DOCUMENT, END, PUBLIC, Moves, meanings, redrawn
from tests.unit.manager.rig import Rig, errored

S = HarnessState

EMPTY = f"before\n{BEGIN}{END}after\n"


def drawn(moves: Moves = NEXT) -> str:
    return redrawn(EMPTY, moves)


def arrows(chart: str) -> set[tuple[str, str]]:
    """Return the moves of a chart; the arrow from the box is one from each state in it."""
    boxed, _, rest = chart.partition("}")
    found = set(re.findall(r"(\w+) --> (\w+)", boxed))
    box = {state for move in found for state in move}
    for here, there in re.findall(r"(\w+) --> (\w+)", rest):
        found |= {(one, there) for one in (box if here == "ALIVE" else {here})}
    return found


def test_the_diagram_in_the_docs_is_up_to_date() -> None:
    document = DOCUMENT.read_text(encoding="utf-8")
    command = ".venv/bin/python -m tests.unit.manager.diagram"
    assert redrawn(document) == document, f"the states have changed; run {command}"


def test_every_legal_move_is_an_arrow_and_no_other() -> None:
    assert arrows(drawn()) == {
        (here.name, there.name) for here, nexts in NEXT.items() for there in nexts
    }


@pytest.mark.parametrize(
    ("here", "nexts"),
    [
        (S.READY, {S.ERROR}),
        (S.NEW, {S.LOAD_REQUESTED}),
        (S.UNLOADING, {S.DISABLED}),
        (S.DISABLED, {S.NEW}),
    ],
)
def test_another_table_is_another_diagram(here: HarnessState, nexts: set[HarnessState]) -> None:
    assert drawn({**NEXT, here: nexts}) != drawn()


def test_what_ends_an_incarnation_leads_to_the_end_of_the_diagram() -> None:
    ends = re.findall(r"(\w+) --> \[\*\]", drawn())
    assert ends == [S.DISABLED.name, S.ERROR.name]


def test_every_state_has_its_box_and_its_line() -> None:
    assert set(meanings()) == set(S)
    for state, meaning in meanings().items():
        assert f"    {state.name}: {PUBLIC[state].name}\n" in drawn()
        assert f"| `{state.name}` | `{PUBLIC[state].name}` | {meaning} |\n" in drawn()


def test_what_stands_around_the_section_stays() -> None:
    assert drawn().startswith(f"before\n{BEGIN}\n```mermaid\nstateDiagram-v2\n")
    assert drawn().endswith(f"|\n\n{END}after\n")
    assert redrawn(drawn()) == drawn()


@pytest.mark.parametrize("document", ["", BEGIN, END, EMPTY + EMPTY])
def test_a_document_without_the_one_section_is_refused(document: str) -> None:
    with pytest.raises(ValueError, match="unpack"):
        redrawn(document)


def test_no_move_leads_back_to_an_earlier_public_state() -> None:
    for here, nexts in NEXT.items():
        assert all(PUBLIC[here] <= PUBLIC[there] for there in nexts)


class Told:
    """A policy that asks for what the test says, once the stream changes."""

    def __init__(self) -> None:
        self.kind: ActionKind | None = None

    def next_action(self, snapshots: Sequence[ServableStateSnapshot]) -> ServableAction | None:
        before = {ActionKind.LOAD: S.NEW, ActionKind.UNLOAD: S.READY}
        for one in snapshots:
            if self.kind is not None and one.state is before[self.kind]:
                return ServableAction(self.kind, one.id)
        return None


def test_a_manager_publishes_what_the_diagram_shows_for_each_state() -> None:
    policy = Told()
    rig = Rig(policy=policy, num_load_threads=1, num_unload_threads=1)
    seen: dict[HarnessState | None, str] = {}

    def look(id: str = "m:1") -> None:
        seen[rig.state(id)] = rig.states(id)[-1]

    def ask(kind: ActionKind) -> None:
        policy.kind = kind
        rig.aspire("busy", 1)  # it takes the one thread, and the other waits behind it
        rig.aspire("m", 1)
        look()

    rig.aspire("m", 1)
    look()
    ask(ActionKind.LOAD)
    rig.load()
    look()
    rig.load()
    look()
    with rig.handle("m"):
        ask(ActionKind.UNLOAD)
    rig.step()
    look()
    rig.unload()
    look()
    rig.unload()
    look()
    rig.aspire("bad", errored("bad:1"))
    look("bad:1")
    passed_through = {S.LOAD_APPROVED, S.UNLOAD_REQUESTED}  # within one step: nobody sees them
    assert seen == {state: PUBLIC[state].name for state in S if state not in passed_through}


def test_a_load_that_was_cancelled_is_unloaded_without_being_told_so() -> None:
    rig = Rig()
    rig.aspire("m", 1)
    rig.aspire("m")
    rig.load()
    assert rig.state("m:1") is S.UNLOADING
    assert rig.states("m:1")[-1] == ManagerState.LOADING.name
    rig.settle()
    assert rig.states("m:1") == ["START", "LOADING", "END"]
