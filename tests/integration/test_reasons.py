"""Every kind of reason, provoked for real: a server core on real folders, with models that hang, fail or hide."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Final, TypeVar, final

import pytest

from servman.clock import SystemClock
from servman.core import Diagnosis, ModelConfig, ServerConfig, ServerCore, ServerCoreOptions
from servman.errors import NotFoundError
from servman.ids import ServableId, ServableRequest
from servman.manager import (
    AvailabilityPreservingPolicy,
    ResourcePreservingPolicy,
    ServableAction,
    ServableStateSnapshot,
)
from servman.monitor import ServableStateMonitor
from servman.reasons import Reason, ReasonCode
from servman.sources import Latest, marker
from servman.state import ManagerState
from servman.testing import Spawned
from servman.testing.clock import WATCHDOG
from tests.integration.house import GOOD, House

HANGING = """
import gate

def load(context):
    gate.stop("load")
    return "late"
"""

STAYING = """
import gate

def load(context):
    return "served"

def unload(servable):
    gate.stop("unload")
"""

BROKEN = """
def load(context):
    raise ValueError("no such layer")
"""

Code = ReasonCode
T = TypeVar("T", bound=Callable[..., None])
_provoked: Final[set[ReasonCode]] = set()


def provokes(*codes: ReasonCode) -> Callable[[T], T]:
    """Mark a test as one that provokes reasons of these kinds."""
    _provoked.update(codes)
    return lambda test: test


@final
class Gate(ModuleType):
    """What models that hang import."""

    def __init__(self) -> None:
        super().__init__("gate")
        self.entered = {"load": threading.Event(), "unload": threading.Event()}
        self.opened = threading.Event()

    def stop(self, where: str) -> None:
        """Hang until the gate is opened."""
        self.entered[where].set()
        assert self.opened.wait(2 * WATCHDOG), "the test never opened the gate"

    def wait(self, where: str) -> None:
        """Wait until somebody hangs there."""
        assert self.entered[where].wait(WATCHDOG)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    gate = Gate()
    monkeypatch.setitem(sys.modules, "gate", gate)
    yield gate
    gate.opened.set()


@final
class Place:
    """A house whose core the test opens with its own models.

    Attributes:
        core: What `open` made.
    """

    core: ServerCore

    def __init__(self, folder: Path) -> None:
        self.house = House(folder)
        self.folder = folder

    @contextlib.contextmanager
    def open(self, *models: ModelConfig, **options: Any) -> Iterator[ServerCore]:
        """Start a core of *models* and of the model "healthy"; close it at the end."""
        options = {"platforms": ("python",), "poll_interval": 0.05, **options}
        config = ServerConfig([self.model("healthy"), *models])
        self.core = ServerCore(config, options=ServerCoreOptions(**options))
        with self.core:
            yield self.core

    def model(self, name: str = "m", **fields: Any) -> ModelConfig:
        """Return a model of the platform "python" in a folder named like it."""
        path = fields.pop("base_path", str(self.folder / name))
        return ModelConfig(name, path, **{"platform": "python", **fields})

    def publish(self, name: str, version: int | str, text: str = GOOD) -> Path:
        """Write a version, and rename it into place."""
        return self.house.publish(name, version, text)

    def diagnosis(self, request: str, code: ReasonCode) -> Diagnosis:
        """Wait until *request* is missing for a reason of that kind; return what is told of it then.

        Lookups that fail, waits and `explain` have to agree.
        """
        clock = SystemClock()
        deadline = clock.monotonic() + WATCHDOG
        while (reason := self.core.explain(request).reason) is None or reason.code is not code:
            assert clock.monotonic() < deadline, f"never {code}: {reason}"
            self.core.wait_until(request, timeout=0.01)
        assert self._reason_of_a_wait(request).code is code
        if code is not Code.HELD and not self.core.manager.list_available_ids(request):
            assert self._reason_of_a_lookup(request).code is code
        diagnosis = self.core.explain(request)
        assert diagnosis.reason is not None
        assert diagnosis.reason.code is code
        assert diagnosis.next
        assert f"\n  why: {diagnosis.reason.text}\n" in str(diagnosis)
        return diagnosis

    def why(self, request: str, code: ReasonCode) -> str:
        """Do as `diagnosis` does; return the reason's text."""
        return str(self.diagnosis(request, code).reason)

    def wait_in_spite_of_failures(self, request: str) -> None:
        """Wait until *request* is available; that it had failed before, when the wait begins, ends no wait."""
        clock = SystemClock()
        deadline = clock.monotonic() + WATCHDOG
        while not self.core.wait_until(request, timeout=0.01):
            assert clock.monotonic() < deadline

    def _reason_of_a_wait(self, request: str) -> Reason:
        result = self.core.wait_until(request, timeout=0)
        return result.reasons[ServableRequest.parse(request)]

    def _reason_of_a_lookup(self, request: str) -> Reason:
        with pytest.raises(NotFoundError) as raised:
            self.core.get_servable_handle(request)
        assert raised.value.reason is not None
        return raised.value.reason


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


