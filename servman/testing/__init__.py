"""The public kit for testing what is built on servman: fakes with the clock in your hand.

Nothing in servman imports it.
"""

from servman.testing.clock import FakeClock
from servman.testing.loaders import FailingLoader, GatedLoader
from servman.testing.pools import ManualPool
from servman.testing.targets import RecordingTarget
from servman.testing.threads import Spawned

__all__ = [
    "FailingLoader",
    "FakeClock",
    "GatedLoader",
    "ManualPool",
    "RecordingTarget",
    "Spawned",
]
