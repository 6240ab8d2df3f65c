"""The public kit for testing what is built on servman.

Fakes with the clock in your hand, and the contracts of a source, an adapter and a loader as checks that
run against yours: `check_source`, `check_adapter`, `check_loader`.

Nothing in servman imports it.
"""

from servman.testing.adapter_check import check_adapter
from servman.testing.clock import FakeClock
from servman.testing.loader_check import CHECKED_ID, check_loader
from servman.testing.loaders import FailingLoader, GatedLoader
from servman.testing.pools import ManualPool
from servman.testing.source_check import check_source
from servman.testing.targets import RecordingTarget
from servman.testing.threads import Spawned

__all__ = [
    "CHECKED_ID",
    "FailingLoader",
    "FakeClock",
    "GatedLoader",
    "ManualPool",
    "RecordingTarget",
    "Spawned",
    "check_adapter",
    "check_loader",
    "check_source",
]
