"""Certificates for tests: a made-up authority, and what it vouches for."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

_OPENSSL: Final = "openssl"


def make_authority(folder: Path) -> None:
    """Write "ca.pem", and with it "server.pem" for this machine and "client.pem", each with a ".key"."""
    _run(folder, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=ca", "-keyout", "ca.key", "-out", "ca.pem")  # fmt: skip
    for name, subject in (("server", "/CN=localhost"), ("client", "/CN=deployer")):
        _run(folder, "req", "-newkey", "rsa:2048", "-nodes", "-subj", subject, "-keyout", f"{name}.key", "-out", f"{name}.csr")  # fmt: skip
        names = f"DNS:{subject.removeprefix('/CN=')}"
        names += ",IP:127.0.0.1" if name == "server" else ""
        (folder / f"{name}.ext").write_text(f"subjectAltName={names}\n")
        _run(folder, "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", f"{name}.ext", "-out", f"{name}.pem")  # fmt: skip


def _run(folder: Path, *arguments: str) -> None:
    command = [_OPENSSL, *arguments]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=20)  # noqa: S603 -- our own words
