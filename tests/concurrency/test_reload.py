"""Reloads beside reloads, lookups, start, close and Ctrl-C: in each order that could break a promise."""

from __future__ import annotations

import functools
import itertools
import pathlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, final

import pytest

from servman.adapters import platforms
from servman.clock import SystemClock
from servman.core import ModelConfig, ReloadResult, ServerConfig, ServerCore, ServerCoreOptions
from servman.errors import ClosedError, FailedPreconditionError, NotFoundError
from servman.ids import ServableId
from servman.loader import Loader
from servman.manager.replies import FutureReply
from servman.sources import All, Specific
from servman.state import ManagerState, ServableState
from servman.testing import GatedLoader, Spawned
from servman.testing.clock import WATCHDOG
from tests.concurrency.gates import Gate, Halted, halts, together
from tests.unit.core.rig import BenchAdapter


@final
class Place:
    """Folders of models, and cores that look at them only when they are told something new."""

    def __init__(self, folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.loaders: dict[str, Loader] = {}
        self._cores: list[ServerCore] = []
        factory = functools.partial(BenchAdapter, self.loaders)
        monkeypatch.setattr(platforms, "_factories", platforms._factories | {"bench": factory})
        for name in ("a", "b", "c"):
            for version in range(1, 4):
                (folder / name / str(version)).mkdir(parents=True)

    def model(self, name: str, version: int = 1, **fields: Any) -> ModelConfig:
        """Return a model of which one version is to serve."""
        path = fields.pop("base_path", str(self.folder / name))
        return ModelConfig(name, path, "bench", version_policy=Specific(version), **fields)

    def build(self, *models: ModelConfig) -> ServerCore:
        """Make a core that will be closed."""
        options = ServerCoreOptions(platforms=("bench",), poll_interval=0, watch=False)
        core = ServerCore(ServerConfig(models), options=options)
        self._cores.append(core)
        return core

    def open(self, *models: ModelConfig) -> ServerCore:
        """Make a core that serves."""
        core = self.build(*models)
        core.start()
        core.wait_until_available(timeout=WATCHDOG)
        return core

    def gated(self, *ids: str) -> list[GatedLoader]:
        """Lay out loaders that wait for the test."""
        gated = [GatedLoader() for _ in ids]
        self.loaders.update(zip(ids, gated, strict=True))
        return gated

    def close(self) -> None:
        """Close all cores."""
        for loader in self.loaders.values():
            if isinstance(loader, GatedLoader):
                loader.let_load.set()
        for core in self._cores:
            core.close()


@pytest.fixture
def place(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    place = Place(tmp_path, monkeypatch)
    yield place
    place.close()


@pytest.fixture
def quick_switches() -> Iterator[None]:
    """Let threads that compute give way after a tenth of a millisecond."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    yield
    sys.setswitchinterval(before)


def config(*models: ModelConfig) -> ServerConfig:
    return ServerConfig(models)


def reloading(core: ServerCore, *models: ModelConfig, **options: Any) -> Spawned[ReloadResult]:
    """Reload in a thread; with nothing else said it waits for ever."""
    options = {"timeout": None, **options}
    return Spawned(lambda: core.reload_config(config(*models), **options))


def served(core: ServerCore) -> list[str]:
    """Return what is served, once nothing is on its way any more."""
    assert core.reload_config(core.config, timeout=WATCHDOG)
    return [str(one) for one in core.manager.list_available_ids()]


def ready(wait: Callable[[], bool]) -> None:
    """Wait until something has come true that nobody tells of."""
    clock, condition = SystemClock(), threading.Condition()
    deadline = clock.monotonic() + WATCHDOG
    while not wait():
        assert clock.monotonic() < deadline
        with condition:
            clock.wait_until(condition, clock.monotonic() + 0.001)


# ---- one supersedes the other ------------------------------------------------------------------


@pytest.mark.parametrize("first_atomic", [False, True])
@pytest.mark.parametrize("second_atomic", [False, True])
def test_a_newer_reload_ends_the_wait_of_an_older_one_while_its_load_hangs(
    place: Place, *, first_atomic: bool, second_atomic: bool
) -> None:
    core = place.open(place.model("a"))
    (hanging,) = place.gated("b:1")
    first = reloading(core, place.model("a"), place.model("b"), atomic=first_atomic)
    assert hanging.load_entered.wait(WATCHDOG)
    second = reloading(core, place.model("a"), place.model("c"), atomic=second_atomic)
    result = first.result()
    assert (result.superseded_by, bool(result), result.timed_out) == (3, False, False)
    assert result.rolled_back is first_atomic
    if first_atomic:  # what it began was never served, and is not waited for
        assert second.result()
    hanging.let_load.set()
    assert second.result()
    assert served(core) == ["a:1", "c:1"]


def test_of_many_reloads_at_once_the_last_one_accepted_is_served(place: Place) -> None:
    core = place.open(place.model("a"))
    configs = [config(place.model(name, version)) for name in "abc" for version in (1, 2)]
    calls = [functools.partial(core.reload_config, one, timeout=WATCHDOG) for one in configs]
    results = [one.result() for one in together(*calls)]
    last = max(results, key=lambda one: one.generation)
    assert (bool(last), last.generation) == (True, core.config.generation)
    assert served(core) == [f"{core.config.models[0].name}:{_only_version(core)}"]
    for one in results:
        assert one or one.superseded_by is not None


def _only_version(core: ServerCore) -> int:
    policy = core.config.models[0].version_policy
    assert isinstance(policy, Specific)
    return min(policy.versions)


def test_deployers_that_compare_and_set_lose_nothing(place: Place) -> None:
    core = place.open()

    def add(name: str) -> None:
        while True:
            seen = core.config.generation
            try:
                core.add_model(place.model(name), wait=False, expected_generation=seen)
            except FailedPreconditionError:
                continue
            return

    for one in together(*(functools.partial(add, f"m{number}") for number in range(8))):
        one.result()
    assert sorted(core.models) == [f"m{number}" for number in range(8)]
    assert core.config.generation == 9


def test_deployers_that_add_lose_nothing_either(place: Place) -> None:
    core = place.open()
    adds = [
        functools.partial(core.add_model, place.model(f"m{number}"), wait=False)
        for number in range(8)
    ]
    for one in together(*adds):
        one.result()
    assert len(core.models) == 8


def test_a_thousand_reloads_in_a_row_leave_what_the_last_one_says(place: Place) -> None:
    core = place.open(place.model("a"))
    configs = [config(place.model("a", 2), place.model("b")), config(place.model("a"))]
    for number in range(1_000):
        core.reload_config(configs[number % 2], wait=False)
    assert (core.config.generation, served(core)) == (1_001, ["a:1"])


# ---- a commit, against a newer reload at each line ---------------------------------------------


@pytest.mark.parametrize("atomic", [False, True])
def test_a_newer_reload_at_any_line_of_an_atomic_one_is_served_whole_in_the_end(
    place: Place, *, atomic: bool
) -> None:
    core = place.open()
    before = config(place.model("a", 1, version_labels={"stable": 1}), place.model("b", 1))
    after = config(place.model("a", 2, version_labels={"stable": 2}), place.model("c", 1))
    newer = config(place.model("a", 3), place.model("b", 1))

    def begin() -> ReloadResult:
        return core.reload_config(after, atomic=True, timeout=None)

    for line in itertools.count(atomic, 7):
        assert core.reload_config(before, timeout=WATCHDOG)
        halted = Halted(begin, line, "core/reloader")
        if not halted.halts():
            assert halted.resume()
            assert line > 0
            return
        second = reloading(core, *newer.models, atomic=atomic)
        # It waits for the commit, if that is what the first one is in the midst of.
        ready(lambda second=second: second.done or core._stages.configuration._committing)  # type: ignore[misc]
        results = halted.resume(), second.result()
        for result in results:
            assert result or result.superseded_by is not None, line
        assert any(results), line
        last = ["a:3", "b:1"] if core.config.models == newer.models else ["a:2", "c:1"]
        assert served(core) == last, line
        assert core.manager.labels("a") == ({} if "a:3" in last else {"stable": 2}), line


def test_a_newer_reload_waits_for_a_commit_that_is_under_way(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    core = place.open(place.model("a"))
    gate = Gate()
    answer = FutureReply.answer

    def late(reply: FutureReply, error: Any) -> None:
        gate()
        answer(reply, error)

    monkeypatch.setattr(FutureReply, "answer", late)
    first = reloading(core, place.model("b"), atomic=True)
    gate.wait()  # it is done, and nobody knows it yet
    newer = reloading(core, place.model("c"))
    assert core.config.generation == 1
    gate.open()
    assert first.result().generation == 2
    assert newer.result()
    assert served(core) == ["c:1"]


# ---- lookups beside atomic reloads -------------------------------------------------------------


def test_no_lookup_ever_sees_a_mixture(place: Place, quick_switches: None) -> None:
    """Versions only grow, so whoever reads one after the other never reads a lower one later."""

    def models(version: int) -> list[ModelConfig]:
        names = ("a", "b") if version % 2 else ("a", "b", "extra")
        return [
            place.model(
                name, version, base_path=str(place.folder / "long"), version_labels={"now": version}
            )
            for name in names
        ]

    rounds = 12
    for version in range(1, rounds + 1):
        (place.folder / "long" / str(version)).mkdir(parents=True)
    core = place.open(*models(1))
    stop = threading.Event()
    cycle = ("a", "b@now", "b", "a@now")

    def version_of(request: str) -> int:
        with core.get_servable_handle(request) as handle:
            return handle.id.version

    def read(start: int) -> int:
        requests = itertools.islice(itertools.cycle(cycle), start, None)
        last, count = 0, 0
        while not stop.is_set():
            found = version_of(next(requests))
            assert found >= last, f"{found} after {last}"
            last, count = found, count + 1
        return count

    readers = [Spawned(functools.partial(read, start)) for start in range(2)]
    try:
        for version in range(2, rounds + 1):
            assert core.reload_config(config(*models(version)), atomic=True, timeout=WATCHDOG)
    finally:
        stop.set()
    assert all(reader.result() > rounds for reader in readers)
    assert served(core) == [f"{name}:{rounds}" for name in ("a", "b", "extra")]


# ---- start and close ---------------------------------------------------------------------------


def test_a_reload_at_any_line_of_the_start_is_served(place: Place) -> None:
    cores: list[ServerCore] = []

    def begin(_: str) -> Callable[[], None]:
        cores.append(place.build(place.model("a")))
        return cores[-1].start

    for _, halted in halts(begin, "core/s"):
        core = cores[-1]
        reload = reloading(core, place.model("b"), wait=False)
        ready(lambda core=core: core.config.generation == 2)  # type: ignore[misc]
        halted.resume()
        reload.result()
        core.wait_until_available("b", timeout=WATCHDOG)
        assert served(core) == ["b:1"]
        core.close()


def test_a_close_at_any_line_of_a_reload_ends_it(place: Place) -> None:
    cores: list[ServerCore] = []

    def begin() -> Callable[[], object]:
        core = place.open(place.model("a"))
        cores.append(core)

        def reload() -> object:
            try:
                return core.reload_config(config(place.model("b")), timeout=None)
            except ClosedError as error:
                return error

        return reload

    for line in itertools.count(0, 5):
        halted = Halted(begin(), line, "core/reloader")
        if not halted.halts():
            assert isinstance(halted.resume(), ReloadResult)
            assert line > 0
            return
        closing = Spawned(cores[-1].close)
        ready(lambda core=cores[-1]: core.closed)  # type: ignore[misc]
        assert isinstance(halted.resume(), ClosedError | ReloadResult)
        closing.result()


@pytest.mark.parametrize("atomic", [False, True])
def test_closing_ends_a_reload_that_waits(place: Place, *, atomic: bool) -> None:
    core = place.open(place.model("a"))
    (hanging,) = place.gated("b:1")
    waiting = reloading(core, place.model("a"), place.model("b"), atomic=atomic)
    assert hanging.load_entered.wait(WATCHDOG)
    closing = Spawned(core.close)
    with pytest.raises(ClosedError):
        waiting.result()
    hanging.let_load.set()
    closing.result()
    assert core.config.generation == (1 if atomic else 2)


# ---- Ctrl-C ------------------------------------------------------------------------------------


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Let SIGINT raise: in what was started in the background by a shell it is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # noqa: TID251 -- a test
    yield
    signal.signal(signal.SIGINT, before)  # noqa: TID251 -- as above


@pytest.mark.usefixtures("interruptible")
def test_a_ctrl_c_in_an_atomic_wait_puts_everything_back(place: Place) -> None:
    core = place.open(place.model("a"))
    (hanging,) = place.gated("b:1")

    def interrupt() -> None:
        assert hanging.load_entered.wait(WATCHDOG)
        ready(lambda: bool(core._stages.noticeboard._listeners))
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    interrupting = Spawned(interrupt)
    with pytest.raises(KeyboardInterrupt):
        core.reload_config(
            config(place.model("a", 2), place.model("b")), atomic=True, timeout=WATCHDOG
        )
    interrupting.result()
    assert core.config.generation == 1
    assert served(core) == ["a:1"]
    hanging.let_load.set()
    assert core.reload_config(config(place.model("b")), atomic=True, timeout=WATCHDOG)
    assert served(core) == ["b:1"]


@pytest.mark.usefixtures("interruptible")
def test_a_ctrl_c_while_the_manager_commits_leaves_what_it_answers(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    core = place.open(place.model("a"))
    gate = Gate()
    answer = FutureReply.answer

    def late(reply: FutureReply, error: Any) -> None:
        gate()
        answer(reply, error)

    def interrupt() -> None:
        gate.wait()
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        gate.open()

    monkeypatch.setattr(FutureReply, "answer", late)
    interrupting = Spawned(interrupt)
    with pytest.raises(KeyboardInterrupt):
        core.reload_config(config(place.model("b")), atomic=True, timeout=WATCHDOG)
    interrupting.result()
    # What lookups may have found is in force, and not taken back.
    assert core.config.generation == 2
    assert served(core) == ["b:1"]


# ---- from callbacks ----------------------------------------------------------------------------


def test_a_subscriber_may_reload_and_wait_for_it(place: Place) -> None:
    core = place.open()
    results: list[ReloadResult] = []
    told = threading.Event()

    def add(state: ServableState) -> None:
        if state.manager_state is ManagerState.AVAILABLE and state.id.name == "a":
            models = (*core.config.models, place.model("b"))
            results.append(core.reload_config(config(*models), timeout=WATCHDOG))
            told.set()

    with core.event_bus.subscribe(add):
        assert core.reload_config(config(place.model("a")), timeout=WATCHDOG).generation == 2
        assert told.wait(WATCHDOG)
    assert results[0]
    assert served(core) == ["a:1", "b:1"]


def test_a_callback_of_the_monitor_may_reload_at_once_in_one_step(place: Place) -> None:
    core = place.open(place.model("a"))
    results: list[ReloadResult] = []
    told = threading.Event()

    def replace(_: object) -> None:
        results.append(
            core.reload_config(config(place.model("a", 2)), atomic=True, timeout=WATCHDOG)
        )
        told.set()

    core.monitor.notify_when(["a"], ManagerState.AVAILABLE, replace)
    assert told.wait(WATCHDOG)
    assert results[0]
    assert served(core) == ["a:2"]


# ---- everything at once ------------------------------------------------------------------------


def test_a_removed_model_is_nowhere_once_its_reload_has_returned(place: Place) -> None:
    core = place.open(place.model("a"))
    with_b = config(place.model("a"), place.model("b"))
    for number in range(20):
        core.reload_config(with_b, wait=number % 2 == 0, timeout=WATCHDOG)
        assert core.reload_config(config(place.model("a")), timeout=WATCHDOG)
        assert core.manager.snapshots("b") == ()
        with pytest.raises(NotFoundError):
            core.get_servable_handle("b")


def test_the_same_number_from_another_place_serves_from_there_when_it_is_said_to(
    place: Place,
) -> None:
    core = place.open(place.model("a", 1))
    for number in range(20):
        name = "bc"[number % 2]
        there = place.model("a", 1, base_path=str(place.folder / name))
        assert core.reload_config(config(there), timeout=WATCHDOG)
        (one,) = core.manager.snapshots("a")
        assert one.origin == str(place.folder / name / "1")
        assert core.get_servable_handle(ServableId("a", 1)).id.version == 1


def test_many_versions_and_models_come_and_go_in_one_reload(place: Place) -> None:
    core = place.open(place.model("a"))
    many = [
        ModelConfig(f"m{number}", str(place.folder / "a"), "bench", version_policy=All())
        for number in range(50)
    ]
    result = core.reload_config(config(*many), timeout=WATCHDOG)
    assert result
    assert len(core.manager.list_available_ids()) == 150
    assert core.reload_config(config(), timeout=WATCHDOG)
    assert core.manager.snapshots() == ()
