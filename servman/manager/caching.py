"""`CachingManager`: loads a version when it is first asked for."""

from __future__ import annotations

import functools
import itertools
import threading
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar, Unpack, final, overload

from servman.clock import deadline_after
from servman.data import ServableData
from servman.errors import (
    ClosedError,
    FailedPreconditionError,
    InternalError,
    InvalidArgumentError,
    ServmanError,
    WaitTimeoutError,
    settled,
)
from servman.ids import AnyRequest, ServableRequest
from servman.manager.base import Manager
from servman.manager.handle import check_type
from servman.manager.harness import HarnessState
from servman.manager.leases import lease
from servman.manager.messages import Obtain, Withdraw
from servman.manager.options import check_count
from servman.manager.policy import ActionKind, ServableAction
from servman.manager.replies import Rendezvous
from servman.manager.tracker import SERVABLES, ResourceTracker
from servman.resources import ResourceAllocation

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from servman.ids import ServableId
    from servman.loader import LoadContext, Loader
    from servman.manager.handle import Entry, ServableHandle
    from servman.manager.harness import ServableStateSnapshot
    from servman.manager.options import ManagerOptions

T = TypeVar("T")

_ONE_PLACE: Final = ResourceAllocation({SERVABLES: 1})


@final
class CachingManager(Manager):
    """Loads a version when it is first asked for, and keeps it.

    1. A lookup of a version that is not there loads it, and waits. However many ask for one id at the same
       time, it is loaded once; different ids are loaded in parallel.
    2. A load that has failed for good, after its retries (0 of them let a lookup know at once:
       `max_num_load_retries=0`), is the error of all that waited for it, and is not remembered: the next lookup
       tries anew, with the loader that the factory gives then.
    3. Where there is a limit, and a load does not fit, the least recently used versions are unloaded to
       make room for it: as many as it takes, or none. One on which somebody holds a handle is never chosen,
       nor one that a lookup has waited for and has not got yet. (A lookup at the very moment of the choice gets
       a handle that holds all the same, and the load that wants the room waits for it.) If nothing can be spared, and nothing is on
       its way out already, the lookup fails at once, with the numbers: it does not wait for handles to
       be closed, for whoever holds them may be the one that would wait.
    4. What is used is what lookups ask for; `get_available_handles` says nothing about that. A version that
       was unloaded and is asked for again, even while it is still on its way out, is loaded again, with
       the loader that the factory gives then.
    5. A loader may look up other servables here. It keeps its place meanwhile: give as many load threads as loads
       nest at once, else they wait for each other, each until its lookup's timeout.

    The other options are those of `AspiredVersionsManager`, but for the policy and `sort_actions`. No
    aspirations are published: a monitor decides its waits by the states alone.

    Args:
        loader_factory: Is given the request, on the thread that asks, and returns which version answers it,
            with its loader (or with the error in its place). It is asked whenever a request names no
            version, and whenever the version is not there; it should be quick. Of those who ask for one
            version at the same time each asks the factory, and the loader of the first is used.
        max_servables: How many versions may be in memory, or on their way in or out, at once; None, the
            default, for any number. A limit by memory is a `resource_tracker`; only one of the two can be
            given.
        options: See `AspiredVersionsManager`.

    Raises:
        InvalidArgumentError: An option can never be right.

    Threads: any.
    """

    _declarative: ClassVar[bool] = False
    _forgets_failed: ClassVar[bool] = True
    _remedy: ClassVar[str] = "ask for it first"

    def __init__(
        self,
        loader_factory: Callable[[ServableRequest], ServableData[Loader]],
        *,
        max_servables: int | None = None,
        **options: Unpack[ManagerOptions],
    ) -> None:
        if not callable(loader_factory):
            raise InvalidArgumentError(f"loader_factory must be a function, not {loader_factory!r}")
        if max_servables is not None:
            check_count("max_servables", max_servables, least=1)
            if options.get("resource_tracker") is not None:
                raise InvalidArgumentError(
                    "max_servables and resource_tracker exclude each other; a tracker can count"
                    " servables, too, as a resource that each loader's estimate names"
                )
            options["resource_tracker"] = ResourceTracker(_ONE_PLACE * max_servables)
        self._loader_factory = loader_factory
        self._counts = max_servables is not None
        self._limited = options.get("resource_tracker") is not None
        self._uses = itertools.count()
        super().__init__(policy=_Eager(), **options)

    @overload
    def get_servable_handle(
        self, request: AnyRequest, type: None = None, *, timeout: float | None = 60.0
    ) -> ServableHandle[Any]: ...
    @overload
    def get_servable_handle(
        self, request: AnyRequest, type: type[T], *, timeout: float | None = 60.0
    ) -> ServableHandle[T]: ...

    def get_servable_handle(
        self,
        request: AnyRequest,
        type: type[object] | None = None,
        *,
        timeout: float | None = 60.0,
    ) -> ServableHandle[Any]:
        """Return a handle on the version that *request* asks for, which is loaded first if need be.

        Args:
            request: "m", "m:3", "m:earliest", "m:newest", an id or a request.
            type: What the servable must be an instance of; None takes any.
            timeout: Seconds to wait for the load (None: for ever). The load goes on after that.

        Blocks: in the factory; and where the version is not there, until it is loaded or has failed, or for
            *timeout*. What is there is found without a lock, by a signal handler or a finaliser, too, in the
            middle of another lookup; to wait is not for these.

        Raises:
            ServmanError: What the load failed with, or the factory.
            ResourceExhaustedError: There is no room, and nothing that could be spared.
            WaitTimeoutError: It was not loaded in time; the text and the reason say why.
            InvalidArgumentError: The request or the timeout cannot be read, or the servable is of another
                type.
            FailedPreconditionError: The manager was not started; or this is its own thread, which would
                wait for itself; or an earlier load of this version was given up (`load_timeout`) and has not
                returned yet.
            InternalError: The factory answered another question.
            ClosedError: The manager was closed, or was closed while this waited.
        """
        wanted = ServableRequest.of(request)
        self._check_label(wanted)
        entry = None if wanted.version is None else self._take(wanted.name, wanted.version)
        if entry is None:
            entry = self._look_up(wanted, deadline_after(self._clock, timeout))
        handle = super()._handle_on(entry)
        if type is not None:
            entry = None  # a traceback keeps frames alive, and so whatever they name
            check_type(handle, type)
        return handle

    def _look_up(self, request: ServableRequest, deadline: float | None) -> Entry:
        """Return what a handle on what the factory says is to hold."""
        if self._closing:
            raise ClosedError(f"{request}: the manager was closed; it loads nothing any more")
        if self._thread is None:
            raise FailedPreconditionError(f"{request}: the manager was not started; call start()")
        data = self._make(request)
        return self._take(data.id.name, data.id.version) or self._obtain(data, deadline)

    def _make(self, request: ServableRequest) -> ServableData[Loader]:
        """Ask the factory, which is foreign code, on the thread of whoever looks up."""
        try:
            data = self._loader_factory(request)
        except KeyboardInterrupt:
            raise  # it is meant for the host
        except BaseException as error:
            failure = settled(error)
            if not isinstance(error, ServmanError):
                failure.args = (f"{request}: loader_factory raised {failure}",)
            raise failure from error
        right = isinstance(data, ServableData) and data.id.name == request.name
        if not right or request.version not in (None, data.id.version):
            raise InternalError(
                f"{request}: loader_factory returned {data!r}; it must return a ServableData for a version"
                " that answers the request"
            )
        return data

    def _obtain(self, data: ServableData[Loader], deadline: float | None) -> Entry:
        """Have the version of *data* loaded; return what a handle on it is to hold."""
        which = data.id
        if threading.current_thread() is self._thread:
            raise FailedPreconditionError(
                f"{which}: a lookup on the manager's own thread, in a destructor perhaps, would wait for itself"
            )
        reply = Rendezvous(functools.partial(self._take, which.name, which.version))
        self._actor.post(Obtain(self._in_a_place(data), reply))
        try:
            entry = reply.wait(self._clock, deadline)
        except (
            BaseException
        ):  # Ctrl-C, say; after the error of the load nothing is left to withdraw
            self._actor.post(Withdraw(which, reply))
            raise
        if entry is None:
            self._actor.post(Withdraw(which, reply))
            entry = self._take(which.name, which.version)  # it may have come at the last moment
        if entry is None:
            raise self._late(which)
        return entry

    def _late(self, which: ServableId) -> WaitTimeoutError:
        reason = self.explain(which)
        if reason is None:
            return WaitTimeoutError(f"{which} is not loaded in time: nothing is known of it yet")
        return WaitTimeoutError(
            f"{which} is not loaded in time: {reason.text}",
            reasons={ServableRequest.of(which): reason},
        )

    def _in_a_place(self, data: ServableData[Loader]) -> ServableData[Loader]:
        if not self._counts or data.error is not None:
            return data
        return ServableData(data.id, _OnePlace(data.payload), data.origin)

    # ---- what is in use ------------------------------------------------------------------------

    def _take(self, name: str, version: int) -> Entry | None:
        """Return what a handle is to hold, where that version is served; it counts as used."""
        entry = self._serving.entries(name).get(version)
        if entry is None or not self._limited:
            return entry
        entry.used = next(self._uses)
        return lease(entry)

    def _handle_on(self, entry: Entry) -> ServableHandle[object]:
        return super()._handle_on(lease(entry) if self._limited else entry)

    def _dispensable(self) -> Sequence[ServableId]:
        idle = [entry for entry in self._serving.all_entries() if not entry.leases]
        return [entry.id for entry in sorted(idle, key=lambda entry: entry.used)]


@final
class _Eager:
    """Loads whatever is taken up."""

    def next_action(self, snapshots: Sequence[ServableStateSnapshot]) -> ServableAction | None:
        for one in snapshots:
            if one.state is HarnessState.NEW:
                return ServableAction(ActionKind.LOAD, one.id)
        return None


@final
class _OnePlace:
    """A loader whose servable counts as one."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def estimate_resources(self) -> ResourceAllocation:
        return _ONE_PLACE

    def load(self, context: LoadContext) -> object:
        return self._loader.load(context)

    def unload(self, servable: object) -> None:
        self._loader.unload(servable)

    def __getattr__(self, name: str) -> object:
        return getattr(self._loader, name)  # `revision`, where the loader has it
