"""Servman's words as messages of `servman.v1`."""

from __future__ import annotations

from servman.client.answers import ModelStatus, read_status
from servman.client.reading import read_reason
from servman.core import Diagnosis, VersionDiagnosis
from servman.ids import ServableId
from servman.manager import HarnessState
from servman.protos import message_class
from servman.reasons import Reason, ReasonCode
from servman.server.messages import write_diagnosis, write_reason
from servman.state import ManagerState, ServableState
from servman.worker_state import WorkerSnapshot, WorkerState
from tests.unit.worker_states import waiting, worker


def sent(reason: Reason) -> Reason:
    """Return what a client reads of *reason*."""
    message = message_class("servman.v1.Reason")()
    write_reason(reason, message)
    return read_reason(message)


def test_a_reason_tells_how_often_a_load_was_tried_and_when_it_is_again() -> None:
    facts = {"since": 5.0, "attempts": 2, "retry_in": 0.0}
    reason = sent(Reason(ReasonCode.RETRYING, "m:1 is tried again", facts))
    assert reason.facts == {"attempts": 2, "retry_in": 0.0}
    assert (reason.code, reason.text) == (ReasonCode.RETRYING, "m:1 is tried again")


def test_a_reason_tells_no_more_than_is_known() -> None:
    assert sent(Reason(ReasonCode.LOADING, "m:1 is loading")).facts == {}
    assert sent(Reason(ReasonCode.LOADING, "m:1", {"attempts": 0})).facts == {}


def test_more_attempts_than_a_message_can_hold_are_the_most_that_it_can() -> None:
    reason = Reason(ReasonCode.LOADING, "m:1 is loading", {"attempts": 10**20})
    assert sent(reason).facts == {"attempts": 2**31 - 1}


def sent_workers(*workers: WorkerSnapshot) -> ModelStatus:
    """Return what a client reads of a model that has one version, with these workers."""
    which = ServableId("m", 3)
    version = VersionDiagnosis(which, HarnessState.READY, wanted=True, since=0.0, workers=workers)
    diagnosis = Diagnosis("m", None, (which,), None, (version,), None)
    message = message_class("servman.v1.GetStatusResponse")()
    states = {3: ServableState(which, ManagerState.AVAILABLE)}
    write_diagnosis(diagnosis, states, message.models.add())
    return read_status(message).models["m"]


def test_workers_arrive_as_they_are() -> None:
    workers = (
        worker(),
        worker(1, WorkerState.STOPPING, kind="device", device=0, running=2, log_path="/logs/é"),
        worker(2, WorkerState.GIVEN_UP, kind="extra", restarts=10**12, since=5.5),
    )
    assert sent_workers(*workers).workers == {3: workers}
    assert sent_workers().workers == {}


def test_why_a_worker_waits_arrives_and_until_when() -> None:
    (read,) = sent_workers(waiting(1, due=7.5)).workers[3]
    assert (read.state, read.due, read.restarts) == (WorkerState.WAITING, 7.5, 2)
    assert read.trouble == "m:1: worker 1 was killed by SIGKILL"


def test_a_path_that_is_no_text_can_be_told() -> None:
    (read,) = sent_workers(worker(log_path="/logs/\udcff")).workers[3]
    assert read.log_path == "/logs/\\udcff"
