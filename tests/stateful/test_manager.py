"""The manager against a dictionary: once it has settled, it serves what the dictionary says."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from servman.errors import NotFoundError
from servman.manager import HarnessState, ServableHandle
from tests.unit.manager.rig import Model, ModelLoader, Rig, entry

NAMES = st.sampled_from("ab")
VERSIONS = st.integers(1, 3)


class ManagerMachine(RuleBasedStateMachine):
    """Every rule settles, so that a model without time is enough; the simulation has the rest.

    Attributes:
        wanted: Name to version, and whether its loader works.
        held: Streams in which nothing comes in or goes before they are committed.
    """

    def __init__(self) -> None:
        super().__init__()
        self.rig = Rig(max_num_load_retries=0)
        self.wanted: dict[str, dict[int, bool]] = {"a": {}, "b": {}}
        self.serving: dict[str, set[int]] = {"a": set(), "b": set()}
        self.held: set[str] = set()
        self.handles: list[ServableHandle[Model]] = []

    @rule(name=NAMES, wishes=st.dictionaries(VERSIONS, st.booleans()))
    def aspire(self, name: str, wishes: dict[int, bool]) -> None:
        for handle in self.handles:  # else what is wanted again waits for them
            handle.close()
        self.handles.clear()
        self.rig.settle()
        errors = {True: (), False: (ValueError("planted"),)}
        data = [entry(f"{name}:{one}", ModelLoader(*errors[ok])) for one, ok in wishes.items()]
        self.rig.bring(name, *data)
        old, known = self.serving[name], self.wanted[name]
        # What serves or has failed, and stays wanted, is as it was; the rest is loaded.
        kept = {one: one in old or known[one] for one in wishes if one in old or one in known}
        self.wanted[name] = wishes | kept
        if name not in self.held:
            self._follow_policy(name)

    def _follow_policy(self, name: str) -> None:
        wanted = self.wanted[name]
        good = {one for one, works in wanted.items() if works}
        unwanted = self.serving[name] - wanted.keys()
        last = {max(unwanted)} if unwanted and wanted and not good else set()
        self.serving[name] = good | last

    @rule(names=st.sets(NAMES))
    def hold(self, names: set[str]) -> None:
        self.rig.manager.hold(names)
        self.rig.settle()
        self.held |= names

    @rule(names=st.sets(NAMES))
    def commit(self, names: set[str]) -> None:
        self.rig.manager.commit(names)
        self.rig.settle()
        for name in names & self.held:
            self._follow_policy(name)
        self.held -= names

    @rule(name=NAMES)
    def take_handle(self, name: str) -> None:
        try:
            self.handles.append(self.rig.handle(name))
        except NotFoundError:
            assert not self.serving[name]
        else:
            assert self.handles[-1].id.version == max(self.serving[name])

    @rule(name=NAMES, version=VERSIONS)
    def retry(self, name: str, version: int) -> None:
        one = entry(f"{name}:{version}").id
        if self.wanted[name].get(version) is False:
            self.rig.manager.retry(one)  # its loader fails but once
            self.rig.settle()
            self.wanted[name][version] = True
            if name not in self.held:
                self._follow_policy(name)

    @invariant()
    def it_is_as_the_model_says(self) -> None:
        serving = {f"{name}:{one}" for name, each in self.serving.items() for one in each}
        assert set(self.rig.serving()) == serving
        assert all(handle.servable.loaded for handle in self.handles)
        failed = {
            str(one.id)
            for one in self.rig.manager.snapshots()
            if one.aspired and one.state is HarnessState.ERROR
        }
        broken = {
            f"{name}:{one}"
            for name, each in self.wanted.items()
            for one, works in each.items()
            if not works
        }
        assert failed == broken
        waiting = {str(one.id) for one in self.rig.manager.snapshots() if one.held}
        loaded = {
            f"{name}:{one}"
            for name, each in self.wanted.items()
            for one, works in each.items()
            if works and one not in self.serving[name]
        }
        assert waiting == loaded


TestManager = ManagerMachine.TestCase
TestManager.settings = settings(max_examples=40, stateful_step_count=15)
