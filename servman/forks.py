"""What a forked child may not use: whatever had threads, for they do not come along into the child.

There it would answer from what once was loaded, wait for threads that do not exist, or for locks that one
of them held. So in the child it is given another class, of which every use raises: that costs the
parent nothing, covers every method, and those too that were bound before the fork.
"""

from __future__ import annotations

import functools
import os
import types
from typing import TYPE_CHECKING, Any, Final, NoReturn
from weakref import WeakKeyDictionary, WeakSet

from servman.errors import FailedPreconditionError

if TYPE_CHECKING:
    from collections.abc import Mapping

# Each with the process in which it was started.
_started: Final[WeakKeyDictionary[object, int]] = WeakKeyDictionary()
_ties: Final[WeakKeyDictionary[object, WeakSet[object]]] = WeakKeyDictionary()
_kept: Final[list[object]] = []  # in the child, so that no destructor of a servable runs there


def watch(started: object) -> None:
    """Have every use of *started* raise in a child that is forked from now on.

    Whoever has a lock calls it before taking the lock for the first time on the way to a thread: a
    fork copies a lock that is held. It takes none itself.

    Threads: any.
    """
    _install()
    _started.setdefault(started, os.getpid())


def tie(one: object, *others: object) -> None:
    """Have *one* and *others* share their fate: where one of them is watched, so are all.

    For what meets in one lock, or is of no use without the other: a manager and the bus that it
    publishes to.

    Threads: any.
    """
    for other in others:
        _ties.setdefault(one, WeakSet()).add(other)
        _ties.setdefault(other, WeakSet()).add(one)


@functools.cache
def _install() -> None:
    """Ask to be told of forks, once: here, so that importing servman asks for nothing."""
    if hasattr(os, "register_at_fork"):  # elsewhere nobody forks
        os.register_at_fork(after_in_child=_refuse_all)


def _refuse_all() -> None:
    """Have what was started refuse every use, with all that is tied to it. Runs in the child."""
    here = os.getpid()  # the host's hooks come first, and may have started something here
    pending: list[Any] = [one for one, pid in list(_started.items()) if pid != here]
    while pending:
        one = pending.pop()
        kind: Any = type(one)
        if kind.__setattr__ is not _refuse:
            pending.extend(_ties.get(one, ()))
            _kept.append(one)
            one.__class__ = _refusing(kind)


@functools.cache
def _refusing(kind: type[Any]) -> type[Any]:
    """Return the class that takes the place of *kind*: below it and nothing else, as layouts must agree."""
    return types.new_class(kind.__name__, (kind,), None, lambda body: body.update(_REFUSALS))


def _refuse(one: object, *_: object) -> NoReturn:
    raise FailedPreconditionError(
        f"this {type(one).__name__} had threads when the process forked, and they do not exist in the"
        " child: make a new one here, or fork first and start afterwards (in the post-fork hook of"
        " a pre-fork server; with multiprocessing, by the start method 'spawn' or 'forkserver')"
    )


def _refuse_reading(one: object, name: str) -> object:
    return type(one) if name == "__class__" else _refuse(one)  # `isinstance` asks for it


def _text(one: object) -> str:
    return f"<{type(one).__name__} of the parent process>"


_REFUSALS: Final[Mapping[str, object]] = types.MappingProxyType(
    {
        "__slots__": (),
        "__repr__": _text,
        "__getattribute__": _refuse_reading,
        "__setattr__": _refuse,
        "__delattr__": _refuse,
        # Special methods are looked up on the class; these are the ones that ours have.
        "__enter__": _refuse,
        "__exit__": _refuse,
        "__aenter__": _refuse,
        "__aexit__": _refuse,
    }
)
