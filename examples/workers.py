"""Serve a model in two processes, and go on when one of them is killed; the argument is its base path."""

import os
import signal
import sys
from pathlib import Path

from servman import ModelConfig, ServerConfig, ServerCore, ServerCoreOptions, ServmanError, Workers

base_path = str(Path(sys.argv[1]).absolute())
workers = Workers(replicas=2, idempotent_methods=("predict",), call_timeout=10.0)
config = ServerConfig([ModelConfig("half_plus", base_path, platform="python", workers=workers)])
options = ServerCoreOptions(platforms=("python",))

with ServerCore(config, options=options) as core:
    try:
        core.wait_until_available("half_plus", timeout=60)
    except ServmanError as error:
        sys.exit(f"not serving: {error}")
    with core.get_servable_handle("half_plus") as handle:
        servable = handle.servable
        victim = servable.workers()[0]
        os.kill(victim.pid, signal.SIGKILL)
        print([servable.predict({"x": [float(x)]})["y"] for x in range(4)])  # none of them fails
