"""Between sources and the manager: routers choose by stream, adapters turn paths into loaders."""

from servman.adapters.base import SourceAdapter
from servman.adapters.platforms import (
    create_adapter,
    is_registered,
    register_platform,
    registered_platforms,
)
from servman.adapters.python_model import PythonModelAdapter
from servman.adapters.rejecting import ErrorInjectingAdapter
from servman.adapters.router import DynamicSourceRouter
from servman.adapters.saved_model import SavedModelAdapter
from servman.adapters.signatures import Signature, TensorSpec

__all__ = [
    "DynamicSourceRouter",
    "ErrorInjectingAdapter",
    "PythonModelAdapter",
    "SavedModelAdapter",
    "Signature",
    "SourceAdapter",
    "TensorSpec",
    "create_adapter",
    "is_registered",
    "register_platform",
    "registered_platforms",
]
