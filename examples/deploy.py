"""Publish a version and block until it serves, or say why it does not.

Usage: deploy.py SOURCE_DIR BASE_PATH, with the server that watches BASE_PATH in this process.
"""

import sys
from pathlib import Path

from servman import (
    ModelConfig,
    ServerConfig,
    ServerCore,
    ServerCoreOptions,
    ServmanError,
    publish_version,
)


def deploy(core: ServerCore, source: Path, base_path: Path) -> str | None:
    """Return None once the version serves, else why it does not."""
    try:
        published = publish_version(source, base_path, name="half_plus")  # whole or not at all
    except ServmanError as error:
        return f"not published: {error}"
    try:
        core.wait_until_available(published, timeout=60)
    except ServmanError as error:
        return f"{published} is not serving: {error}"
    return None


if __name__ == "__main__":
    source, base_path = Path(sys.argv[1]), Path(sys.argv[2]).absolute()
    config = ServerConfig([ModelConfig("half_plus", str(base_path), platform="python")])
    options = ServerCoreOptions(platforms=("python",), max_num_load_retries=0)
    with ServerCore(config, options=options) as core:
        why = deploy(core, source, base_path)
    sys.exit(why)
