"""The adapter that stands for a platform whose package is still being imported."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, final

from servman.adapters.base import Outlet, SourceAdapter, failure_of
from servman.adapters.rejecting import ErrorInjectingAdapter
from servman.clock import SystemClock
from servman.errors import ServmanError
from servman.flow import connect
from servman.forks import watch
from servman.loader import Loader
from servman.reasons import Reason, ReasonCode
from servman.threads import spawn

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from servman.clock import Clock
    from servman.data import ServableData
    from servman.ids import ServableRequest


@final
class DeferredAdapter(SourceAdapter[str, Loader]):
    """Makes the adapter of a platform when the first versions come, on a thread of its own.

    1. Importing a foreign package may take long, hang or fail. Nobody waits for it but the models of that
       platform: their newest lists are kept until the adapter is there.
    2. Where it cannot be made, or takes no target, the error takes the place of their payloads.
    3. It is an `Explainer` of the models of that platform; of which models those are it knows nothing.

    Args:
        platform: The name of the platform.
        make: Makes the adapter; raises a `ServmanError` where that cannot be done.
        clock: The time.

    Threads: any; one at a time for one stream.
    """

    def __init__(
        self,
        platform: str,
        make: Callable[[], SourceAdapter[str, Loader]],
        clock: Clock | None = None,
    ) -> None:
        super().__init__()
        self._platform = platform
        self._make = make
        self._clock: Clock = clock or SystemClock()
        self._inlet: Outlet[str] = Outlet()
        self._lock = threading.Lock()  # guards setting `_begun`
        self._begun: float | None = None
        self._failure: ServmanError | None = None

    def set_aspired_versions(self, name: str, versions: Sequence[ServableData[str]]) -> None:
        """Hand the list to the platform's adapter, now or when it is made; see `Target`.

        Raises:
            ResourceExhaustedError: The system has no thread left to make it on.
        """
        self._inlet.emit(name, versions)
        if self._begun is None:
            watch(self)
            self._begin()

    def convert(self, data: ServableData[str]) -> ServableData[Loader]:
        """Return what a new adapter of the platform makes of the entry. Blocks: to make that."""
        return self._make().adapt_one(data)

    def forget(self, name: str) -> None:
        """Drop what is kept of the stream *name*, whose models are of another platform from now on.

        Else its list would come when the import has ended, after newer ones that went the other way.
        """
        self._inlet.forget(name)

    def explain(self, request: ServableRequest) -> Reason | None:
        """Return why a model of this platform is not served, where the platform is the reason.

        Ask before the manager and the source, whose reasons are empty or mere consequences then.
        """
        name, begun, failure = request.name, self._begun, self._failure
        facts: dict[str, object] = {"name": name, "platform": self._platform}
        if failure is not None:
            text = f"model {name!r}: {failure}"
            return Reason(ReasonCode.PLATFORM_UNAVAILABLE, text, facts, failure)
        if begun is None or not self._inlet.keeps(name):
            return None
        text = (
            f"model {name!r} waits for its platform {self._platform!r}, which has been importing for"
            f" {self._clock.monotonic() - begun:.1f} s; should that not end, find out what its package does"
            f" on the thread {self._thread_name!r}, repair it, and start the server again"
        )
        return Reason(ReasonCode.PLATFORM_UNAVAILABLE, text, {**facts, "since": begun})

    @property
    def _thread_name(self) -> str:
        return f"import-{self._platform}"

    def _begin(self) -> None:
        now = self._clock.monotonic()
        with self._lock:
            begun, self._begun = self._begun, now if self._begun is None else self._begun
        if begun is not None:
            return
        try:
            spawn(self._thread_name, self._connect, owner=self)
        except ServmanError:
            self._begun = None  # the next list tries again
            raise

    def _connect(self) -> None:
        onward = _Onward(self._outlet)
        adapter: SourceAdapter[str, Loader]
        try:
            adapter = self._make()
            connect(adapter, onward)
        except BaseException as error:  # noqa: BLE001 -- foreign code; its models are told of it
            remedy = "leave set_target() to servman.SourceAdapter, and start the server again"
            self._failure = failure_of(f"platform {self._platform!r}: its adapter", error, remedy)
            adapter = ErrorInjectingAdapter(self._failure)
            connect(adapter, onward)
        connect(self._inlet, adapter)


@final
class _Onward:
    """A target that hands on what it is told."""

    def __init__(self, outlet: Outlet[Loader]) -> None:
        self._outlet = outlet

    def set_aspired_versions(self, name: str, versions: Sequence[ServableData[Loader]]) -> None:
        self._outlet.emit(name, versions)
