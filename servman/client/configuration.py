"""A configuration on its way to a server: a text becomes the message, and back."""

from __future__ import annotations

from typing import Any

from google.protobuf import json_format, text_format

from servman.errors import InvalidArgumentError
from servman.protos import POOL, message_class


def to_message(config: str) -> Any:
    """Return the `ModelServerConfig` that *config* holds, in protobuf's text format or as JSON.

    Raises:
        InvalidArgumentError: It is no text, or holds none.
    """
    if not isinstance(config, str):
        raise InvalidArgumentError(
            f"a configuration is sent as a text, as a configuration file holds it, not as {config!r}; of a"
            " ServerConfig, format_model_config makes one"
        )
    message = message_class("tensorflow.serving.ModelServerConfig")()
    try:
        if config.lstrip()[:1] == "{":
            return json_format.Parse(config, message, descriptor_pool=POOL)
        return text_format.Parse(config, message, descriptor_pool=POOL)
    except (json_format.ParseError, text_format.ParseError, ValueError, RecursionError) as error:
        raise InvalidArgumentError(f"not a configuration: {error}") from error


def to_text(message: Any) -> str:
    """Return the `ModelServerConfig` *message* as a configuration file holds it."""
    return text_format.MessageToString(message, as_utf8=True)
