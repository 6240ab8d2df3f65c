"""How SavedModels are loaded and run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, final

from servman.errors import InvalidArgumentError

SERVING_TAG: Final = "serve"
"""The tag of the graph that is exported for serving."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOptions:
    """What the sessions of one adapter have in common; `SavedModelAdapter` explains the fields.

    Threads: immutable; any thread.

    Raises:
        InvalidArgumentError: A value is of the wrong type, or out of its range.
    """

    tags: tuple[str, ...] = (SERVING_TAG,)
    intra_op_parallelism_threads: int = 0
    inter_op_parallelism_threads: int = 0
    per_process_gpu_memory_fraction: float = 0.0
    device: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "tags", _checked_tags(self.tags))
        for name in ("intra_op_parallelism_threads", "inter_op_parallelism_threads"):
            threads: object = getattr(self, name)
            if type(threads) is not int or threads < 0:
                raise InvalidArgumentError(f"{name} is an int from 0, not {threads!r}")
        fraction: object = self.per_process_gpu_memory_fraction
        if not isinstance(fraction, int | float) or not 0 <= fraction <= 1:
            raise InvalidArgumentError(
                f"per_process_gpu_memory_fraction is a number from 0 to 1, not {fraction!r}"
            )
        device: object = self.device
        if not isinstance(device, str):
            raise InvalidArgumentError(f"device is a text such as '/gpu:0', not {device!r}")


def _checked_tags(tags: object) -> tuple[str, ...]:
    if isinstance(tags, str):
        raise InvalidArgumentError(f"tags is a collection of texts; pass [{tags!r}]")
    checked = tuple(tags) if isinstance(tags, Iterable) else (tags,)
    if not all(isinstance(tag, str) for tag in checked):
        raise InvalidArgumentError(f"tags is a collection of texts, not {tags!r}")
    return checked
