"""Why an address cannot be listened on, which gRPC writes to the standard error at best."""

from __future__ import annotations

import contextlib
import errno
import os
import socket

_UNIX = "unix:"


def why_not(address: str) -> str:
    """Return why the system lets nobody listen on *address*, "HOST:PORT" or "unix:PATH"; empty if it would."""
    try:
        if address.startswith(_UNIX):
            _try_path(address.removeprefix(_UNIX))
        else:
            _try_port(address)
    except OSError as error:
        return error.strerror or str(error)
    except (OverflowError, ValueError):
        return "it is no address"
    return ""


def is_served(address: str) -> bool:
    """Return whether a server listens at *address*, "unix:PATH", from which gRPC would take it without a word.

    A path at which nobody listens any more is free to be taken.
    """
    if not address.startswith(_UNIX):
        return False
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as asking:
        asking.settimeout(0)  # seconds: never wait
        try:
            outcome = asking.connect_ex(address.removeprefix(_UNIX))
        except (OSError, ValueError):  # it is no path that a socket can have
            return False
    return outcome in (0, errno.EAGAIN)  # EAGAIN: more knock there than are let in


def _try_path(path: str) -> None:
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as found:
        found.bind(path)
    os.unlink(path)  # noqa: PTH108 -- it was made just now


def _try_port(address: str) -> None:
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with contextlib.closing(socket.socket(family)) as found:
        found.bind((host, int(port)))
