"""Atomic reloads: everything new beside everything old, and then all of it in one step, or none of it."""

from __future__ import annotations

import shutil
from typing import Any

import pytest

from servman.core import ModelConfig, ReloadResult, ServerConfig
from servman.errors import (
    ClosedError,
    FailedPreconditionError,
    InvalidArgumentError,
    ServmanError,
)
from servman.ids import ServableId
from servman.loader import SimpleLoader
from servman.reasons import ReasonCode
from servman.resources import MAIN_MEMORY, ResourceAllocation
from servman.sources import All, Latest, Specific
from servman.testing import FailingLoader
from tests.unit.core.rig import Rig, sid

BROKEN = ValueError("torn")


def outcomes(result: ReloadResult) -> dict[str, str]:
    return {name: one.outcome.value for name, one in result.models.items()}


def switch(rig: Rig, *models: ModelConfig, **options: Any) -> ReloadResult:
    return rig.core.reload_config(ServerConfig(models), atomic=True, **options)


def found(rig: Rig, *requests: str) -> dict[str, str | None]:
    """Return what lookups find."""
    answers: dict[str, str | None] = {}
    for request in requests:
        try:
            with rig.core.get_servable_handle(request) as handle:
                answers[request] = str(handle.id)
        except ServmanError:
            answers[request] = None
    return answers


def two_and_three(rig: Rig) -> None:
    """Serve "m" and "gone"; "new" is on disk, as is another version of "m"."""
    for name in ("gone", "new"):
        rig.publish(1, name=name)
    rig.publish(1, 2)
    rig.serve(
        rig.model(version_policy=Specific(1), version_labels={"stable": 1}), rig.model("gone")
    )


def wanted(rig: Rig) -> tuple[ModelConfig, ...]:
    """Return what adds, removes, changes and relabels at once."""
    return rig.model(version_policy=Specific(2), version_labels={"stable": 2}), rig.model("new")


LOOKUPS = ("m", "m@stable", "gone", "new")
BEFORE = {"m": "m:1", "m@stable": "m:1", "gone": "gone:1", "new": None}
AFTER = {"m": "m:2", "m@stable": "m:2", "gone": None, "new": "new:1"}


# ---- all at once -------------------------------------------------------------------------------


def test_what_is_added_removed_changed_and_relabeled_switches_in_one_step(rig: Rig) -> None:
    two_and_three(rig)
    seen: list[dict[str, str | None]] = []

    def look() -> None:
        seen.append(found(rig, *LOOKUPS))

    rig.core.event_bus.attach(Recorder(look))
    rig.meanwhile = [look]
    result = switch(rig, *wanted(rig))
    assert result
    assert outcomes(result) == {"m": "available", "new": "available", "gone": "removed"}
    assert found(rig, *LOOKUPS) == AFTER
    assert seen[0] == BEFORE
    assert [one for one in seen if one not in (BEFORE, AFTER)] == []


class Recorder:
    """Looks at each event, while it is published."""

    def __init__(self, look: Any) -> None:
        self._look = look

    def record(self, _: object) -> None:
        self._look()


def test_what_is_loaded_is_found_by_nobody_before_all_of_it_is(rig: Rig) -> None:
    two_and_three(rig)
    held: list[set[str]] = []

    def load_one() -> None:
        rig.settle()
        rig.loads.run()
        rig.settle()
        snapshots = rig.core.manager.snapshots()
        held.append({str(one.id) for one in snapshots if one.held})
        assert found(rig, *LOOKUPS) == BEFORE

    rig.meanwhile = [load_one, load_one]
    assert switch(rig, *wanted(rig))
    assert [len(one) for one in held] == [1, 2]


def test_the_config_in_force_is_the_old_one_until_the_switch(rig: Rig) -> None:
    two_and_three(rig)
    core = rig.core
    before, seen = core.config, []
    rig.meanwhile = [lambda: seen.append(core.config)]
    result = switch(rig, *wanted(rig))
    assert seen == [before]
    assert (core.config.generation, result.generation) == (2, 2)
    assert core.config.models == wanted(rig)


