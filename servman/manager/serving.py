"""The serving map: which version a lookup finds, read by every request without a lock."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, final

from servman.ids import ServableId, ServableRequest
from servman.manager.handle import Entry, ServableHandle, new_handle

if TYPE_CHECKING:
    from collections.abc import Mapping

    from servman.ids import AnyRequest


@final
class StreamEntry:
    """What a stream serves. Replaced as a whole, never changed.

    Attributes:
        versions: Version to entry, never empty.
        latest: The entry of the highest version.
    """

    __slots__ = ("_by_text", "_newest", "latest", "versions")

    def __init__(self, versions: Mapping[int, Entry], newest: int | None) -> None:
        self.versions = versions
        self.latest = versions[max(versions)]
        self._newest = newest
        self._by_text: dict[str, Entry] | None = None

    @property
    def by_text(self) -> Mapping[str, Entry]:
        """What may stand behind the colon of a request in its text form, to the entry.

        Made by the first lookup that asks so: a stream of many versions is replaced as often as one of
        them comes or goes. Two threads that make it at once make the same.
        """
        if self._by_text is None:
            by_text = {str(version): entry for version, entry in self.versions.items()}
            by_text["latest"] = self.latest
            by_text["earliest"] = self.versions[min(self.versions)]
            if self._newest is not None and self._newest in self.versions:
                by_text["newest"] = self.versions[self._newest]
            self._by_text = by_text
        return self._by_text


@final
class ServingMap:
    """Name to what the stream serves.

    Attributes:
        streams: Readers look a name up and take what they find; the actor alone replaces entries.

    Threads: reading from any; `replace` from the actor's only.
    """

    __slots__ = ("streams",)

    def __init__(self) -> None:
        self.streams: dict[str, StreamEntry] = {}

    def find(self, request: AnyRequest) -> Entry | None:
        """Return the entry that *request* asks for, or None.

        Raises:
            InvalidArgumentError: The request cannot be read.
        """
        if isinstance(request, str):
            name, _, version = request.partition(":")
            stream = self.streams.get(name)
            entry = stream.by_text.get(version) if stream is not None else None
            if entry is not None:  # the usual spelling; another one, such as "m:03", is parsed
                return entry
            del stream  # a request that cannot be read raises, and its traceback keeps this frame
        return self._find(ServableRequest.of(request))

    def _find(self, request: ServableRequest) -> Entry | None:
        stream = self.streams.get(request.name)
        if stream is None:
            return None
        if request.version is not None:
            return stream.versions.get(request.version)
        return stream.by_text.get(request.selector.value)

    def handles(self) -> dict[ServableId, ServableHandle[object]]:
        """Return a handle on every version that is served."""
        return {
            entry.id: _handle_on(entry)
            for stream in self.streams.copy().values()
            for entry in stream.versions.values()
        }

    def ids(self) -> list[ServableId]:
        """Return what is served, in ascending order."""
        return sorted(
            ServableId(name, version)
            for name, stream in self.streams.copy().items()
            for version in stream.versions
        )

    def replace(self, name: str, versions: Mapping[int, Entry], newest: int | None) -> None:
        """Let lookups in *name* find exactly *versions* from now on."""
        if versions:
            self.streams[name] = StreamEntry(versions, newest)
        else:
            self.streams.pop(name, None)

    def entries(self, name: str) -> Mapping[int, Entry]:
        """Return what *name* serves."""
        stream = self.streams.get(name)
        return {} if stream is None else stream.versions


def _handle_on(entry: Entry) -> ServableHandle[object]:
    handle: ServableHandle[object] = new_handle(ServableHandle)
    handle._entry = entry  # noqa: SLF001 -- whoever makes a handle stores its entry
    return handle


def count_handles(entry: Entry, stream: StreamEntry | None) -> int:
    """Return about how many handles hold *entry*: for people, never for decisions.

    It is the interpreter's reference count less the references that the serving map and this call
    hold; a lookup under way in another thread counts as a handle.
    """
    ours = 3  # the caller's variable, this parameter, and that of getrefcount
    if stream is not None:
        held = (*stream.versions.values(), *stream.by_text.values(), stream.latest)
        ours += sum(one is entry for one in held)
        del held
    return max(0, sys.getrefcount(entry) - ours)
