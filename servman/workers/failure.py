"""Exceptions on their way from a worker process to whoever called it."""

from __future__ import annotations

import pickle
import sys
import traceback as tracebacks
from io import BytesIO
from typing import Any, NamedTuple, final

from servman.errors import ServmanError, WorkerCallError, settled
from servman.workers.plain import is_everywhere, plain_pickle


class RemoteTraceback(Exception):  # noqa: N818 -- no error, but where one came from
    """The traceback of a worker process as text: the cause of what is raised in the host."""

    def __str__(self) -> str:
        return f'\n"""\n{self.args[0]}"""'


@final
class Failure(NamedTuple):
    """What a method raised, in a form that always arrives. The child replies with it.

    Attributes:
        type_name: Its class.
        text: What it said.
        traceback: Where it was raised, as text.
        pickled: The exception itself, if it survives that.
        bases: The names of the classes of Python's own that it derives from.
    """

    type_name: str
    text: str
    traceback: str
    pickled: bytes | None
    bases: tuple[str, ...] = ()

    def error(self, where: str) -> BaseException:
        """Return what to raise in the host, with the child's traceback as its cause.

        That is the exception itself where its class is at hand: nothing is imported for it but servman, numpy
        and the standard library, and so never what the model needs. Else it is a `WorkerCallError`, as it is
        for exceptions that would end the host's thread: `SystemExit`, `KeyboardInterrupt`.

        Args:
            where: The servable and the method, such as "m:1: predict", for the text of the latter.
        """
        error = self._itself()
        if not isinstance(error, Exception):
            said = f"{self.type_name}: {self.text}" if self.text else self.type_name
            error = WorkerCallError(f"{where}: {said}", kind=self.type_name, bases=self.bases)
            error.traceback = self.traceback
        error.__cause__ = RemoteTraceback(self.traceback)
        return error

    def _itself(self) -> object:
        if self.pickled is None:
            return None
        try:
            return _CarefulUnpickler(BytesIO(self.pickled)).load()
        except Exception:  # noqa: BLE001 -- foreign constructors; the text is there all the same
            return None


def failure_of(error: BaseException) -> Failure:
    """Return *error* in that form. Called in the child, where it was raised. Raises nothing."""
    own = tuple(one.__name__ for one in type(error).__mro__ if one.__module__ == "builtins")
    return Failure(
        type(error).__qualname__, _text(error), _traceback(error), _surviving_pickle(error), own
    )


def portable(error: BaseException) -> ServmanError:
    """Return *error* as `settled` does, in a form that every host can read. Raises nothing."""
    plain = settled(error)
    try:
        plain_pickle(plain)
    except Exception:  # noqa: BLE001 -- a class of the model's own, or fields that are
        copy = _servman_class(plain)(_text(plain))
        copy.traceback = plain.traceback
        return copy
    return plain


@final
class _CarefulUnpickler(pickle.Unpickler):
    """An unpickler that imports nothing of a model's."""

    def find_class(self, module: str, name: str) -> Any:
        if module not in sys.modules and not is_everywhere(module):
            raise pickle.UnpicklingError(f"{module} is not imported here")
        return super().find_class(module, name)


def _surviving_pickle(error: BaseException) -> bytes | None:
    try:
        pickled = pickle.dumps(error, protocol=pickle.HIGHEST_PROTOCOL)
        survivor = pickle.loads(pickled)  # noqa: S301 -- our own
    except Exception:  # noqa: BLE001 -- foreign code; then only the text travels
        return None
    return pickled if type(survivor) is type(error) else None


def _servman_class(error: ServmanError) -> type[ServmanError]:
    """Return the nearest class of *error* that is servman's own."""
    for kind in type(error).__mro__:
        if issubclass(kind, ServmanError) and is_everywhere(kind.__module__):
            return kind
    return ServmanError


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 -- a foreign __str__
        return "(its text cannot be read)"


def _traceback(error: BaseException) -> str:
    try:
        return "".join(tracebacks.format_exception(error))
    except Exception:  # noqa: BLE001 -- foreign __str__ and __notes__
        return "(its traceback cannot be read)\n"
