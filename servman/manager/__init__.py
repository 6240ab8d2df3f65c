"""Loads and unloads versions of servables, and hands out handles."""

from servman.manager.aspired import AspiredVersionsManager
from servman.manager.backoff import ExponentialBackoff
from servman.manager.base import Manager
from servman.manager.basic import BasicManager
from servman.manager.builder import AspiredVersionsManagerBuilder
from servman.manager.caching import CachingManager
from servman.manager.debug import set_debug
from servman.manager.handle import HandleSite, ServableHandle
from servman.manager.harness import HarnessState, ServableStateSnapshot
from servman.manager.options import StreamOptions
from servman.manager.path_prefix import PathPrefixLoaderFactory
from servman.manager.policy import (
    ActionKind,
    AspiredVersionPolicy,
    AvailabilityPreservingPolicy,
    ResourcePreservingPolicy,
    ServableAction,
)
from servman.manager.report import CloseReport
from servman.manager.static import StaticManager
from servman.manager.tracker import ResourceTracker, Shortage

__all__ = [
    "ActionKind",
    "AspiredVersionPolicy",
    "AspiredVersionsManager",
    "AspiredVersionsManagerBuilder",
    "AvailabilityPreservingPolicy",
    "BasicManager",
    "CachingManager",
    "CloseReport",
    "ExponentialBackoff",
    "HandleSite",
    "HarnessState",
    "Manager",
    "PathPrefixLoaderFactory",
    "ResourcePreservingPolicy",
    "ResourceTracker",
    "ServableAction",
    "ServableHandle",
    "ServableStateSnapshot",
    "Shortage",
    "StaticManager",
    "StreamOptions",
    "set_debug",
]
