"""The kit's check of adapters: it must find each kind of broken one."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import pytest

from servman.adapters import ErrorInjectingAdapter, SourceAdapter
from servman.adapters.base import Outlet
from servman.data import ServableData
from servman.errors import NotFoundError, UnimplementedError
from servman.loader import SimpleLoader
from servman.testing import GatedLoader, check_adapter
from servman.testing.clock import WATCHDOG


class Lengths(SourceAdapter[str, int]):
    def convert(self, data: ServableData[str]) -> ServableData[int]:
        return ServableData(data.id, len(data.payload))


class ByHand:
    """A good adapter without the base class; the broken ones below change one method each."""

    def __init__(self) -> None:
        self.outlet: Outlet[Any] = Outlet()

    def set_target(self, target: Any) -> None:
        self.outlet.set_target(target)

    def set_aspired_versions(self, name: str, versions: Sequence[ServableData[Any]]) -> None:
        self.outlet.emit(name, self.all(versions))

    def all(self, versions: Sequence[ServableData[Any]]) -> Sequence[ServableData[Any]]:
        return [self.one(data) for data in versions]

    def one(self, data: ServableData[Any]) -> ServableData[Any]:
        if data.error is not None:
            return data
        try:
            return self.converted(data)
        except Exception as error:  # noqa: BLE001 -- foreign code
            return ServableData.from_error(data.id, error, data.origin)

    def converted(self, data: ServableData[Any]) -> ServableData[Any]:
        return ServableData(data.id, len(data.payload), data.origin)


def complaint(adapter: Any, **options: Any) -> str:
    with pytest.raises(AssertionError) as told:
        check_adapter(adapter, **{"makes_loaders": False, **options})
    return str(told.value)


def broken(**methods: Any) -> Any:
    return type("Broken", (ByHand,), methods)()


def making(payload: object) -> Any:
    return lambda _, data: ServableData(data.id, payload, data.origin)


def test_adapters_that_keep_their_promises_pass() -> None:
    check_adapter(Lengths(), bad_payload=3, makes_loaders=False)
    check_adapter(broken(), bad_payload=3, makes_loaders=False)
    check_adapter(broken(converted=making(GatedLoader())), bad_payload=None)
    check_adapter(ErrorInjectingAdapter(UnimplementedError("no")), rejects=True)


class NoKeeping(ByHand):
    """Drops what comes before it has a target."""

    target: Any = None

    def set_target(self, target: Any) -> None:
        super().set_target(target)
        self.target = target

    def set_aspired_versions(self, name: str, versions: Sequence[ServableData[Any]]) -> None:
        if self.target is not None:
            super().set_aspired_versions(name, versions)


class KeepingAll(ByHand):
    """Delivers all that came before it had a target, and not just the newest of each stream."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[Any] | None = []

    def set_target(self, target: Any) -> None:
        super().set_target(target)
        kept, self.kept = self.kept or [], None
        for name, versions in kept:
            self.set_aspired_versions(name, versions)

    def set_aspired_versions(self, name: str, versions: Sequence[ServableData[Any]]) -> None:
        if self.kept is None:
            super().set_aspired_versions(name, versions)
        else:
            self.kept.append((name, versions))


class ManyTargets(ByHand):
    """Takes every target, and feeds the last."""

    def set_target(self, target: Any) -> None:
        self.outlet._target = target
        super().set_target(target) if not self.outlet._taken else None


def emptied(self: ByHand, name: str, versions: Sequence[Any]) -> None:
    if versions:
        self.outlet.emit(name, self.all(versions))


def gone(*_: object) -> Any:
    raise NotFoundError("the files are gone")


def late(self: Any, name: str, versions: Sequence[Any]) -> None:
    """Hand the list on, on a thread, after the next one."""
    before, self.before = getattr(self, "before", None), (name, versions)
    if before is not None:
        self.outlet.emit(before[0], self.all(before[1]))


