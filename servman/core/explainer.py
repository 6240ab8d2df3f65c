"""Why a request finds nothing, where it is the configuration, or the core itself, that nothing comes of."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final, final

from servman.ids import ServableRequest
from servman.reasons import Reason, ReasonCode

if TYPE_CHECKING:
    from servman.core.configuration import Configuration
    from servman.core.platforms import PlatformAdapters
    from servman.core.server_core import ServerCore
    from servman.reasons import Explainer

_NAMED: Final = 10
"""How many models a text names at most."""


@final
class ConfigExplainer:
    """Answers from what is configured, before anybody who knows what has come of it is asked.

    Args:
        core: Whose configuration it is.
        platforms: Know of platforms that cannot be used, or not yet.
    """

    def __init__(self, core: ServerCore, platforms: PlatformAdapters) -> None:
        self._core = core
        self._platforms = platforms

    def explain(self, request: ServableRequest) -> Reason | None:
        """Return the reason, or None where the configuration is none; see `Explainer`."""
        core, name = self._core, request.name
        if core.closed:
            return Reason(
                ReasonCode.CLOSED, f"{name} is not served: the server core is closed or closing"
            )
        model = core.models.get(name)
        if model is None:
            return self._not_configured(name)
        if not core.started:
            text = f"{name} is not served: the server core was not started; call start()"
            return Reason(ReasonCode.NOT_LOOKED_YET, text, {"name": name})
        return self._platforms.explain(model.platform, request)

    def _not_configured(self, name: str) -> Reason:
        models = self._core.models
        known = ", ".join(itertools.islice(models, _NAMED)) or "none"
        if len(models) > _NAMED:
            known += f" and {len(models) - _NAMED} more"
        text = f"no model {name!r} is configured (there are: {known}); add it to the config"
        file = self._core.config_file_status
        if file is not None and file.error is not None:
            text += f", and mind that the config file is not in force: {file.error}"
        return Reason(ReasonCode.NOT_CONFIGURED, text, {"name": name})


@final
class LabelExplainer:
    """Answers requests by label where nobody has asked the manager for the version that the label is to name.

    Args:
        manager: Knows the labels.
        source: Knows why a version is not asked for.
    """

    def __init__(self, manager: Explainer, source: Explainer) -> None:
        self._manager = manager
        self._source = source

    def explain(self, request: ServableRequest) -> Reason | None:
        """Return the reason, or None where it is no such request; see `Explainer`."""
        if request.label is None:
            return None
        reason = self._manager.explain(request)
        version = None if reason is None else reason.facts.get("version")
        if reason is None or reason.code is not ReasonCode.NOT_ASPIRED or type(version) is not int:
            return reason
        wanted = ServableRequest.specific(request.name, version)
        why = self._source.explain(wanted)
        if why is None:
            return reason
        target = reason.facts.get("target")
        until = "" if target is None else f"; until then it is {request.name}:{target}"
        text = f"{request} is to be {wanted}: {why}{until}"
        return Reason(why.code, text, {**why.facts, **reason.facts}, why.error)


@final
class OnItsWay:
    """Answers where nobody else does: the source has asked for it, and the manager has not taken that up.

    Args:
        configuration: Knows of an atomic reload under way, which the stages follow already.
    """

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration

    def explain(self, request: ServableRequest) -> Reason:
        """Return the reason; see `Explainer`."""
        wanted = self._configuration.wanted
        if wanted.atomic and request.name not in wanted.models:
            text = (
                f"{request} is not looked for while an atomic reload is under way that removes"
                f" {request.name!r}; it is again if that is taken back"
            )
            return Reason(ReasonCode.HELD, text, {"name": request.name})
        return Reason(ReasonCode.UNKNOWN, f"{request} is on its way; ask again")
