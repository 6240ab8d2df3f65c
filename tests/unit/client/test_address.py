"""Addresses as people write them."""

from __future__ import annotations

import pytest

from servman.client.address import is_local, server_address
from servman.errors import InvalidArgumentError


@pytest.mark.parametrize(
    "address",
    [
        "localhost:8500",
        "10.0.0.1:8500",
        "models.example.com:65535",
        "[::1]:8500",
        "[fe80::1%eth0]:1",
        "dns:///models:8500",
        "dns:models:8500",
        "dns://8.8.8.8/models:8500",
        "dns:///[::1]:8500",
        "ipv4:10.0.0.1:8500,10.0.0.2:8500",
        "ipv6:[::1]:8500",
        "unix:/run/servman.sock",
        "unix:///run/servman.sock",
        "unix:servman.sock",
        "unix-abstract:servman",
        "vsock:3:8500",
        "passthrough:///models:8500",
    ],
)
def test_what_grpc_takes_is_taken_as_it_is(address: str) -> None:
    assert server_address(address) == address


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("localhost", 'the port is missing; write it after a colon, as in "localhost:8500"'),
        ("localhost:", 'the port is missing after the colon, as in "localhost:8500"'),
        ("[::1]", 'the port is missing; write it after a colon, as in "[::1]:8500"'),
        ("::1:8500", 'an IPv6 address stands in brackets, as in "[::1]:8500"'),
        ("localhost:http", "the port is 'http', not a number from 1 to 65535"),
        ("localhost:0", "the port is '0'"),
        ("localhost:65536", "the port is '65536'"),
        ("localhost:" + "9" * 30, "not a number from 1 to 65535"),
        ("localhost:-1", "the port is '-1'"),
        ("localhost:٣", "the port is '٣'"),
        (":8500", "there is no host before the port"),
        ("my host:8500", "there is no host before the port"),
        ("dns:///models", 'the port is missing; write it after a colon, as in "models:8500"'),
        ("dns:8500", "the port is missing"),
        ("ipv4:10.0.0.1:8500,10.0.0.2", 'as in "10.0.0.2:8500"'),
        ("http://models:8500/", 'write it without a scheme, as in "models:8500"'),
        ("https://models:8500", "TLS is asked for by credentials"),
        ("/run/servman.sock", 'as in "unix:/run/servman.sock"'),
        ("unix:", 'there is nothing after "unix:"'),
        ("", "without spaces"),
        (" localhost:8500\n", "without spaces"),
    ],
)
def test_what_cannot_be_an_address_is_refused_with_what_is_wrong(address: str, why: str) -> None:
    with pytest.raises(InvalidArgumentError) as raised:
        server_address(address)
    assert repr(address) in str(raised.value)
    assert why in str(raised.value)


def test_what_is_no_text_is_refused() -> None:
    wrong: object = 8500
    with pytest.raises(InvalidArgumentError, match="not the address of a server: 8500"):
        server_address(wrong)  # type: ignore[arg-type] # what a caller may do


def test_without_an_address_the_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVMAN_SERVER", "models:8500")
    assert server_address(None) == "models:8500"
    monkeypatch.setenv("SERVMAN_SERVER", "models")
    with pytest.raises(InvalidArgumentError, match="the port is missing"):
        server_address(None)


@pytest.mark.parametrize("value", [None, ""])
def test_without_any_address_the_error_says_how_to_give_one(
    value: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SERVMAN_SERVER", raising=False)
    if value is not None:
        monkeypatch.setenv("SERVMAN_SERVER", value)
    with pytest.raises(InvalidArgumentError, match=r"--server\), or set SERVMAN_SERVER"):
        server_address(None)


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("unix:/run/s.sock", True),
        ("localhost:1", True),
        ("127.0.0.1:1", True),
        ("[::1]:1", True),
        ("dns:///localhost:1", True),
        ("models:1", False),
        ("10.0.0.1:1", False),
        ("dns:///models:1", False),
    ],
)
def test_what_stays_on_this_machine_is_known_by_its_address(address: str, *, local: bool) -> None:
    assert is_local(address) is local
