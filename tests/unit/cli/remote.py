"""A client that answers what the test has laid out, in the place of the one that the commands make."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Self, final

import pytest
from click.testing import CliRunner

from servman.cli import connection
from servman.cli.main import main


@final
class FakeClient:
    """Answers, or raises, what is laid out under the name of a method.

    Attributes:
        made: The arguments of each client that was made.
        calls: Each call: the method, and its arguments.
        closed: How many were closed.
    """

    server = "host:8500"

    def __init__(self) -> None:
        self.made: list[tuple[Any, Any, Any]] = []
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
        self.closed = 0
        self._answers: dict[str, Any] = {"wait_until": None}

    def make(self, server: Any, *, credentials: Any, token: Any) -> Self:
        self.made.append((server, credentials, token))
        return self

    def answers(self, **answers: Any) -> None:
        """Lay out what methods return, raise, or do."""
        self._answers.update(answers)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.closed += 1

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            self.calls.append((name, arguments, options))
            answer = self._answers[name]
            if isinstance(answer, BaseException):
                raise answer
            return answer(*arguments, **options) if callable(answer) else answer

        return call


def install(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeClient]:
    client = FakeClient()
    monkeypatch.setattr(connection, "Client", client.make)
    for variable in ("SERVMAN_SERVER", "SERVMAN_TOKEN"):
        monkeypatch.delenv(variable, raising=False)
    yield client
    assert client.closed == len(client.made), "a client was left open"


def run(*arguments: object) -> tuple[int, str, str]:
    """Run the command; return its exit code, and what is on its standard output and error."""
    result = CliRunner().invoke(main, list(map(str, arguments)))
    return result.exit_code, result.stdout, result.stderr
