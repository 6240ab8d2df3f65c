"""Where each worker is put, what it is told of its device, and which devices are taken.

For the group: `plan(workers)` gives one `Placement` for each worker, replicas first; `worker_environment` is what is
set beside the environment of this process; `lease(id, workers)` before the first process is started, `.release()` after the last has ended.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, final

from servman.errors import FailedPreconditionError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from servman.ids import ServableId
    from servman.workers.options import Workers

Kind = Literal["device", "plain", "extra"]
"""Whether a worker is a replica on a device, a replica without one, or an extra worker."""

DEVICE_ID: Final = "SERVMAN_DEVICE_ID"
VISIBLE_DEVICES: Final = "CUDA_VISIBLE_DEVICES"
_NO_DEVICE: Final = "-1"


@final
@dataclass(frozen=True, slots=True)
class Placement:
    """Where one worker is put.

    Attributes:
        index: Its place among the workers of the servable, from 0.
        kind: What it is.
        device: The number of its device, or None.
    """

    index: int
    kind: Kind
    device: int | None

    @property
    def extra(self) -> bool:
        """Whether it is an extra worker, which takes work that needs no device."""
        return self.kind == "extra"

    def environment(self) -> dict[str, str]:
        """Return the variables that tell a worker of its device."""
        if self.device is not None:
            return {VISIBLE_DEVICES: str(self.device), DEVICE_ID: str(self.device)}
        return {VISIBLE_DEVICES: _NO_DEVICE} if self.extra else {}


def plan(workers: Workers) -> tuple[Placement, ...]:
    """Return the placements of all workers: replicas first, on the devices in turn, then the extra ones."""
    devices, replicas = tuple(workers.devices), workers.replica_count
    placed = [
        Placement(index, "device", devices[index % len(devices)])
        if devices
        else Placement(index, "plain", None)
        for index in range(replicas)
    ]
    placed += [Placement(replicas + index, "extra", None) for index in range(workers.extra_count)]
    return tuple(placed)


def worker_environment(
    workers: Workers, placement: Placement, platform: Mapping[str, str]
) -> dict[str, str]:
    """Return the variables to set for a worker beside those of this process.

    Args:
        workers: Has variables of the user's; those of the placement go before them.
        placement: Where the worker is put.
        platform: What the platform wants to be set for the device; this goes before both.
    """
    return {**workers.environment, **placement.environment(), **platform}


@final
class Lease:
    """Holds devices for a servable until it is released.

    Threads: any.
    """

    def __init__(self, id: ServableId, devices: frozenset[int], *, exclusive: bool) -> None:
        self.id = id
        self.devices = devices
        self.exclusive = exclusive

    def release(self) -> None:
        """Let the devices go. Idempotent."""
        with _lock:
            _leases.discard(self)

    def excludes(self, other: Lease) -> bool:
        """Return whether the two cannot be held at once."""
        return bool(self.devices & other.devices) and (self.exclusive or other.exclusive)


_lock: Final = threading.Lock()  # guards `_leases`
_leases: Final[set[Lease]] = set()


def lease(id: ServableId, workers: Workers) -> Lease:
    """Return a lease on the devices of *workers*, shared with others unless these are to be exclusive.

    Threads: any. Never blocks.

    Raises:
        FailedPreconditionError: Another servable of this process holds one of them, and one of the two wants it
            for itself.
    """
    wanted = Lease(id, frozenset(workers.devices), exclusive=workers.exclusive_devices)
    with _lock:
        holder = next((held for held in _leases if held.excludes(wanted)), None)
        if holder is None:
            _leases.add(wanted)
    if holder is not None:
        raise _taken(wanted, holder)
    return wanted


def _taken(wanted: Lease, holder: Lease) -> FailedPreconditionError:
    devices = ", ".join(map(str, sorted(wanted.devices & holder.devices)))
    whose = "for itself" if holder.exclusive else "as well, and this one wants it for itself"
    remedy = "unload that first, or give them different devices"
    if wanted.id.name == holder.id.name:
        remedy = (
            "let versions replace each other by ResourcePreservingPolicy(), or share the devices"
        )
    return FailedPreconditionError(
        f"{wanted.id}: device {devices} is held by {holder.id} {whose}; {remedy}"
    )
