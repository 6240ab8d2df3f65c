"""What may be said of the workers of a servable, and what is wrong with it."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from servman.manager import ExponentialBackoff
from servman.workers.options import Workers, faults


class Sink:
    """Something with a log callback."""

    def write(self, servable: str, index: int, line: str) -> None:
        """Take a line."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sink)

    __hash__ = None  # type: ignore[assignment] # what cannot be hashed may still have a method


def log(servable: str, index: int, line: str) -> None:
    """Take a line."""


def test_the_defaults_are_one_replica_and_nothing_wrong() -> None:
    workers = Workers()
    assert (workers.replica_count, workers.extra_count, workers.least_replicas) == (1, 0, 1)
    assert faults(workers) == ()


@pytest.mark.parametrize(
    ("workers", "replicas", "extras"),
    [
        (Workers(3), 3, 0),
        (Workers(devices=(0, 1)), 2, 0),
        (Workers(4, devices=(0, 1)), 4, 0),
        (Workers(devices=(0, 1), num_parallel_workers=5), 2, 3),
        (Workers(2, num_parallel_workers=5), 2, 3),
        (Workers(num_parallel_workers=3), 3, 0),
        (Workers(4, num_parallel_workers=2), 4, 0),
    ],
)
def test_the_numbers_of_workers_are_worked_out(
    workers: Workers, replicas: int, extras: int
) -> None:
    assert (workers.replica_count, workers.extra_count) == (replicas, extras)
    assert workers.least_replicas == replicas
    assert faults(workers) == ()


def test_they_are_equal_by_value_and_can_be_hashed() -> None:
    one = Workers(2, [0, 1], environment={"A": "1"}, idempotent_methods=["predict"])
    other = Workers(2, (0, 1), environment={"A": "1"}, idempotent_methods=("predict",))
    assert one == other
    assert hash(one) == hash(other)
    assert one != Workers(2, (0, 1), environment={"A": "2"}, idempotent_methods=("predict",))
    assert one != "workers"


def test_they_survive_pickling() -> None:
    workers = Workers(
        2, (0, 1), environment={"A": "1"}, log=log, restart_backoff=ExponentialBackoff()
    )
    again = pickle.loads(pickle.dumps(workers))
    assert again == workers
    assert hash(again) == hash(workers)


def test_log_callbacks_are_compared_by_identity() -> None:
    sink = Sink()
    assert Workers(log=sink.write) == Workers(log=sink.write), "another object at each look"
    assert hash(Workers(log=sink.write)) == hash(Workers(log=sink.write))
    assert Workers(log=sink.write) != Workers(log=Sink().write)
    assert Workers(log=log) == Workers(log=log)
    assert Workers(log=log) != Workers()


def test_the_environment_cannot_be_changed() -> None:
    given = {"A": "1"}
    workers = Workers(environment=given)
    given["A"] = "2"
    assert workers.environment == {"A": "1"}
    assert dict(workers.environment) == {"A": "1"}
    assert repr(workers.environment) == "{'A': '1'}"
    assert not hasattr(workers.environment, "__setitem__")


NAN = float("nan")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("replicas", 0),
        ("replicas", True),
        ("replicas", 1.5),
        ("devices", (0, 0)),
        ("devices", (-1,)),
        ("devices", (False,)),
        ("devices", ("0",)),
        ("devices", "01"),
        ("devices", 3),
        ("num_parallel_workers", -1),
        ("min_replicas", 0),
        ("concurrency", 0),
        ("max_queue", -1),
        ("hold_timeout", -0.1),
        ("hold_timeout", NAN),
        ("call_timeout", 0),
        ("call_timeout", "1"),
        ("hang_timeout", -1),
        ("heartbeat_interval", 0),
        ("heartbeat_timeout", 0),
        ("start_timeout", 0),
        ("start_timeout", None),
        ("stop_timeout", -1),
        ("idempotent_methods", "predict"),
        ("idempotent_methods", ("no name",)),
        ("python_methods", (1,)),
        ("max_redispatches", -1),
        ("quarantine", -1),
        ("max_restarts", -1),
        ("restart_window", 0),
        ("restart_backoff", 1.0),
        ("exclusive_devices", 1),
        ("environment", [("A", "1")]),
        ("environment", {"A=": "1"}),
        ("environment", {"": "1"}),
        ("environment", {"A": 1}),
        ("environment", {"A": "\0"}),
        ("log_dir", ""),
        ("log_dir", 3),
        ("log", "stdout"),
    ],
)
def test_a_value_that_can_never_be_right_is_a_fault_that_names_its_field(
    field: str, value: Any
) -> None:
    (fault,) = faults(Workers(**{field: value}))
    assert fault.startswith(field)


def test_all_faults_are_found_at_once() -> None:
    found = faults(Workers(0, concurrency=0, quarantine=-1))
    assert [fault.split()[0] for fault in found] == ["replicas", "concurrency", "quarantine"]


@pytest.mark.parametrize(
    ("workers", "field"),
    [
        (Workers(2, min_replicas=3), "min_replicas"),
        (Workers(1, devices=(0, 1)), "replicas"),
        (Workers(3, devices=(0, 1), exclusive_devices=True), "exclusive_devices"),
        (Workers(exclusive_devices=True), "exclusive_devices"),
        (Workers(heartbeat_interval=5.0, heartbeat_timeout=5.0), "heartbeat_timeout"),
        (Workers(log_dir="/logs", log=log), "log"),
    ],
)
def test_fields_that_disagree_are_a_fault(workers: Workers, field: str) -> None:
    (fault,) = faults(workers)
    assert fault.startswith(field)


def test_infinite_patience_is_allowed() -> None:
    assert faults(Workers(hang_timeout=float("inf"), heartbeat_timeout=float("inf"))) == ()
