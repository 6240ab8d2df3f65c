"""The adapter that stands for a platform whose package is still being imported."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, final

from servman.adapters.base import Outlet, SourceAdapter
from servman.adapters.rejecting import ErrorInjectingAdapter
from servman.errors import ServmanError
from servman.flow import connect
from servman.forks import watch
from servman.loader import Loader
from servman.threads import spawn

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from servman.data import ServableData


@final
class DeferredAdapter(SourceAdapter[str, Loader]):
    """Makes the adapter of a platform when the first versions come, on a thread of its own.

    1. Importing a foreign package may take long, hang or fail. Nobody waits for it but the models of that
       platform: their newest lists are kept until the adapter is there.
    2. Where it cannot be made, the error takes the place of their payloads.

    Args:
        platform: The name of the platform.
        make: Makes the adapter; raises a `ServmanError` where that cannot be done.

    Threads: any; one at a time for one stream.
    """

    def __init__(self, platform: str, make: Callable[[], SourceAdapter[str, Loader]]) -> None:
        super().__init__()
        self._platform = platform
        self._make = make
        self._inlet: Outlet[str] = Outlet()
        self._lock = threading.Lock()  # guards setting `_begun`
        self._begun = False

    def set_aspired_versions(self, name: str, versions: Sequence[ServableData[str]]) -> None:
        """Hand the list to the platform's adapter, now or when it is made; see `Target`.

        Raises:
            ResourceExhaustedError: The system has no thread left to make it on.
        """
        self._inlet.emit(name, versions)
        if not self._begun:
            watch(self)
            self._begin()

    def convert(self, data: ServableData[str]) -> ServableData[Loader]:
        """Return what a new adapter of the platform makes of the entry. Blocks: to make that."""
        return self._make().adapt_one(data)

    def _begin(self) -> None:
        with self._lock:
            begun, self._begun = self._begun, True
        if begun:
            return
        try:
            spawn(f"import-{self._platform}", self._connect, owner=self)
        except ServmanError:
            self._begun = False  # the next list tries again
            raise

    def _connect(self) -> None:
        adapter: SourceAdapter[str, Loader]
        try:
            adapter = self._make()
        except ServmanError as error:
            adapter = ErrorInjectingAdapter(error)
        connect(adapter, _Onward(self._outlet))
        connect(self._inlet, adapter)


@final
class _Onward:
    """A target that hands on what it is told."""

    def __init__(self, outlet: Outlet[Loader]) -> None:
        self._outlet = outlet

    def set_aspired_versions(self, name: str, versions: Sequence[ServableData[Loader]]) -> None:
        self._outlet.emit(name, versions)
