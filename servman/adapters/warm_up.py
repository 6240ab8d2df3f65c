"""Warm-up: before a version is let in, it answers the requests that its publisher has put beside it.

A model may take a thousand times as long for its first requests as for later ones. So a version directory may
hold requests, in the place and the form of TensorFlow Serving's, and the version is available only when it has
answered all of them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, final

from servman.errors import InvalidArgumentError, UnimplementedError

if TYPE_CHECKING:
    import threading

    from servman.adapters.directory import VersionDirectory
    from servman.adapters.requests import Inferable

WARM_UP_FILE: Final = "assets.extra/tf_serving_warmup_requests"
"""Where the requests are: a TFRecord file, each record a serialised `tensorflow.serving.PredictionLog`."""

MAX_RECORDS: Final = 1000
"""How many requests the file may hold."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class WarmUp:
    """How a version is warmed up with the requests in its file, where it has one.

    Attributes:
        iterations: How often each request is made.
        num_threads: How many requests are made at once.

    Threads: immutable; any thread.

    Raises:
        InvalidArgumentError: One of them is no positive integer.
    """

    iterations: int = 1
    num_threads: int = 1

    def __post_init__(self) -> None:
        for name in ("iterations", "num_threads"):
            value: object = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InvalidArgumentError(f"{name} is a positive integer, not {value!r}")


def warm_up(
    files: VersionDirectory, servable: Inferable, options: WarmUp, cancelled: threading.Event
) -> None:
    """Put the requests in the warm-up file of *files* to *servable*; there may be none.

    Blocks: until all are answered; or, once *cancelled* is set or one has failed, those under way.

    Raises:
        DataLossError: The file is damaged, or no TFRecord file.
        InvalidArgumentError: It holds too many records, or one that is no request.
        UnimplementedError: It holds a request of a kind that cannot be replayed.
        LoadCancelledError: *cancelled* was set before all were answered.
        ServmanError: The file cannot be read; or *servable* raised it, for the first request that failed.
    """
    if not _is_there(files):
        return
    try:
        # Here, on the load pool: it imports numpy and protobuf, which few versions need.
        from servman.adapters.replay import replay  # noqa: PLC0415 -- as said
    except ImportError as error:
        raise UnimplementedError(
            f"{files.id}: {files.join(WARM_UP_FILE)} cannot be replayed here: {error}; pip install"
            " 'servman[tensorflow]', or load without warm-up"
        ) from error
    replay(files, servable, options, cancelled)


def _is_there(files: VersionDirectory) -> bool:
    try:
        return os.stat(files.join(WARM_UP_FILE)).st_size > 0  # noqa: PTH116 -- spelled as the source spelled it
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise files.unreadable(error) from None
