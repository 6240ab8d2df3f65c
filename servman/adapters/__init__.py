"""Between sources and the manager: routers choose by stream, adapters turn paths into loaders.

Each name is brought in when it is first asked for: a worker process needs one platform, and should be up soon.
"""

from typing import TYPE_CHECKING, Final

from servman.lazy import names_of

if TYPE_CHECKING:
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

_HOMES: Final = {
    ".base": ("SourceAdapter",),
    ".deferred": ("DeferredAdapter",),
    ".platforms": ("create_adapter", "is_registered", "register_platform", "registered_platforms"),
    ".prefix": ("PrefixStoragePathAdapter",),
    ".python_model": ("PythonModelAdapter",),
    ".rejecting": ("ErrorInjectingAdapter",),
    ".router": ("DynamicSourceRouter", "StaticSourceRouter"),
    ".saved_model": ("SavedModelAdapter",),
    ".signatures": ("InferenceTask", "SavedModelMetadata", "Signature", "TensorSpec"),
    ".warm_up": ("WarmUp",),
}

if not TYPE_CHECKING:
    __getattr__, __dir__ = names_of(__name__, _HOMES)