@pytest.mark.parametrize(
    ("adapter", "told"),
    [
        (object(), "it has no method set_aspired_versions and set_target"),
        (NoKeeping(), "of what came before its target it delivered []"),
        (
            KeepingAll(),
            "it delivered [('early', [1]), ('other', [1]), ('early', [2, 3])]",
        ),
        (ManyTargets(), "it took a second target"),
        (broken(set_aspired_versions=emptied), "the empty list came out as []"),
        (
            broken(one=lambda _, data: ServableData(data.id, 1, data.origin)),
            "of an entry with the error NotFoundError('failed:1 is gone') it made ServableData(",
        ),
        (
            broken(all=lambda self, versions: [self.one(d) for d in versions if not d.error]),
            "an entry with an error came out as [('failed', [])]",
        ),
        (
            broken(one=lambda _, data: ServableData(data.id, 1) if not data.error else data),
            "the origin '/origin/3' became None\n    -> pass data.origin on",
        ),
        (broken(converted=gone), "it made the error the files are gone\n    -> convert every"),
        (
            broken(converted=lambda _, data: ServableData(data.id, None, data.origin)),
            "of the payload '/models/checked/1' it made None",
        ),
        (
            broken(all=lambda self, versions: sorted(map(self.one, versions), key=lambda d: d.id)),
            "a list came out as [('fine', [ServableData(fine:1",
        ),
        (
            broken(all=lambda self, versions: [self.one(d) for d in versions[-1:]]),
            "of what came before its target it delivered [('other', [1]), ('early', [3])]",
        ),
        (broken(set_aspired_versions=gone), "set_aspired_versions() raised NotFoundError"),
        (broken(set_aspired_versions=late), "the empty list came out as [('after', ["),
    ],
)
def test_each_kind_of_broken_adapter_is_told(adapter: Any, told: str) -> None:
    assert told in complaint(adapter)


def test_one_that_changes_the_list_it_was_given() -> None:
    def clearing(self: ByHand, versions: list[ServableData[Any]]) -> Sequence[ServableData[Any]]:
        made = [self.one(data) for data in versions]
        versions.clear()
        return made

    assert "it changed the list that it was given" in complaint(broken(all=clearing))


def test_one_bad_entry_that_costs_the_others_their_list() -> None:
    def one(self: ByHand, data: ServableData[Any]) -> ServableData[Any]:
        return data if data.error else self.converted(data)

    told = complaint(broken(one=one), bad_payload=3)
    assert "set_aspired_versions() raised TypeError" in told


def test_one_whose_errors_lose_the_origin() -> None:
    def one(self: ByHand, data: ServableData[Any]) -> ServableData[Any]:
        made = ByHand.one(self, data)
        failed = made.error is not None and data.error is None
        return ServableData.from_error(data.id, made.error) if failed and made.error else made

    told = complaint(broken(one=one), bad_payload=3)
    assert "the origin '/origin/2' became None" in told


@pytest.mark.parametrize("payload", ["a text", GatedLoader, SimpleLoader.load])
def test_one_that_makes_no_loaders(payload: object) -> None:
    told = complaint(broken(converted=making(payload)), makes_loaders=True)
    assert f"it made {payload!r}, which is no loader\n    -> make an object with all" in told


def test_one_that_makes_something_of_what_it_cannot_convert() -> None:
    def converted(self: ByHand, data: ServableData[Any]) -> ServableData[Any]:
        return ServableData(data.id, data.payload, data.origin)

    told = complaint(broken(converted=converted), bad_payload=3)
    assert "of a list with the payload 3 mixed:2 became ServableData(mixed:2, 3)" in told


def test_one_that_does_not_bear_two_threads() -> None:
    class Sharing(ByHand):
        """Keeps the list in its own attribute while the other thread puts another there."""

        def __init__(self) -> None:
            super().__init__()
            self.both = threading.Barrier(2)

        def set_aspired_versions(self, name: str, versions: Sequence[ServableData[Any]]) -> None:
            self.name = name
            if name in ("a", "b"):
                self.both.wait(WATCHDOG)
            self.outlet.emit(self.name, self.all(versions))

    assert "with two streams on two threads, lists of" in complaint(Sharing())


def test_an_origin_that_is_changed_on_purpose() -> None:
    class Prefixed(SourceAdapter[str, str]):
        def convert(self, data: ServableData[str]) -> ServableData[str]:
            return ServableData(data.id, data.payload, f"/mnt{data.origin}")

    check_adapter(Prefixed(), origin=lambda path: f"/mnt{path}", makes_loaders=False)
    assert "the origin '/origin/3' became '/mnt/origin/3'" in complaint(Prefixed())
