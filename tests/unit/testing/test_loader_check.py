"""The kit's check of loaders: it must find each kind of broken one, and nothing wrong with a good one."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from typing import Any

import pytest

from servman.errors import LoadCancelledError, NotFoundError
from servman.loader import LoadContext, Loader, SimpleLoader
from servman.resources import MAIN_MEMORY, ResourceAllocation
from servman.testing import FailingLoader, check_loader, findings


class Model:
    def __init__(self) -> None:
        self.closed = False

    def use(self) -> None:
        assert not self.closed, "it is closed"


class Good:
    """A loader that keeps every promise; the broken ones below change one thing each."""

    def estimate_resources(self) -> Any:
        return ResourceAllocation({MAIN_MEMORY: 5})

    def revision(self) -> Any:
        return 1

    def load(self, context: LoadContext) -> Any:
        if context.cancelled.is_set():
            raise LoadCancelledError(f"{context.id}: no longer wanted")
        return Model()

    def unload(self, servable: Any) -> None:
        servable.closed = True


def broken(**methods: Any) -> Callable[[], Any]:
    """Return what makes good loaders but for these methods."""
    return type("Broken", (Good,), methods)


def complaint(make_loader: Callable[[], Any], **options: Any) -> str:
    with pytest.raises(AssertionError, match="the loader breaks 1 of the promises") as told:
        check_loader(make_loader, use=lambda servable: servable.use(), **options)
    return str(told.value)


def test_a_loader_that_keeps_its_promises_passes() -> None:
    check_loader(Good, path="/m/1", use=lambda servable: servable.use())
    check_loader(lambda: SimpleLoader(lambda _: Model()))


def test_one_that_ignores_cancellation_and_can_be_unloaded_passes() -> None:
    check_loader(broken(load=lambda *_: Model()))


def fail(*_: object) -> Any:
    raise ValueError("out of order")


SHARED = Model()
NUMBERS = itertools.count()


@pytest.mark.parametrize(
    ("make_loader", "told"),
    [
        (broken(unload=None), "has no method unload\n    -> define all three"),
        (broken(estimate_resources=fail), "estimate_resources() before the load raised ValueError"),
        (
            broken(estimate_resources=lambda _: 7),
            "before the load returned 7\n    -> return a se",
        ),
        (
            broken(estimate_resources=lambda _: ResourceAllocation({MAIN_MEMORY: next(NUMBERS)})),
            "-> say the same until something changes",
        ),
        (broken(load=lambda *_: SHARED), "using the servable after its load raised"),
        (
            broken(unload=fail),
            "unload(servable) raised ValueError: out of order\n    -> take apart",
        ),
        (broken(revision=lambda _: []), "hash(revision()) raised TypeError: unhashable"),
        (broken(revision=lambda _: object()), "and the files did not change\n    -> derive it"),
        (fail, "make_loader() raised ValueError"),
    ],
)
def test_each_kind_of_broken_loader_is_told_what_to_do(
    make_loader: Callable[[], Loader], told: str
) -> None:
    SHARED.closed = False
    with pytest.raises(AssertionError) as raised:
        check_loader(make_loader, use=lambda servable: servable.use())
    assert told in str(raised.value)


def test_a_load_that_returns_none() -> None:
    with pytest.raises(AssertionError, match=r"load\(context\) with attempt 1 returned None"):
        check_loader(broken(load=lambda *_: None))


def test_what_is_raised_for_a_cancelled_load_is_typed() -> None:
    def load(self: object, context: LoadContext) -> Model:
        if context.cancelled.is_set():
            raise RuntimeError("interrupted")
        return Model()

    told = complaint(broken(load=load))
    assert "was cancelled before raised RuntimeError: interrupted\n    -> raise LoadCanc" in told


def test_a_cancelled_load_that_spoils_the_next() -> None:
    def load(self: Any, context: LoadContext) -> Model:
        self.spoiled = context.cancelled.is_set() or getattr(self, "spoiled", False)
        if self.spoiled:
            raise LoadCancelledError("m:1: spoiled")
        return Model()

    assert "with attempt 2 raised LoadCancelledError: m:1: spoiled" in complaint(broken(load=load))


def test_an_unload_that_takes_apart_what_was_loaded_last() -> None:
    def load(self: Any, context: LoadContext) -> Model:
        self.last = Model()
        return self.last  # type: ignore[no-any-return] # it was just made

    def unload(self: Any, servable: Model) -> None:
        self.last.closed = True

    told = complaint(broken(load=load, unload=unload))
    assert "when an attempt of the same loader that was given up had been unloaded" in told


def test_loaders_that_share_what_they_load() -> None:
    class Sharing(Good):
        loaded: list[Model] = []  # noqa: RUF012 -- the fault

        def load(self, context: LoadContext) -> Any:
            model = super().load(context)
            self.loaded.append(model)
            self.own = [*getattr(self, "own", []), model]
            return model

        def unload(self, servable: Any) -> None:
            for model in self.loaded:
                model.closed |= model is servable or model not in self.own

    told = complaint(Sharing)
    assert "when a version that was loaded beside it by another loader had been unloaded" in told


def test_what_a_cancelled_load_returns_can_be_unloaded() -> None:
    def load(self: Any, context: LoadContext) -> Model:
        self.cancelled = context.cancelled.is_set()
        return Model()

    def unload(self: Any, servable: Model) -> None:
        assert not self.cancelled, "nothing was loaded"

    told = complaint(broken(load=load, unload=unload))
    assert "unload(servable) raised AssertionError: nothing was loaded" in told


def test_a_loader_that_is_tied_to_one_thread() -> None:
    def load(self: Any, context: LoadContext) -> Model:
        self.home = threading.current_thread()
        return Model()

    def unload(self: Any, servable: Model) -> None:
        assert threading.current_thread() is self.home, "another thread"

    assert "unload(servable) raised AssertionError: another thread" in complaint(
        broken(load=load, unload=unload)
    )


def test_one_loader_for_all() -> None:
    one = Good()
    assert "make_loader() returned one loader twice" in complaint(lambda: one)


def test_a_revision_that_loading_changes() -> None:
    def load(self: Any, context: LoadContext) -> Model:
        self.loads = getattr(self, "loads", 0) + 1
        return Model()

    told = complaint(broken(load=load, revision=lambda self: getattr(self, "loads", 0)))
    assert "revision() said 0, then [1, 0, 1]" in told


def test_a_revision_that_does_not_follow_the_files() -> None:
    changed: list[int] = []
    check_loader(broken(revision=lambda _: len(changed)), change=lambda: changed.append(1))
    told = complaint(Good, change=lambda: changed.append(1))
    assert "revision() still said 1 when the files had changed" in told


def test_a_version_that_cannot_be_loaded_has_a_typed_error_each_time() -> None:
    gone = NotFoundError("m:1 is gone")
    check_loader(Good, make_broken=lambda: FailingLoader(gone, gone))
    told = complaint(Good, make_broken=lambda: FailingLoader(gone, OSError("no such file")))
    assert "of a broken version, attempt 2, raised OSError: no such file\n    -> raise a Se" in told
    assert "attempt 2, returned ['servable']" in complaint(
        Good, make_broken=lambda: FailingLoader(gone)
    )


def test_a_call_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(findings, "WATCHDOG", 0.01)
    go_on = threading.Event()
    held: Callable[[object], Any] = lambda _: go_on.wait(10)  # noqa: E731 -- one expression
    with pytest.raises(
        AssertionError, match=r"estimate_resources\(\) before the load did not return"
    ):
        check_loader(broken(estimate_resources=held))
    go_on.set()


def test_all_that_is_broken_is_told_at_once() -> None:
    with pytest.raises(AssertionError) as told:
        check_loader(broken(estimate_resources=fail, unload=fail, revision=fail))
    text = str(told.value)
    assert "breaks 4 of the promises" in text
    assert all(name in text for name in ("1. estimate_resources", "unload(servable) ", "hash(rev"))
