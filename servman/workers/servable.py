"""The servable that stands here for the one in the worker processes.

For the group: `worker_servable(id, description, calls, snapshots)`, with what the first child that was ready said.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, final

if TYPE_CHECKING:
    from collections.abc import Callable

    from servman.ids import ServableId
    from servman.worker_state import WorkerSnapshot
    from servman.workers.calls import Calls
    from servman.workers.messages import Description

CALL: Final = "__call__"


@final
class RemoteMethod:
    """A method of a servable in worker processes; see `Calls.call` for what a call raises.

    Threads: any.
    """

    __slots__ = ("__name__", "__qualname__", "_call")

    def __init__(self, calls: Calls, owner: str, name: str) -> None:
        self._call = calls.call
        self.__name__ = name
        self.__qualname__ = f"{owner}.{name}"

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Call the method in a worker process."""
        return self._call(self.__name__, args, kwargs)

    def __repr__(self) -> str:
        return f"<method {self.__qualname__} in worker processes>"


class WorkerServable:
    """A servable that lives in worker processes: has its methods, and the data that it declares of itself.

    Calls go to the processes. Data (signatures, metadata and the like) is as it was when the first process had
    loaded the servable; what it does not share with every process, by pickling, is not there. It can be called
    itself if the one in the processes can.

    Attributes:
        id: The version, unless the servable has an attribute of this name.

    Threads: any.
    """

    id: Any

    def __init__(
        self,
        id: ServableId,
        description: Description,
        calls: Calls,
        snapshots: Callable[[], tuple[WorkerSnapshot, ...]],
    ) -> None:
        self._id = id
        self._type_name = description.type_name
        self._calls = calls
        self._snapshots = snapshots
        self.id = id
        theirs = {name: one for name, one in description.attributes.items() if name != "workers"}
        self.__dict__.update(theirs)
        for name in description.methods:
            if name not in {"workers", CALL}:
                self.__dict__[name] = RemoteMethod(calls, description.type_name, name)

    def workers(self) -> tuple[WorkerSnapshot, ...]:
        """Return how each worker is at present. Takes no lock."""
        return self._snapshots()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        raise AttributeError(
            f"{self._id}: the {self._type_name} in its worker processes has no method {name!r}, and no such data"
            " that could be sent here"
        )

    def __repr__(self) -> str:
        return f"<{self._id}: {self._type_name} in {len(self.workers())} worker processes>"


@final
class _CallableServable(WorkerServable):
    """One that can be called, as the one in the processes can."""

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Call the servable in a worker process."""
        return self._calls.call(CALL, args, kwargs)


def worker_servable(
    id: ServableId,
    description: Description,
    calls: Calls,
    snapshots: Callable[[], tuple[WorkerSnapshot, ...]],
) -> WorkerServable:
    """Return the servable that stands for the one in the worker processes of version *id*.

    Args:
        id: The version.
        description: What a process has told of it.
        calls: Makes the calls.
        snapshots: Tells how each worker is; takes no lock.
    """
    kind = _CallableServable if CALL in description.methods else WorkerServable
    return kind(id, description, calls, snapshots)
