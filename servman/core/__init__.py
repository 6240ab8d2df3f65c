"""The assembly: builds every stage from a configuration and connects them."""

from servman.core.config import ModelConfig, ServerConfig, ServerCoreOptions
from servman.core.diagnosis import Diagnosis
from servman.core.server_core import ServerCore

__all__ = ["Diagnosis", "ModelConfig", "ServerConfig", "ServerCore", "ServerCoreOptions"]
