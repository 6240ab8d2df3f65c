"""A client that is not let in for want of TLS or a certificate is told what may be wrong, and which option mends it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import grpc
import pytest
from click.testing import CliRunner

from servman.cli.main import main
from servman.client import Client
from servman.errors import ServerUnreachableError
from servman.server import ModelServer, ServerOptions, Tls
from servman.testing.clock import WATCHDOG
from tests.integration.certificates import make_authority
from tests.integration.served import Served

pytestmark = [
    pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificates"),
    pytest.mark.timeout(120),
]

PLAIN: Final = "127.0.0.1:0"

LET_IN: Final = "does it ask for TLS, or for a certificate of its callers? Pass credentials (--tls or --ca, --cert"
NO_TLS: Final = "it seems to speak no TLS; leave the credentials out (--tls, --ca, --cert)"
UNKNOWN: Final = (
    "nobody whom this client trusts vouches for its certificate; pass the authority (--ca)"
)
OTHER_NAME: Final = "its certificate is for another name than this address"

REFUSED: Final = {
    ("plain", "--ca ca.pem"): NO_TLS,
    ("tls", ""): LET_IN,
    ("tls", "--tls"): UNKNOWN,
    ("tls", "--ca other/ca.pem"): UNKNOWN,
    ("mutual", ""): LET_IN,
    ("mutual", "--ca ca.pem"): LET_IN,
    ("mutual", "--ca ca.pem --cert other/client.pem --key other/client.key"): LET_IN,
    ("misnamed", "--ca ca.pem"): OTHER_NAME,
}
"""By server and the client's options, what is said of it."""

TAKEN: Final = (
    ("plain", ""),
    ("tls", "--ca ca.pem"),
    ("mutual", "--ca ca.pem --cert client.pem --key client.key"),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("certificates")
    (made / "other").mkdir()
    make_authority(made)
    make_authority(made / "other")
    return made


@pytest.fixture(scope="module")
def addresses(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Where the servers are, by their kinds."""
    served = Served(tmp_path_factory.mktemp("models"))
    served.publish("m", 1)
    key, certificate, ca = (f"{folder}/{name}" for name in ("server.key", "server.pem", "ca.pem"))
    kinds = {
        "plain": None,
        "tls": Tls.from_files(key, certificate),
        "mutual": Tls.from_files(key, certificate, ca),
        "misnamed": Tls.from_files(f"{folder}/client.key", f"{folder}/client.pem"),
    }
    with served.open():
        served.core.wait_until_available(timeout=WATCHDOG)
        servers = {
            kind: ModelServer(served.core, ServerOptions(addresses=(PLAIN,), tls=tls))
            for kind, tls in kinds.items()
        }
        for server in servers.values():
            server.start()
        yield {kind: server.addresses[0] for kind, server in servers.items()}
        for server in servers.values():
            server.stop()


def options(text: str, folder: Path) -> list[str]:
    return [
        f"{folder}/{word}" if word.endswith((".pem", ".key")) else word for word in text.split()
    ]


def credentials(text: str, folder: Path) -> grpc.ChannelCredentials | None:
    words = options(text, folder)
    files = dict(zip(words[::2], words[1::2], strict=False))
    read = [
        Path(files[name]).read_bytes() if name in files else None
        for name in ("--ca", "--key", "--cert")
    ]
    return grpc.ssl_channel_credentials(*read) if words else None


@pytest.mark.parametrize(("kind", "given"), list(REFUSED))
def test_a_wait_that_is_not_let_in_says_what_may_be_wrong(
    kind: str, given: str, addresses: dict[str, str], folder: Path
) -> None:
    command = ["wait", "m", "--timeout", "0.5", "--server", addresses[kind]]
    result = CliRunner().invoke(main, [*command, *options(given, folder)])
    assert result.exit_code == 4, result.output
    assert REFUSED[kind, given] in " ".join(result.stderr.split())


@pytest.mark.parametrize(("kind", "given"), list(REFUSED))
def test_a_question_that_is_not_let_in_says_what_may_be_wrong(
    kind: str, given: str, addresses: dict[str, str], folder: Path
) -> None:
    client = Client(addresses[kind], credentials=credentials(given, folder))
    with client, pytest.raises(ServerUnreachableError) as raised:
        client.status(timeout=WATCHDOG)
    assert REFUSED[kind, given] in str(raised.value)


@pytest.mark.parametrize(("kind", "given"), TAKEN)
def test_who_has_what_is_asked_for_is_let_in(
    kind: str, given: str, addresses: dict[str, str], folder: Path
) -> None:
    command = ["wait", "m", "--server", addresses[kind]]
    result = CliRunner().invoke(main, [*command, *options(given, folder)])
    assert (result.exit_code, result.stdout) == (0, "m m:1\n")
