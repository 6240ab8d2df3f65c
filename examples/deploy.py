"""Publish a version and block until it serves, or say why it does not.

Usage: deploy.py SOURCE_DIR BASE_PATH VERSION, with the server that watches BASE_PATH in this process.
"""

import sys
from pathlib import Path

from servman import ModelConfig, ServerConfig, ServerCore, ServerCoreOptions, ServmanError


def deploy(core: ServerCore, source: Path, base_path: Path, version: int) -> str | None:
    """Return None once the version serves, else why it does not."""
    try:
        source.rename(base_path / str(version))  # whole or not at all: it was written elsewhere
        core.wait_until_available(f"half_plus:{version}", timeout=60)
    except (OSError, ServmanError) as error:
        return f"half_plus:{version} is not serving: {error}"
    return None


if __name__ == "__main__":
    source, base_path, version = Path(sys.argv[1]), Path(sys.argv[2]).absolute(), int(sys.argv[3])
    config = ServerConfig([ModelConfig("half_plus", str(base_path), platform="python")])
    options = ServerCoreOptions(platforms=("python",), max_num_load_retries=0)
    with ServerCore(config, options=options) as core:
        why = deploy(core, source, base_path, version)
    sys.exit(why)
