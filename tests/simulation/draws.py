"""Histories drawn from a seed: how a manager is set up, and what happens to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import Final

from servman.ids import ServableId
from servman.manager import (
    AvailabilityPreservingPolicy,
    ExponentialBackoff,
    ResourcePreservingPolicy,
    StreamOptions,
)
from tests.simulation.common_decisions import Advance, CloseHandle, Finish, Hang, TakeHandle, Thaw
from tests.simulation.decisions import (
    Ask,
    Aspire,
    CancelRetry,
    ChangeFiles,
    Collect,
    Commit,
    Configure,
    Decision,
    DropHandle,
    Hold,
    HoldAndLose,
    KnotHandle,
    Labels,
    Load,
    Manage,
    Prepare,
    Report,
    Retry,
    Rollback,
    SetLabels,
    SetLoadThreads,
    Settle,
    Shutdown,
    Step,
    StopManaging,
    Unload,
)
from tests.simulation.labelling import LABELS
from tests.simulation.loaders import Kind, Wish
from tests.simulation.options import Options

STREAMS: Final = ("a", "b", "c")
VERSIONS: Final = (1, 2, 3)
_MANAGERS: Final = ("aspired", "aspired", "aspired", "basic", "caching")
_POOLS: Final = ("loads", "loads", "unloads", "revisions")
_KINDS: Final = (Kind.GOOD, Kind.GOOD, Kind.WATCHED, Kind.FILES, *Kind)
_NEEDS: Final = (1, 2, 3, 4, 5, 20)
_MORE: Final = (0, 0, 0, 2, -1)
_ORIGINS: Final = (None, None, "/x", "/y")
_POLICIES: Final = (AvailabilityPreservingPolicy, ResourcePreservingPolicy)
_SELECTORS: Final = (
    "",
    "",
    ":1",
    ":2",
    ":3",
    ":earliest",
    ":newest",
    *(f"@{one}" for one in LABELS),
)
_TIMEOUTS: Final = (0.0, 1.0, 12.0, None)
_INTERVALS: Final = (0.0, 0.5, 5.0, ExponentialBackoff(initial=0.5, maximum=4.0))


def _wish(random: Random, version: int) -> Wish:
    return Wish(
        version,
        random.choice(_KINDS),
        random.choice(_ORIGINS),
        random.choice(_NEEDS),
        random.choice(_MORE),
    )


def _aspire(random: Random) -> Decision:
    versions = random.sample(VERSIONS, random.choice((0, 1, 1, 2, 2, 3)))
    wishes = (_wish(random, one) for one in versions)
    return Aspire(random.choice(STREAMS), tuple(wishes))


def _prepare(random: Random) -> Decision:
    """Draw a reload that is likely to succeed."""

    def wishes() -> tuple[Wish, ...]:
        versions = random.sample(VERSIONS, random.choice((1, 1, 2)))
        return tuple(Wish(one, Kind.GOOD, random.choice(_ORIGINS)) for one in versions)

    return Prepare(tuple((name, wishes()) for name in _names(random)))


def _labels(random: Random) -> Labels:
    places = [(name, label) for name in STREAMS for label in LABELS]
    chosen = random.sample(places, random.choice((0, 3, 6)))
    return tuple((name, label, random.choice(VERSIONS)) for name, label in chosen)


def _commit(random: Random) -> Decision:
    names = random.choice((STREAMS, _names(random)))
    labels = _labels(random) if random.random() < 0.3 else None
    return Commit(names, random.choice((None, True, True, False)), labels)


def _configure(random: Random) -> Decision:
    options = (
        StreamOptions(
            policy=random.choice(_POLICIES)() if random.random() < 0.6 else None,
            max_num_load_retries=random.choice((None, 0, 1, 2)),
            load_retry_interval=random.choice((None, *_INTERVALS)),
        )
        for _ in STREAMS
    )
    return Configure(tuple(zip(_names(random), options, strict=False)))


def _manage(random: Random) -> Decision:
    return Manage(random.choice(STREAMS), _wish(random, random.choice(VERSIONS)))


def _ask(random: Random) -> Decision:
    wish = _wish(random, random.choice(VERSIONS[:2]))
    return Ask(_number(random), random.choice(STREAMS[:2]), wish, random.random() < 0.5)


def _names(random: Random) -> tuple[str, ...]:
    return tuple(sorted(random.sample(STREAMS, random.randint(1, 3))))


def _number(random: Random) -> int:
    return random.randrange(4)


def _id(random: Random) -> ServableId:
    return ServableId(random.choice(STREAMS), random.choice(VERSIONS))


def _request(random: Random) -> str:
    return random.choice(STREAMS) + random.choice(_SELECTORS)


def _specific_request(random: Random) -> str:
    return random.choice(STREAMS) + random.choice(_SELECTORS[: -len(LABELS)])


_Draws = tuple[tuple[float, Callable[[Random], Decision]], ...]

_ALL: Final[_Draws] = (
    (9, lambda random: Step(random.randint(1, 3))),
    (1, lambda _: Settle()),
    (9, lambda random: Finish(random.choice(_POOLS), random.randrange(3))),
    (0.7, lambda random: Hang(random.choice(_POOLS), random.randrange(3))),
    (0.7, lambda random: Thaw(random.choice(_POOLS))),
    (3, lambda random: Advance(random.choice((0.1, 1.0, 1.0, 5.0, 5.0, 61.0)))),
    (2, lambda random: CloseHandle(_number(random))),
    (0.7, lambda random: DropHandle(_number(random))),
    (0.7, lambda random: KnotHandle(_number(random))),
    (0.7, lambda _: Collect()),
    (0.7, lambda random: SetLoadThreads(random.randint(1, 4))),
    (1, lambda random: CancelRetry(_id(random))),
    (2, lambda random: ChangeFiles(random.choice(STREAMS))),
    (1, lambda random: Report(random.choice((0, 0, 1, 1, 2, 3, 5)), random.random() < 0.6)),
    (0.1, lambda random: Shutdown(random.choice(_TIMEOUTS))),
)
_DRAWS: Final[Mapping[str, _Draws]] = {
    "aspired": (
        *_ALL,
        (5, _aspire),
        (4, lambda random: TakeHandle(_number(random), _request(random))),
        (1, lambda random: Retry(_id(random))),
        (0.7, lambda random: Hold(_names(random))),
        (0.7, _prepare),
        (0.7, lambda random: HoldAndLose(_names(random), _labels(random))),
        (0.7, _commit),
        (0.5, lambda random: Rollback(random.choice((STREAMS, _names(random))))),
        (2, lambda random: SetLabels(_labels(random))),
        (0.5, _configure),
    ),
    "basic": (
        *_ALL,
        (9, _manage),
        (8, lambda random: Load(_id(random))),
        (4, lambda random: Unload(_id(random))),
        (2, lambda random: StopManaging(_id(random))),
        (4, lambda random: TakeHandle(_number(random), _specific_request(random))),
    ),
    "caching": (*_ALL, (15, _ask), (6, lambda random: CloseHandle(_number(random)))),
}
"""How often, relative to one another, and what. A seed leaves some out and stresses others."""

_STRESS: Final = (0.0, 0.5, 1.0, 1.0, 3.0)
_ALWAYS: Final = 5
"""The weight from which on nothing is left out: without steps and jobs nothing would happen."""


def draw_options(random: Random) -> Options:
    """Draw how the manager is set up."""
    manager = random.choice(_MANAGERS)
    memory = random.choice((None, None, 8))
    limits = (1, 1, 2, 3, None) if manager == "caching" and memory is None else (None,)
    return Options(
        manager=manager,
        policy=random.choice(_POLICIES)(),
        moods=random.choice((None, None, None, random.randrange(1_000))),
        order=random.choice((None, random.randrange(1_000))),
        num_load_threads=random.randint(1, 3),
        num_unload_threads=random.randint(1, 2),
        max_num_load_retries=random.randint(0, 2),
        load_retry_interval=random.choice(_INTERVALS),
        chance=random.randrange(1_000),
        load_timeout=random.choice((None, None, 3.0)),
        memory=memory,
        limit=random.choice(limits),
    )


def draw_decisions(random: Random, manager: str, count: int) -> tuple[Decision, ...]:
    """Draw *count* decisions for a *manager*."""
    weights = [
        weight if weight >= _ALWAYS else weight * random.choice(_STRESS)
        for weight, _ in _DRAWS[manager]
    ]
    draws = random.choices([draw for _, draw in _DRAWS[manager]], weights, k=count)
    return tuple(draw(random) for draw in draws)
