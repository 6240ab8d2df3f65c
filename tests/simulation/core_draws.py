"""Histories of a core drawn from a seed: how it is set up, and what happens to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import Final

from servman.core import ModelConfig
from servman.manager import (
    AspiredVersionPolicy,
    AvailabilityPreservingPolicy,
    ResourcePreservingPolicy,
)
from servman.sources import All, Latest, Specific
from tests.simulation.common_decisions import Advance, CloseHandle, Finish, Hang, TakeHandle, Thaw
from tests.simulation.core_decisions import (
    Ask,
    Become,
    CoreDecision,
    Delete,
    Deploy,
    GoOn,
    Look,
    Poll,
    Publish,
    Rehearse,
    Repair,
    Settle,
    StepManager,
    StepSource,
    Waver,
)
from tests.simulation.core_lookups import NAMES
from tests.simulation.core_options import CoreOptions
from tests.simulation.core_reloads import Order
from tests.simulation.core_storage import Health, Kind

BASES: Final = ("/p", "/q")
VERSIONS: Final = (1, 2, 3)
_KINDS: Final = (Kind.GOOD, Kind.GOOD, Kind.GOOD, Kind.ONCE, Kind.NEVER)
_HEALTH: Final = (Health.WELL, Health.WELL, *Health)
_POOLS: Final = ("loads", "loads", "unloads", "revisions")
_POLICIES: Final[tuple[AspiredVersionPolicy, ...]] = (
    *[AvailabilityPreservingPolicy()] * 3,
    ResourcePreservingPolicy(),
)
_TIMEOUTS: Final = (0.0, 1.0, 20.0, 20.0, 60.0)
_PAUSES: Final = ("accept", "hand on", "begin commit", "commit", "wait for commit", "withdraw")


def _base(random: Random) -> str:
    return random.choice(BASES)


def _version(random: Random) -> int:
    return random.choice(VERSIONS)


def _model(random: Random, name: str) -> ModelConfig:
    specific = Specific(*sorted(random.sample(VERSIONS, random.randint(1, 2))))
    policy = random.choice((Latest(1), Latest(1), Latest(2), All(), specific))
    labels = {one: _version(random) for one in ("x", "y") if random.random() < 0.3}
    if isinstance(policy, Specific) and random.random() < 0.8:
        labels = {one: random.choice(policy.versions) for one in labels}
    return ModelConfig(
        name,
        _base(random) if random.random() < 0.97 else "relative",
        "bench" if random.random() < 0.9 else "other",
        policy,
        labels,
        required=random.random() < 0.8,
    )


def _models(random: Random) -> tuple[ModelConfig, ...]:
    names = [one for one in NAMES if random.random() < 0.6]
    if names and random.random() < 0.03:
        names.append(names[0])
    return tuple(_model(random, one) for one in names)


def _order(random: Random) -> Order:
    edit = random.choice(("", "", "", "put", "put", "remove", "add", "update"))
    models = (_model(random, random.choice(NAMES)),) if edit else _models(random)
    return Order(
        models,
        edit,
        wait=random.random() < 0.8,
        timeout=random.choice(_TIMEOUTS),
        atomic=random.random() < 0.4,
        lag=random.choice((*[None] * 6, 0, 0, 0, -1)),
        pauses=_pauses(random),
    )


def _pauses(random: Random) -> frozenset[str]:
    likely = random.choice((0.0, 0.0, 0.5))
    return frozenset(one for one in _PAUSES if random.random() < likely)


def _rehearsal(random: Random) -> Order:
    return Order(_models(random), atomic=random.random() < 0.3)


_Draw = Callable[[Random], CoreDecision]

_DRAWS: Final[tuple[tuple[float, _Draw], ...]] = (
    (5, lambda random: Ask(_order(random))),
    (0.5, lambda random: Rehearse(_rehearsal(random))),
    (0.3, lambda random: Waver(_rehearsal(random))),
    (4, lambda random: Deploy(_base(random), random.randint(3, 5))),
    (3, lambda random: GoOn(random.randrange(3))),
    (3, lambda random: Publish(_base(random), _version(random), random.choice(_KINDS))),
    (1, lambda random: Delete(_base(random), _version(random))),
    (1, lambda random: Repair(_base(random), _version(random))),
    (2, lambda random: Become(_base(random), random.choice(_HEALTH))),
    (2, lambda _: Poll()),
    (6, lambda random: Look(random.randrange(3))),
    (8, lambda random: StepSource(random.randint(1, 3))),
    (8, lambda random: StepManager(random.randint(1, 4))),
    (7, lambda random: Finish(random.choice(_POOLS), random.randrange(3))),
    (0.5, lambda random: Hang(random.choice(_POOLS), random.randrange(3))),
    (0.5, lambda random: Thaw(random.choice(_POOLS))),
    (7, lambda _: Settle()),
    (2, lambda random: Advance(random.choice((0.1, 1.0, 1.0, 5.0, 21.0)))),
    (1, lambda random: TakeHandle(random.randrange(3), random.choice(NAMES))),
    (1, lambda random: CloseHandle(random.randrange(3))),
)
"""How often, relative to one another, and what. A seed leaves some out and stresses others."""

_STRESS: Final = (0.0, 0.5, 1.0, 1.0, 3.0)
_ALWAYS: Final = 3
"""The weight from which on nothing is left out: without these nothing would happen."""


def draw_options(random: Random) -> CoreOptions:
    """Draw how the core is set up."""
    return CoreOptions(
        policy=random.choice(_POLICIES),
        poll_interval=random.choice((1.0, 1.0, 5.0, -1.0)),
        num_load_threads=random.randint(1, 3),
        max_num_load_retries=random.randint(0, 2),
        strict_version_labels=random.random() < 0.1,
        memory=random.choice((None, None, None, 8)),
    )


def draw_decisions(random: Random, count: int) -> tuple[CoreDecision, ...]:
    """Draw *count* decisions."""
    weights = [
        weight if weight >= _ALWAYS else weight * random.choice(_STRESS) for weight, _ in _DRAWS
    ]
    draws = random.choices([draw for _, draw in _DRAWS], weights, k=count)
    return (*_stock(random), *(draw(random) for draw in draws))


def _stock(random: Random) -> Iterator[CoreDecision]:
    """Draw what is there at the beginning."""
    for base in BASES:
        for version in VERSIONS:
            if random.random() < 0.7:
                yield Publish(base, version, Kind.GOOD)
