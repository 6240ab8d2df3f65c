"""The assembly: builds every stage from a configuration and connects them."""

from servman.core.config import LoggingConfig, ModelConfig, ServerConfig
from servman.core.config_actor import ConfigFileStatus
from servman.core.config_file import ConfigFile
from servman.core.config_text import (
    format_model_config,
    parse_model_config,
    read_model_config_file,
)
from servman.core.diagnosis import Diagnosis, VersionDiagnosis
from servman.core.options import ServerCoreOptions
from servman.core.plan import Change, MemoryPlan, ModelPlan, Plan
from servman.core.readiness import Readiness
from servman.core.reload import Cancellation, ModelOutcome, ReloadOutcome, ReloadResult
from servman.core.server_core import ServerCore
from servman.core.start import start_servables
from servman.core.start_config import ServableStartConfig
from servman.core.transition import Transition

__all__ = [
    "Cancellation",
    "Change",
    "ConfigFile",
    "ConfigFileStatus",
    "Diagnosis",
    "LoggingConfig",
    "MemoryPlan",
    "ModelConfig",
    "ModelOutcome",
    "ModelPlan",
    "Plan",
    "Readiness",
    "ReloadOutcome",
    "ReloadResult",
    "ServableStartConfig",
    "ServerConfig",
    "ServerCore",
    "ServerCoreOptions",
    "Transition",
    "VersionDiagnosis",
    "format_model_config",
    "parse_model_config",
    "read_model_config_file",
    "start_servables",
]
