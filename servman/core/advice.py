"""What comes next where a model is not served, and what can be done about it. Pure.

It is read in a shell as well as in a program: what can be done in a program alone says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, final

from servman.errors import ResourceExhaustedError
from servman.reasons import ReasonCode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from servman.ids import ServableId
    from servman.reasons import Reason


@final
class Advice(NamedTuple):
    """What comes next, and what can be done; each may be empty.

    Attributes:
        next: What happens by itself.
        remedy: What somebody can do, where the reason itself does not say so.
    """

    next: str = ""
    remedy: str = ""


_LOOKED = "its base path is looked at again {look}"
_CODE = ReasonCode

ADVICE: Final[Mapping[ReasonCode, Advice]] = {
    _CODE.NOT_CONFIGURED: Advice("nothing, until a configuration names it"),
    _CODE.BASE_PATH_MISSING: Advice(_LOOKED),
    _CODE.BASE_PATH_NOT_A_DIRECTORY: Advice(_LOOKED),
    _CODE.BASE_PATH_UNREADABLE: Advice(_LOOKED),
    _CODE.NOT_LOOKED_YET: Advice("its base path is looked at as soon as a server runs"),
    _CODE.NO_VERSIONS: Advice(f"{_LOOKED}, and what is found is loaded"),
    _CODE.NOT_ON_DISK: Advice(f"{_LOOKED}, and what is found is loaded"),
    _CODE.STILL_CHANGING: Advice("it is loaded once it is complete"),
    _CODE.NOT_CHOSEN: Advice("nothing, until the policy chooses it"),
    _CODE.NOT_ASPIRED: Advice("nothing, until it is wanted"),
    _CODE.NO_LABEL: Advice("nothing, until the configuration has such a label"),
    _CODE.PLATFORM_UNAVAILABLE: Advice("nothing in this server: it has to be made anew"),
    _CODE.QUEUED: Advice(
        "it is loaded when a load thread is free",
        "raise --num_load_threads; in a program, core.manager.num_load_threads",
    ),
    _CODE.WAITING: Advice("it is loaded when its policy says so"),
    _CODE.WAITING_FOR_MEMORY: Advice(
        "it is loaded when so much memory is returned",
        "unload other models, or raise the limit",
    ),
    _CODE.LOADING: Advice(
        "it becomes available when its load returns",
        "should it hang, publish another version; a program can set a load_timeout",
    ),
    _CODE.HELD: Advice("it is let in together with the others, or not at all"),
    _CODE.RETRYING: Advice(
        "it is tried again in {retry_in:.1f} s, and at once when its files change",
        "correct its files, or publish another version; in a program, core.manager.retry({id!r}) tries it"
        " at once",
    ),
    _CODE.FAILED: Advice(
        "it is tried again when its files change",
        "correct its files, or publish another version; in a program, core.manager.retry({id!r}) tries it"
        " again",
    ),
    _CODE.AVAILABLE: Advice(),
    _CODE.WAITING_FOR_HANDLES: Advice(
        "it is unloaded when they are closed",
        "close them; in a program, servman.set_debug(True) lets handles remember where they were taken",
    ),
    _CODE.UNLOADING: Advice("it has gone when its unload returns"),
    _CODE.UNLOADED: Advice("nothing, until it is wanted again"),
    _CODE.CLOSED: Advice("nothing: a closed server stays closed", "make a new one"),
    _CODE.UNKNOWN: Advice("it is known in a moment", "ask again"),
}
"""What is said for each kind of reason; the braces are filled in."""

_STARVED: Final = Advice(
    "it is tried again when so much memory is returned, and when its files change"
)
_HANGING: Final = Advice("its base path is looked at again when that look returns")
_NEVER_LOOKED: Final = Advice("its base path is looked at {look}")


def advise(reason: Reason, id: ServableId | None, poll_interval: float) -> Advice:
    """Return what comes after *reason*, and what can be done about it.

    Args:
        reason: Why it is not served.
        id: The version that it tells of, where that is known.
        poll_interval: Seconds between looks at the base path; 0 for one look at the start, less for none.
    """
    if poll_interval > 0:
        look = f"within {poll_interval:g} s"
    else:
        look = "when a file event tells of it, or it is configured anew, for nothing is polled here"
    known = {"look": look, "retry_in": 0.0, **reason.facts, "id": id}
    advice = _advice(reason, poll_interval)
    if id is None and "{id" in advice.remedy:
        return Advice(advice.next.format(**known))
    return Advice(advice.next.format(**known), advice.remedy.format(**known))


def _advice(reason: Reason, poll_interval: float) -> Advice:
    """Return what is said of *reason*, with its braces."""
    if "hanging" in reason.facts:
        return _HANGING
    if reason.code is _CODE.NOT_LOOKED_YET and poll_interval < 0:
        return _NEVER_LOOKED
    if reason.code is _CODE.FAILED and isinstance(reason.error, ResourceExhaustedError):
        return _STARVED
    return ADVICE[reason.code]