# ---- configuration and source ------------------------------------------------------------------


@provokes(Code.NOT_CONFIGURED)
def test_a_model_that_nobody_has_configured(place: Place) -> None:
    with place.open():
        assert "no model 'm' is configured (there are: healthy)" in place.why(
            "m", Code.NOT_CONFIGURED
        )


@provokes(Code.BASE_PATH_MISSING)
def test_a_base_path_that_is_not_there(place: Place) -> None:
    with place.open(place.model()):
        diagnosis = place.diagnosis("m", Code.BASE_PATH_MISSING)
        assert str(place.folder / "m") in str(diagnosis)
        assert diagnosis.next == "its base path is looked at again within 0.05 s"
        place.publish("m", 1)
        place.core.wait_until_available("m", timeout=WATCHDOG)


@provokes(Code.BASE_PATH_NOT_A_DIRECTORY)
def test_a_base_path_that_is_a_file(place: Place) -> None:
    (place.folder / "m").touch()
    with place.open(place.model()):
        assert "is not a directory" in place.why("m", Code.BASE_PATH_NOT_A_DIRECTORY)


@provokes(Code.BASE_PATH_UNREADABLE)
def test_a_base_path_that_leads_in_a_circle(place: Place) -> None:
    (place.folder / "m").symlink_to(place.folder / "m")
    with place.open(place.model()):
        assert "cannot be read" in place.why("m", Code.BASE_PATH_UNREADABLE)


@provokes(Code.NOT_LOOKED_YET)
def test_a_core_that_was_not_started(place: Place) -> None:
    core = ServerCore(
        ServerConfig([place.model()]), options=ServerCoreOptions(platforms=("python",))
    )
    place.core = core
    assert "call start()" in place.why("m", Code.NOT_LOOKED_YET)


@provokes(Code.NO_VERSIONS)
def test_a_base_path_without_versions(place: Place) -> None:
    (place.folder / "m" / "tmp-3").mkdir(parents=True)
    with place.open(place.model()):
        assert "'tmp-3' is not a number" in place.why("m", Code.NO_VERSIONS)


@provokes(Code.NOT_ON_DISK)
def test_a_version_that_was_never_published(place: Place) -> None:
    place.publish("m", 1)
    with place.open(place.model()):
        place.core.wait_until_available("m", timeout=WATCHDOG)
        assert "(found 1)" in place.why("m:7", Code.NOT_ON_DISK)


@provokes(Code.STILL_CHANGING)
def test_a_version_that_is_not_complete(place: Place) -> None:
    version = place.publish("m", 1)
    with place.open(place.model(completeness=marker("DONE"))):
        assert "it holds no file 'DONE' yet" in place.why("m", Code.STILL_CHANGING)
        (version / "DONE").touch()
        place.core.wait_until_available("m", timeout=WATCHDOG)


@provokes(Code.NOT_CHOSEN)
def test_a_version_that_the_policy_leaves_out(place: Place) -> None:
    place.publish("m", 1)
    place.publish("m", 2)
    with place.open(place.model()):
        assert "latest 1 takes 2" in place.why("m:1", Code.NOT_CHOSEN)


