"""Pickles that can be read in a process that has not the model's code."""

from __future__ import annotations

import io
import pickle
import sys
from types import BuiltinFunctionType, FunctionType, MappingProxyType
from typing import Any, Final, final

LIMIT: Final = 256 * 1024
"""Bytes of the largest value that is taken for a piece of description."""

_ROOTS: Final = sys.stdlib_module_names | {"ml_dtypes", "numpy", "servman"}

_NAMED: Final = (type, FunctionType, BuiltinFunctionType)
"""What is pickled by its name."""


def is_everywhere(module: str) -> bool:
    """Return whether *module* is there in every process: of servman, numpy or the standard library."""
    return module.partition(".")[0] in _ROOTS


def plain_pickle(value: object) -> bytes:
    """Return *value* pickled, if it is small, and made of nothing but what is there in every process.

    Raises:
        pickle.PicklingError: It is not.
        Exception: What an object in it raised when it was asked for its state.
    """
    sink = _Sink()
    _PlainPickler(sink, protocol=pickle.HIGHEST_PROTOCOL).dump(value)
    return sink.getvalue()


@final
class _PlainPickler(pickle.Pickler):
    """A pickler that stops at the first object of a class, or function, of somebody else's."""

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, MappingProxyType):  # a view, which could not be pickled
            return dict, (dict(value),)
        named = value if isinstance(value, _NAMED) else type(value)
        if not is_everywhere(named.__module__ or "builtins"):
            raise pickle.PicklingError(f"{named!r} is not there in every process")
        return NotImplemented


@final
class _Sink(io.BytesIO):
    """A file with room for `LIMIT` bytes, so that large values are refused before they are copied."""

    def write(self, data: Any) -> int:
        if self.tell() + len(data) > LIMIT:
            raise pickle.PicklingError(f"it is larger than {LIMIT} bytes")
        return super().write(data)
