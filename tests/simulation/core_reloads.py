"""Those who change the configuration of a simulated core, and what they are told."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, final

from servman.core import ModelConfig, ReloadOutcome, ServerConfig
from servman.errors import (
    AlreadyExistsError,
    ClosedError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    WaitTimeoutError,
)
from servman.sources import Specific
from tests.simulation.core_callers import Caller
from tests.simulation.core_rules import CoreRule, at_home, chosen

if TYPE_CHECKING:
    from collections.abc import Mapping

    from servman.core import ReloadResult
    from servman.core.configuration import Accepted
    from tests.simulation.core_world import CoreWorld
    from tests.simulation.ledger import Model


_RECENT: Final = 5
"""Configurations in force, the present one included, some of which the stages may not have been told of."""


@final
@dataclass(frozen=True, slots=True)
class Order:
    """What somebody asks of the configuration.

    Attributes:
        models: All models; or the one to be added or changed.
        edit: "add", "update" or "remove", with what it is done to, or "put" for the one of the first two that
            can be; empty to replace all.
        timeout: Seconds to wait; None for ever.
        lag: What is added to the generation in force to make the expected one; None to expect none.
        pauses: Where the caller stops until the world lets it go on.
    """

    models: tuple[ModelConfig, ...]
    edit: str = ""
    wait: bool = True
    timeout: float | None = 20.0
    atomic: bool = False
    lag: int | None = None
    pauses: frozenset[str] = frozenset()

    def __str__(self) -> str:
        models = "; ".join(map(told, self.models)) or "nothing"
        how = [
            "atomically" if self.atomic else "",
            f"within {self.timeout} s" if self.wait else "without waiting",
            "" if self.lag is None else f"expecting the generation {-self.lag} ago",
            f"pausing at {', '.join(sorted(self.pauses))}" if self.pauses else "",
        ]
        return f"{self.edit or 'reload'} {models} ({', '.join(filter(None, how))})"


def told(model: ModelConfig) -> str:
    """Return *model* in a few words."""
    labels = "".join(f", {label}={version}" for label, version in model.version_labels.items())
    optional = "" if model.required else ", optional"
    platform = "" if model.platform == "bench" else f" on {model.platform}"
    where = f"{model.name} at {model.base_path}{platform}"
    return f"{where} ({model.version_policy}{labels}{optional})"


@final
class Reload:
    """One change of the configuration, from the call to its return.

    Attributes:
        accepted: What came of it; None before it was accepted.
        seen: How many looks at each base path had come back when it was.
        moves: How often each model had changed its state when it returned.
        pauses: Where it still stops.
        paused: Whether it has stopped there.
    """

    def __init__(self, world: CoreWorld, order: Order, number: int) -> None:
        self.order = order
        self.number = number
        self.pauses = order.pauses
        self.paused = False
        self.expected: int | None = None
        self.accepted: Accepted | None = None
        self.committed = False
        self.seen: dict[str, int] = {}
        self.moves: Counter[str] = Counter()
        self._began: float | None = None
        self.result: ReloadResult | None = None
        self.caller = Caller(f"reload {number}", self._call)
        self._world = world

    def __str__(self) -> str:
        return f"reload {self.number}"

    @property
    def superseded(self) -> bool:
        """Whether it was accepted, and something newer is wanted."""
        wanted = self._world.core._stages.configuration.wanted.generation
        return self.accepted is not None and wanted > self.accepted.generation

    def pause(self, where: str) -> None:
        """Stop, if it is to stop there."""
        if where in self.pauses:
            self.paused = True
            self.caller.park(None, lambda: True)
            self.paused = False

    def go_on(self) -> None:
        """Let it go on until it waits again, which it does not where it has no time left."""
        world, timeout = self._world, self.order.timeout
        now = world.clock.monotonic()
        if self._began is None:
            self._began = now
        self.caller.resume()
        world.invariants.follow_configuration()
        is_over = timeout is not None and now >= self._began + timeout
        text = f"{self} began at {self._began}, and waits on until {self.caller.deadline}"
        world.ledger.require(not is_over or self.caller.deadline is None, CoreRule.RETURNS, text)
        if self.accepted is not None and not self.paused:
            self._check_others(self.accepted.generation, now)

    def _check_others(self, generation: int, now: float) -> None:
        """Who waits for something older was told before this one began to wait."""
        if self._world.core._stages.configuration._committing:
            return  # who gives way waits for the end of that
        for other in self._world.reloads:
            older = other.accepted is not None and other.accepted.generation < generation
            told = other.caller.deadline is None or other.caller.ready(now)
            self._world.ledger.require(
                told or not older, CoreRule.RETURNS, f"{other} waits on after {self}"
            )

    # ---- the call ------------------------------------------------------------------------------

    def _call(self) -> None:
        world = self._world
        try:
            self.result = self._ask()
        except InvalidArgumentError as error:
            world.trace.append(f"{self} is refused: {error}")
            world.invariants.check_refusal(self)
        except (AlreadyExistsError, NotFoundError, FailedPreconditionError) as error:
            world.trace.append(f"{self} is refused: {error}")
            world.ledger.require(self.accepted is None, CoreRule.NO_FAULT, f"{self}: {error!r}")
        except WaitTimeoutError as error:  # nobody knows what becomes of a commit
            world.trace.append(f"{self} gives up: {error}")
            world.ledger.require("commit" in str(error), CoreRule.NO_FAULT, f"{self}: {error!r}")
        except ClosedError:
            world.ledger.require(world.core.closed, CoreRule.NO_FAULT, f"{self}: closed, it says")
        except Exception as error:  # noqa: BLE001 -- whatever else it raises is a fault
            world.ledger.blame(CoreRule.NO_FAULT, f"{self}: {type(error).__name__}: {error}")
        else:
            world.trace.append(f"{self} returns {self.result}".replace("\n", "; "))
            self.moves = world.invariants.moves.copy()
            if self.accepted is None:
                world.ledger.blame(CoreRule.NO_FAULT, f"{self} was never accepted")
            else:
                self._check(self.result, self.accepted)

    def _ask(self) -> ReloadResult:
        core, order = self._world.core, self.order
        if order.lag is not None:
            self.expected = core.config.generation + order.lag
        options: dict[str, object] = {
            "wait": order.wait or order.atomic,
            "timeout": order.timeout,
            "atomic": order.atomic,
            "expected_generation": self.expected,
        }
        edit = order.edit
        if edit == "put":
            edit = "update" if order.models[0].name in core.models else "add"
        match edit:
            case "add":
                return core.add_model(order.models[0], **options)  # type: ignore[arg-type] # see above
            case "update":
                return core.update_model(order.models[0], **options)  # type: ignore[arg-type] # likewise
            case "remove":
                return core.remove_model(order.models[0].name, **options)  # type: ignore[arg-type] # likewise
            case _:
                return core.reload_config(ServerConfig(order.models), **options)  # type: ignore[arg-type] # likewise

    def check_stays(self) -> None:
        """What it has said to be well has stayed so, since nothing else has happened."""
        for name, one in self.result.models.items() if self.result is not None else ():
            moved = self._world.invariants.moves[name] - self.moves[name]
            text = f"{self}: {name} was {one.outcome.value}, and has moved {moved} times since"
            self._world.ledger.require(not (one and moved), CoreRule.TRUE_RESULT, text)

    # ---- what it says when it returns ----------------------------------------------------------

    def _check(self, result: ReloadResult, accepted: Accepted) -> None:
        """What is said of each model is so at this moment."""
        require = self._world.ledger.require
        if result.rolled_back:
            require(not self.committed, CoreRule.PUT_BACK, f"{self} was let in, and denies it")
            in_force = self._world.core.config.generation
            require(in_force != accepted.generation, CoreRule.PUT_BACK, f"{self} is in force")
            return
        if accepted.atomic and accepted.changed:
            require(self.committed, CoreRule.WHOLE, f"{self} was not let in, and says so")
        superseded = result.superseded_by is not None
        waited = self.order.wait or self.order.atomic
        require(
            superseded or not (waited and self.superseded),
            CoreRule.RETURNS,
            f"{self} was superseded",
        )
        if superseded or not self.order.wait:
            return
        if result.timed_out:
            until = self._world.clock.monotonic()
            require(self.order.timeout is not None, CoreRule.RETURNS, f"{self}: {until}")
        for name, one in result.models.items():
            self._check_model(name, one.outcome, accepted)
            text = f"{self}: {name} is {one.outcome.value}, and nobody says why"
            require(one or one.reason is not None, CoreRule.TRUE_RESULT, text)

    def _check_model(self, name: str, outcome: ReloadOutcome, accepted: Accepted) -> None:
        world = self._world
        view = world.invariants.lookups.view(name)
        found, labels = view
        text = f"{self}: {name} is said to be {outcome.value}, and found is {view}"
        if outcome is ReloadOutcome.REMOVED:
            in_memory = [one for one in world.ledger.in_memory if one.name == name]
            gone = not any(world.ledger.in_memory[one] for one in in_memory)
            world.ledger.require(not found and gone, CoreRule.TRUE_RESULT, text)
        if outcome not in (ReloadOutcome.AVAILABLE, ReloadOutcome.UNCHANGED):
            return
        model = accepted.models[name]
        right = any(_fits(model, found, look) for look in self.looks_at(model))
        world.ledger.require(right, CoreRule.TRUE_RESULT, text)
        world.ledger.require(labels == model.version_labels, CoreRule.TRUE_RESULT, text)

    def looks_at(self, model: ModelConfig) -> list[frozenset[int]]:
        """Return what may count as what is there: for what is new or moved, only what was seen since."""
        assert self.accepted is not None
        looks = self._world.storage.looks[model.base_path]
        if model.name not in self.accepted.changed:
            return looks
        # What was in force for a moment may never have come to the stages.
        were = list(self._world.invariants.lookups.were.items())[-_RECENT:]
        before = [one.get(model.name) for number, one in were if number != self.accepted.generation]
        place = (model.base_path, model.version_policy)
        same = any(one and (one.base_path, one.version_policy) == place for one in before)
        return looks if same else looks[self.seen.get(model.base_path, 0) :]


def _fits(model: ModelConfig, found: Mapping[int, Model], there: frozenset[int]) -> bool:
    wanted = chosen(model, there)
    if not wanted or not found.keys() <= wanted or not at_home(model, found):
        return False
    needed = wanted if isinstance(model.version_policy, Specific) else {max(wanted)}
    return needed <= found.keys()
