"""The kit's check of sources: it must find each kind of broken one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from servman.adapters.base import Outlet
from servman.data import ServableData
from servman.errors import ClosedError, NotFoundError, ServmanError
from servman.ids import ServableId
from servman.testing import Spawned, check_source


class Shelf:
    """A storage: versions by stream, which can be out of reach."""

    def __init__(self) -> None:
        self.versions = {"m": [1, 2], "n": [1]}
        self.lost = False

    def change(self) -> None:
        self.versions["m"] = [2, 3]

    def lose(self) -> None:
        self.lost = True

    def look(self) -> dict[str, list[int]]:
        if self.lost:
            raise OSError("the shelf is out of reach")
        return self.versions


class Good:
    """A source that keeps every promise; the broken ones below change one method each."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        self.outlet: Outlet[Any] = Outlet()
        self.sent: dict[str, Any] = {}
        self.closed = False

    def set_target(self, target: Any) -> None:
        self.outlet.set_target(target)

    def poll(self) -> None:
        if self.closed:
            raise ClosedError("the source was closed")
        try:
            found = self.shelf.look()
        except OSError:
            return
        for name, versions in found.items():
            self.offer(name, [self.entry(name, version) for version in versions])

    def offer(self, name: str, versions: Sequence[ServableData[Any]]) -> None:
        if self.sent.get(name) != versions:
            self.sent[name] = versions
            self.outlet.emit(name, versions)

    def entry(self, name: str, version: int) -> ServableData[Any]:
        path = f"/{name}/{version}"
        return ServableData(ServableId(name, version), path, path)

    def close(self) -> None:
        self.closed = True


def check(methods: dict[str, Any], **options: Any) -> None:
    shelf = Shelf()
    made = type("Made", (Good,), methods)
    check_source(lambda: made(shelf), change=shelf.change, lose=shelf.lose, **options)


def complaint(**methods: Any) -> str:
    with pytest.raises(AssertionError) as told:
        check(methods)
    return str(told.value)


def test_a_source_that_keeps_its_promises_passes() -> None:
    check({})


def test_versions_that_cannot_be_made_payloads_of_are_in_order() -> None:
    failed = NotFoundError("gone")
    check({"entry": lambda _, n, v: ServableData.from_error(ServableId(n, v), failed, "/origin")})


def test_payloads_that_are_no_paths_need_no_origin() -> None:
    check({"entry": lambda _, n, v: ServableData(ServableId(n, v), [v])})


def test_a_source_that_cannot_be_closed_is_in_order() -> None:
    check({"close": None})


def emit(versions: Callable[[str], Any]) -> Callable[..., None]:
    return lambda self, name, _: Good.offer(self, name, versions(name))


def data(name: str, version: int, payload: Any = "/p", origin: str | None = "/o") -> Any:
    return ServableData(ServableId(name, version), payload, origin)


def poll_when_lost(then: Callable[[Good], None]) -> Callable[[Good], None]:
    def poll(self: Good) -> None:
        try:
            self.shelf.look()
        except OSError:
            then(self)
        else:
            Good.poll(self)

    return poll


def additions(self: Good, name: str, versions: Sequence[ServableData[Any]]) -> None:
    known = self.sent.setdefault(name, [])
    new = [one for one in versions if one not in known]
    known.extend(new)
    if new:
        self.outlet.emit(name, new)


def overlapping(self: Good, name: str, versions: Sequence[ServableData[Any]]) -> None:
    """Hold the first list of "m" half-way in the target until the second has come, too."""
    if self.sent.get(name) == versions:
        return
    self.sent[name] = versions
    inside, go_on = threading.Event(), threading.Event()

    class Held(list[Any]):
        def __iter__(self) -> Any:
            inside.set()
            assert go_on.wait(10)
            return super().__iter__()

    sending = Spawned(lambda: self.outlet.emit(name, Held(versions)))
    assert inside.wait(10)
    self.outlet.emit(name, versions)
    go_on.set()
    sending.result()


def once(self: Good, name: str, versions: Sequence[ServableData[Any]]) -> None:
    if name not in self.sent:
        Good.offer(self, name, versions)


def raising(*_: object) -> Any:
    raise ServmanError("out of order")


@pytest.mark.parametrize(
    ("methods", "told"),
    [
        ({"set_target": None}, "Made has no method set_target"),
        (
            {"set_target": lambda self, target: setattr(self.outlet, "_target", target)},
            "it took a second target",
        ),
        ({"poll": lambda _: None}, "it sent nothing\n    -> send what there is"),
        (
            {"offer": lambda self, name, versions: self.outlet.emit(name, versions)},
            "although nothing had changed\n    -> remember what was sent last",
        ),
        (
            {"poll": poll_when_lost(lambda self: self.offer("m", []))},
            "its storage was out of reach",
        ),
        (
            {"poll": poll_when_lost(raising)},
            "looking raised ServmanError: out of order\n    -> keep",
        ),
        ({"offer": additions}, "and a new source says {'m': [ServableData(m:2"),
        (
            {"offer": once},
            "it sent nothing after a change",
        ),
        ({"offer": emit(lambda _: [1])}, "as the list of 'm' it sent [1]\n    -> send a list"),
        ({"offer": emit(lambda name: {data(name, 1)})}, "-> send a list or tuple of ServableData"),
        ({"offer": emit(lambda _: [data("x", 1)])}, "in the list of 'm' it sent ['x:1']"),
        (
            {"offer": emit(lambda name: [data(name, 1), data(name, 1, "/q")])},
            "in the list of 'm' a version stands twice: ['m:1', 'm:1']",
        ),
        ({"offer": emit(lambda name: [data(name, 1, None)])}, "m:1 came with the payload None"),
        (
            {"offer": emit(lambda name: [data(name, 1, "/p", None)])},
            "m:1 came with the path '/p' and no origin",
        ),
        ({"offer": overlapping}, "lists of one stream came at the same time"),
        ({"close": lambda self: self.outlet.emit("m", [])}, "closing it sent [('m', []), "),
        ({"close": raising}, "close() raised ServmanError"),
        ({"close": lambda _: None}, "after close() it sent [('m', ["),
        ({"__init__": raising}, "make_source() raised ServmanError"),
    ],
)
def test_each_kind_of_broken_source_is_told(methods: dict[str, Any], told: str) -> None:
    assert told in complaint(**methods)
