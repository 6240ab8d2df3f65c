"""Logging hurts nobody, whatever the host's handlers do."""

from __future__ import annotations

import logging
from typing import NoReturn

import pytest

from servman.log import Log


class Raising(logging.Handler):
    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error

    def emit(self, record: logging.LogRecord) -> NoReturn:
        raise self.error


def raising(error: BaseException) -> Log:
    logger = logging.Logger("servman.tests")  # noqa: LOG001 -- one that no other test sees
    logger.addHandler(Raising(error))
    log = Log("servman.tests")
    log._logger = logger
    return log


@pytest.mark.parametrize("level", ["info", "warning", "error", "exception"])
@pytest.mark.parametrize("error", [ValueError("closed"), SystemExit(1)])
def test_what_a_handler_raises_is_lost(level: str, error: BaseException) -> None:
    getattr(raising(error), level)("something about %s", "m:1")


def test_a_ctrl_c_in_a_handler_reaches_the_host() -> None:
    with pytest.raises(KeyboardInterrupt):
        raising(KeyboardInterrupt()).warning("something")


def test_a_record_names_the_place_that_logs_and_its_module(
    caplog: pytest.LogCaptureFixture,
) -> None:
    Log("servman.tests").warning("something about %s", "m:1")
    (record,) = caplog.records
    assert (record.name, record.getMessage()) == ("servman.tests", "something about m:1")
    assert record.pathname == __file__


def test_an_exception_is_logged_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    try:
        raise ValueError("torn")  # noqa: TRY301 -- to have one
    except ValueError:
        Log("servman.tests").exception("failed")
    assert "ValueError: torn" in caplog.text
