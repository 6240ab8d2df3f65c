"""The threads of a round: those that take handles, and those that swap what there is."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final, final

from servman.errors import (
    ClosedError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
)
from servman.ids import AnyRequest, ServableId, ServableRequest
from tests.stress.books import Model
from tests.stress.keeping import Keeping
from tests.stress.loaders import Kind, make
from tests.stress.world import OWN_STREAM, STREAMS, World

if TYPE_CHECKING:
    from random import Random

VERSIONS: Final = (1, 2, 3, 4)

_KINDS: Final = tuple(Kind)

_PAUSE: Final = 0.02
"""Seconds that a swapper mostly waits for a stream to serve; else it would swap what has not been loaded."""


def any_request(random: Random) -> AnyRequest:
    """Return a request of any form; some of them find nothing, some cannot be read."""
    name, version = random.choice((*STREAMS, OWN_STREAM)), random.choice(VERSIONS)
    if random.random() < 0.5:
        return name
    forms = (
        f"{name}:{version}",
        f"{name}:0{version}",
        f"{name}:latest",
        f"{name}:earliest",
        f"{name}:newest",
        ServableId(name, version),
        ServableRequest.latest(name),
        ServableRequest.earliest(name),
        ServableRequest.newest(name),
        ServableRequest.specific(name, version),
        f"{name}:bogus",
        "nowhere",
    )
    return random.choice(forms)


@final
class Client:
    """Takes handles and keeps them in every way, until the manager says that it is closed."""

    def __init__(self, world: World, name: str) -> None:
        self._world = world
        self._manager = world.manager
        self._books = world.books
        self._random = world.random(name)
        self._keeping = Keeping(world, self._random)
        self._told_closed = False

    def run(self) -> None:
        """Go on until the end, then let go of everything."""
        takes = [self._take] * 8
        lets_go = [self._world.receive, self._keeping.forget] * 2
        acts = (*takes, *lets_go, self._keeping.use, self._take_all, self._mistake, self._ask)
        try:
            while not (self._told_closed or self._books.failures):
                self._random.choice(acts)()
        finally:
            self._keeping.let_go()

    def _take(self) -> None:
        wanted = self._random.choice((None, Model))
        if self._look_up(any_request(self._random), wanted):
            next(self._books.handles)
            self._keeping.keep()

    def _look_up(self, request: AnyRequest, wanted: type[Model] | None) -> bool:
        """Put a handle into the hand, if there is one. The errors of some are kept for good."""
        try:
            self._keeping.hand.append(self._manager.get_servable_handle(request, wanted))
        except ClosedError:
            self._told_closed = True
        except (NotFoundError, InvalidArgumentError) as error:
            self._keep(error)
        else:
            return True
        return False

    def _mistake(self) -> None:
        """Ask for what is there, as what it is not."""
        try:
            self._manager.get_servable_handle(self._random.choice(STREAMS), str)
        except (ClosedError, NotFoundError, InvalidArgumentError) as error:
            self._keep(error)

    def _keep(self, error: Exception) -> None:
        if self._random.random() < 0.02:
            self._world.keep(error)

    def _take_all(self) -> None:
        handles = self._manager.get_available_handles(Model)
        for handle in list(handles.values()):
            assert isinstance(handle.servable, Model)
            if self._random.random() < 0.5:
                handle.close()  # the others are dropped

    def _ask(self) -> None:
        self._manager.list_available_ids()
        self._manager.snapshots(self._random.choice((None, *STREAMS)))
        self._manager.explain(self._random.choice(STREAMS))


@final
class Swapper:
    """Changes what is aspired, and how it is loaded, until the round is over."""

    def __init__(self, world: World, name: str) -> None:
        self._world = world
        self._manager = world.manager
        self._random = world.random(name)

    def run(self) -> None:
        """Go on until the end."""
        acts = (*[self._aspire] * 10, *[self._unaspire] * 3, self._retry, self._resize)
        while not self._world.ends:
            self._random.choice(acts)()
            if self._random.random() < 0.8:
                self._world.monitor.wait_until([self._random.choice(STREAMS)], timeout=_PAUSE)

    def _aspire(self) -> None:
        """Aspire some versions: new ones, those that go on being wanted, and those that come back."""
        name = self._random.choice(STREAMS)
        versions = self._random.sample(VERSIONS, self._random.randint(1, 3))
        parts, books = self._world.parts, self._world.books
        entries = [
            make(ServableId(name, version), self._kind(), books, parts, self._random)
            for version in versions
        ]
        self._manager.set_aspired_versions(name, entries)

    def _kind(self) -> Kind:
        return Kind.FAST if self._random.random() < 0.4 else self._random.choice(_KINDS)

    def _unaspire(self) -> None:
        self._manager.set_aspired_versions(self._random.choice(STREAMS), [])

    def _retry(self) -> None:
        id = ServableId(self._random.choice(STREAMS), self._random.choice(VERSIONS))  # noqa: A001 -- the word of the domain
        with contextlib.suppress(NotFoundError, FailedPreconditionError):
            self._random.choice((self._manager.retry, self._manager.cancel_retry))(id)

    def _resize(self) -> None:
        self._manager.num_load_threads = self._random.randint(1, 5)
