"""What a core knows about one model, put together for people and for programs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
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
        lines.extend(
            f"  version {one.id.version}: {one.state.value}"
            + ("" if one.aspired else ", not wanted")
            + (f", {one.handles} handles" if one.handles else "")
            + (f": {one.error}" if one.error is not None else "")
            for one in self.versions
        )
        if self.source is not None:
            lines.extend(f"  ignored: {one}" for one in self.source.ignored)
        return "\n".join(lines)
