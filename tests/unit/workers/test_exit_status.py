from __future__ import annotations

import pytest

from servman.workers.exit_status import ExitStatus


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (ExitStatus(code=0), "exited with code 0"),
        (ExitStatus(code=3), "exited with code 3"),
        (ExitStatus(signal=9), "was killed by SIGKILL"),
        (ExitStatus(signal=40), "was killed by signal 40"),
        (ExitStatus(), "was killed together with the process that keeps it"),
    ],
)
def test_an_end_is_told_in_words(status: ExitStatus, text: str) -> None:
    assert str(status) == text
