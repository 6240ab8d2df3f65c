"""The server: TensorFlow Serving's interface and servman's own, over gRPC, around a `ServerCore`.

Importing it imports grpc and numpy: `pip install 'servman[server]'`.
"""

from servman.server.access import Caller, Tls
from servman.server.options import ServerOptions
from servman.server.server import ModelServer, start_server

__all__ = ["Caller", "ModelServer", "ServerOptions", "Tls", "start_server"]
