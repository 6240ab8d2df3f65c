"""The serving map: which version a lookup finds, read by every request without a lock."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, final

from servman.ids import ServableId, ServableRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from servman.ids import AnyRequest
    from servman.manager.handle import Entry


@final
class StreamEntry:
    """What a stream serves. Replaced as a whole, never changed.

    Attributes:
        versions: Version to entry, never empty.
        latest: The entry of the highest version.
        labels: Label to the entry of the version that it points to.
        by_text: What may stand behind the colon of a request in its text form, to the entry; None until
            `read_texts` is first called: a stream of many versions is replaced as often as one of them
            comes or goes.
    """

    __slots__ = ("_newest", "by_text", "labels", "latest", "versions")

    def __init__(
        self, versions: Mapping[int, Entry], newest: int | None, labels: Mapping[str, Entry]
    ) -> None:
        self.versions = versions
        self.latest = versions[max(versions)]
        self.labels = labels
        self._newest = newest
        self.by_text: Mapping[str, Entry] | None = None

    def references(self, entry: Entry) -> int:
        """Return how many references on *entry* are held here."""
        by_text = self.by_text or {}
        held = (*self.versions.values(), *by_text.values(), *self.labels.values(), self.latest)
        return sum(one is entry for one in held)

    def read_texts(self) -> Mapping[str, Entry]:
        """Make `by_text`, and return it. Two threads that make it at once make the same."""
        by_text = {str(version): entry for version, entry in self.versions.items()}
        by_text["latest"] = self.latest
        by_text["earliest"] = self.versions[min(self.versions)]
        if self._newest is not None and self._newest in self.versions:
            by_text["newest"] = self.versions[self._newest]
        self.by_text = by_text
        return by_text


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
            by_label = "@" in request
            name, _, which = request.partition("@" if by_label else ":")
            stream = self.streams.get(name)
            if stream is not None:
                if by_label:
                    entry = stream.labels.get(which)
                else:  # the usual spelling; another one, such as "m:03", is parsed below
                    entry = (stream.by_text or stream.read_texts()).get(which)
                if entry is not None:
                    return entry
            del stream  # a request that cannot be read raises, and its traceback keeps this frame
        return self._find(ServableRequest.of(request))

    def _find(self, request: ServableRequest) -> Entry | None:
        stream = self.streams.get(request.name)
        if stream is None:
            return None
        if request.version is not None:
            return stream.versions.get(request.version)
        if request.label is not None:
            return stream.labels.get(request.label)
        return (stream.by_text or stream.read_texts()).get(request.selector.value)

    def all_entries(self) -> list[Entry]:
        """Return the entry of every version that is served."""
        return [
            entry for stream in self.streams.copy().values() for entry in stream.versions.values()
        ]

    def ids(self) -> list[ServableId]:
        """Return what is served, in ascending order."""
        return sorted(
            ServableId(name, version)
            for name, stream in self.streams.copy().items()
            for version in stream.versions
        )

    def replace(self, entries: Mapping[str, StreamEntry | None]) -> None:
        """Let lookups find exactly *entries* in their streams from now on; None: nothing.

        Several streams change in one assignment: no lookup sees one of them changed and not yet another.
        """
        streams = self.streams if len(entries) == 1 else self.streams.copy()
        for name, entry in entries.items():
            if entry is not None:
                streams[name] = entry
            else:
                streams.pop(name, None)
        self.streams = streams

    def labels(self, name: str) -> dict[str, int]:
        """Return the labels of *name* with the version that each points to."""
        stream = self.streams.get(name)
        labels = {} if stream is None else stream.labels
        return {label: entry.id.version for label, entry in labels.items()}

    def entries(self, name: str) -> Mapping[int, Entry]:
        """Return what *name* serves."""
        stream = self.streams.get(name)
        return {} if stream is None else stream.versions


def count_handles(entry: Entry, stream: StreamEntry | None) -> int:
    """Return about how many handles hold *entry*: for people, never for decisions.

    It is the interpreter's reference count less the references that the serving map and this call
    hold; a lookup under way in another thread counts as a handle.
    """
    ours = 3  # the caller's variable, this parameter, and that of getrefcount
    if stream is not None:
        ours += stream.references(entry)
    return max(0, sys.getrefcount(entry) - ours)
