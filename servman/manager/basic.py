"""`BasicManager`: does what its caller says, version by version."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Unpack, final

from servman.data import ServableData
from servman.errors import InvalidArgumentError
from servman.ids import check_id
from servman.manager.base import Manager
from servman.manager.messages import Act, Manage, StopManaging
from servman.manager.policy import ActionKind, ServableAction

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Future

    from servman.ids import ServableId
    from servman.loader import Loader
    from servman.manager.harness import ServableStateSnapshot
    from servman.manager.options import ManagerOptions


@final
class _Idle:
    """Asks for nothing: the caller does."""

    def next_action(self, snapshots: Sequence[ServableStateSnapshot]) -> ServableAction | None:
        del snapshots
        return None


@final
class BasicManager(Manager):
    """Loads and unloads single versions when its caller says so.

    1. `manage` takes a version up, `load` and `unload` bring it in and out once each, and `stop_managing`
       forgets it. A version that has failed, or was unloaded, stays known until then, and is not tried again
       of itself: to load it again, stop managing it and manage it anew.
    2. Nothing blocks, and nothing happens before `start`. Each call returns a future, which is done when that
       has ended, and fails with the error of the version, or with the reason why it could not be begun. What
       waits for a future finds lookups, snapshots and reasons as it says.
    3. Calls take effect in the order in which they are made, so a `load` may follow its `manage` at once.
    4. Futures cannot be cancelled (`cancel` returns False). Their callbacks run on four threads of the
       manager's: one that blocks delays no version, but may delay other callbacks. What one raises is logged.
       `asyncio.wrap_future` makes a future that can be awaited.

    Lookups, handles, retries of a load, resources and closing are those of `AspiredVersionsManager`, and so
    are the options, but for the policy and `sort_actions`. The newest version of a request is the highest one
    that is managed. No aspirations are published: a monitor decides its waits by the states alone.

    Threads: any.
    """

    _declarative: ClassVar[bool] = False
    _unknown: ClassVar[str] = "nothing of it is managed"
    _remedy: ClassVar[str] = "manage it first"
    _unasked: ClassVar[str] = "nobody has asked for its load"

    def __init__(self, **options: Unpack[ManagerOptions]) -> None:
        super().__init__(policy=_Idle(), **options)

    def manage(self, data: ServableData[Loader]) -> Future[None]:
        """Take up a version, to be loaded when that is asked for.

        One that carries an error ends with it at once, and stays known.

        Returns:
            Is done when the version is known. Fails with `FailedPreconditionError` where it was known
            before, which changes nothing, and with `ClosedError` once the manager was closed.

        Raises:
            InvalidArgumentError: *data* is no `ServableData`.
        """
        if not isinstance(data, ServableData):
            raise InvalidArgumentError(f"manage() takes a ServableData, not {data!r}")
        reply = self._callbacks.reply()
        self._actor.post(Manage(data, reply))
        return reply

    def load(self, id: ServableId) -> Future[None]:
        """Load a version that is managed.

        Returns:
            Is done when lookups find it. Fails with what the last attempt failed with, and with
            `NotFoundError` where the id is not managed, `FailedPreconditionError` where its load was asked
            for before, `LoadCancelledError` where the manager was closed meanwhile, `ClosedError` where
            it was closed before, or had to leave the load behind.

        Raises:
            InvalidArgumentError: *id* is no `ServableId`.
        """
        return self._act(ActionKind.LOAD, id)

    def unload(self, id: ServableId) -> Future[None]:
        """Let lookups no longer find a version, and unload it when its last handle is closed.

        Returns:
            Is done when it is unloaded. Fails with what the unload raised, and with `NotFoundError` where
            the id is not managed, `FailedPreconditionError` where it is not loaded, or on its way out
            already, `ClosedError` where the manager was closed before, or had to leave it behind.

        Raises:
            InvalidArgumentError: *id* is no `ServableId`.
        """
        return self._act(ActionKind.UNLOAD, id)

    def stop_managing(self, id: ServableId) -> Future[None]:
        """Forget a version that is not loaded: one that has failed or was unloaded, or that is new.

        A new one gets its END, with `LoadCancelledError`; the others have had theirs.

        Returns:
            Is done when the version is no longer known, and may be managed anew. Fails with `NotFoundError`
            where the id is not managed, `FailedPreconditionError` where it is loaded, or on its way in or out,
            and `ClosedError` once the manager was closed.

        Raises:
            InvalidArgumentError: *id* is no `ServableId`.
        """
        reply = self._callbacks.reply()
        self._actor.post(StopManaging(check_id(id), reply))
        return reply

    def _act(self, kind: ActionKind, id: ServableId) -> Future[None]:
        reply = self._callbacks.reply()
        self._actor.post(Act(ServableAction(kind, check_id(id)), reply))
        return reply
