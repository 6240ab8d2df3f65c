"""servman: decides which versions of which models are in memory, and says why one is not yet.

A source states which versions are wanted, adapters make loaders of them, a manager moves the
versions in and out of memory without dropping a request, and a monitor tells whoever waits when
one is available, or why it is not.

Importing it starts no thread, changes no logging, and loads neither TensorFlow nor numpy.
"""

from servman.adapters import (
    DynamicSourceRouter,
    ErrorInjectingAdapter,
    PythonModelAdapter,
    SavedModelAdapter,
    Signature,
    SourceAdapter,
    TensorSpec,
    register_platform,
)
from servman.clock import Clock, SystemClock
from servman.core import Diagnosis, ModelConfig, ServerConfig, ServerCore, ServerCoreOptions
from servman.data import ServableData
from servman.errors import (
    ClosedError,
    FailedPreconditionError,
    InternalError,
    InvalidArgumentError,
    LoadCancelledError,
    LoadFailedError,
    NotFoundError,
    ResourceExhaustedError,
    ServableUnavailableError,
    ServmanError,
    UnimplementedError,
    WaitTimeoutError,
)
from servman.events import EventBus, Subscription
from servman.flow import Source, Target, connect
from servman.ids import ServableId, ServableRequest
from servman.loader import LoadContext, Loader, RevisedLoader, SimpleLoader
from servman.manager import (
    ActionKind,
    AspiredVersionPolicy,
    AspiredVersionsManager,
    AvailabilityPreservingPolicy,
    CloseReport,
    HarnessState,
    ResourcePreservingPolicy,
    ResourceTracker,
    ServableAction,
    ServableHandle,
    ServableStateSnapshot,
    Shortage,
)
from servman.monitor import ServableStateMonitor, WaitResult
from servman.reasons import Explainer, Reason, ReasonCode
from servman.resources import MAIN_MEMORY, Resource, ResourceAllocation
from servman.sources import (
    All,
    FileSystemStoragePathSource,
    Latest,
    ServableToMonitor,
    SourceStatus,
    Specific,
    StaticStoragePathSource,
)
from servman.state import ManagerState, ServableState, StreamAspiration

__all__ = [
    "MAIN_MEMORY",
    "ActionKind",
    "All",
    "AspiredVersionPolicy",
    "AspiredVersionsManager",
    "AvailabilityPreservingPolicy",
    "Clock",
    "CloseReport",
    "ClosedError",
    "Diagnosis",
    "DynamicSourceRouter",
    "ErrorInjectingAdapter",
    "EventBus",
    "Explainer",
    "FailedPreconditionError",
    "FileSystemStoragePathSource",
    "HarnessState",
    "InternalError",
    "InvalidArgumentError",
    "Latest",
    "LoadCancelledError",
    "LoadContext",
    "LoadFailedError",
    "Loader",
    "ManagerState",
    "ModelConfig",
    "NotFoundError",
    "PythonModelAdapter",
    "Reason",
    "ReasonCode",
    "Resource",
    "ResourceAllocation",
    "ResourceExhaustedError",
    "ResourcePreservingPolicy",
    "ResourceTracker",
    "RevisedLoader",
    "SavedModelAdapter",
    "ServableAction",
    "ServableData",
    "ServableHandle",
    "ServableId",
    "ServableRequest",
    "ServableState",
    "ServableStateMonitor",
    "ServableStateSnapshot",
    "ServableToMonitor",
    "ServableUnavailableError",
    "ServerConfig",
    "ServerCore",
    "ServerCoreOptions",
    "ServmanError",
    "Shortage",
    "Signature",
    "SimpleLoader",
    "Source",
    "SourceAdapter",
    "SourceStatus",
    "Specific",
    "StaticStoragePathSource",
    "StreamAspiration",
    "Subscription",
    "SystemClock",
    "Target",
    "TensorSpec",
    "UnimplementedError",
    "WaitResult",
    "WaitTimeoutError",
    "connect",
    "register_platform",
]
