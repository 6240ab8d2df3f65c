"""A core on real folders, in real time: one bad model harms no other, and every wait comes back."""

from __future__ import annotations

import asyncio
import shutil
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, final

import pytest

from servman.core import ModelConfig, ServerConfig, ServerCore, ServerCoreOptions
from servman.errors import (
    ClosedError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    UnimplementedError,
    WaitTimeoutError,
)
from servman.ids import ServableId, ServableRequest
from servman.manager import HarnessState
from servman.reasons import ReasonCode
from servman.state import ManagerState, ServableState
from servman.testing import Spawned
from servman.testing.clock import WATCHDOG
from tests.integration.house import GOOD, House, ask, failure

HANGING = """
import gate

def load(context):
    gate.entered.set()
    gate.opened.wait(10)
    return "late"
"""


@final
class Gate(ModuleType):
    """What hanging models import: tells that one loads, and lets it go on."""

    def __init__(self) -> None:
        super().__init__("gate")
        self.entered = threading.Event()
        self.opened = threading.Event()


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    gate = Gate()
    monkeypatch.setitem(sys.modules, "gate", gate)
    yield gate
    gate.opened.set()


# ---- models that are slow ----------------------------------------------------------------------


def test_starting_waits_for_no_model(house: House, gate: Gate) -> None:
    house.publish("hanging", 1, HANGING)
    (house.folder / "file").touch()
    models = [
        ModelConfig(name, str(house.folder / name), "python")
        for name in ("hanging", "missing", "file", "healthy")
    ]
    options = ServerCoreOptions(platforms=("python",), poll_interval=0.05)
    house.core = core = ServerCore(ServerConfig(models), options=options)
    Spawned(core.start).result()
    try:
        assert gate.entered.wait(WATCHDOG)
        house.assert_healthy()
        house.why("hanging", ReasonCode.LOADING)
        house.why("missing", ReasonCode.BASE_PATH_MISSING)
        house.why("file", ReasonCode.BASE_PATH_NOT_A_DIRECTORY)
        assert core.config.models == tuple(models)
    finally:
        gate.opened.set()
        core.close()


def test_a_wait_that_times_out_tells_the_reason_of_every_model(house: House, gate: Gate) -> None:
    house.publish("m", 1, HANGING)
    with house.open() as core:
        assert gate.entered.wait(WATCHDOG)
        with pytest.raises(WaitTimeoutError) as raised:
            core.wait_until_available("healthy:9", "m", "stranger", timeout=0.05)
        codes = {str(request): reason.code for request, reason in raised.value.reasons.items()}
        assert codes == {
            "healthy:9": ReasonCode.NOT_ON_DISK,
            "m": ReasonCode.LOADING,
            "stranger": ReasonCode.NOT_CONFIGURED,
        }
        gate.opened.set()
        assert core.wait_until_available("m", timeout=WATCHDOG)


def test_a_model_whose_handle_is_held_delays_no_other(house: House) -> None:
    house.publish("m", 1)
    with house.open() as core:
        core.wait_until_available(timeout=WATCHDOG)
        with core.get_servable_handle("m") as handle:
            house.publish("m", 2)
            core.wait_until_available("m:2", timeout=WATCHDOG)
            house.why("m:1", ReasonCode.WAITING_FOR_HANDLES)
            house.assert_healthy()
            assert (handle.servable.predict(0), ask(core, "m")) == (1, 2)
        assert core.wait_until("m:1", ManagerState.END, timeout=WATCHDOG)


# ---- serving -----------------------------------------------------------------------------------


def test_no_lookup_fails_while_versions_are_swapped(house: House) -> None:
    house.publish("m", 1)
    stop = threading.Event()
    with house.open() as core:
        core.wait_until_available("m", timeout=WATCHDOG)

        def look() -> int:
            count = 0
            while not stop.is_set():
                assert ask(core, "m") >= 1
                count += 1
            return count

        readers = [Spawned(look) for _ in range(2)]
        try:
            for version in range(2, 12):
                house.publish("m", version)
                core.wait_until_available(f"m:{version}", timeout=WATCHDOG)
        finally:
            stop.set()
        assert all(reader.result() > 0 for reader in readers)
        assert ask(core, "m") == 11


@pytest.mark.parametrize(
    "options", [{"poll_interval": 0.0, "watch": True}, {"poll_interval": 0.02, "watch": False}]
)
def test_file_events_alone_and_polls_alone_are_enough_to_notice_a_version(
    house: House, options: dict[str, Any]
) -> None:
    with house.open(**options):
        house.assert_healthy()
        house.assert_healthy()


