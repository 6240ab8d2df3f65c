"""The registry of platforms: which adapter turns the versions of a model into loaders."""

from __future__ import annotations

import functools
import importlib.metadata
import threading
from collections.abc import Callable
from typing import Final

from servman.adapters.base import SourceAdapter, failure_of
from servman.adapters.python_model import PythonModelAdapter
from servman.adapters.saved_model import SavedModelAdapter
from servman.errors import InvalidArgumentError, UnimplementedError
from servman.loader import Loader

AdapterFactory = Callable[[], SourceAdapter[str, Loader]]

ENTRY_POINT_GROUP: Final = "servman.platforms"
"""Where installed packages offer platforms: the name is the platform's, the object its factory."""

_lock = threading.Lock()  # guards writing to `_factories`; reading one slot needs no lock
_factories: dict[str, AdapterFactory] = {
    "tensorflow": SavedModelAdapter,
    "python": PythonModelAdapter,
}


def register_platform(name: str, factory: AdapterFactory) -> None:
    """Let models of the platform *name* go through what *factory* makes.

    What is registered here comes before what packages offer under the same name as entry points.

    Threads: any.

    Args:
        name: What `ModelConfig.platform` says.
        factory: Makes an adapter from paths of version directories to loaders. Called once by each
            server that enables the platform; quick, importing what is heavy in the first load.

    Raises:
        InvalidArgumentError: *name* is empty, *factory* cannot be called, or the name is registered
            with another factory.
    """
    if not isinstance(name, str) or not name:
        raise InvalidArgumentError(f"not the name of a platform: {name!r}")
    if not callable(factory):
        raise InvalidArgumentError(f"platform {name!r}: not a factory of adapters: {factory!r}")
    with _lock:
        known = _factories.setdefault(name, factory)
    if known is not factory:
        raise InvalidArgumentError(
            f"platform {name!r} is registered already, with {known!r}; choose another name"
        )


def registered_platforms() -> frozenset[str]:
    """Return the names of all platforms: built in, registered, and offered by installed packages.

    Blocks: at the first call, to read what the installed packages offer; that is done once.
    """
    with _lock:
        registered = frozenset(_factories)
    return registered | frozenset(_offered())


def is_registered(name: str) -> bool:
    """Return whether *name* is a platform, usable here or not. Blocks as `registered_platforms`."""
    return name in _factories or name in _offered()


def create_adapter(name: str) -> SourceAdapter[str, Loader]:
    """Return a new adapter for the platform *name*.

    Threads: any.

    Raises:
        InvalidArgumentError: Nobody registered the platform.
        UnimplementedError: It is registered, but cannot be used here; the error names the remedy.
            An `ErrorInjectingAdapter` makes it the error of the models that wanted the platform.
        KeyboardInterrupt: Ctrl-C came while the factory ran on the main thread.
    """
    if not is_registered(name):
        known = ", ".join(sorted(registered_platforms()))
        raise InvalidArgumentError(
            f"no platform is called {name!r}, there are: {known}; call register_platform, or install"
            f" the package that offers it as an entry point of {ENTRY_POINT_GROUP!r}"
        )
    try:
        return _made(name)
    except UnimplementedError:
        raise
    except BaseException as error:
        failure = failure_of(f"platform {name!r}: its factory", error)
        raise UnimplementedError(
            f"platform {name!r} cannot be used here: {failure}; repair or install the package that"
            " provides it"
        ) from error


def _made(name: str) -> SourceAdapter[str, Loader]:
    factory = _factories.get(name)
    if factory is None:
        factory = _offered()[name].load()
    adapter = factory()
    if not isinstance(adapter, SourceAdapter):
        raise InvalidArgumentError(f"its factory returned {adapter!r}, which is no SourceAdapter")
    return adapter


@functools.cache
def _offered() -> dict[str, importlib.metadata.EntryPoint]:
    """Read, once, what installed packages offer; of one name's entry points the first counts."""
    found = importlib.metadata.entry_points(group=ENTRY_POINT_GROUP)
    return {point.name: point for point in reversed(tuple(found))}
