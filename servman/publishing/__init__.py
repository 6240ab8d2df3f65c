"""How a version gets into a base path: seen whole, or not at all."""

from servman.publishing.publication import Progress, publish_version

__all__ = ["Progress", "publish_version"]
