"""Serve the newest version of a model inside your own program; the argument is its base path."""

import sys
from pathlib import Path

from servman import ModelConfig, ServerConfig, ServerCore, ServerCoreOptions, ServmanError

base_path = str(Path(sys.argv[1]).absolute())
config = ServerConfig([ModelConfig("half_plus", base_path, platform="python")])
options = ServerCoreOptions(platforms=("python",))  # it runs code from the base path: ask for it

with ServerCore(config, options=options) as core:
    try:
        core.wait_until_available("half_plus", timeout=5)
    except ServmanError as error:
        sys.exit(f"not serving: {error}")  # the reason: path missing, no versions, failed with ...
    with core.get_servable_handle("half_plus") as handle:  # stays loaded until the handle closes
        print(handle.id, handle.servable.predict({"x": [2.0]}))
