"""How a version gets into a base path: seen whole, or not at all."""

from servman.publishing.publication import Progress, publish_version
from servman.publishing.withdrawal import withdraw_version

__all__ = ["Progress", "publish_version", "withdraw_version"]
