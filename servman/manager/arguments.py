"""What callers pass to a manager of aspired versions, checked and copied. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, TypeVar

from servman.data import ServableData
from servman.errors import InvalidArgumentError
from servman.ids import check_label, check_name, check_version
from servman.manager.options import StreamOptions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from servman.loader import Loader

V = TypeVar("V")


def checked_names(names: Iterable[str]) -> frozenset[str]:
    """Return *names*, each of which can name a stream."""
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise InvalidArgumentError(f"several names are wanted, not {names!r}")
    return frozenset(map(check_name, names))


def checked_labels(labels: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, int]]:
    """Return *labels*: name to label to version; names without any are left out."""
    checked = {}
    for name, targets in _items("labels", labels):
        items = _items(f"labels of {check_name(name)!r}", targets)
        checked[name] = {
            check_label(name, label): check_version(name, version) for label, version in items
        }
    return {name: targets for name, targets in checked.items() if targets}


def checked_expectation(
    names: frozenset[str], expected: Mapping[str, Iterable[int]]
) -> dict[str, frozenset[int]]:
    """Return *expected*: name to versions, of nothing but *names*."""
    checked = {}
    for name, versions in _items("expected", expected):
        if name not in names:
            raise InvalidArgumentError(f"{name!r} is expected, and not among what is committed")
        if not isinstance(versions, Iterable):
            raise InvalidArgumentError(f"stream {name!r}: {versions!r} are no versions")
        checked[name] = frozenset(check_version(name, version) for version in versions)
    return checked


def checked_options(streams: Mapping[str, StreamOptions]) -> dict[str, StreamOptions]:
    """Return *streams*: name to options."""
    checked = {}
    for name, options in _items("streams", streams):
        if not isinstance(options, StreamOptions):
            raise InvalidArgumentError(f"stream {name!r}: {options!r} is no StreamOptions")
        checked[check_name(name)] = options
    return checked


def checked_entries(
    name: str, versions: Sequence[ServableData[Loader]]
) -> tuple[ServableData[Loader], ...]:
    """Return *versions*, a complete list of the stream *name*."""
    try:
        entries = tuple(versions)
    except TypeError:
        raise InvalidArgumentError(
            f"stream {name!r}: {versions!r} is no list of ServableData; to unload all pass []"
        ) from None
    for one in entries:
        if not isinstance(one, ServableData):
            raise InvalidArgumentError(f"stream {name!r}: {one!r} is no ServableData")
    strangers = [str(one.id) for one in entries if one.id.name != name]
    if strangers:
        raise InvalidArgumentError(
            f"stream {name!r}: entries of another stream in its list: {', '.join(strangers)}"
        )
    if len({one.id for one in entries}) < len(entries):
        ids = ", ".join(str(one.id) for one in entries)
        raise InvalidArgumentError(f"stream {name!r}: a version stands twice in its list: {ids}")
    return entries


def _items(what: str, table: Mapping[str, V]) -> Iterable[tuple[str, V]]:
    if not isinstance(table, Mapping):
        raise InvalidArgumentError(f"{what} must be a mapping, not {table!r}")
    return table.items()