def test_nothing_to_do_is_done_at_once(rig: Rig) -> None:
    rig.publish(1)
    core = rig.serve()
    result = core.reload_config(core.config, atomic=True, timeout=None)
    assert (bool(result), result.generation, result.rolled_back) == (True, 1, False)
    assert outcomes(result) == {"m": "unchanged"}


def test_labels_alone_switch_too_and_leave_nothing_held(rig: Rig) -> None:
    rig.publish(1, 2)
    core = rig.serve(rig.model(version_policy=All(), version_labels={"stable": 1}))
    assert switch(rig, rig.model(version_policy=All(), version_labels={"stable": 2}))
    assert found(rig, "m@stable") == {"m@stable": "m:2"}
    rig.publish(3)
    rig.look()
    rig.finish()
    assert sid(3) in core.manager.list_available_ids()


def test_nothing_is_let_in_before_the_source_has_taken_it_up(rig: Rig) -> None:
    rig.publish(1, 2)
    core = rig.serve(rig.model(version_policy=All()))
    # To the source it is the same from here on.
    assert core.update_model(rig.model(version_policy=All(), version_labels={"stable": 1}))
    rig.meanwhile = [rig.keep_source_busy()]
    assert switch(rig, rig.model(version_policy=All(), version_labels={"stable": 2}))
    assert rig.meanwhile == []
    rig.publish(3)
    rig.look()
    rig.load()
    assert sid(3) in core.manager.list_available_ids()  # it is not held


def test_what_was_let_in_is_not_looked_at_again_by_the_next_reload(rig: Rig) -> None:
    two_and_three(rig)
    switch(rig, *wanted(rig))
    shutil.rmtree(rig.base)
    result = rig.core.add_model(rig.model("gone"), timeout=1)
    assert outcomes(result) == {"m": "unchanged", "new": "unchanged", "gone": "available"}


def test_a_removal_alone_switches_and_leaves_nothing_held(rig: Rig) -> None:
    core = rig.serve()  # of "m" there is no version
    assert switch(rig)
    assert core.reload_config(ServerConfig([rig.model()]), timeout=0).generation == 3
    rig.bring(1)
    assert core.manager.list_available_ids() == [sid(1)]


def test_after_a_switch_new_versions_come_as_ever(rig: Rig) -> None:
    two_and_three(rig)
    switch(rig, rig.model(), rig.model("new"))
    rig.publish(3)
    rig.look()
    rig.finish()
    assert found(rig, "m") == {"m": "m:3"}


def test_the_same_config_after_a_switch_is_in_force_already(rig: Rig) -> None:
    two_and_three(rig)
    core = rig.core
    switch(rig, *wanted(rig))
    for atomic in (False, True):
        result = core.reload_config(ServerConfig(wanted(rig)), atomic=atomic, timeout=None)
        assert (bool(result), result.generation) == (True, 2)


def test_before_the_start_there_is_nothing_that_could_be_mixed(rig: Rig) -> None:
    core = rig.build()
    core.reload_config(ServerConfig([rig.model("n")]), atomic=True)
    assert list(core.models) == ["n"]


def test_a_version_that_is_published_while_it_waits_is_part_of_it(rig: Rig) -> None:
    rig.publish(1)
    core = rig.serve()

    def publish() -> None:
        rig.publish(2)
        rig.look()

    rig.meanwhile = [publish]
    assert switch(rig, rig.model(version_policy=Latest(2)))
    assert core.manager.list_available_ids() == [sid(1), sid(2)]


