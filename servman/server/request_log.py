"""Requests and their answers, written down for later: in files from which models are warmed up, or looked into."""

from __future__ import annotations

import queue
import random
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final, final

from servman.adapters.signatures import SavedModelMetadata
from servman.adapters.tf_record import write_record
from servman.log import Log
from servman.protos import message_class
from servman.threads import Thread, join, spawn

if TYPE_CHECKING:
    from collections.abc import Callable

    from servman.clock import Clock
    from servman.core import ServerCore
    from servman.manager import ServableHandle

_log = Log(__name__)

_PredictionLog = message_class("tensorflow.serving.PredictionLog")

_MOST_WAITING: Final = 1000
"""How many records may wait to be written; beyond, they are dropped, so that a slow disk costs no memory."""

_SUFFIX: Final = ".tfrecord"


@final
class RequestLog:
    """Writes down a share of the requests to each model, as the configuration in force says.

    The configuration is read at each request, so a change of it counts from the next one on. A file is
    opened for the records at hand, appended to, and closed: it may be moved away at any time. Requests never
    wait for it, and never fail with it: a file that cannot be written is told in the log of the process.

    Args:
        core: What serves the models.
        clock: The time.
        sample: Gives numbers from 0 to below 1; a request is written where it is below the rate.

    Threads: any.
    """

    def __init__(
        self, core: ServerCore, clock: Clock, sample: Callable[[], float] = random.random
    ) -> None:
        self._core = core
        self._clock = clock
        self._sample = sample
        self._records: queue.SimpleQueue[tuple[str, bytes]] = queue.SimpleQueue()
        self._dropped = 0
        self._thread: Thread | None = None

    def start(self) -> None:
        """Begin to write."""
        self._thread = spawn("grpc-request-log", self._work, owner=self)

    def close(self, deadline: float) -> None:
        """Write what is at hand, and end.

        Blocks: for the file system, until *deadline* at most; a write that hangs is left behind.
        """
        self._records.put(_END)
        if self._thread is not None and not join(self._thread, self._clock, deadline):
            _log.warning("writing the request log hangs, and is left behind")

    def note(self, kind: str, handle: ServableHandle[Any], request: Any, response: Any) -> None:
        """Write a request down, perhaps. Never blocks.

        Args:
            kind: "predict", "classify", "regress" or "multi_inference".
            handle: What has answered it.
            request: The request.
            response: The answer.
        """
        model = self._core.models.get(handle.id.name)
        logging = None if model is None else model.logging
        if logging is None or not self._sample() < logging.sampling_rate:
            return
        if self._records.qsize() >= _MOST_WAITING:
            self._dropped += 1
            return
        entry = _PredictionLog()
        logged = getattr(entry, f"{kind}_log")
        logged.request.CopyFrom(request)
        logged.response.CopyFrom(response)
        metadata = entry.log_metadata
        metadata.model_spec.name = handle.id.name
        metadata.model_spec.version.value = handle.id.version
        metadata.sampling_config.sampling_rate = logging.sampling_rate
        metadata.timestamp_secs = int(self._clock.wall())
        told: object = getattr(handle.servable, "metadata", None)
        if isinstance(told, SavedModelMetadata):
            metadata.saved_model_tags.extend(told.tags)
        self._records.put((logging.filename_prefix + _SUFFIX, entry.SerializeToString()))

    def _work(self) -> None:
        records: list[tuple[str, bytes]] = []
        while _END not in records:
            records = [self._take()]
            while not self._records.empty():
                records.append(self._records.get())
            self._write(records)

    def _take(self) -> tuple[str, bytes]:
        while True:
            record = self._clock.receive(self._records, None)
            if record is not None:
                return record

    def _write(self, records: list[tuple[str, bytes]]) -> None:
        files: defaultdict[str, list[bytes]] = defaultdict(list)
        for path, data in records:
            files[path].append(data)
        files.pop(_END[0], None)
        for path, entries in files.items():
            try:
                with open(path, "ab", buffering=0) as file:  # noqa: PTH123 -- paths are texts
                    for data in entries:
                        write_record(file, data)
            except OSError as error:
                _log.warning("%d requests were not logged in %s: %s", len(entries), path, error)
        dropped, self._dropped = self._dropped, 0
        if dropped:
            _log.warning("%d requests were not logged: the disk is too slow for them", dropped)


_END: Final = ("", b"")
