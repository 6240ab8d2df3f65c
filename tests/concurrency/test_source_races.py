"""A started source that is configured, polled, asked and closed by many threads at once, in a random order."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from servman.errors import ClosedError, NotFoundError
from servman.flow import connect
from servman.ids import ServableRequest
from servman.sources import (
    All,
    FileSystemStoragePathSource,
    Latest,
    ServableToMonitor,
    immediate,
    marker,
)
from servman.testing import RecordingTarget, Spawned

NAMES = [f"m{number}" for number in range(8)]
KEPT = NAMES[0]
ROUNDS = 40


class Fire:
    """A source under fire. KEPT is in every configuration, with versions at each of its base paths."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 -- a test
        self._folder = folder
        for name in NAMES:
            for side in "ab":
                (folder / f"{name}{side}" / "1").mkdir(parents=True)
                (folder / f"{name}{side}" / "1" / "DONE").touch()
        self.target = RecordingTarget[str]()
        self.source = FileSystemStoragePathSource(
            self.configuration(), poll_interval=0.01, max_watches=self._random.choice([2, 256])
        )
        connect(self.source, self.target)
        self.source.start()

    def configuration(self) -> list[ServableToMonitor]:
        draw = self._random
        return [
            ServableToMonitor(
                name,
                str(self._folder / f"{name}{draw.choice('ab')}"),
                draw.choice((Latest(1), All())),
                draw.choice((immediate, marker("DONE"))),
            )
            for name in NAMES
            if name == KEPT or draw.random() < 0.7
        ]

    def configure(self) -> None:
        self.source.update_config(self.configuration())

    def publish(self) -> None:
        version = self._folder / f"{self._random.choice(NAMES)}{self._random.choice('ab')}" / "2"
        version.mkdir(exist_ok=True)
        (version / "DONE").touch()

    def ask(self) -> None:
        name = self._random.choice(NAMES)
        self.source.explain(ServableRequest.latest(name))
        with contextlib.suppress(NotFoundError):  # it may be in no configuration now
            self.source.status(name)

    def begin(self, *acts: Callable[[], object]) -> list[Spawned[None]]:
        return [Spawned(lambda act=act: self._repeat(act)) for act in acts]  # type: ignore[misc] # bound now

    def _repeat(self, act: Callable[[], object]) -> None:
        with contextlib.suppress(ClosedError):  # the others go on while one closes
            for _ in range(ROUNDS):
                act()


@pytest.fixture(params=range(3))
def fire(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Fire]:
    one = Fire(tmp_path, request.param)
    yield one
    one.source.close()


def test_whatever_comes_at_once_the_last_configuration_is_what_is_aspired_in_the_end(
    fire: Fire,
) -> None:
    acts = (fire.configure, fire.configure, fire.publish, fire.ask, fire.source.poll)
    for racing in fire.begin(*acts):
        racing.result()
    last = fire.configuration()
    fire.source.update_config(last)
    for one in last:
        there = sorted(int(path.name) for path in Path(one.base_path).iterdir())
        fire.target.wait_for(one.name, there if one.version_policy == All() else there[-1:])
    for name in set(NAMES) - {one.name for one in last}:
        if fire.target.versions(name):  # and the configuration may not have been taken up yet
            fire.target.wait_for(name, [])
    assert all(versions for name, versions in fire.target.calls if name == KEPT)


def test_closing_amid_all_that_ends_it_and_nothing_is_sent_afterwards(fire: Fire) -> None:
    racing = fire.begin(fire.configure, fire.publish, fire.ask, fire.source.poll)
    fire.source.close()
    sent = len(fire.target.calls)
    for one in racing:
        one.result()
    assert len(fire.target.calls) == sent
    with pytest.raises(ClosedError):
        fire.source.poll()