@provokes(Code.NO_LABEL)
def test_a_label_that_nobody_has_configured(place: Place) -> None:
    place.publish("m", 1)
    with place.open(place.model(version_labels={"stable": 1})) as core:
        core.wait_until_available("m", timeout=WATCHDOG)
        reason = core.explain("m@old").reason
        assert reason is not None
        assert reason.code is Code.NO_LABEL
        assert "(there are: stable)" in str(reason)


@provokes(Code.NOT_ASPIRED, Code.UNLOADED)
def test_a_monitor_of_ones_own_tells_what_the_bus_alone_can_tell(place: Place) -> None:
    place.publish("m", 1)
    place.core = core = ServerCore(
        ServerConfig([place.model()]),
        options=ServerCoreOptions(platforms=("python",), poll_interval=0.05),
    )
    monitor = ServableStateMonitor(core.event_bus)
    with core:
        core.wait_until_available("m", timeout=WATCHDOG)
        place.publish("m", 2)
        assert monitor.wait_until("m:1", ManagerState.END, timeout=WATCHDOG)
        reasons = monitor.wait_until(["m:1", "m:9"], timeout=0).reasons
        codes = {str(request): reason.code for request, reason in reasons.items()}
        assert codes == {"m:1": Code.UNLOADED, "m:9": Code.NOT_ASPIRED}
    monitor.close()


@provokes(Code.PLATFORM_UNAVAILABLE)
def test_a_platform_that_was_not_asked_for(place: Place) -> None:
    place.publish("m", 1)
    with place.open(place.model(platform="tensorflow")):
        assert "name it in ServerCoreOptions(platforms=" in place.why(
            "m", Code.PLATFORM_UNAVAILABLE
        )


# ---- loading -----------------------------------------------------------------------------------


@provokes(Code.LOADING)
def test_a_load_that_hangs(place: Place, gate: Gate) -> None:
    place.publish("m", 1, HANGING)
    with place.open(place.model()):
        gate.wait("load")
        diagnosis = place.diagnosis("m", Code.LOADING)
        assert "m:1 has been loading for" in str(diagnosis.reason)
        assert diagnosis.delays_ready
        gate.opened.set()
        place.core.wait_until_available("m", timeout=WATCHDOG)


@provokes(Code.QUEUED)
def test_a_load_behind_one_that_hangs(place: Place, gate: Gate) -> None:
    place.publish("first", 1, HANGING)
    with place.open(place.model("first"), place.model(), num_load_threads=1):
        gate.wait("load")
        place.publish("m", 1)
        assert "first:1 has run for longest" in place.why("m", Code.QUEUED)
        gate.opened.set()
        place.core.wait_until_available("m", timeout=WATCHDOG)


@provokes(Code.WAITING, Code.WAITING_FOR_HANDLES)
def test_a_version_that_waits_for_another_to_go(place: Place) -> None:
    place.publish("m", 1)
    with place.open(place.model(aspired_version_policy=ResourcePreservingPolicy())) as core:
        core.wait_until_available("m", timeout=WATCHDOG)
        with core.get_servable_handle("m"):
            place.publish("m", 2)
            assert "the policy lets m:1 (quiescing) go first" in place.why("m:2", Code.WAITING)
            assert "for 1 handle to close" in place.why("m:1", Code.WAITING_FOR_HANDLES)
        core.wait_until_available("m:2", timeout=WATCHDOG)


@provokes(Code.WAITING_FOR_MEMORY)
def test_a_version_that_waits_for_memory(place: Place) -> None:
    old = place.publish("other", 1)
    models = [place.model(name, memory_bytes=6) for name in ("other", "m")]
    with place.open(*models, total_model_memory_limit_bytes=10) as core:
        core.wait_until_available("other", timeout=WATCHDOG)
        with core.get_servable_handle("other"):
            old.rename(place.folder / "staging" / "withdrawn")
            place.why("other:1", Code.WAITING_FOR_HANDLES)
            place.publish("m", 1)
            assert "other:1 6" in place.why("m:1", Code.WAITING_FOR_MEMORY)
        core.wait_until_available("m", timeout=WATCHDOG)


