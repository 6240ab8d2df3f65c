"""TensorFlow Serving's `ModelService`: what is asked of the server about its models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, final

from servman.errors import InvalidArgumentError, NotFoundError
from servman.protos import message_class
from servman.server import lookup
from servman.server.messages import config_from
from servman.server.methods import Method
from servman.server.reloads import reload, require_well
from servman.server.statuses import write_status

if TYPE_CHECKING:
    from servman.core import ServerCore
    from servman.server.calls import Call

SERVICE: Final = "tensorflow.serving.ModelService"

_GetModelStatusResponse = message_class("tensorflow.serving.GetModelStatusResponse")
_ReloadConfigResponse = message_class("tensorflow.serving.ReloadConfigResponse")


@final
class ModelService:
    """Tells the states of versions, and takes another configuration.

    Args:
        core: What serves the models.
        reload_timeout: Seconds that a reload may take whose caller sets no deadline.

    Threads: any.
    """

    def __init__(self, core: ServerCore, *, reload_timeout: float) -> None:
        self._core = core
        self._reload_timeout = reload_timeout

    @property
    def methods(self) -> list[Method]:
        """What can be called."""
        return [
            Method(
                service=SERVICE,
                name="GetModelStatus",
                request=message_class("tensorflow.serving.GetModelStatusRequest"),
                answer=self.get_model_status,
            ),
            Method(
                service=SERVICE,
                name="HandleReloadConfigRequest",
                request=message_class("tensorflow.serving.ReloadConfigRequest"),
                answer=self.handle_reload_config,
                waits=True,
            ),
        ]

    def get_model_status(self, request: Any, _: Call) -> Any:
        """Tell the state of each version of a model, or of the one that is asked for, highest first."""
        if not request.HasField("model_spec"):
            raise InvalidArgumentError("Missing ModelSpec")
        spec = request.model_spec
        states = self._core.monitor.get_version_states(spec.name)
        if not states:
            raise self._unknown(spec, f"Could not find any versions of model {spec.name}")
        wanted = self._version(spec)
        if wanted is not None and wanted not in states:
            raise self._unknown(spec, f"Could not find version {wanted} of model {spec.name}")
        response = _GetModelStatusResponse()
        for version, state in states.items():
            if wanted in (None, version):
                status = response.model_version_status.add()
                status.version = version
                status.state = int(state.manager_state)
                write_status(state.error, status.status)
        return response

    def handle_reload_config(self, request: Any, call: Call) -> Any:
        """Serve what the configuration says, and wait for it; the error tells what is not as wanted."""
        if request.config.WhichOneof("config") != "model_config_list":
            raise InvalidArgumentError(
                "ReloadConfigRequest has no model_config_list; no other configuration is understood"
            )
        config = config_from(request.config)
        timeout = call.timeout()
        timeout = self._reload_timeout if timeout is None else timeout
        require_well(reload(self._core, config, call, timeout=timeout))
        response = _ReloadConfigResponse()
        write_status(None, response.status)
        for name in request.metric_names:
            response.metric.add(name=name, int64_value_increase=0)
        return response

    def _version(self, spec: Any) -> int | None:
        match spec.WhichOneof("version_choice"):
            case "version":
                version: int = spec.version.value
                return version
            case "version_label":
                with lookup.handle_on(self._core, spec) as handle:
                    return handle.id.version
            case _:
                return None

    def _unknown(self, spec: Any, text: str) -> NotFoundError:
        """Return the error about what nothing is known of, with the reason, where *spec* could mean something."""
        try:
            why = self._core.explain(lookup.asked_for(spec)).reason
        except (NotFoundError, InvalidArgumentError):
            why = None
        return NotFoundError(text if why is None else f"{text}: {why}", reason=why)
