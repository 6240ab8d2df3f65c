"""What a servable raises, in the words of errors: the same from a worker process as from this one."""

from __future__ import annotations

import grpc
import pytest

from servman.errors import (
    InternalError,
    InvalidArgumentError,
    QuarantinedError,
    ResourceExhaustedError,
    ServmanError,
    UnimplementedError,
    WaitTimeoutError,
    WorkerCallError,
    WorkerDiedError,
    WorkerUnavailableError,
)
from servman.ids import ServableId
from servman.server.inference import run
from servman.server.statuses import status_of
from servman.workers.failure import Failure, failure_of

ID = ServableId("m", 1)


class ModelError(ValueError):
    """What only the model knows."""


class NotYetError(NotImplementedError):
    """As well."""


def failure(error: BaseException) -> ServmanError:
    def call() -> None:
        raise error

    with pytest.raises(ServmanError) as raised:
        run(ID, "predict", call)
    return raised.value


def from_worker(error: BaseException) -> BaseException:
    """Return what the host raises of what the child cannot send as itself."""
    told = failure_of(error)
    return Failure(*told._replace(pickled=None)).error("m:1: predict")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ValueError("x"), InvalidArgumentError),
        (ModelError("x"), InvalidArgumentError),
        (NotYetError("x"), UnimplementedError),
        (MemoryError("x"), ResourceExhaustedError),
        (KeyError("x"), InternalError),
    ],
)
def test_what_cannot_come_as_itself_counts_as_what_it_derives_from(
    error: Exception, kind: type[ServmanError]
) -> None:
    assert type(failure(error)) is kind
    sent = failure(from_worker(error))
    assert sent.code == kind.code
    assert str(sent) == f"m:1: predict: {type(error).__name__}: {error}"
    assert failure_of(error).bases[-3:] == ("Exception", "BaseException", "object")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (WorkerDiedError("m:1: gone"), grpc.StatusCode.UNAVAILABLE),
        (WorkerUnavailableError("m:1: none"), grpc.StatusCode.UNAVAILABLE),
        (WorkerCallError("m:1: odd", kind="Odd"), grpc.StatusCode.INTERNAL),
        (ResourceExhaustedError("m:1: full"), grpc.StatusCode.RESOURCE_EXHAUSTED),
        (QuarantinedError("m:1: poison"), grpc.StatusCode.FAILED_PRECONDITION),
        (WaitTimeoutError("m:1: late"), grpc.StatusCode.DEADLINE_EXCEEDED),
    ],
)
def test_what_befalls_workers_has_its_code_and_text(
    error: ServmanError, code: grpc.StatusCode
) -> None:
    assert status_of("Predict", failure(error)) == (code, str(error))
