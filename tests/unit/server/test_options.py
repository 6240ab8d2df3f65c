"""Options that cannot be are refused with what they should be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from servman.errors import FailedPreconditionError, InvalidArgumentError
from servman.server import ServerOptions, Tls


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"addresses": "0.0.0.0:8500"}, "a tuple of texts"),
        ({"addresses": (8500,)}, "a tuple of texts"),
        ({"addresses": ()}, "a server listens somewhere"),
        ({"num_threads": 0}, "num_threads is a number from 1"),
        ({"max_concurrent_calls": True}, "max_concurrent_calls is a number"),
        ({"max_waiting_calls": 1.5}, "max_waiting_calls is a number"),
        ({"max_message_bytes": 2**31}, "max_message_bytes is a number"),
        ({"reload_timeout": 0}, "reload_timeout is a time"),
        ({"token": "a\nb"}, "a token is a text of printable"),
        ({"token": ""}, "a token is a text of printable"),
        ({"token": "\u00fc"}, "a token is a text of printable"),
    ],
)
def test_what_cannot_be_is_refused(fields: dict[str, Any], text: str) -> None:
    with pytest.raises(InvalidArgumentError, match=text):
        ServerOptions(**fields)


def test_secrets_are_not_shown() -> None:
    tls = Tls(key=b"KEY", certificates=b"CERT")
    text = repr(ServerOptions(token="secret", tls=tls))  # noqa: S106 -- of this test
    assert "secret" not in text
    assert "KEY" not in text


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(FailedPreconditionError, match=f"{tmp_path}/no cannot be read"):
        Tls.from_files(f"{tmp_path}/no", f"{tmp_path}/no")


def test_certificates_that_are_none_are_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="certificates cannot be used"):
        Tls(key="text", certificates=b"").credentials()  # type: ignore[arg-type] # on purpose