@provokes(Code.HELD)
def test_a_version_that_waits_to_be_let_in_with_others(place: Place, gate: Gate) -> None:
    place.publish("m", 1)
    place.publish("m", 2)
    place.publish("other", 1, HANGING)
    with place.open(place.model()) as core:
        core.wait_until_available("m:2", timeout=WATCHDOG)
        config = ServerConfig(
            [place.model("healthy"), place.model(version_policy=Latest(2)), place.model("other")]
        )
        reload = Spawned(lambda: core.reload_config(config, atomic=True, timeout=WATCHDOG))
        gate.wait("load")
        assert "until others are, too" in place.why("m:1", Code.HELD)
        gate.opened.set()
        assert reload.result()
        core.wait_until_available("m:1", "other", timeout=0)


@provokes(Code.RETRYING)
def test_a_version_that_is_tried_again(place: Place) -> None:
    version = place.publish("m", 1, BROKEN)
    with place.open(place.model()) as core:
        diagnosis = place.diagnosis("m", Code.RETRYING)
        assert "no such layer" in str(diagnosis.reason)
        assert diagnosis.versions[0].retry_at is not None
        assert "at once when its files change" in diagnosis.next
        (version / "servable.py").write_text(GOOD)  # and so it is
        core.wait_until_available("m", timeout=WATCHDOG)


@provokes(Code.FAILED)
def test_a_version_that_has_failed(place: Place) -> None:
    place.publish("m", 1, BROKEN)
    with place.open(place.model(max_num_load_retries=0)) as core:
        diagnosis = place.diagnosis("m", Code.FAILED)
        assert "m:1 failed after 1 attempt" in str(diagnosis.reason)
        assert repr(ServableId("m", 1)) in diagnosis.remedy
        (place.folder / "m" / "1" / "servable.py").write_text(GOOD)
        core.manager.retry(ServableId("m", 1))  # as the remedy says
        place.wait_in_spite_of_failures("m")


# ---- serving and going -------------------------------------------------------------------------


@provokes(Code.AVAILABLE)
def test_a_version_that_serves(place: Place) -> None:
    with place.open() as core:
        core.wait_until_available(timeout=WATCHDOG)
        reason = core.manager.explain("healthy")
        assert reason is not None
        assert reason.code is Code.AVAILABLE
        assert core.explain("healthy")


@provokes(Code.UNLOADING)
def test_a_version_whose_unload_hangs(place: Place, gate: Gate) -> None:
    place.publish("m", 1, STAYING)
    with place.open(place.model()) as core:
        core.wait_until_available("m", timeout=WATCHDOG)
        place.publish("m", 2)
        gate.wait("unload")
        assert "m:1 has been unloading for" in place.why("m:1", Code.UNLOADING)
        gate.opened.set()


@provokes(Code.CLOSED)
def test_a_core_that_was_closed(place: Place) -> None:
    with place.open() as core:
        core.wait_until_available(timeout=WATCHDOG)
    diagnosis = core.explain("healthy")
    assert diagnosis.reason is not None
    assert diagnosis.reason.code is Code.CLOSED
    assert diagnosis.remedy == "make a new one"


@final
class Stuck:
    """A policy that hangs, on the thread of the manager, once it is told to."""

    def __init__(self) -> None:
        self.stop = False
        self.entered, self.opened = threading.Event(), threading.Event()

    def next_action(self, snapshots: tuple[ServableStateSnapshot, ...]) -> ServableAction | None:
        if self.stop:
            self.entered.set()
            assert self.opened.wait(2 * WATCHDOG)
        return AvailabilityPreservingPolicy().next_action(snapshots)


@provokes(Code.UNKNOWN)
def test_a_version_that_the_manager_has_not_heard_of_yet(place: Place) -> None:
    policy = Stuck()
    place.publish("m", 1)
    with place.open(place.model("other", aspired_version_policy=policy), place.model()) as core:
        try:
            core.wait_until_available("m", timeout=WATCHDOG)
            policy.stop = True
            place.publish("other", 1)
            assert policy.entered.wait(WATCHDOG)
            place.publish("m", 2)
            assert "m:2 is on its way; ask again" in place.why("m:2", Code.UNKNOWN)
        finally:
            policy.opened.set()
        core.wait_until_available("m:2", timeout=WATCHDOG)


def test_every_kind_of_reason_is_provoked_here() -> None:
    assert _provoked == set(ReasonCode)
