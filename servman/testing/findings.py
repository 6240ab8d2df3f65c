"""What a check has found: every broken promise, each with what to do about it, told at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar, final

from servman.testing.clock import WATCHDOG
from servman.testing.threads import Spawned

if TYPE_CHECKING:
    from collections.abc import Callable

    from servman.errors import ServmanError

T = TypeVar("T")

_MAX_TEXT: Final = 300
"""Characters of a foreign text, which may be a page."""


@final
class Findings:
    """Collects what is wrong with one subject, so that its author sees all of it in one run.

    Args:
        subject: What is checked, for the report.

    Threads: one.
    """

    def __init__(self, subject: str) -> None:
        self._subject = subject
        self._found: list[str] = []

    def require(self, kept: object, broken: str, remedy: str) -> bool:
        """Note that a promise is *broken* unless *kept*; return whether it was kept. Each counts once."""
        finding = f"{broken[:_MAX_TEXT]}\n    -> {remedy}"
        if not kept and finding not in self._found:
            self._found.append(finding)
        return bool(kept)

    def call(
        self,
        what: str,
        function: Callable[[], T],
        remedy: str,
        *,
        may_raise: type[ServmanError] | None = None,
    ) -> T | None:
        """Call *function* on a thread of its own, as servman does; note what it raises or that it hangs.

        Args:
            what: The call, for the report.
            function: What to call; where its returning None means something, look for that inside.
            remedy: What to do if it raises.
            may_raise: A kind of error that is in order.

        Returns:
            What it returned; None where it did not.
        """
        try:
            return Spawned(function).result(WATCHDOG)
        except BaseException as error:  # noqa: BLE001 -- foreign code, and it is the subject
            if may_raise is None or not isinstance(error, may_raise):
                self.require(kept=False, broken=_raised(what, error), remedy=remedy)
            return None

    def report(self) -> None:
        """Raise if anything was found.

        Raises:
            AssertionError: It lists everything.
        """
        if self._found:
            listed = "\n".join(f"{n}. {finding}" for n, finding in enumerate(self._found, 1))
            raise AssertionError(
                f"{self._subject} breaks {len(self._found)} of the promises that servman relies on:\n"
                f"{listed}"
            )


def _raised(what: str, error: BaseException) -> str:
    if isinstance(error, AssertionError) and "has not ended after" in str(error):
        return f"{what} did not return within {WATCHDOG:g} s"
    said = str(error).partition("\n")[0]
    return f"{what} raised {type(error).__name__}: {said}"
