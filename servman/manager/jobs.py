"""What a manager's pools run: the calls into loaders, each of which ends as one event.

This is the boundary to foreign code. Whatever it raises, `BaseException` and `sys.exit` included,
becomes the version's own error and harms nobody else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from servman.errors import InternalError, InvalidArgumentError, settled
from servman.loader import LoadContext
from servman.log import Log
from servman.manager.harness import NO_REVISION
from servman.manager.messages import EstimateReturned, LoadReturned, RevisionRead, UnloadReturned
from servman.resources import ResourceAllocation

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from servman.ids import ServableId
    from servman.loader import CancelEvent, Loader
    from servman.manager.effects import ReadRevision, StartEstimate, StartLoad, StartUnload

_MOST = 2**63 - 1
"""The largest quantity, as in TensorFlow Serving's messages; one of many digits cannot even be printed."""

_log = Log(__name__)


def estimate(
    order: StartEstimate,
    revision: Hashable,
    normalised: Callable[[ResourceAllocation], ResourceAllocation],
    should_retry: Callable[[BaseException], bool] | None,
) -> EstimateReturned:
    """Return what the loader says it will need."""
    try:
        needs = _estimate(order.data.payload, normalised)
    except BaseException as error:  # noqa: BLE001 -- foreign code: its failure is the version's END
        failure = settled(error)
        cause = str(failure).removeprefix(f"{order.data.id}: ")
        failure.args = (f"{order.data.id}: what it will need cannot be estimated: {cause}",)
        _log.warning("%s", failure)
        # An estimate that asks for what there is not will not be right the next time.
        lasting = isinstance(error, InvalidArgumentError)
        retriable = not lasting and _may_retry(should_retry, error, order.data.id)
        return EstimateReturned(order.incarnation, None, failure, revision, retriable)
    return EstimateReturned(order.incarnation, needs, None, revision, retriable=False)


def load(
    order: StartLoad,
    revision: Hashable,
    cancelled: CancelEvent,
    report_failure: Callable[[BaseException], None],
    *,
    normalised: Callable[[ResourceAllocation], ResourceAllocation] | None,
    should_retry: Callable[[BaseException], bool] | None,
    pre_load_hook: Callable[[ServableId], None] | None,
) -> LoadReturned:
    """Run one attempt and return how it ended."""
    try:
        servable = _load(order, cancelled, report_failure, pre_load_hook)
    except BaseException as error:  # noqa: BLE001 -- foreign code: its failure is the version's END
        failure = settled(error)
        cause = str(failure).removeprefix(f"{order.data.id}: ")
        _log.warning("%s: attempt %d failed: %s", order.data.id, order.attempt, cause)
        retriable = _may_retry(should_retry, error, order.data.id)
        return LoadReturned(order.incarnation, None, failure, retriable, revision)
    needs = _needs_now(order, normalised) if normalised is not None else None
    return LoadReturned(order.incarnation, servable, None, False, revision, needs)  # noqa: FBT003 -- a record


def unload(order: StartUnload, servable: object) -> UnloadReturned:
    """Take *servable* apart and return how that ended."""
    try:
        order.data.payload.unload(servable)
    except BaseException as error:  # noqa: BLE001 -- foreign code: its failure is the version's END
        _log.exception("%s: its unload raised; it is gone all the same", order.data.id)
        return UnloadReturned(order.incarnation, settled(error))
    return UnloadReturned(order.incarnation, None)


def unforeseen(id: ServableId, error: BaseException) -> InternalError:
    """Return the error of a version whose own error could not even be told."""
    return InternalError(
        f"{id}: its loader failed, and what it raised ({type(error).__qualname__}) cannot be told"
    )


def read_revision(order: ReadRevision, known: Hashable) -> RevisionRead:
    """Return whether the files have changed since they were as *known*, when the last attempt began."""
    try:
        changed = known is not NO_REVISION and bool(revision(order.data.payload) != known)
    except BaseException:  # noqa: BLE001 -- foreign code: the comparison of two revisions
        _log.exception("%s: cannot compare the revisions of its files", order.data.id)
        changed = False
    return RevisionRead(order.incarnation, order.known, changed)


def _load(
    order: StartLoad,
    cancelled: CancelEvent,
    report_failure: Callable[[BaseException], None],
    pre_load_hook: Callable[[ServableId], None] | None,
) -> object:
    if pre_load_hook is not None:
        pre_load_hook(order.data.id)
    data = order.data
    context = LoadContext(data.id, data.origin, order.attempt, cancelled, report_failure)
    servable = data.payload.load(context)
    if servable is None:
        raise InternalError(
            f"{order.data.id}: its loader returned None; load() must return the servable"
        )
    return servable


def _estimate(
    loader: Loader, normalised: Callable[[ResourceAllocation], ResourceAllocation]
) -> ResourceAllocation:
    needs: object = loader.estimate_resources()
    if not isinstance(needs, ResourceAllocation):
        raise InternalError(f"estimate_resources() returned {needs!r}, no ResourceAllocation")
    for resource, quantity in needs.quantities.items():
        if quantity > _MOST:
            raise InvalidArgumentError(f"it says that it needs more {resource} than can be counted")
    return normalised(needs)


def _needs_now(
    order: StartLoad, normalised: Callable[[ResourceAllocation], ResourceAllocation]
) -> ResourceAllocation | None:
    """Return what the servable needs once it is loaded; None leaves it at the first estimate."""
    try:
        return _estimate(order.data.payload, normalised)
    except BaseException:  # noqa: BLE001 -- foreign code: the servable is there all the same
        _log.exception("%s: what it needs after its load cannot be told", order.data.id)
        return None


def _may_retry(
    should_retry: Callable[[BaseException], bool] | None, error: BaseException, id: ServableId
) -> bool:
    if should_retry is None:
        return True
    try:
        return bool(should_retry(error))
    except BaseException:  # noqa: BLE001 -- foreign code: it cannot be asked, so nothing is repeated
        _log.exception("%s: should_retry raised; the load is not tried again", id)
        return False


def revision(loader: Loader) -> Hashable:
    """Return what the loader's files look like now; `NO_REVISION` where it cannot tell."""
    try:
        # Asked by its name: `isinstance` of a protocol costs more than the rest of this function.
        look: Callable[[], Hashable] | None = getattr(loader, "revision", None)
        return NO_REVISION if look is None else look()
    except BaseException as error:  # noqa: BLE001 -- files that cannot be looked at look like this
        # By its type: a text that differs at each look would count as a change each time.
        return ("cannot be read", type(error))
