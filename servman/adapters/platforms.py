"""The registry of platforms: which adapter turns the versions of a model into loaders."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from servman.adapters.base import SourceAdapter, failure_of
from servman.adapters.deferred import DeferredAdapter
from servman.adapters.python_model import PythonModelAdapter
from servman.adapters.saved_model import SavedModelAdapter
from servman.errors import InvalidArgumentError, UnimplementedError
from servman.loader import Loader
from servman.log import Log

if TYPE_CHECKING:
    import importlib.metadata
    from collections.abc import Iterator, Sequence

    from servman.clock import Clock
    from servman.errors import ServmanError

_log = Log(__name__)

AdapterFactory = Callable[[], SourceAdapter[str, Loader]]

ENTRY_POINT_GROUP: Final = "servman.platforms"
"""Where installed packages offer platforms: the name is the platform's, the object its factory."""

# Written and copied by one atomic operation each. A lock of the whole process would be one that a forked
# child could find held for ever.
_factories: dict[str, AdapterFactory] = {
    "tensorflow": SavedModelAdapter,
    "python": PythonModelAdapter,
}


def register_platform(name: str, factory: AdapterFactory, *, replace: bool = False) -> None:
    """Let models of the platform *name* go through what *factory* makes.

    What is registered here comes before what packages offer under the same name as entry points. To
    register the same factory again changes nothing.

    Threads: any.

    Args:
        name: What `ModelConfig.platform` says.
        factory: Makes an adapter from paths of version directories to loaders. Called once by each
            server that enables the platform, on the thread that makes the server; quick, importing what is
            heavy in the first load. What it raises is the reason of the platform's models.
        replace: Whether it takes the place of what is registered under that name, built in or not: for who
            has the process to himself. Servers that were made before keep what they have.

    Raises:
        InvalidArgumentError: *name* is empty, *factory* cannot be called, or the name is registered
            with another factory, and not to be replaced.
    """
    if not isinstance(name, str) or not name:
        raise InvalidArgumentError(f"not the name of a platform: {name!r}")
    if not callable(factory):
        raise InvalidArgumentError(f"platform {name!r}: not a factory of adapters: {factory!r}")
    if replace:
        _factories[name] = factory
    known = _factories.setdefault(name, factory)
    if known is not factory:
        raise InvalidArgumentError(
            f"platform {name!r} is registered already, with {known!r}; choose another name"
        )


def registered_platforms() -> frozenset[str]:
    """Return the names of all platforms: built in, registered, and offered by installed packages.

    Blocks: at the first call, to read what the installed packages offer; that is done once.
    """
    return frozenset(_factories.copy()) | frozenset(_offered())


def is_registered(name: str) -> bool:
    """Return whether *name* is a platform, usable here or not. Blocks as `registered_platforms`."""
    return name in _factories or name in _offered()


def create_adapter(name: str, *, clock: Clock | None = None) -> SourceAdapter[str, Loader]:
    """Return a new adapter for the platform *name*.

    What a package offers as an entry point is imported when its first versions come, on a thread of
    its own: however long that takes, and however it ends, concerns the models of that platform alone,
    and its failure takes the place of their payloads. That it goes on, or has failed, is what the
    `explain` of the returned `DeferredAdapter` tells, in times of *clock*.

    Blocks: to look, once, at what packages offer; never to import them.

    Threads: any.

    Raises:
        InvalidArgumentError: Nobody registered the platform.
        UnimplementedError: It was registered, but its factory raised; the error names the remedy.
            An `ErrorInjectingAdapter` makes it the error of the models that wanted the platform.
        KeyboardInterrupt: Ctrl-C came while the factory ran on the main thread.
    """
    factory = _factories.get(name)
    if factory is not None:
        return _made(name, factory)
    points = _offered().get(name)
    if points is None:
        known = ", ".join(sorted(registered_platforms()))
        raise InvalidArgumentError(
            f"no platform is called {name!r}, there are: {known}; call register_platform, or install"
            f" the package that offers it as an entry point of {ENTRY_POINT_GROUP!r}"
        )
    return DeferredAdapter(name, lambda: _made(name, _loaded(name, points)), clock)


def _made(name: str, factory: AdapterFactory) -> SourceAdapter[str, Loader]:
    try:
        return _checked(factory())
    except UnimplementedError:
        raise
    except BaseException as error:
        raise _unusable(name, failure_of("its factory", error)) from error


def _unusable(name: str, failure: ServmanError) -> UnimplementedError:
    return UnimplementedError(
        f"platform {name!r} cannot be used here: {failure}; repair or install the package that provides"
        " it, and start the server again"
    )


def _checked(adapter: SourceAdapter[str, Loader]) -> SourceAdapter[str, Loader]:
    if not isinstance(adapter, SourceAdapter):
        raise InvalidArgumentError(f"its factory returned {adapter!r}, which is no SourceAdapter")
    return adapter


def _loaded(name: str, points: Sequence[importlib.metadata.EntryPoint]) -> AdapterFactory:
    """Import what is offered; several packages with one name could not tell whose models these are."""
    if len(points) > 1:
        offers = ", ".join(f"{_package(point)} ({point.value})" for point in points)
        raise UnimplementedError(
            f"platform {name!r} cannot be used here: it is offered more than once, by {offers};"
            " uninstall all but one, and start the server again"
        )
    try:
        factory: AdapterFactory = points[0].load()
    except BaseException as error:
        raise _unusable(name, failure_of(f"importing {points[0].value}", error)) from error
    return factory


def _package(point: importlib.metadata.EntryPoint) -> str:
    return "an unnamed package" if point.dist is None else point.dist.name


@functools.cache
def _offered() -> dict[str, tuple[importlib.metadata.EntryPoint, ...]]:
    """Read, once, what installed packages offer; the same offer found twice counts once."""
    offers: dict[str, dict[str, importlib.metadata.EntryPoint]] = {}
    for point in _entry_points():
        offers.setdefault(point.name, {}).setdefault(point.value, point)
    return {name: tuple(points.values()) for name, points in offers.items()}


def _entry_points() -> Iterator[importlib.metadata.EntryPoint]:
    # Here, for it takes longer to import than all the rest of a worker process.
    import importlib.metadata  # noqa: PLC0415 -- as said

    try:
        yield from importlib.metadata.entry_points(group=ENTRY_POINT_GROUP)
    except Exception:  # noqa: BLE001 -- one package with broken metadata, whatever it is for
        _log.exception("the entry points of an installed package cannot be read")
    else:
        return
    for package in importlib.metadata.distributions():
        try:
            yield from package.entry_points.select(group=ENTRY_POINT_GROUP)
        except Exception:  # noqa: BLE001 -- likewise; the others are read
            _log.warning("the entry points of %s cannot be read", package)
