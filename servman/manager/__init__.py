"""Loads and unloads what is aspired, and hands out handles."""

from servman.manager.aspired import AspiredVersionsManager, CloseReport
from servman.manager.handle import ServableHandle
from servman.manager.harness import HarnessState, ServableStateSnapshot
from servman.manager.policy import (
    ActionKind,
    AspiredVersionPolicy,
    AvailabilityPreservingPolicy,
    ResourcePreservingPolicy,
    ServableAction,
)
from servman.manager.tracker import ResourceTracker, Shortage

__all__ = [
    "ActionKind",
    "AspiredVersionPolicy",
    "AspiredVersionsManager",
    "AvailabilityPreservingPolicy",
    "CloseReport",
    "HarnessState",
    "ResourcePreservingPolicy",
    "ResourceTracker",
    "ServableAction",
    "ServableHandle",
    "ServableStateSnapshot",
    "Shortage",
]
