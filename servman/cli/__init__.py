"""The `servman` command."""

from __future__ import annotations

import os

# The core of gRPC writes lines of its own to the standard error, beside the errors that commands print. It
# reads the variable when it is imported, which the modules of this package do. Who has set it gets the lines.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
