"""The calls that a client makes, by name and with their messages; no code is generated for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, final

from servman.protos import message_class


@final
@dataclass(frozen=True, slots=True)
class Method:
    """One method of one service.

    Attributes:
        path: Its name, as it is called over the wire.
        request: The full name of the message that is sent.
        reply: The full name of the message that comes back, once or in a stream.

    Threads: immutable; any thread.
    """

    path: str
    request: str
    reply: str

    def new(self, **fields: object) -> Any:
        """Return a request with *fields*."""
        return message_class(self.request)(**fields)

    def parse(self, content: bytes) -> Any:
        """Return the reply that *content* is.

        Raises:
            DecodeError: It is none.
        """
        return message_class(self.reply).FromString(content)


def _servables(name: str, message: str | None = None) -> Method:
    stem = f"servman.v1.{message or name}"
    return Method(f"/servman.v1.Servables/{name}", f"{stem}Request", f"{stem}Response")


def _tensorflow_serving(service: str, name: str) -> Method:
    stem = f"tensorflow.serving.{name}"
    return Method(f"/tensorflow.serving.{service}/{name}", f"{stem}Request", f"{stem}Response")


WAIT_UNTIL: Final = _servables("WaitUntil")
WATCH: Final = _servables("Watch")
GET_STATUS: Final = _servables("GetStatus")
EXPLAIN: Final = _servables("Explain")
GET_HISTORY: Final = _servables("GetHistory")
GET_CONFIG: Final = _servables("GetConfig")
PLAN: Final = _servables("Plan")
RELOAD_CONFIG: Final = _servables("ReloadConfig")
GET_MODEL_STATUS: Final = _tensorflow_serving("ModelService", "GetModelStatus")
GET_MODEL_METADATA: Final = _tensorflow_serving("PredictionService", "GetModelMetadata")
