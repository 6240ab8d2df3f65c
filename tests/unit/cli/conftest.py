"""What the commands that ask a server are given in place of one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.cli.remote import FakeClient, install


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeClient]:
    yield from install(monkeypatch)
