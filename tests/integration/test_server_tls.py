"""The server proves who it is, and may ask its callers to."""

from __future__ import annotations

import shutil
from pathlib import Path

import grpc
import pytest

from servman.errors import FailedPreconditionError, InvalidArgumentError
from servman.server import Caller, ModelServer, ServerOptions, Tls
from servman.testing.clock import WATCHDOG
from tests.integration.certificates import make_authority
from tests.integration.served import MODEL, Served

pytestmark = [
    pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificates"),
    pytest.mark.timeout(60),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("certificates")
    make_authority(made)
    return made


@pytest.fixture
def served(tmp_path: Path) -> Served:
    made = Served(tmp_path)
    made.publish("m", 1)
    return made


def server_side(folder: Path, client_ca: str | None = None) -> Tls:
    return Tls.from_files(f"{folder}/server.key", f"{folder}/server.pem", client_ca)


def channel(served: Served, folder: Path, *, certified: bool = False) -> grpc.Channel:
    ca = (folder / "ca.pem").read_bytes()
    own = [(folder / name).read_bytes() for name in ("client.key", "client.pem")]
    credentials = grpc.ssl_channel_credentials(ca, *(own if certified else ()))
    return grpc.secure_channel(f"localhost:{served.server.port}", credentials)


def test_calls_are_encrypted(served: Served, folder: Path) -> None:
    with served.open(tls=server_side(folder)):
        served.core.wait_until_available(timeout=WATCHDOG)
        with channel(served, folder) as secure:
            assert served.ask(channel=secure) == 3.0
        error = served.failure(f"{MODEL}/GetModelStatus", b"")  # in the open
        assert error.code() is grpc.StatusCode.UNAVAILABLE


def test_callers_have_to_prove_who_they_are_and_are_told_apart(
    served: Served, folder: Path
) -> None:
    seen: list[Caller] = []

    def authorize(caller: Caller) -> bool:
        seen.append(caller)
        return "deployer" in caller.identities

    with served.open(tls=server_side(folder, f"{folder}/ca.pem"), authorize=authorize):
        served.core.wait_until_available(timeout=WATCHDOG)
        with channel(served, folder, certified=True) as known:
            assert served.ask(channel=known) == 3.0
        with channel(served, folder) as unknown:
            error = served.failure(f"{MODEL}/GetModelStatus", b"", channel=unknown)
            assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert seen[0].identities == ("deployer",)


def test_certificates_that_are_none_end_the_start(served: Served) -> None:
    tls = Tls(key=b"no", certificates=b"no")
    with served.open() as running:
        second = ModelServer(running.core, ServerOptions(addresses=("127.0.0.1:0",), tls=tls))
        with pytest.raises((InvalidArgumentError, FailedPreconditionError)):
            second.start()