def test_an_older_version_comes_back_when_the_newest_is_withdrawn(house: House) -> None:
    house.publish("m", 1)
    newest = house.publish("m", 2)
    with house.open() as core:
        core.wait_until_available("m:2", timeout=WATCHDOG)
        newest.rename(house.folder / "staging" / "withdrawn")
        core.wait_until_available("m:1", timeout=WATCHDOG)
        assert core.wait_until("m:2", ManagerState.END, timeout=WATCHDOG)
        with pytest.raises(NotFoundError, match="version 2 is not in"):
            core.get_servable_handle("m:2")
        assert ask(core, "m") == 1


def test_with_zero_versions_at_startup_the_start_fails_and_may_be_tried_again(
    house: House,
) -> None:
    (house.folder / "m").mkdir()
    core = house.open(fail_if_zero_versions_at_startup=True)
    with pytest.raises(NotFoundError, match="servable 'm': no versions found"):
        core.start()
    house.publish("m", 1)
    with core:
        core.wait_until_available(timeout=WATCHDOG)


# ---- platforms ---------------------------------------------------------------------------------


@pytest.mark.parametrize("platforms", [(), ("tensorflow",)])
def test_a_platform_that_was_not_asked_for_ends_its_models_with_the_remedy(
    house: House, platforms: tuple[str, ...]
) -> None:
    with house.open(platforms=platforms) as core:
        error = failure(core, "healthy")
        assert "name it in ServerCoreOptions(platforms=(..., 'python'))" in str(error)
        (reason,) = error.reasons.values()
        assert reason.code is ReasonCode.PLATFORM_UNAVAILABLE
        assert isinstance(reason.error, UnimplementedError)
        assert "healthy" in str(error)


def test_code_of_a_model_directory_is_not_run_unless_that_was_asked_for(house: House) -> None:
    house.publish("m", 1, f"open({str(house.folder / 'ran')!r}, 'w')\n{GOOD}")
    with house.open(platforms=("tensorflow",)) as core:
        failure(core, "m")
    assert not (house.folder / "ran").exists()


def test_a_model_of_a_platform_that_was_not_asked_for_harms_no_other(house: House) -> None:
    house.publish("m", 1)
    with house.open(platform="tensorflow") as core:
        assert "platform 'tensorflow' is not enabled" in str(failure(core, "m"))
        house.assert_healthy()


@pytest.mark.tensorflow
@pytest.mark.timeout(120)
def test_models_of_two_platforms_are_served_side_by_side_and_bad_requests_harm_none(
    house: House,
) -> None:
    tf: Any = pytest.importorskip("tensorflow")
    module = tf.Module()
    module.offset = tf.Variable(1.0)
    takes = [tf.TensorSpec([None], tf.float32, name="x")]
    answer = tf.function(lambda x: {"y": x / 2 + module.offset}, input_signature=takes)
    tf.saved_model.save(module, str(house.folder / "m" / "1"), signatures=answer)
    with house.open(platform="tensorflow", platforms=("tensorflow", "python")) as core:
        core.wait_until_available(timeout=60)
        with core.get_servable_handle("m") as handle:
            predict = handle.servable.predict
            assert predict({"x": [4.0]})["y"].tolist() == [3.0]
            with pytest.raises(
                FailedPreconditionError, match="m:1 has no signature 'other', it has:"
            ):
                predict({"x": [4.0]}, "other")
            for inputs in ({"x": ["text"]}, {"x": [[4.0]]}, {}):
                with pytest.raises(InvalidArgumentError, match="m:1"):
                    predict(inputs)
            assert predict({"x": [4.0]})["y"].tolist() == [3.0]
        (house.folder / "m" / "2").mkdir()
        shutil.copy(house.folder / "healthy" / "1" / "servable.py", house.folder / "m" / "2")
        house.why("m:2", ReasonCode.RETRYING)
        house.assert_healthy()
        assert core.explain("m").available == (ServableId("m", 1),)


# ---- asyncio -----------------------------------------------------------------------------------


def test_the_async_forms_do_as_the_blocking_ones(house: House) -> None:
    async def play() -> None:
        async with house.open() as core:
            answers = await core.wait_until_available_async("healthy", timeout=WATCHDOG)
            assert answers == {ServableRequest.latest("healthy"): ServableId("healthy", 1)}
            assert await core.wait_until_async("healthy:1", timeout=WATCHDOG)
            result = await core.wait_until_async(timeout=0.05)
            assert result.pending == (ServableRequest.latest("m"),)
            with pytest.raises(WaitTimeoutError, match="does not exist"):
                await core.wait_until_available_async("m", timeout=0.05)
        assert core.closed
        with pytest.raises(ClosedError):
            await core.wait_until_available_async("healthy")
        assert await core.aclose()

    asyncio.run(play())


def test_a_wait_that_is_cancelled_leaves_nothing_behind(house: House) -> None:
    async def play() -> None:
        async with house.open() as core:
            waits = [
                asyncio.create_task(core.wait_until_available_async("m", timeout=None))
                for _ in range(20)
            ]
            await core.wait_until_available_async("healthy", timeout=WATCHDOG)
            await asyncio.sleep(0)  # every task has its first turn, if it had none yet
            assert len(core.monitor._dispatcher._waiters["m"]) == 20
            for wait in waits:
                wait.cancel()
            ended = await asyncio.gather(*waits, return_exceptions=True)
            assert all(isinstance(one, asyncio.CancelledError) for one in ended)
            assert "m" not in core.monitor._dispatcher._waiters
            await asyncio.to_thread(house.assert_healthy)

    asyncio.run(play())


