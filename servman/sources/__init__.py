"""Where versions come from: each source watches a storage and emits what is aspired."""

from servman.sources.config import ServableToMonitor
from servman.sources.filesystem import FileSystemStoragePathSource
from servman.sources.static import StaticStoragePathSource
from servman.sources.status import SourceStatus
from servman.sources.versions import All, IgnoredName, Latest, Specific, VersionPolicy

__all__ = [
    "All",
    "FileSystemStoragePathSource",
    "IgnoredName",
    "Latest",
    "ServableToMonitor",
    "SourceStatus",
    "Specific",
    "StaticStoragePathSource",
    "VersionPolicy",
]
