"""Records what the event bus carries, and lets callers wait for it."""

from servman.monitor.future import WaitFuture
from servman.monitor.monitor import ServableStateMonitor
from servman.monitor.progress import WaitProgress
from servman.monitor.result import WaitResult

__all__ = ["ServableStateMonitor", "WaitFuture", "WaitProgress", "WaitResult"]
