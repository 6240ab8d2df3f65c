"""`AspiredVersionsManagerBuilder`: makes a manager that owns the sources which feed it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self, Unpack, final

from servman.errors import FailedPreconditionError, InvalidArgumentError
from servman.flow import connect
from servman.manager.aspired import AspiredVersionsManager
from servman.manager.upstream import Upstream

if TYPE_CHECKING:
    from servman.flow import Source
    from servman.loader import Loader
    from servman.manager.options import AspiredVersionsManagerOptions


@final
class AspiredVersionsManagerBuilder:
    """Makes an `AspiredVersionsManager` together with the stages that feed it.

    The manager owns the stages. Its `start` starts them once it runs itself, from the last adapter back to the
    source; what one raises, it raises, and may be called again. Its `close` closes them, each source before
    its adapters, and all of them before the manager, by one deadline; what one raises is raised when all are
    closed. A stage that needs neither has no `start()` or no `close(timeout)`; both should be idempotent.

    Args:
        options: Those of `AspiredVersionsManager`.

    Raises:
        InvalidArgumentError: An option can never be right.

    Threads: one at a time.
    """

    def __init__(self, **options: Unpack[AspiredVersionsManagerOptions]) -> None:
        self._manager = AspiredVersionsManager(**options)
        self._stages: list[object] = []
        self._built = False

    def add_source(self, source: Source[Loader]) -> Self:
        """Feed the manager from *source*, which emits loaders.

        Several sources may feed one manager, as long as each emits streams of its own.

        Raises:
            FailedPreconditionError: The manager was built, or the source feeds another target.
        """
        return self.add_source_chain(source)

    def add_source_chain(self, source: Source[Any], *adapters: Any) -> Self:
        """Feed the manager from *source* through *adapters*, each of which is a target and a source.

        Raises:
            FailedPreconditionError: The manager was built, or one of them feeds another target.
        """
        self._check_unbuilt()
        chain = (source, *adapters)
        _check_stages(chain)
        for one, following in zip(chain, (*adapters, self._manager), strict=True):
            connect(one, following)
        self._stages.extend(chain)
        return self

    def build(self) -> AspiredVersionsManager:
        """Return the manager, which is not started.

        Raises:
            FailedPreconditionError: It was built before.
        """
        self._check_unbuilt()
        self._built = True
        self._manager._own(Upstream(self._stages))  # noqa: SLF001 -- the builder is the other half of this
        return self._manager

    def _check_unbuilt(self) -> None:
        if self._built:
            raise FailedPreconditionError(
                "the manager was built; make another builder for another one"
            )


def _check_stages(chain: tuple[Any, ...]) -> None:
    """Raise before anything is connected, for that cannot be undone."""
    for stage in chain:
        if not hasattr(stage, "set_target"):
            raise InvalidArgumentError(f"{stage!r} is no source: it has no set_target")
    for stage in chain[1:]:
        if not hasattr(stage, "set_aspired_versions"):
            raise InvalidArgumentError(f"{stage!r} is no adapter: it has no set_aspired_versions")
