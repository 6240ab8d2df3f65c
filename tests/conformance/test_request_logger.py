"""Section 5.10 of the catalogue: requests and their answers are written down, as the configuration says."""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from pathlib import Path
from typing import Any, final

import pytest

from servman.adapters.tf_record import read_records
from servman.core import LoggingConfig, ServerConfig, parse_model_config
from servman.errors import InvalidArgumentError
from servman.protos import message_class
from servman.server.request_log import RequestLog
from servman.testing import FailingLoader
from servman.testing.clock import WATCHDOG
from tests.unit.core.rig import Rig

PredictionLog = message_class("tensorflow.serving.PredictionLog")
Request = message_class("tensorflow.serving.PredictRequest")
Response = message_class("tensorflow.serving.PredictResponse")


@final
class Logged:
    """Two models on the bench, and a log of requests to them that is written when `written` is asked.

    Attributes:
        sampled: The number that decides whether the next request is written.
    """

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.sampled = 0.5
        for name in ("m", "n"):
            rig.loaders[f"{name}:1"] = FailingLoader()
            rig.publish(1, name=name)
        self.core = rig.serve(rig.model("m"), rig.model("n"))
        self.log = RequestLog(self.core, rig.clock, lambda: self.sampled)

    def configure(self, m: LoggingConfig | None, n: LoggingConfig | None = None) -> None:
        models = [self.rig.model("m", logging=m), self.rig.model("n", logging=n)]
        self.core.reload_config(ServerConfig(models), wait=False)

    def config(self, prefix: str = "log", rate: float = 1.0) -> LoggingConfig:
        return LoggingConfig(str(self.rig.folder / prefix), rate)

    def ask(self, name: str = "m", count: int = 1) -> None:
        request, response = Request(model_spec={"name": name}), Response(model_spec={"name": name})
        with self.core.get_servable_handle(name) as handle:
            for _ in range(count):
                self.log.note("predict", handle, request, response)

    def written(self, prefix: str = "log") -> list[Any]:
        """Write what is at hand, and return what is in the file."""
        self.log._records.put(("", b""))
        self.log._work()
        path = self.rig.folder / f"{prefix}.tfrecord"
        if not path.exists():
            return []
        with path.open("rb") as file:
            return [PredictionLog.FromString(data) for data in read_records(file)]


@pytest.fixture
def logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Logged:
    return Logged(Rig(tmp_path, monkeypatch))


@pytest.mark.case("RL-01")
def test_a_logged_call_has_request_response_and_sampling_once(logged: Logged) -> None:
    logged.configure(logged.config(rate=0.75))
    logged.ask()
    (entry,) = logged.written()
    assert entry.predict_log.request.model_spec.name == "m"
    assert entry.predict_log.response.model_spec.name == "m"
    assert entry.log_metadata.sampling_config.sampling_rate == 0.75
    assert entry.log_metadata.model_spec.name == "m"
    assert entry.log_metadata.model_spec.version.value == 1
    assert entry.log_metadata.timestamp_secs == int(logged.rig.clock.wall())


@pytest.mark.case("RL-09")
@pytest.mark.parametrize(("rate", "sampled", "count"), [(0.0, 0.0, 0), (0.5, 0.49, 1), (0.5, 0.5, 0), (1.0, 0.99, 1)])  # fmt: skip
def test_the_rate_decides(rate: float, sampled: float, count: int, logged: Logged) -> None:
    logged.configure(logged.config(rate=rate))
    logged.sampled = sampled
    logged.ask()
    assert len(logged.written()) == count


@pytest.mark.departs("RL-02")
@pytest.mark.departs("RL-03")
def test_a_file_that_cannot_be_written_fails_no_request(
    logged: Logged, caplog: pytest.LogCaptureFixture
) -> None:
    logged.configure(logged.config("no/such/folder"))
    with caplog.at_level(logging.WARNING):
        logged.ask(count=2)
        logged.written()
    assert "2 requests were not logged in" in caplog.text
    logged.configure(logged.config())
    logged.ask()
    assert len(logged.written()) == 1


