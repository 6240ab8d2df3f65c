"""Between sources and the manager: routers choose by stream, adapters turn paths into loaders."""

from servman.adapters.base import SourceAdapter
from servman.adapters.deferred import DeferredAdapter
from servman.adapters.platforms import (
    create_adapter,
    is_registered,
    register_platform,
    registered_platforms,
)
from servman.adapters.prefix import PrefixStoragePathAdapter
from servman.adapters.python_model import PythonModelAdapter
from servman.adapters.rejecting import ErrorInjectingAdapter
from servman.adapters.router import DynamicSourceRouter, StaticSourceRouter
from servman.adapters.saved_model import SavedModelAdapter
from servman.adapters.signatures import (
    InferenceTask,
    SavedModelMetadata,
    Signature,
    TensorSpec,
)
from servman.adapters.warm_up import WarmUp

__all__ = [
    "DeferredAdapter",
    "DynamicSourceRouter",
    "ErrorInjectingAdapter",
    "InferenceTask",
    "PrefixStoragePathAdapter",
    "PythonModelAdapter",
    "SavedModelAdapter",
    "SavedModelMetadata",
    "Signature",
    "SourceAdapter",
    "StaticSourceRouter",
    "TensorSpec",
    "WarmUp",
    "create_adapter",
    "is_registered",
    "register_platform",
    "registered_platforms",
]