def test_a_version_that_is_published_right_before_the_commit_is_waited_for(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.publish(1)
    rig.publish(1, name="n")
    core = rig.serve()
    commit, commits = type(core.manager).commit, []

    def late(manager: Any, names: frozenset[str], **options: Any) -> Any:
        commits.append(names)
        if len(commits) == 1:
            rig.publish(2, name="n")
            rig.core._pipeline.source.poll()  # its list comes before the commit
        return commit(manager, names, **options)

    monkeypatch.setattr(type(core.manager), "commit", late)
    assert switch(rig, rig.model(), rig.model("n"))
    assert commits[:2] == [{"n"}, {"n"}]
    assert found(rig, "n") == {"n": "n:2"}


# ---- put back ----------------------------------------------------------------------------------


def test_a_failure_puts_everything_back_and_says_what_has_failed(rig: Rig) -> None:
    two_and_three(rig)
    core, before = rig.core, rig.core.config
    rig.loaders["new:1"] = FailingLoader(*[BROKEN] * 9)
    models = (*wanted(rig)[:1], rig.model("new", max_num_load_retries=0))
    result = switch(rig, *models)
    assert not result
    assert (result.rolled_back, result.timed_out, result.generation) == (True, False, 1)
    assert outcomes(result)["new"] == "failed"
    assert outcomes(result)["m"] in ("put back", "pending")
    assert "torn" in str(result)
    assert "taken back" in str(result)
    assert core.config is before
    rig.finish()
    assert found(rig, *LOOKUPS) == BEFORE
    assert {str(one.id) for one in core.manager.snapshots()} == {"m:1", "gone:1"}


def test_an_optional_model_counts_as_well(rig: Rig) -> None:
    two_and_three(rig)
    rig.loaders["new:1"] = FailingLoader(*[BROKEN] * 9)
    result = switch(rig, rig.model("new", max_num_load_retries=0, required=False))
    assert (bool(result), result.rolled_back) == (False, True)


def test_of_what_is_put_back_it_is_told_which_models_count(rig: Rig) -> None:
    two_and_three(rig)
    rig.loaders["new:1"] = FailingLoader(*[BROKEN] * 9)
    optional = rig.model("gone", max_num_load_retries=7, required=False)
    result = switch(rig, optional, rig.model("new", max_num_load_retries=0))
    assert outcomes(result)["gone"] == "put back"
    required = {name: one.required for name, one in result.models.items()}
    assert required == {"gone": False, "new": True, "m": True}


def test_the_deadline_puts_everything_back_while_a_load_hangs(rig: Rig) -> None:
    two_and_three(rig)

    def expire() -> None:  # both loads wait for their threads
        rig.settle()
        rig.clock.advance(5)

    rig.meanwhile = [expire]
    result = switch(rig, *wanted(rig), timeout=5)
    assert (result.rolled_back, result.timed_out, bool(result)) == (True, True, False)
    rig.settle()
    assert found(rig, *LOOKUPS) == BEFORE
    rig.finish()
    assert found(rig, *LOOKUPS) == BEFORE


def test_with_no_time_nothing_happens(rig: Rig) -> None:
    two_and_three(rig)
    result = switch(rig, *wanted(rig), timeout=0)
    assert (result.rolled_back, result.timed_out) == (True, True)
    rig.finish()
    assert found(rig, *LOOKUPS) == BEFORE


def test_what_was_put_back_can_be_tried_again(rig: Rig) -> None:
    two_and_three(rig)
    rig.loaders["new:1"] = FailingLoader(BROKEN)
    models = (*wanted(rig)[:1], rig.model("new", max_num_load_retries=0))
    assert not switch(rig, *models)
    assert switch(rig, *models)
    assert found(rig, *LOOKUPS) == AFTER


def test_what_is_put_back_after_a_switch_is_not_held(rig: Rig) -> None:
    two_and_three(rig)
    core = rig.core
    assert switch(rig, *wanted(rig))
    in_force = core.config
    assert not switch(rig, *wanted(rig), rig.model("never"), timeout=1)
    assert core.config is in_force
    rig.publish(2, name="new")
    rig.look()
    rig.finish()
    assert found(rig, "new", "m@stable") == {"new": "new:2", "m@stable": "m:2"}


def test_a_version_that_was_published_meanwhile_comes_in_after_the_putting_back(rig: Rig) -> None:
    rig.publish(1)
    rig.serve()

    def publish() -> None:
        rig.publish(2)
        rig.look()

    # Only its labels change: to the source it is the same as before.
    rig.meanwhile = [rig.work, publish]
    assert not switch(rig, rig.model(version_labels={"canary": 7}), timeout=5)
    rig.finish()
    assert found(rig, "m") == {"m": "m:2"}
    assert rig.core.reload_config(rig.core.config, timeout=0)


def test_a_label_that_nothing_will_answer_keeps_the_old_in_force(rig: Rig) -> None:
    rig.publish(1, 2)
    rig.serve(rig.model(version_policy=Specific(1), version_labels={"stable": 1}))
    result = switch(
        rig, rig.model(version_policy=Latest(1), version_labels={"stable": 1}), timeout=1
    )
    assert result.rolled_back
    reason = result.models["m"].reason
    assert reason is not None
    assert reason.code is ReasonCode.NOT_CHOSEN
    assert found(rig, "m@stable") == {"m@stable": "m:1"}


def test_a_base_path_that_is_not_there_keeps_the_old_in_force_and_is_told(rig: Rig) -> None:
    two_and_three(rig)
    result = switch(rig, *wanted(rig), rig.model("typo"), timeout=1)
    assert result.rolled_back
    reason = result.models["typo"].reason
    assert reason is not None
    assert reason.code is ReasonCode.BASE_PATH_MISSING
    assert outcomes(result)["m"] == "put back"
    assert found(rig, *LOOKUPS) == BEFORE


def test_a_ctrl_c_puts_everything_back(rig: Rig) -> None:
    two_and_three(rig)

    def interrupt() -> None:
        raise KeyboardInterrupt

    rig.meanwhile = [rig.work, rig.work, interrupt]
    with pytest.raises(KeyboardInterrupt):
        switch(rig, *wanted(rig))
    rig.finish()
    assert found(rig, *LOOKUPS) == BEFORE
    assert rig.core.config.generation == 1
    texts = [one.text for one in rig.core.history()]
    assert "generation 2 did not come into force" in texts


def test_closing_ends_the_wait(rig: Rig) -> None:
    two_and_three(rig)

    def close() -> None:
        rig.core._stages.configuration.close()
        rig.core._stages.noticeboard.wake()

    rig.meanwhile = [rig.work, close]
    with pytest.raises(ClosedError):
        switch(rig, *wanted(rig))
    assert rig.core.config.generation == 1


# ---- superseded --------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", range(8))
def test_a_plain_reload_supersedes_an_atomic_one_at_any_of_its_waits(rig: Rig, steps: int) -> None:
    two_and_three(rig)
    core = rig.core
    newer = ServerConfig([rig.model(version_policy=Specific(1)), rig.model("new")])
    rig.meanwhile = [rig.work] * steps + [lambda: core.reload_config(newer, wait=False)]
    first = switch(rig, *wanted(rig), timeout=9)
    if first:  # it was done before the other one came
        assert first.generation == 2
        rig.meanwhile[0]()
        rig.meanwhile.clear()
    else:
        assert (first.superseded_by, first.timed_out) == (3, False)
        assert first.rolled_back or found(rig, "m") == {"m": "m:2"}
    assert core.reload_config(newer)
    assert found(rig, *LOOKUPS) == {"m": "m:1", "m@stable": None, "gone": None, "new": "new:1"}


def test_an_atomic_reload_supersedes_an_atomic_one(rig: Rig) -> None:
    two_and_three(rig)
    rig.publish(1, name="newer")
    results: list[ReloadResult] = []
    rig.meanwhile = [
        rig.work,
        lambda: results.append(switch(rig, *wanted(rig), rig.model("newer"))),
    ]
    first = switch(rig, *wanted(rig))
    assert (first.superseded_by, first.rolled_back, bool(first)) == (3, True, False)
    assert str(first).startswith("generation 2: superseded by generation 3")
    assert results[0]
    assert found(rig, *LOOKUPS, "newer") == {**AFTER, "newer": "newer:1"}


def test_an_atomic_reload_supersedes_a_plain_one(rig: Rig) -> None:
    two_and_three(rig)
    results: list[ReloadResult] = []
    rig.meanwhile = [rig.work, lambda: results.append(switch(rig, *wanted(rig)))]
    first = rig.core.reload_config(ServerConfig([rig.model(), rig.model("never")]), timeout=None)
    assert first.superseded_by == 3
    assert results[0]
    assert found(rig, *LOOKUPS) == AFTER


def test_what_both_remove_is_gone_when_a_plain_reload_supersedes_an_atomic_one(rig: Rig) -> None:
    two_and_three(rig)
    core = rig.core
    newer = ServerConfig([rig.model(version_policy=Specific(1))])
    rig.meanwhile = [rig.work, rig.work, lambda: core.reload_config(newer, wait=False)]
    assert not switch(rig, rig.model(), rig.model("never"), timeout=9)
    result = core.reload_config(newer)
    assert result
    assert found(rig, "gone") == {"gone": None}
    assert [one.id.name for one in core.manager.snapshots()] == ["m"]


def test_the_config_in_force_takes_an_atomic_one_back(rig: Rig) -> None:
    two_and_three(rig)
    core, before = rig.core, rig.core.config
    rig.meanwhile = [rig.work, lambda: core.reload_config(before, wait=False)]
    assert switch(rig, *wanted(rig)).superseded_by == 3
    rig.finish()
    assert found(rig, *LOOKUPS) == BEFORE
    assert core.reload_config(before)


def test_a_newer_one_that_comes_while_the_manager_commits_is_made_to_what_was_committed(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It can come no sooner than the answer, and so both are served whole, one after the other."""
    two_and_three(rig)
    core = rig.core
    committing: list[bool] = []
    begin = type(core._stages.configuration).begin_commit

    def note(configuration: Any, accepted: Any) -> bool:
        answer = begin(configuration, accepted)
        committing.append(configuration._committing)
        return answer

    monkeypatch.setattr(type(core._stages.configuration), "begin_commit", note)
    assert switch(rig, *wanted(rig))
    assert committing == [True]
    assert not core._stages.configuration._committing


# ---- refused -----------------------------------------------------------------------------------


def test_the_same_number_from_another_place_is_refused_with_the_remedy(rig: Rig) -> None:
    rig.publish(1)
    rig.publish(1, name="elsewhere")
    core = rig.serve()
    with pytest.raises(FailedPreconditionError, match=r"m:1 .*publish it under another number"):
        switch(rig, rig.model(base_path=str(rig.folder / "elsewhere")))
    assert core.config.generation == 1


def test_one_that_appears_after_the_plan_is_put_back(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.publish(1)
    rig.publish(1, name="elsewhere")
    core = rig.serve()
    monkeypatch.setattr(type(core), "_check_atomic", lambda *_: None)
    result = switch(rig, rig.model(base_path=str(rig.folder / "elsewhere")))
    assert (result.rolled_back, bool(result)) == (True, False)
    assert core.manager.snapshots("m")[0].origin == str(rig.base / "1")
    assert found(rig, "m") == {"m": "m:1"}


def test_what_memory_does_not_allow_beside_the_old_is_refused_with_the_facts(rig: Rig) -> None:
    big = SimpleLoader(lambda _: "big", estimate=lambda: ResourceAllocation({MAIN_MEMORY: 6}))
    rig.publish(1)
    rig.publish(1, name="n")
    rig.loaders |= {"m:1": big, "n:1": big}
    core = rig.serve(total_model_memory_limit_bytes=10)
    with pytest.raises(FailedPreconditionError, match=r"12 bytes of memory would be needed .* 10;"):
        switch(rig, rig.model("n"))
    assert core.config.generation == 1
    assert core.reload_config(ServerConfig([rig.model("n")]))


def test_it_has_to_be_waited_for(rig: Rig) -> None:
    core = rig.serve()
    with pytest.raises(InvalidArgumentError, match="has to be waited for"):
        switch(rig, wait=False)
    assert core.config.generation == 1


def test_faults_are_found_first(rig: Rig) -> None:
    core = rig.serve()
    with pytest.raises(InvalidArgumentError, match="no platform is called 'torch'"):
        switch(rig, rig.model(platform="torch"))
    assert core.config.generation == 1


def test_another_generation_than_the_expected_one_is_refused(rig: Rig) -> None:
    two_and_three(rig)
    with pytest.raises(FailedPreconditionError, match=r"generation 1 .* is in force, not 7"):
        switch(rig, *wanted(rig), expected_generation=7)
    assert not rig.work()
    assert found(rig, *LOOKUPS) == BEFORE


def test_single_models_can_be_changed_at_once_as_well(rig: Rig) -> None:
    two_and_three(rig)
    core = rig.core
    assert core.add_model(rig.model("new"), atomic=True)
    assert core.update_model(rig.model(version_policy=Specific(2)), atomic=True)
    assert core.remove_model("gone", atomic=True)
    assert core.manager.list_available_ids() == [sid(2), ServableId("new", 1)]
