"""Logging that can hurt nobody: a handler is foreign code, and may raise."""

from __future__ import annotations

import logging
from typing import final


@final
class Log:
    """A logger of the standard library whose calls never raise, but for a Ctrl-C meant for the host.

    A handler of the host's may raise, and even the standard one does where a daemon has closed its
    standard error. What is logged then is lost; the thread that logs it, and whom it serves, goes on.

    Args:
        name: The module that logs.

    Threads: any.
    """

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def info(self, text: str, *args: object) -> None:
        """Log what is well."""
        self._write(logging.INFO, text, args)

    def warning(self, text: str, *args: object) -> None:
        """Log what somebody may have to look at."""
        self._write(logging.WARNING, text, args)

    def error(self, text: str, *args: object) -> None:
        """Log what has gone wrong."""
        self._write(logging.ERROR, text, args)

    def exception(self, text: str, *args: object) -> None:
        """Log what has gone wrong, with the exception that is being handled."""
        self._write(logging.ERROR, text, args, trace=True)

    def _write(
        self, level: int, text: str, args: tuple[object, ...], *, trace: bool = False
    ) -> None:
        try:
            self._logger.log(level, text, *args, exc_info=trace, stacklevel=3)
        except KeyboardInterrupt:
            raise
        except BaseException:  # noqa: BLE001, S110 -- there is nobody left to tell
            pass
