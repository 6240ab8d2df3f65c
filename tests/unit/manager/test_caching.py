"""Versions that are loaded when they are first asked for: requests, waits, failures and the end."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from typing import Any

import pytest

from servman.data import ServableData
from servman.errors import (
    ClosedError,
    FailedPreconditionError,
    InternalError,
    InvalidArgumentError,
    LoadFailedError,
    NotFoundError,
    ServmanError,
    WaitTimeoutError,
)
from servman.events import Event
from servman.ids import AnyRequest, ServableId, ServableRequest
from servman.loader import LoadContext, Loader, SimpleLoader
from servman.manager import CachingManager
from servman.manager.tracker import ResourceTracker
from servman.reasons import ReasonCode
from servman.resources import ResourceAllocation
from servman.state import ManagerState
from servman.testing import FailingLoader, GatedLoader, Spawned
from servman.testing.clock import WATCHDOG
from tests.unit.manager.cache import Cache
from tests.unit.manager.rig import ModelLoader, entry, sid


@pytest.fixture
def cache() -> Iterator[Cache]:
    """Return a started manager without a limit, and close it."""
    cache = Cache()
    yield cache
    cache.close()


def started(factory: Any) -> CachingManager:
    manager = CachingManager(factory, max_num_load_retries=0)
    manager.start()
    return manager


# ---- requests ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "asked"),
    [
        ("m", "m"),
        ("m:earliest", "m:earliest"),
        ("m:newest", "m:newest"),
        ("m:3", "m:3"),
        ("m:03", "m:3"),
        (ServableId("m", 3), "m:3"),
        (ServableRequest.newest("m"), "m:newest"),
    ],
)
def test_the_factory_is_shown_the_request(cache: Cache, request_: AnyRequest, asked: str) -> None:
    cache.latest = 3
    with cache.get(request_) as handle:
        assert handle.id == sid("m:3")
    assert cache.requests == [asked]


def test_the_factory_is_asked_for_a_version_only_where_it_is_not_there(cache: Cache) -> None:
    cache.use("m:1", "m:1", "m:1")
    assert cache.requests == ["m:1"]


def test_the_factory_is_asked_for_the_latest_each_time_and_may_change_its_mind(
    cache: Cache,
) -> None:
    cache.use("m", "m")
    cache.latest = 2
    with cache.get("m") as handle:
        assert handle.id == sid("m:2")
    cache.latest = 1
    with cache.get("m") as handle:
        assert handle.id == sid("m:1")
    assert cache.requests == ["m"] * 4
    assert cache.shelf.loads == ["m:1", "m:2"]


def test_what_a_factory_raises_names_the_request_and_keeps_its_cause() -> None:
    def factory(request: ServableRequest) -> ServableData[Loader]:
        raise ValueError("no such model")

    with started(factory) as manager:
        with pytest.raises(LoadFailedError) as raised:
            manager.get_servable_handle("m:newest")
        assert str(raised.value) == "m:newest: loader_factory raised ValueError: no such model"
        assert isinstance(raised.value.__cause__, ValueError)
        assert manager.snapshots() == ()


def test_an_error_of_servmans_that_a_factory_raises_keeps_its_type_and_text() -> None:
    def factory(request: ServableRequest) -> ServableData[Loader]:
        raise NotFoundError("m: not in the registry")

    with (
        started(factory) as manager,
        pytest.raises(NotFoundError, match=r"^m: not in the registry$"),
    ):
        manager.get_servable_handle("m")


def test_a_factory_that_exits_fails_the_lookup_and_ctrl_c_passes_to_the_host() -> None:
    raising: list[BaseException] = [SystemExit(3), KeyboardInterrupt()]

    def factory(request: ServableRequest) -> ServableData[Loader]:
        raise raising.pop(0)

    with started(factory) as manager:
        with pytest.raises(LoadFailedError, match="SystemExit: 3"):
            manager.get_servable_handle("m")
        with pytest.raises(KeyboardInterrupt):
            manager.get_servable_handle("m")


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        ("m", entry("other:1")),
        ("m:1", entry("m:2")),
        ("m", "a path"),
        ("m", None),
        ("m:1", ServableData.from_error(sid("m:2"), ValueError())),
    ],
)
def test_a_factory_that_answers_another_question_is_at_fault(request_: str, answer: Any) -> None:
    with started(lambda _: answer) as manager:
        with pytest.raises(InternalError, match=f"^{request_}: loader_factory returned .* must"):
            manager.get_servable_handle(request_)
        assert manager.snapshots() == ()


def test_an_error_in_the_place_of_the_loader_is_the_lookups_and_is_not_remembered(
    cache: Cache,
) -> None:
    cache.loaders["m:1"] = ValueError("cannot be converted")
    for times in (1, 2):
        with pytest.raises(LoadFailedError, match="cannot be converted"):
            cache.get("m")
        assert cache.states("m:1") == ["START", "END"] * times
    del cache.loaders["m:1"]
    cache.use("m")
    assert cache.serving() == ["m:1"]


def test_what_is_there_is_served_although_the_factory_could_no_longer_make_it(
    cache: Cache,
) -> None:
    cache.use("m:1")
    cache.loaders["m:1"] = ValueError("its files are gone")
    cache.use("m")
    assert cache.shelf.loads == ["m:1"]


def test_a_request_that_cannot_be_read_is_refused_and_the_factory_not_asked(cache: Cache) -> None:
    for request in ("m:x", "", 3):
        with pytest.raises(InvalidArgumentError):
            cache.get(request)  # type: ignore[arg-type] # as said
    with pytest.raises(InvalidArgumentError, match="timeout"):
        cache.get("m", timeout=-1)
    assert cache.requests == []


def test_a_servable_of_another_type_is_refused_and_stays(cache: Cache) -> None:
    with pytest.raises(InvalidArgumentError, match="m:1 is a Model, not the str"):
        cache.manager.get_servable_handle("m", str)
    assert cache.serving() == ["m:1"]


# ---- waits -------------------------------------------------------------------------------------


def test_a_lookup_that_comes_too_early_says_why_and_the_load_goes_on(cache: Cache) -> None:
    loader = cache.loaders["m"] = GatedLoader()
    lookup = cache.waiting("m", timeout=5.0)
    assert loader.load_entered.wait(WATCHDOG)
    cache.flush()
    cache.clock.advance(5.0)
    with pytest.raises(WaitTimeoutError) as raised:
        lookup.result()
    assert str(raised.value) == (
        "m:1 is not loaded in time: m:1 has been loading for 5.0 s (attempt 1 of 1)"
    )
    (reason,) = raised.value.reasons.values()
    assert reason.code is ReasonCode.LOADING
    loader.let_load.set()
    cache.wait_for("m:1", ManagerState.AVAILABLE)
    with cache.get("m:1", timeout=0):
        assert len(loader.contexts) == 1


def test_a_lookup_that_does_not_wait_begins_the_load_all_the_same(cache: Cache) -> None:
    loader = cache.loaders["m"] = GatedLoader()
    with pytest.raises(WaitTimeoutError, match=r"^m:1 is not loaded in time: "):
        cache.get("m", timeout=0)
    assert loader.load_entered.wait(WATCHDOG)
    loader.let_load.set()
    cache.use("m:1")


def test_lookups_that_waited_in_vain_leave_nothing_behind(cache: Cache) -> None:
    loader = cache.loaders["m"] = GatedLoader()
    lookups = [cache.waiting("m", timeout=1.0) for _ in range(3)]
    during = cache.records()
    cache.clock.advance(1.0)
    for lookup in lookups:
        with pytest.raises(WaitTimeoutError):
            lookup.result()
    cache.flush()
    assert cache.records() == during - 3
    loader.let_load.set()


def test_a_lookup_waits_through_the_retries_and_says_so(cache: Cache) -> None:
    cache.close()
    cache = Cache(max_num_load_retries=1, load_retry_interval=30.0)
    loader = cache.loaders["m"] = FailingLoader(ValueError("busy"))
    early, late = cache.waiting("m", timeout=10.0), cache.waiting("m", timeout=50.0)
    cache.wait_for("m:1", ManagerState.LOADING)
    cache.clock.wait_until_parked(3)  # both, and the manager for the next attempt
    while cache.manager.snapshots("m")[0].retry_at is None:
        cache.flush()
    cache.clock.advance(10.0)
    with pytest.raises(WaitTimeoutError, match=r"is tried again in 20\.0 s; attempt 1 of 2 failed"):
        early.result()
    cache.clock.advance(20.0)
    with late.result() as handle:
        assert handle.servable == loader.servable
    cache.close()


def test_who_cancels_the_retries_ends_the_waits_with_what_the_load_raised() -> None:
    cache = Cache(max_num_load_retries=1, load_retry_interval=30.0)
    cache.loaders["m"] = FailingLoader(ValueError("busy"), ValueError("busy"))
    lookups = [cache.waiting("m") for _ in range(2)]
    while not cache.manager.snapshots("m") or cache.manager.snapshots("m")[0].retry_at is None:
        cache.flush()
    cache.manager.cancel_retry(sid("m:1"))
    for lookup in lookups:
        with pytest.raises(LoadFailedError, match="busy"):
            lookup.result()
    assert cache.manager.snapshots() == ()
    cache.close()


def test_a_load_that_is_given_up_fails_the_lookup_and_is_not_doubled(cache: Cache) -> None:
    cache.close()
    cache = Cache(load_timeout=10.0)
    loader = cache.loaders["m"] = GatedLoader()
    lookup = cache.waiting("m")
    assert loader.load_entered.wait(WATCHDOG)
    cache.clock.advance(10.0)
    with pytest.raises(LoadFailedError, match=r"has not returned within 10 s \(load_timeout\)"):
        lookup.result()
    with pytest.raises(FailedPreconditionError, match="m:1: its last load was given up"):
        cache.get("m")
    assert len(loader.contexts) == 1
    loader.let_load.set()
    assert loader.unload_entered.wait(WATCHDOG)
    del cache.loaders["m"]
    while cache.manager._actor._reconciler._given_up:
        cache.flush()
    cache.use("m")
    assert cache.shelf.loads == ["m:1"]
    cache.close()


def test_a_failed_load_is_forgotten_and_the_next_lookup_tries_anew(cache: Cache) -> None:
    cache.loaders["m"] = FailingLoader(ValueError("corrupt"))
    with pytest.raises(LoadFailedError, match="corrupt"):
        cache.get("m")
    assert cache.manager.snapshots() == ()
    del cache.loaders["m"]
    cache.use("m")
    assert cache.shelf.loads == ["m:1"]
    assert cache.states("m:1") == ["START", "LOADING", "END", "START", "LOADING", "AVAILABLE"]


def test_each_lookup_that_waited_for_a_failing_load_has_an_error_of_its_own(cache: Cache) -> None:
    loader = cache.loaders["m"] = GatedLoader(servable=None)  # a load must not return None
    lookups = [cache.waiting("m") for _ in range(3)]
    loader.let_load.set()
    errors = []
    for lookup in lookups:
        with pytest.raises(InternalError, match="returned None") as raised:
            lookup.result()
        errors.append(raised.value)
    (told,) = cache.ends("m:1")
    assert len({id(one) for one in (*errors, told)}) == 4
    assert told is not None
    assert told.__traceback__ is None
    for error in errors:
        frames = [frame.f_code.co_name for frame, _ in traceback.walk_tb(error.__traceback__)]
        assert "load" not in frames, "the frames of the load are not kept"


def test_a_loader_may_ask_for_another_servable(cache: Cache) -> None:
    def create(context: LoadContext) -> str:
        with cache.get("part:1") as part:
            return f"made of {part.id}"

    cache.loaders["whole"] = SimpleLoader(create)
    with cache.get("whole") as handle:
        assert str(handle.servable) == "made of part:1"


def test_a_loader_that_asks_for_itself_gets_no_answer_by_its_deadline(cache: Cache) -> None:
    asked = len(cache.requests)

    def create(context: LoadContext) -> str:
        with pytest.raises(WaitTimeoutError, match="m:1 has been loading for"):
            cache.get("m:1", timeout=5.0)
        return "made without itself"

    cache.loaders["m"] = SimpleLoader(create)
    lookup = cache.waiting("m")
    cache.heard(asked + 2)
    cache.clock.wait_until_parked(3)  # both lookups, and the manager
    cache.clock.advance(5.0)
    with lookup.result() as handle:
        assert str(handle.servable) == "made without itself"


def test_a_lookup_on_the_managers_own_thread_finds_what_is_there_and_never_waits(
    cache: Cache,
) -> None:
    outcomes: list[object] = []

    class Asking:
        def record(self, event: Event) -> None:
            if not outcomes:
                outcomes.append(None)
                outcomes[:] = [
                    outcome(lambda: cache.get("there:1")),
                    outcome(lambda: cache.get("m")),
                ]

    cache.use("there:1")
    cache.bus.attach(Asking())
    cache.use("other")
    assert outcomes == [None, FailedPreconditionError]


def outcome(call: Any) -> type[ServmanError] | None:
    try:
        call().close()
    except ServmanError as error:
        return type(error)
    return None


# ---- the end -----------------------------------------------------------------------------------


def test_closing_tells_every_lookup_that_waits_at_once_though_the_load_still_runs() -> None:
    cache = Cache()
    loader = cache.loaders["m"] = GatedLoader()
    lookups = [cache.waiting("m:1"), cache.waiting("m:1"), cache.waiting("m:2")]
    assert loader.load_entered.wait(WATCHDOG)
    closing = Spawned(lambda: cache.manager.close(WATCHDOG))
    for lookup in lookups:
        with pytest.raises(
            ClosedError, match=r"m:\d: the manager was closed; it loads nothing more"
        ):
            lookup.result()
    assert not closing.done
    loader.let_load.set()
    assert closing.result()


def test_a_manager_that_was_closed_finds_nothing_and_asks_nobody() -> None:
    cache = Cache()
    cache.use("m:1")
    cache.close()
    asked = len(cache.requests)
    for request in ("m", "m:1", "m:2"):
        with pytest.raises(ClosedError, match=f"^{request}: the manager was closed"):
            cache.get(request)
    assert len(cache.requests) == asked


def test_a_manager_that_was_not_started_says_so_and_asks_nobody() -> None:
    asked: list[object] = []
    manager = CachingManager(asked.append)  # type: ignore[arg-type] # it is never called
    with pytest.raises(
        FailedPreconditionError, match=r"^m: the manager was not started; call start"
    ):
        manager.get_servable_handle("m")
    assert asked == []
    manager.close()


def test_a_handle_outlives_the_wish_to_close(cache: Cache) -> None:
    with cache.get("m") as handle:
        closing = Spawned(lambda: cache.manager.close(WATCHDOG))
        cache.wait_for("m:1", ManagerState.UNLOADING)
        assert handle.servable.loaded
        assert not closing.done
    assert closing.result()


def test_a_manager_keeps_nothing_of_what_failed(cache: Cache) -> None:
    cache.use("m")
    before = cache.records()
    cache.loaders["refused"] = ValueError("refused")
    for number in range(20):
        cache.loaders[f"failing-{number}"] = FailingLoader(ValueError("corrupt"))
        for name in (f"failing-{number}", "refused"):
            with pytest.raises(LoadFailedError):
                cache.get(f"{name}:{number}")
    cache.flush()
    assert cache.records() == before


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"max_servables": 0}, "max_servables must be an int of at least 1"),
        ({"max_servables": 1.5}, "max_servables must be an int"),
        ({"max_servables": True}, "max_servables must be an int"),
        (
            {"max_servables": 1, "resource_tracker": ResourceTracker(ResourceAllocation())},
            "max_servables and resource_tracker exclude each other",
        ),
    ],
)
def test_options_that_can_never_be_right_are_refused(options: Any, text: str) -> None:
    with pytest.raises(InvalidArgumentError, match=text):
        CachingManager(lambda _: entry("m:1", ModelLoader()), **options)


def test_a_factory_must_be_callable() -> None:
    with pytest.raises(InvalidArgumentError, match="loader_factory must be a function"):
        CachingManager("a path")  # type: ignore[arg-type] # as said
