"""The error tree as hosts and other processes see it."""

from __future__ import annotations

import inspect
import pickle

import pytest

import servman
from servman import errors
from servman.errors import (
    NotFoundError,
    ServableUnavailableError,
    ServmanError,
    WaitTimeoutError,
    WorkerCallError,
    WorkerDiedError,
)
from servman.ids import ServableId, ServableRequest
from servman.reasons import Reason, ReasonCode
from servman.resources import MAIN_MEMORY, ResourceAllocation
from servman.state import ManagerState, ServableState

GRPC_CODES = frozenset(
    [
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ]
)
TREE: list[type[ServmanError]] = [
    thing
    for thing in vars(errors).values()
    if inspect.isclass(thing) and issubclass(thing, ServmanError)
]
STANDARD = {
    "InvalidArgumentError": ("INVALID_ARGUMENT", ValueError),
    "NotFoundError": ("NOT_FOUND", LookupError),
    "AlreadyExistsError": ("ALREADY_EXISTS", FileExistsError),
    "FailedPreconditionError": ("FAILED_PRECONDITION", RuntimeError),
    "ResourceExhaustedError": ("RESOURCE_EXHAUSTED", RuntimeError),
    "LoadCancelledError": ("CANCELLED", RuntimeError),
    "LoadFailedError": ("UNKNOWN", RuntimeError),
    "WaitTimeoutError": ("DEADLINE_EXCEEDED", TimeoutError),
    "ServerUnreachableError": ("UNAVAILABLE", TimeoutError),
    "ServableUnavailableError": ("UNAVAILABLE", RuntimeError),
    "AccessDeniedError": ("PERMISSION_DENIED", PermissionError),
    "ClosedError": ("UNAVAILABLE", RuntimeError),
    "UnimplementedError": ("UNIMPLEMENTED", NotImplementedError),
    "DataLossError": ("DATA_LOSS", RuntimeError),
    "WorkerDiedError": ("UNAVAILABLE", RuntimeError),
    "WorkerUnavailableError": ("UNAVAILABLE", RuntimeError),
    "WorkerCallError": ("INTERNAL", RuntimeError),
    "QuarantinedError": ("FAILED_PRECONDITION", RuntimeError),
    "InternalError": ("INTERNAL", RuntimeError),
    "ServmanError": ("UNKNOWN", Exception),
}
REQUEST = ServableRequest.specific("m", 1)
REASON = Reason(
    ReasonCode.FAILED,
    "m:1 failed",
    {"needs": ResourceAllocation({MAIN_MEMORY: 5})},
)
STATE = ServableState(ServableId("m", 1), ManagerState.END)


def through_a_pipe(error: ServmanError) -> ServmanError:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert isinstance(again, ServmanError)
    return again


@pytest.mark.parametrize("cls", TREE)
def test_every_error_has_the_code_and_the_standard_class_that_were_promised(
    cls: type[ServmanError],
) -> None:
    code, standard = STANDARD[cls.__name__]
    assert cls.code == code
    assert code in GRPC_CODES
    assert issubclass(cls, standard)
    assert cls.__name__.endswith("Error")


@pytest.mark.parametrize("cls", TREE)
def test_every_error_survives_pickling_with_text_and_traceback(cls: type[ServmanError]) -> None:
    error = cls("m:1: broken")
    error.traceback = "somewhere"
    again = through_a_pipe(error)
    assert str(again) == "m:1: broken"
    assert again.traceback == "somewhere"


@pytest.mark.parametrize("cls", [WaitTimeoutError, ServableUnavailableError])
def test_the_states_and_reasons_of_a_wait_survive_pickling(
    cls: type[WaitTimeoutError | ServableUnavailableError],
) -> None:
    error = cls("late", states={STATE.id: STATE}, reasons={REQUEST: REASON})
    again = through_a_pipe(error)
    assert isinstance(again, cls)
    assert again.states == {STATE.id: STATE}
    assert again.reasons == {REQUEST: REASON}


def test_the_reason_of_a_lookup_survives_pickling() -> None:
    again = through_a_pipe(NotFoundError("m:1 is not there", reason=REASON))
    assert isinstance(again, NotFoundError)
    assert again.reason == REASON


@pytest.mark.parametrize("cls", TREE)
def test_every_error_is_a_public_name(cls: type[ServmanError]) -> None:
    assert getattr(servman, cls.__name__) is cls
    assert cls.__name__ in servman.__all__


def test_how_a_worker_died_survives_pickling() -> None:
    died = WorkerDiedError(
        "m:1: the worker died", exit_code=None, signal=11, log_tail="core dumped"
    )
    again = through_a_pipe(died)
    assert isinstance(again, WorkerDiedError)
    assert (again.exit_code, again.signal, again.log_tail) == (None, 11, "core dumped")


def test_the_class_of_what_a_worker_raised_survives_pickling() -> None:
    again = through_a_pipe(WorkerCallError("m:1: predict: Odd: no", kind="Odd"))
    assert isinstance(again, WorkerCallError)
    assert again.kind == "Odd"
