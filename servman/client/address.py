"""Where a server is: its address as people write it, checked before anything is tried. Pure, but for one variable."""

from __future__ import annotations

import os
import re
from typing import Final

from servman.errors import InvalidArgumentError

VARIABLE: Final = "SERVMAN_SERVER"
"""The environment variable that is read where no address is given."""

_HOST_SCHEMES: Final = ("dns", "ipv4", "ipv6")
_PATH_SCHEMES: Final = ("unix", "unix-abstract", "vsock", "passthrough", "xds")
_HIGHEST_PORT: Final = 65535


def server_address(server: str | None) -> str:
    """Return *server*, or what the environment says where it is None, as gRPC takes it.

    Args:
        server: "host:8500", "[::1]:8500", "unix:/run/servman.sock", "dns:///host:8500" or another name that
            gRPC knows. None: what SERVMAN_SERVER says.

    Raises:
        InvalidArgumentError: There is none, or it cannot be an address; the error says what is missing.
    """
    if server is None:
        server = os.environ.get(VARIABLE)
        if not server:
            raise InvalidArgumentError(
                f'no server is named: pass server="host:8500" (on the command line --server), or set'
                f" {VARIABLE}"
            )
    if not isinstance(server, str) or not server or server != server.strip():
        raise _refused(server, 'write "host:8500", without spaces')
    _check(server)
    return server


def is_local(address: str) -> bool:
    """Tell whether what is sent to *address* stays on this machine, as far as its text says."""
    host = address.removeprefix("dns:").removeprefix("ipv4:").removeprefix("ipv6:").lstrip("/")
    return host.startswith(("unix:", "unix-abstract:", "localhost:", "127.", "[::1]:"))


def _check(server: str) -> None:
    if "://" in server and server.partition("://")[0] in ("http", "https", "grpc", "grpcs"):
        bare = server.partition("://")[2].rstrip("/")
        raise _refused(
            server, f'write it without a scheme, as in "{bare}"; TLS is asked for by credentials'
        )
    if server.startswith(("/", "./", "../")):
        raise _refused(
            server, f'the name of a unix socket begins with "unix:", as in "unix:{server}"'
        )
    scheme, colon, rest = server.partition(":")
    if colon and scheme in _PATH_SCHEMES:
        if not rest.strip("/"):
            raise _refused(server, f'there is nothing after "{scheme}:"')
        return
    several = rest.split(",") if colon and scheme in _HOST_SCHEMES else [server]
    for one in several:
        # "dns://authority/host:port" names the server that resolves, too
        _check_host(server, re.sub(r"^//[^/]*/", "", one))


def _check_host(server: str, place: str) -> None:
    host, colon, port = place.rpartition(":")
    if (place.startswith("[") and place.endswith("]")) or not colon:
        raise _refused(server, f'the port is missing; write it after a colon, as in "{place}:8500"')
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        raise _refused(server, f'an IPv6 address stands in brackets, as in "[{host}]:{port}"')
    if not host or re.search(r"[\s/@]", host):
        raise _refused(server, 'there is no host before the port; write "host:8500"')
    if not port:
        raise _refused(server, f'the port is missing after the colon, as in "{host}:8500"')
    if not (port.isascii() and port.isdigit() and 1 <= int(port[:9]) <= _HIGHEST_PORT):
        raise _refused(server, f"the port is {port!r}, not a number from 1 to {_HIGHEST_PORT}")


def _refused(server: object, why: str) -> InvalidArgumentError:
    return InvalidArgumentError(f"not the address of a server: {server!r}; {why}")
