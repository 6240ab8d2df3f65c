"""Replays the requests of a warm-up file. Imports numpy and protobuf: on a load thread only."""

from __future__ import annotations

import itertools
from collections import deque
from typing import TYPE_CHECKING, Any, Final, final

from google.protobuf.message import DecodeError

from servman.adapters import requests
from servman.adapters.base import failure_of
from servman.adapters.tf_record import read_records
from servman.adapters.warm_up import MAX_RECORDS, WARM_UP_FILE, WarmUp
from servman.clock import SystemClock
from servman.errors import (
    DataLossError,
    InvalidArgumentError,
    LoadCancelledError,
    ServmanError,
    UnimplementedError,
)
from servman.log import Log
from servman.protos import message_class
from servman.threads import WorkerPool

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping

    from servman.adapters.directory import VersionDirectory
    from servman.adapters.requests import Inferable

_log = Log(__name__)

_PredictionLog = message_class("tensorflow.serving.PredictionLog")

_CALLS: Final[Mapping[str, Callable[[Inferable, Any], object]]] = {
    "predict_log": requests.predict,
    "classify_log": requests.classify,
    "regress_log": requests.regress,
    "multi_inference_log": requests.multi_inference,
}
"""How a request is made, for each kind of log that has one."""


def replay(
    files: VersionDirectory, servable: Inferable, options: WarmUp, cancelled: threading.Event
) -> None:
    """Put the requests in the warm-up file of *files* to *servable*; see `warm_up`."""
    records = _read(files)
    run = _Replay(servable, records, options.iterations, cancelled)
    run.run(min(options.num_threads, len(records)))
    if run.failures:
        number = min(run.failures)
        raise _failure(files, f"request {number} of {len(records)}", run.failures[number])
    if cancelled.is_set():
        raise LoadCancelledError(f"{files.id}: given up during its warm-up")
    _log.info("%s: warmed up with %d requests", files.id, len(records))


def _failure(files: VersionDirectory, which: str, cause: ServmanError) -> ServmanError:
    text = (
        f"{files.id}: {which} in {files.join(WARM_UP_FILE)} failed: {cause}; repair or remove the file,"
        " or load without warm-up"
    )
    cause.args = (text, *cause.args[1:])  # of the same class, with the fields that it has
    return cause


def _read(files: VersionDirectory) -> list[bytes]:
    """Return all records: a file that is no good is refused before any request is made."""
    path = files.join(WARM_UP_FILE)
    try:
        with open(path, "rb") as file:  # noqa: PTH123 -- spelled as the source spelled it
            records = list(itertools.islice(read_records(file), MAX_RECORDS + 1))
    except OSError as error:
        raise files.unreadable(error) from None
    except DataLossError as error:
        raise DataLossError(
            f"{files.id}: {path}: {error}; write it as an uncompressed TFRecord file, with a"
            " serialised PredictionLog in each record"
        ) from None
    if len(records) > MAX_RECORDS:
        raise InvalidArgumentError(
            f"{files.id}: {path} has more than {MAX_RECORDS} records; keep those that warm the model up"
        )
    return records


@final
class _Replay:
    """The records of one file, as the threads that replay them share them.

    Attributes:
        failures: What went wrong, by the number of the record, from 1. The first ends the replay.
    """

    def __init__(
        self,
        servable: Inferable,
        records: list[bytes],
        iterations: int,
        cancelled: threading.Event,
    ) -> None:
        self.failures: dict[int, ServmanError] = {}
        self._servable = servable
        self._waiting = deque(enumerate(records, 1))  # taken from by one atomic operation
        self._iterations = iterations
        self._cancelled = cancelled

    def run(self, num_threads: int) -> None:
        """Replay all records. Blocks: until no thread uses the servable any more."""
        if num_threads <= 1:
            self._work()
            return
        pool = WorkerPool("warm-up", num_threads, SystemClock())
        try:
            for _ in range(num_threads):
                pool.submit(self._work)
        except ServmanError:  # the system has no thread left to give
            self._waiting.clear()
            raise
        finally:
            pool.finish()
            pool.join(None)

    def _work(self) -> None:
        while not self._over():
            try:
                number, record = self._waiting.popleft()
            except IndexError:  # all are taken
                return
            try:
                self._answer(record)
            except BaseException as error:  # noqa: BLE001 -- foreign code; a pool would swallow it
                self.failures[number] = failure_of("the model", error)

    def _answer(self, record: bytes) -> None:
        call, request = _request(record)
        for _ in range(self._iterations):
            if self._over():
                return
            call(self._servable, request)

    def _over(self) -> bool:
        return bool(self.failures) or self._cancelled.is_set()


def _request(record: bytes) -> tuple[Callable[[Inferable, Any], object], Any]:
    try:
        log = _PredictionLog.FromString(record)
    except DecodeError as error:
        raise InvalidArgumentError(f"it is no PredictionLog: {error}") from None
    kind = log.WhichOneof("log_type")
    if kind not in _CALLS:
        raise UnimplementedError(f"a {kind or 'log without a request'} cannot be replayed")
    return _CALLS[kind], getattr(log, kind).request
