"""What comes of the contents of a config file, one after another. Pure, but for the warnings of the parser."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, final

from servman.core.config import ServerConfig
from servman.core.config_text import decoded, parse_model_config
from servman.errors import FailedPreconditionError, ServmanError

if TYPE_CHECKING:
    from collections.abc import Mapping

GRACE: Final = 1.0
"""Seconds for which what cannot be used, or would unload everything, must stand before it is believed.

Who writes a file in place empties it first, and who replaces it by hand removes it first.
"""


@final
@dataclass(frozen=True, slots=True)
class Reading:
    """What was found when the file was read: its content, or the error.

    Attributes:
        content: What was in it; None where it could not be read.
        error: Why not.
        directories: Those in which something happens when the file is changed or replaced, as far as
            they exist, each with its identity.
    """

    content: bytes | None = None
    error: ServmanError | None = None
    directories: Mapping[str, tuple[int, int]] = field(default_factory=dict)


@final
@dataclass(frozen=True, slots=True)
class _Doubt:
    """Something that was read and cannot be believed yet."""

    content: bytes | str
    since: float
    outcome: ServerConfig | ServmanError


@final
class Review:
    """Decides which contents of a file are applied, and which are refused; each of them once.

    1. A configuration with models is applied as soon as it is read whole, which torn text never is.
    2. What cannot be used, what holds no models, and that there is no file is believed once it has stood for
       `GRACE`; at the very first look at once.
    3. Who may not read the file has not seen it change: when it can be read again, and holds what it
       held, nothing is applied.

    Args:
        path: The file.
        allow_empty: Whether a file without models is applied.

    Threads: one at a time.
    """

    def __init__(self, path: str, *, allow_empty: bool) -> None:
        self._path = path
        self._allow_empty = allow_empty
        self._judged: bytes | None = None
        self._refusal: ServmanError | None = None  # of what was judged
        self._trouble: ServmanError | None = None  # with reading
        self._hang: ServmanError | None = None
        self._doubt: _Doubt | None = None
        self._grace = 0.0

    @property
    def error(self) -> ServmanError | None:
        """Why the file cannot be read, or why what it holds was refused."""
        return self._hang or self._trouble or self._refusal

    @property
    def recheck(self) -> float | None:
        """When the file should be read again to see whether a doubt was right."""
        return None if self._doubt is None else self._doubt.since + self._grace

    def take(self, reading: Reading, now: float) -> ServerConfig | None:
        """Return the configuration that is to be applied because of *reading*, if there is one."""
        self._hang = None
        if self._is_known(reading):
            self._doubt = None
            return None
        content = str(reading.error) if reading.content is None else reading.content
        if self._doubt is None or self._doubt.content != content:
            self._doubt = _Doubt(content, now, self._outcome(reading))
        outcome = self._doubt.outcome
        is_certain = isinstance(outcome, ServerConfig) and len(outcome.models) > 0
        if not is_certain and now < self._doubt.since + self._grace:
            return None
        self._doubt = None
        self._grace = GRACE
        return self._judge(reading, outcome)

    def refuse(self, error: ServmanError) -> None:
        """Note that what `take` has returned could not be applied."""
        self._refusal = error

    def note_hang(self) -> None:
        """Note that the file is being read for too long."""
        self._hang = FailedPreconditionError(
            f"config file {self._path}: reading it hangs; check the storage that it is on"
        )

    def reconsider(self) -> None:
        """Take what was refused for something new: other things may have changed."""
        if self._refusal is not None:
            self._judged = None

    def _is_known(self, reading: Reading) -> bool:
        if reading.error is not None:
            return str(reading.error) == str(self._trouble)
        if reading.content != self._judged:
            return False
        self._trouble = None
        return True

    def _outcome(self, reading: Reading) -> ServerConfig | ServmanError:
        if reading.content is None:
            return reading.error or FailedPreconditionError(f"config file {self._path}: not read")
        try:
            config = parse_model_config(decoded(reading.content, self._path), self._path)
        except ServmanError as error:
            return error
        if not config.models and not self._allow_empty:
            return FailedPreconditionError(
                f"config file {self._path}: it holds no models; set allow_empty_config to unload"
                " everything by an empty file, or reload an empty configuration by call"
                " (servman reload --allow-empty)"
            )
        return config

    def _judge(self, reading: Reading, outcome: ServerConfig | ServmanError) -> ServerConfig | None:
        if reading.content is None:
            self._trouble = reading.error
            return None
        self._trouble = None
        self._judged = reading.content
        if isinstance(outcome, ServerConfig):
            self._refusal = None
            return outcome
        self._refusal = outcome
        return None
