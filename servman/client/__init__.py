"""The client of a servman server: waits for models from deploy scripts, looks at them, and changes them.

It needs neither TensorFlow nor numpy.
"""

from servman.client.answers import (
    Explanation,
    ModelStatus,
    Probe,
    RemoteConfig,
    RemoteOutcome,
    RemotePlan,
    RemoteReload,
    ServerStatus,
)
from servman.client.async_client import AsyncClient
from servman.client.client import Client
from servman.client.deploy import (
    wait_until,
    wait_until_available,
    wait_until_available_async,
)
from servman.client.result import RemoteProgress, RemoteWaitResult
from servman.client.watching import Snapshot, WatchEvent

__all__ = [
    "AsyncClient",
    "Client",
    "Explanation",
    "ModelStatus",
    "Probe",
    "RemoteConfig",
    "RemoteOutcome",
    "RemotePlan",
    "RemoteProgress",
    "RemoteReload",
    "RemoteWaitResult",
    "ServerStatus",
    "Snapshot",
    "WatchEvent",
    "wait_until",
    "wait_until_available",
    "wait_until_available_async",
]
