"""Serve the newest version of a model inside your own program; the argument is its base path."""

import sys

from servman import (
    ModelConfig,
    ServableUnavailableError,
    ServerConfig,
    ServerCore,
    ServerCoreOptions,
    WaitTimeoutError,
)

config = ServerConfig([ModelConfig("half_plus", sys.argv[1], platform="python")])
options = ServerCoreOptions(platforms=("python",))  # it runs code from the base path: ask for it

with ServerCore(config, options=options) as core:
    try:
        core.wait_until_available("half_plus", timeout=10)
    except (WaitTimeoutError, ServableUnavailableError) as error:
        sys.exit(f"not serving: {error}")  # the reason: path missing, no versions, failed with ...
    with core.get_servable_handle("half_plus") as handle:  # stays loaded until the handle closes
        print(handle.id, handle.servable.predict({"x": [2.0]}))
