"""One configuration made of another: with a model more, with one changed, with one less. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypedDict

from servman.core.config import ModelConfig
from servman.errors import AlreadyExistsError, InvalidArgumentError, NotFoundError

if TYPE_CHECKING:
    from servman.core.config import ServerConfig
    from servman.core.reload import Cancellation


class ReloadOptions(TypedDict, total=False):
    """The options of `ServerCore.reload_config`, which tells of each."""

    wait: bool
    timeout: float | None
    atomic: bool
    expected_generation: int | None
    origin: str
    cancellation: Cancellation | None


def with_model(config: ServerConfig, model: ModelConfig) -> ServerConfig:
    """Return *config* with *model* as well.

    Raises:
        AlreadyExistsError: It has a model of that name.
    """
    _check(model)
    if any(one.name == model.name for one in config.models):
        raise AlreadyExistsError(
            f"model {model.name!r} is configured already; change it with update_model()"
        )
    return replace(config, models=(*config.models, model))


def with_model_changed(config: ServerConfig, model: ModelConfig) -> ServerConfig:
    """Return *config* with *model* in the place of the one of that name.

    Raises:
        NotFoundError: It has none.
    """
    _check(model)
    _require(config, model.name, "add it with add_model()")
    models = [model if one.name == model.name else one for one in config.models]
    return replace(config, models=models)


def without_model(config: ServerConfig, name: str) -> ServerConfig:
    """Return *config* without the model *name*.

    Raises:
        NotFoundError: It has none of that name.
    """
    _require(config, name, "it is not served")
    return replace(config, models=[one for one in config.models if one.name != name])


def _check(model: object) -> None:
    if not isinstance(model, ModelConfig):
        raise InvalidArgumentError(
            f"{model!r} is no ModelConfig; pass ModelConfig(name, base_path)"
        )


def _require(config: ServerConfig, name: str, remedy: str) -> None:
    if all(one.name != name for one in config.models):
        raise NotFoundError(f"no model {name!r} is configured; {remedy}")
