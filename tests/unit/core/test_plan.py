"""Plans: what a reload would do, without doing any of it."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Mapping
from typing import Any

import pytest

from servman.clock import SystemClock
from servman.core import Change, ModelConfig, ModelPlan, Plan, ServerConfig, ServerCoreOptions
from servman.core.plan import Findings, MemoryPlan, plan_model
from servman.core.preview import estimate
from servman.loader import LoadContext, SimpleLoader
from servman.manager import AvailabilityPreservingPolicy, ResourcePreservingPolicy
from servman.reasons import Reason, ReasonCode
from servman.resources import MAIN_MEMORY, Resource, ResourceAllocation
from servman.sources import All, Latest, Specific
from servman.testing.clock import WATCHDOG
from servman.workers.options import Workers
from tests.unit.core.rig import Rig, sid

M = ModelConfig("m", "/m")
OTHER = ModelConfig("m", "/m", version_policy=Latest(2))


def of(
    before: ModelConfig | None,
    after: ModelConfig | None,
    present: Mapping[int, str | None],
    wanted: Findings | Mapping[int, str | None],
    **others: Any,
) -> ModelPlan:
    found = wanted if isinstance(wanted, Findings) else Findings(wanted)
    return plan_model(
        "m",
        before,
        after,
        present=present,
        failed=others.get("failed", {}),
        wanted=found,
        default_policy=others.get("policy", AvailabilityPreservingPolicy()),
    )


def parts(plan: ModelPlan) -> tuple[Any, ...]:
    return plan.change, plan.load, plan.keep, plan.unload


# ---- one model, as it stands -------------------------------------------------------------------


def test_a_new_model_is_loaded() -> None:
    assert parts(of(None, M, {}, {2: "/m/2", 1: "/m/1"})) == (Change.ADD, (1, 2), (), ())


def test_a_removed_model_is_unloaded() -> None:
    assert parts(of(M, None, {1: "/m/1"}, {})) == (Change.REMOVE, (), (), (1,))


def test_a_changed_model_says_in_what() -> None:
    plan = of(M, OTHER, {2: "/m/2"}, {1: "/m/1", 2: "/m/2"})
    assert parts(plan) == (Change.CHANGE, (1,), (2,), ())
    assert len(plan.differences) == 1
    assert plan.differences[0].startswith("version_policy: ")
    assert plan.interruption is None


def test_other_workers_are_told_briefly_and_from_when_on() -> None:
    isolated = ModelConfig("m", "/m", workers=Workers(2, log_dir="/logs"))
    plan = of(M, isolated, {1: "/m/1"}, {1: "/m/1"})
    assert parts(plan) == (Change.CHANGE, (), (1,), ())
    assert plan.differences == (
        "workers: None -> Workers(replicas=2, log_dir='/logs'), for what is loaded from then on",
    )


def test_one_that_stays_keeps_what_it_has() -> None:
    assert parts(of(M, M, {1: "/m/1"}, {1: "/m/1"})) == (Change.KEEP, (), (1,), ())


def test_the_same_number_from_another_place_is_replaced_and_interrupts() -> None:
    plan = of(M, OTHER, {1: "/m/1"}, {1: "/n/1"})
    assert parts(plan) == (Change.CHANGE, (1,), (), (1,))
    assert plan.replaced == (1,)
    assert plan.interruption == "version 1 is unloaded before it is loaded from its new place"


def test_a_policy_that_unloads_first_interrupts_where_nothing_is_kept() -> None:
    interrupted = of(M, M, {1: "/m/1"}, {2: "/m/2"}, policy=ResourcePreservingPolicy())
    assert "unloads what is served before" in str(interrupted)
    assert of(M, M, {1: "/m/1"}, {2: "/m/2"}).interruption is None
    kept = of(M, M, {1: "/m/1"}, {1: "/m/1", 2: "/m/2"}, policy=ResourcePreservingPolicy())
    assert kept.interruption is None


def test_what_cannot_be_looked_at_leaves_what_is_there() -> None:
    reason = Reason(ReasonCode.BASE_PATH_MISSING, "base path /m does not exist")
    plan = of(M, OTHER, {1: "/m/1"}, Findings(reason=reason, is_known=False))
    assert parts(plan)[1:] == ((), (1,), ())
    assert plan.reason is reason
    assert "base path /m does not exist" in str(plan)


def test_where_nothing_is_left_what_is_there_goes() -> None:
    reason = Reason(ReasonCode.NO_VERSIONS, "no versions found in /m")
    plan = of(M, OTHER, {1: "/m/1"}, Findings(reason=reason))
    assert (parts(plan)[1:], plan.reason) == (((), (), (1,)), reason)


def test_what_has_failed_is_not_loaded_again_and_what_serves_in_its_place_stays() -> None:
    plan = of(M, M, {1: "/m/1"}, {2: "/m/2"}, failed={2: "/m/2"})
    assert parts(plan) == (Change.KEEP, (), (1,), ())
    assert plan.failed == (2,)
    assert "not tried again: version 2" in str(plan)
    moved = of(M, OTHER, {1: "/m/1"}, {2: "/n/2"}, failed={2: "/m/2"})
    assert parts(moved) == (Change.CHANGE, (2,), (), (1,))


# ---- the whole ---------------------------------------------------------------------------------


def plan(rig: Rig, *models: ModelConfig, **options: Any) -> Plan:
    return rig.core.plan(ServerConfig(models), **options)


def test_a_plan_tells_what_is_done_with_each_model_and_does_nothing(rig: Rig) -> None:
    rig.publish(1, 2)
    rig.publish(1, name="n")
    core = rig.serve(rig.model(), rig.model("gone"))
    told = plan(rig, rig.model(version_policy=All()), rig.model("n"))
    assert told
    assert {name: parts(one) for name, one in told.models.items()} == {
        "m": (Change.CHANGE, (1,), (2,), ()),
        "n": (Change.ADD, (1,), (), ()),
        "gone": (Change.REMOVE, (), (), ()),
    }
    assert (told.generation, core.config.generation) == (1, 1)
    assert not rig.work()


def test_faults_are_all_told_and_nothing_else(rig: Rig) -> None:
    rig.serve()
    told = plan(rig, rig.model(platform="torch"), ModelConfig("a:b", "relative", "bench"))
    assert (bool(told), told.models) == (False, {})
    assert len(told.faults) == 4
    assert str(told).startswith("the configuration has faults:\n  models[0] ('m')")


def test_a_base_path_that_is_not_there_is_told(rig: Rig) -> None:
    rig.serve()
    told = plan(rig, rig.model("typo"))
    reason = told.models["typo"].reason
    assert reason is not None
    assert reason.code is ReasonCode.BASE_PATH_MISSING


def test_what_stays_as_it_is_is_not_looked_at_again(rig: Rig) -> None:
    rig.publish(1)
    rig.serve()
    shutil.rmtree(rig.base)
    assert parts(plan(rig, rig.model()).models["m"]) == (Change.KEEP, (), (1,), ())


def test_a_changed_base_path_with_the_same_number_interrupts_and_cannot_be_atomic(rig: Rig) -> None:
    rig.publish(1)
    rig.publish(1, name="elsewhere")
    rig.serve()
    told = plan(rig, rig.model(base_path=str(rig.folder / "elsewhere")))
    assert list(told.interruptions) == ["m"]
    (obstacle,) = told.atomic_obstacles
    assert obstacle.startswith("m:1 would have to be replaced")


def test_another_root_or_prefix_moves_models(rig: Rig) -> None:
    (rig.folder / "below" / "1").mkdir(parents=True)
    (rig.folder / "root" / "below" / "1").mkdir(parents=True)
    core = rig.run()
    below = rig.model(base_path="below")
    core.reload_config(ServerConfig([below], root_dir=str(rig.folder)), wait=False)
    rig.finish()
    for other in (
        ServerConfig([below], root_dir=str(rig.folder / "root")),
        ServerConfig([below], root_dir=str(rig.folder), storage_path_prefix="/mnt"),
    ):
        assert core.plan(other).models["m"].replaced == (1,)


def sized(size: int, resource: Resource = MAIN_MEMORY) -> SimpleLoader[str]:
    """Return a loader that takes so many bytes."""
    return SimpleLoader(_load, estimate=lambda: ResourceAllocation({resource: size}))


def _load(context: LoadContext) -> str:
    return str(context.id)


def test_the_memory_is_told_that_it_takes_at_the_peak_and_afterwards(rig: Rig) -> None:
    rig.publish(1)
    rig.publish(1, name="n")
    rig.loaders |= {"m:1": sized(6), "n:1": sized(3, Resource("main", "ram_bytes", 0))}
    rig.serve(total_model_memory_limit_bytes=8)
    memory = plan(rig, rig.model("n")).memory
    assert memory == MemoryPlan(now=6, load=3, unload=6, limit=8)
    assert (memory.peak, memory.after) == (9, 3)
    (obstacle,) = plan(rig, rig.model("n")).atomic_obstacles
    assert obstacle.startswith("9 bytes of memory would be needed")


def test_an_estimate_that_is_configured_counts_instead(rig: Rig) -> None:
    rig.publish(1, name="n")
    rig.loaders["n:1"] = sized(3)
    rig.serve()
    assert plan(rig, rig.model("n", memory_bytes=7)).memory.load == 7


def test_what_a_loader_estimates_counts_for_each_process(rig: Rig) -> None:
    rig.publish(1, 2, name="n")
    rig.loaders |= {"n:1": sized(3), "n:2": sized(5)}
    rig.serve()
    workers = {2: Workers(2, num_parallel_workers=3)}
    model = rig.model("n", version_policy=All(), workers=workers)
    assert plan(rig, model).memory.load == 3 + 5 * 3
    assert plan(rig, rig.model("n", memory_bytes=7, workers=Workers(2))).memory.load == 7


def test_what_goes_gives_back_what_it_takes_as_it_is_configured_now(rig: Rig) -> None:
    rig.publish(1)
    rig.publish(1, name="elsewhere")
    rig.loaders["m:1"] = sized(3)
    rig.serve()
    elsewhere = rig.model(base_path=str(rig.folder / "elsewhere"), workers=Workers(2))
    memory = plan(rig, elsewhere).memory
    assert (memory.load, memory.unload) == (6, 3)


def test_what_cannot_be_estimated_is_told_and_counts_as_nothing(rig: Rig) -> None:
    def fail() -> ResourceAllocation:
        raise ValueError("torn")

    rig.publish(1, name="n")
    rig.loaders["n:1"] = SimpleLoader(_load, estimate=fail)
    rig.serve()
    told = plan(rig, rig.model("n"), rig.model("p", platform="python"))
    assert told.memory.load == 0
    assert "n:1: not known: " in str(told)
    assert "torn" in str(told)


@pytest.mark.parametrize("timeout", [-1, float("nan"), "soon"])
def test_a_timeout_that_is_none_is_refused(rig: Rig, timeout: Any) -> None:
    rig.serve()
    with pytest.raises(ValueError, match="timeout"):
        plan(rig, timeout=timeout)


def test_with_no_time_what_has_to_be_looked_at_is_not_known(rig: Rig) -> None:
    rig.publish(1)
    rig.publish(1, name="n")
    rig.serve()
    told = plan(rig, rig.model(), rig.model("n"), timeout=0)
    assert told.models["n"].reason is not None
    assert parts(told.models["m"]) == (Change.KEEP, (), (1,), ())


def test_before_the_start_a_plan_tells_what_would_come(rig: Rig) -> None:
    rig.publish(1)
    core = rig.build()
    told = core.plan(ServerConfig([rig.model(version_policy=Specific(1))]))
    assert parts(told.models["m"]) == (Change.CHANGE, (1,), (), ())


def test_a_plan_that_is_interrupted_leaves_no_thread_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    clock = SystemClock()
    monkeypatch.setattr(SystemClock, "receive", interrupt)
    options = ServerCoreOptions(platforms=("python",))
    models = {"m": ModelConfig("m", "/m", "python")}
    with pytest.raises(KeyboardInterrupt):
        estimate({sid(1): "/m/1"}, models, options=options, clock=clock, deadline=None)
    asked = [one for one in threading.enumerate() if one.name.startswith("plan-")]
    for thread in asked:
        thread.join(WATCHDOG)
    assert not any(thread.is_alive() for thread in asked)