@pytest.mark.case("SRL-01")
@pytest.mark.case("SRL-02")
def test_a_model_without_configuration_is_not_logged(logged: Logged) -> None:
    logged.ask("m")
    logged.configure(None, logged.config())
    logged.ask("m")
    assert logged.written() == []


@pytest.mark.case("SRL-03")
@pytest.mark.case("SRL-06")
def test_models_have_a_file_each_or_share_one(logged: Logged) -> None:
    logged.configure(logged.config("m_log"), logged.config("n_log"))
    logged.ask("m", 2)
    logged.ask("n")
    assert len(logged.written("m_log")) == 2
    assert len(logged.written("n_log")) == 1
    logged.configure(logged.config("both"), logged.config("both"))
    logged.ask("m")
    logged.ask("n")
    names = [one.log_metadata.model_spec.name for one in logged.written("both")]
    assert names == ["m", "n"]


@pytest.mark.case("SRL-04")
@pytest.mark.case("SRL-05")
def test_a_change_counts_from_the_next_request_on(logged: Logged) -> None:
    logged.configure(logged.config())
    logged.ask()
    logged.configure(None)
    logged.ask()
    assert len(logged.written()) == 1
    logged.configure(logged.config(rate=0.1))
    logged.ask()
    logged.sampled = 0.05
    logged.ask()
    assert [one.log_metadata.sampling_config.sampling_rate for one in logged.written()] == [
        1.0,
        0.1,
    ]


def test_a_change_of_what_is_logged_reloads_nothing(logged: Logged) -> None:
    logged.configure(logged.config())
    logged.rig.look()
    (snapshot,) = logged.core.manager.snapshots("m")
    assert snapshot.attempts == 1
    loader = logged.rig.loaders["m:1"]
    assert isinstance(loader, FailingLoader)
    assert (loader.attempts, loader.unloaded) == (1, [])


@pytest.mark.case("SRL-08")
def test_a_configuration_with_a_fault_changes_nothing(logged: Logged) -> None:
    logged.configure(logged.config())
    with pytest.raises(InvalidArgumentError, match=r"sampling_rate is 2\.0"):
        logged.configure(None, replace(logged.config("other"), sampling_rate=2.0))
    logged.ask("m")
    assert len(logged.written()) == 1


@pytest.mark.case("SRL-14")
def test_the_same_configuration_again_changes_nothing(logged: Logged) -> None:
    for _ in range(100):
        logged.configure(logged.config())
        logged.ask()
    assert len(logged.written()) == 100


@pytest.mark.departs("LC-01")
def test_another_kind_of_collector_is_an_invalid_argument() -> None:
    text = (
        "model_config_list { config { name: 'm' base_path: '/m' model_platform: 'tensorflow'"
        " logging_config { log_collector_config { type: 'kafka' } } } }"
    )
    with pytest.raises(InvalidArgumentError, match="no log collector of the type 'kafka'"):
        parse_model_config(text)


def test_what_a_slow_disk_cannot_take_is_dropped_and_told(
    logged: Logged, caplog: pytest.LogCaptureFixture
) -> None:
    logged.configure(logged.config())
    logged.ask(count=1005)
    with caplog.at_level(logging.WARNING):
        assert len(logged.written()) == 1000
    assert "5 requests were not logged: the disk is too slow" in caplog.text


def test_a_write_that_hangs_does_not_hold_up_the_end(
    logged: Logged, caplog: pytest.LogCaptureFixture
) -> None:
    pipe = logged.rig.folder / "log.tfrecord"
    os.mkfifo(pipe)  # who opens it to write waits for a reader
    logged.configure(logged.config())
    logged.log.start()
    logged.ask()
    logged.log.close(logged.rig.clock.monotonic())
    assert "writing the request log hangs, and is left behind" in caplog.text
    with pipe.open("rb") as reader:  # the thread comes back
        reader.read()
    logged.log.close(logged.rig.clock.monotonic() + WATCHDOG)
