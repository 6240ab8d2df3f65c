"""What every manager can be asked: for handles, for what is going on, and why."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar, overload

from servman.errors import ClosedError, InvalidArgumentError, NotFoundError
from servman.ids import AnyRequest, ServableId, ServableRequest
from servman.manager.debug import debugging, make_debug_handle
from servman.manager.explain import chosen, explain, explain_label, unknown_label
from servman.manager.handle import ServableHandle, check_type, new_handle
from servman.reasons import Reason, ReasonCode
from servman.state import StreamLabels

if TYPE_CHECKING:
    from servman.clock import Clock
    from servman.manager.actor import Actor
    from servman.manager.handle import Entry
    from servman.manager.harness import ServableStateSnapshot
    from servman.manager.serving import ServingMap

T = TypeVar("T")

STUCK: Final = 5.0
"""Seconds after which a step of the manager is what is to be told of."""


class Lookups:
    """Answers from what the actor has published: takes no lock, and waits for nothing.

    Threads: any.
    """

    # What errors and reasons say of what is not known here, and of what nobody wants loaded yet.
    _unknown: ClassVar[str] = "nothing of it is aspired"
    _unasked: ClassVar[str] = "the policy has not asked for it"
    _has_labels = False  # whether anybody has said which labels there are

    _actor: Actor
    _serving: ServingMap
    _clock: Clock
    _closing: bool
    _max_attempts: int

    # ---- lookups -------------------------------------------------------------------------------

    @overload
    def get_servable_handle(
        self, request: AnyRequest, type: None = None
    ) -> ServableHandle[Any]: ...
    @overload
    def get_servable_handle(self, request: AnyRequest, type: type[T]) -> ServableHandle[T]: ...

    def get_servable_handle(
        self, request: AnyRequest, type: type[object] | None = None
    ) -> ServableHandle[Any]:
        """Return a handle on the version that *request* asks for. Takes no lock, never waits.

        Args:
            request: "m" for the latest, "m:3", "m:earliest", "m:newest", "m@stable", an id or a request.
            type: What the servable must be an instance of; None takes any.

        Raises:
            NotFoundError: No such version is available; the error's reason says why.
            InvalidArgumentError: The request cannot be read, its label is none that there is, or the
                servable is of another type.
            ClosedError: The manager was closed.
        """
        try:
            stream = self._serving.streams.get(request)  # type: ignore[arg-type] # see below
        except TypeError:  # what cannot be hashed is no request; `find` says so
            stream = None
        # A bare name, as nearly always, is found at once.
        entry = self._serving.find(request) if stream is None else stream.latest
        if entry is None:
            raise self._not_found(ServableRequest.of(request))
        if debugging.on:
            handle = make_debug_handle(entry, self._clock.monotonic())
        else:
            handle = new_handle(ServableHandle)
            handle._entry = entry  # noqa: SLF001 -- inline: this is the path of every request
        if type is not None:
            stream = entry = None  # a traceback keeps frames alive, and so whatever they name
            check_type(handle, type)
        return handle

    def get_available_handles(
        self, type: type[object] | None = None
    ) -> dict[ServableId, ServableHandle[object]]:
        """Return a handle on every version that is available, of any stream; close each of them.

        Args:
            type: Leave out servables that are not instances of it.
        """
        handles = {entry.id: self._handle_on(entry) for entry in self._serving.all_entries()}
        fitting: dict[ServableId, ServableHandle[object]] = {}
        try:
            fitting = {
                key: handle
                for key, handle in handles.items()
                if type is None or isinstance(handle.servable, type)
            }
        finally:
            for key in handles.keys() - fitting.keys():
                handles[key].close()
        return fitting

    def list_available_ids(self, name: str | None = None) -> list[ServableId]:
        """Return what lookups find now of *name* (None: of every stream), in ascending order."""
        if name is None:
            return self._serving.ids()
        return [ServableId(name, version) for version in sorted(self._serving.entries(name))]

    # ---- what is going on ----------------------------------------------------------------------

    def snapshots(
        self, name: str | None = None, *, count_handles: bool = True
    ) -> tuple[ServableStateSnapshot, ...]:
        """Return what is known of every version of *name* (None: of every stream). Never waits.

        Args:
            name: The stream.
            count_handles: Whether to count the handles on each, and to ask how its workers are, which is most of
                the work.
        """
        published = self._actor.snapshots
        if name is not None:
            streams = [published.get(name, ())]
        else:
            streams = [stream for _, stream in sorted(published.copy().items())]
        if not count_handles:
            return tuple(one for stream in streams for one in stream)
        return tuple(self._completed(one) for stream in streams for one in stream)

    def explain(self, request: AnyRequest) -> Reason | None:
        """Say why *request* finds nothing; None where nothing of it is known. Never waits.

        Of a label it says why it does not point to the version that it is to point to.

        Raises:
            InvalidArgumentError: The request cannot be read, or is by label, and nobody has set labels here.
        """
        wanted = ServableRequest.of(request)
        reason = self._known_of(wanted)
        if reason is None or reason.code in (ReasonCode.AVAILABLE, ReasonCode.CLOSED):
            return reason
        return self._stuck(wanted) or reason

    # ---- behind the curtain --------------------------------------------------------------------

    def _known_of(self, wanted: ServableRequest) -> Reason | None:
        if self._closing:
            return Reason(ReasonCode.CLOSED, f"{wanted}: the manager is closed or closing")
        if wanted.label is not None:
            return self._explain_label(wanted, wanted.label)
        siblings = self._actor.snapshots.get(wanted.name, ())
        snapshot = chosen(wanted, siblings)
        if snapshot is None:
            return None
        return explain(
            self._completed(snapshot),
            siblings=siblings,
            loads=self._actor.loads,
            max_attempts=self._attempts_of(wanted.name),
            unasked=self._unasked,
            now=self._clock.monotonic(),
            wall=self._clock.wall(),
        )

    def _stuck(self, request: ServableRequest) -> Reason | None:
        """Return why nothing happens to anything, if the manager's thread does not come out of a step."""
        since = self._actor.busy_since
        age = 0.0 if since is None else self._clock.monotonic() - since
        if age < STUCK:
            return None
        text = (
            f"{request}: the manager's thread has been at one step for {age:.1f} s, and nothing changes before"
            " that ends; a policy, sort_actions or a destructor of yours may hang"
        )
        return Reason(ReasonCode.WAITING, text, {"since": since})

    def _explain_label(self, request: ServableRequest, label: str) -> Reason | None:
        labels = self._labels_of(request)
        if label not in labels.wanted and label not in labels.targets:
            if not self._has_labels:
                self._check_label(request)
            known = request.name in self._actor.labels or request.name in self._actor.snapshots
            return unknown_label(labels, label) if known else None
        version = labels.wanted.get(label, labels.targets.get(label, 0))
        reason = self.explain(ServableRequest.specific(request.name, version))
        # Only now: labels are told to have moved before their version is told to be available.
        target = self._labels_of(request).targets.get(label)
        return explain_label(request, version, target, reason)

    def _labels_of(self, request: ServableRequest) -> StreamLabels:
        return self._actor.labels.get(request.name) or StreamLabels(request.name, {}, {})

    def _attempts_of(self, name: str) -> int:
        """Return how often a load of *name* is tried."""
        del name
        return self._max_attempts

    def _check_label(self, request: ServableRequest) -> None:
        """Raise where *request* is by a label that there is not."""
        labels = self._labels_of(request)
        if request.label is not None and request.label not in labels.wanted:
            raise InvalidArgumentError(unknown_label(labels, request.label).text)

    def _not_found(self, request: ServableRequest) -> ClosedError | NotFoundError:
        if self._closing:
            return ClosedError(f"{request}: the manager was closed; it serves nothing any more")
        self._check_label(request)
        reason = self.explain(request)
        if reason is not None and reason.code is ReasonCode.AVAILABLE:
            why = "it became available at this very moment; ask again"
        else:
            why = reason.text if reason is not None else self._unknown
        return NotFoundError(f"servable not found for request {request}: {why}", reason=reason)

    def _handle_on(self, entry: Entry) -> ServableHandle[object]:
        if debugging.on:
            return make_debug_handle(entry, self._clock.monotonic())
        handle: ServableHandle[object] = new_handle(ServableHandle)
        handle._entry = entry  # noqa: SLF001 -- whoever makes a handle stores its entry
        return handle

    def _completed(self, snapshot: ServableStateSnapshot) -> ServableStateSnapshot:
        """Return *snapshot* with what only outsiders want to know, and what is not kept for them."""
        stream = self._serving.streams.get(snapshot.id.name)
        count, sites = self._actor.drains.holders(snapshot.incarnation, stream)
        workers = self._actor.workers(snapshot.incarnation)
        if not count and not workers:
            return snapshot
        return dataclasses.replace(snapshot, handles=count, sites=sites, workers=workers)
