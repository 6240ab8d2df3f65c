"""What every process of a version is told to load."""

from __future__ import annotations

import io
import pickle
from types import FunctionType
from typing import TYPE_CHECKING, Any, final

from servman.errors import InvalidArgumentError
from servman.workers.messages import Assignment

if TYPE_CHECKING:
    from servman.ids import ServableId
    from servman.loader import LoadContext, Loader


def assign(loader: Loader, context: LoadContext, *, heartbeat_interval: float) -> Assignment:
    """Return what to tell every process of a version; made once, and used for each start.

    Raises:
        InvalidArgumentError: The loader cannot be pickled, or is defined in the program's main file, which
            another process cannot import; the class is named, and what to do.
    """
    pickled = _pickled(context.id, loader)
    return Assignment(context.id, context.path, context.attempt, pickled, heartbeat_interval)


def _pickled(id: ServableId, loader: Loader) -> bytes:
    kind = f"{type(loader).__module__}.{type(loader).__qualname__}"
    sink = io.BytesIO()
    try:
        _LoaderPickler(sink, protocol=pickle.HIGHEST_PROTOCOL).dump(loader)
    except _InMainFileError as error:
        raise InvalidArgumentError(
            f"{id}: the loader {kind} needs {error}, which is defined in the program's main file, where a"
            " worker process cannot import it; define it in a module of its own"
        ) from None
    except BaseException as error:
        raise InvalidArgumentError(
            f"{id}: the loader {kind} cannot be sent to a worker process"
            f" ({type(error).__qualname__}: {error}); give it a __reduce__ that tells how to make it again,"
            " or serve it without workers"
        ) from error
    return sink.getvalue()


class _InMainFileError(Exception):
    """Something to be pickled is defined in the main file."""


@final
class _LoaderPickler(pickle.Pickler):
    """A pickler that knows what another process cannot import."""

    def reducer_override(self, value: Any) -> Any:
        named = value if isinstance(value, type | FunctionType) else type(value)
        if named.__module__ == "__main__":
            raise _InMainFileError(named.__qualname__)
        return NotImplemented