def test_closing_does_not_block_the_loop(house: House) -> None:
    async def play() -> None:
        core = house.open()
        core.start()
        await core.wait_until_available_async("healthy", timeout=WATCHDOG)
        handle = core.get_servable_handle("healthy")
        closing = asyncio.create_task(core.aclose(WATCHDOG))
        await asyncio.sleep(0)  # lets the task run until it waits
        handle.close()
        assert await closing

    asyncio.run(play())


def test_closing_without_blocking_the_loop_ends_the_waits(house: House) -> None:
    async def play() -> None:
        core = house.open()
        async with core:
            wait = asyncio.create_task(core.wait_until_available_async("m"))
            await core.wait_until_available_async("healthy", timeout=WATCHDOG)
        with pytest.raises(ClosedError):
            await asyncio.wait_for(wait, WATCHDOG)

    asyncio.run(play())


# ---- closing -----------------------------------------------------------------------------------


def test_closing_while_a_model_loads_waits_for_it_and_unloads_it(house: House, gate: Gate) -> None:
    house.publish("m", 1, HANGING)
    core = house.open()
    core.start()
    assert gate.entered.wait(WATCHDOG)
    closing = Spawned(core.close)
    gate.opened.set()
    assert closing.result()
    assert core.monitor.get_live_states() == {}


def test_closing_leaves_a_load_that_hangs_and_names_it(house: House, gate: Gate) -> None:
    house.publish("m", 1, HANGING)
    core = house.open()
    core.start()
    core.wait_until_available("healthy", timeout=WATCHDOG)
    assert gate.entered.wait(WATCHDOG)
    report = Spawned(lambda: core.close(0.1)).result()
    (left,) = report.left
    assert (left.id, left.state) == (ServableId("m", 1), HarnessState.LOADING)
    assert "m:1 (loading" in str(report)


def test_closing_leaves_what_has_a_handle_and_names_it(house: House) -> None:
    house.publish("m", 1)
    core = house.open()
    core.start()
    core.wait_until_available(timeout=WATCHDOG)
    with core.get_servable_handle("m") as handle:
        report = Spawned(lambda: core.close(0.1)).result()
        assert [one.id for one in report.left] == [ServableId("m", 1)]
        assert handle.servable.predict(0) == 1
        again = Spawned(lambda: core.close(0.1)).result()
        assert [one.id for one in again.left] == [ServableId("m", 1)]


def test_closing_waits_for_a_handle_that_is_closed_in_time(house: House) -> None:
    house.publish("m", 1)
    core = house.open()
    core.start()
    core.wait_until_available(timeout=WATCHDOG)
    handle = core.get_servable_handle("m")
    closing = Spawned(core.close)
    assert core.wait_until("healthy:1", ManagerState.END, timeout=WATCHDOG)  # closing is at work
    model = handle.servable
    assert (model.loaded, closing.done) == (True, False)
    handle.close()
    assert closing.result()
    assert not model.loaded


def test_closing_from_a_callback_is_refused_and_changes_nothing(house: House) -> None:
    with house.open() as core:
        errors: list[BaseException] = []
        called = threading.Event()

        def close(_: ServableState) -> None:
            try:
                core.close()
            except FailedPreconditionError as error:
                errors.append(error)
            called.set()

        with core.event_bus.subscribe(close):
            house.assert_healthy()
            assert called.wait(WATCHDOG)
        assert "call it from a thread of yours" in str(errors[0])
        house.assert_healthy()


def test_waits_end_when_the_core_is_closed(house: House) -> None:
    core = house.open()
    core.start()
    wait = Spawned(lambda: core.wait_until_available("m"))
    core.wait_until_available("healthy", timeout=WATCHDOG)
    assert Spawned(core.close).result()
    with pytest.raises(ClosedError):
        wait.result()


def test_nothing_is_left_after_closing(house: House) -> None:
    def count() -> tuple[int, int, int]:
        modules = [name for name in sys.modules if name.startswith("servman_python_model_")]
        files = list(Path("/dev/fd").iterdir())
        return threading.active_count(), len(files), len(modules)

    counts = [count()]
    for _ in range(3):
        with house.open() as core:
            core.wait_until_available("healthy", timeout=WATCHDOG)
            assert all(now > before for now, before in zip(count(), counts[0], strict=True))
        counts.append(count())
    assert counts[1:] == [counts[1]] * 3  # the first round may import what keeps a file open
    assert (counts[1][0], counts[1][2]) == (counts[0][0], counts[0][2])
