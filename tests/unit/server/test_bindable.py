"""Why an address cannot be listened on."""

from __future__ import annotations

import socket
from pathlib import Path

from servman.server.bindable import is_served, why_not


def test_a_port_that_is_taken_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as there:
        port = there.getsockname()[1]
        assert why_not(f"127.0.0.1:{port}") == "Address already in use"
    assert why_not("127.0.0.1:0") == ""


def test_an_address_of_another_machine_is_told() -> None:
    assert why_not("192.0.2.1:0") == "Cannot assign requested address"


def test_what_is_no_address_is_told() -> None:
    for text in ("127.0.0.1:x", "127.0.0.1:99999", "127.0.0.1"):
        assert why_not(text) == "it is no address"


def test_the_path_of_a_socket_that_cannot_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert why_not(f"unix:{tmp_path}/file") == "Address already in use"
    assert why_not(f"unix:{tmp_path}/no/s") == "No such file or directory"
    assert why_not("unix:" + "a" * 300) == "AF_UNIX path too long"


def test_a_path_that_was_tried_is_free_again(tmp_path: Path) -> None:
    assert why_not(f"unix:{tmp_path}/s") == ""
    assert list(tmp_path.iterdir()) == []


def test_a_path_where_somebody_listens_is_served(tmp_path: Path) -> None:
    address = f"unix:{tmp_path}/s"
    assert not is_served(address)
    with socket.socket(socket.AF_UNIX) as there:
        there.bind(f"{tmp_path}/s")
        assert not is_served(address)
        there.listen(0)
        for _ in range(3):  # also once nobody more may knock
            assert is_served(address)
    assert not is_served(address)  # though its path is still there


def test_what_is_no_path_of_a_socket_is_not_served(tmp_path: Path) -> None:
    for address in ("127.0.0.1:0", f"unix:{tmp_path}", "unix:" + "a" * 300, "unix:a\0b"):
        assert not is_served(address)
