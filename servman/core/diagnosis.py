"""What a core knows about one model, put together for people and for programs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from servman.core.config import ModelConfig
    from servman.ids import ServableId
    from servman.manager import ServableStateSnapshot
    from servman.reasons import Reason
    from servman.sources import SourceStatus


@final
@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What is going on with a model. `str()` is for people, the fields are for programs.

    Attributes:
        name: The model.
        config: How it is configured; None if it is not.
        available: The versions that answer lookups, ascending.
        reason: Why the newest wanted version is not available; None if it is.
        versions: What the manager knows of each version.
        source: What the source knows of the base path; None if the model is not configured.

    Threads: immutable; any thread.
    """

    name: str
    config: ModelConfig | None
    available: tuple[ServableId, ...]
    reason: Reason | None
    versions: tuple[ServableStateSnapshot, ...]
    source: SourceStatus | None

    def __bool__(self) -> bool:
        """Whether all is well: the newest wanted version is available."""
        return self.reason is None

    def __str__(self) -> str:
        served = ", ".join(str(one.version) for one in self.available) or "no version"
        lines = [f"{self.name}: {'well' if self else 'not well'}, serving {served}"]
        if self.reason is not None:
            lines.append(f"  why: {self.reason}")
        if self.config is not None:
            lines.append(
                f"  base path {self.config.base_path} ({self.config.platform},"
                f" {self.config.version_policy})"
            )
        lines.extend(map(_version_line, self.versions))
        if self.source is not None:
            lines.extend(self._source_lines(self.source))
        return "\n".join(lines)

    def _source_lines(self, source: SourceStatus) -> Iterator[str]:
        # What is served goes on being served when its base path cannot be read: no reason tells.
        if source.error is not None and str(source.error) != str(self.reason):
            yield f"  last look failed: {source.error}"
        for version in source.missing:
            yield f"  version {version}: not on disk"
        for one in source.incomplete:
            yield f"  {one}"
        for name in source.ignored:
            yield f"  ignored: {name}"


def _version_line(one: ServableStateSnapshot) -> str:
    wanted = "" if one.aspired else ", wanted again" if one.wanted_again else ", not wanted"
    handles = f", {one.handles_in_words}" if one.handles else ""
    error = f": {one.error}" if one.error is not None else ""
    return f"  version {one.id.version}: {one.state.value}{wanted}{handles}{error}"
