"""Where versions come from: each source watches a storage and emits what is aspired."""

from servman.sources.completeness import Completeness, immediate, marker, settled
from servman.sources.config import ServableToMonitor
from servman.sources.filesystem import FileSystemStoragePathSource
from servman.sources.static import StaticStoragePathSource
from servman.sources.status import Outlook, SourceStatus
from servman.sources.versions import (
    All,
    IgnoredName,
    IncompleteVersion,
    Latest,
    Specific,
    VersionPolicy,
)

__all__ = [
    "All",
    "Completeness",
    "FileSystemStoragePathSource",
    "IgnoredName",
    "IncompleteVersion",
    "Latest",
    "Outlook",
    "ServableToMonitor",
    "SourceStatus",
    "Specific",
    "StaticStoragePathSource",
    "VersionPolicy",
    "immediate",
    "marker",
    "settled",
]
