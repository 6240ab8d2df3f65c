"""Which servable is meant: `ServableId` names one version, `ServableRequest` asks for one."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from enum import Enum
from typing import Final, final

from servman.errors import InvalidArgumentError

MAX_VERSION: Final = 2**63 - 1
"""The highest version number; TensorFlow Serving and its protocols hold versions as int64."""

_REMEMBERED: Final = 256
"""How long a text may be whose request is remembered."""

_MAX_DIGITS: Final = 100
"""Leading zeros included; Python refuses to read numbers of some thousand digits."""


def check_name(name: str) -> str:
    """Return *name* if it can name a stream.

    Raises:
        InvalidArgumentError: It is empty, no `str`, or holds ":" or "@", which separate a name from
            a version or a label in a request.
    """
    if not isinstance(name, str) or not name or ":" in name or "@" in name:
        raise InvalidArgumentError(
            f"not a servable name: {name!r}; a name is a text that is not empty and holds neither"
            ' ":" nor "@"'
        )
    return name


def check_version(name: str, version: int) -> int:
    """Return *version* if it can be a version of *name*.

    Raises:
        InvalidArgumentError: It is no `int`, negative, or above `MAX_VERSION`.
    """
    if not isinstance(version, int) or isinstance(version, bool) or not 0 <= version <= MAX_VERSION:
        raise InvalidArgumentError(
            f"not a version of servable {name!r}: {version!r}; a version is an int from 0 to 2**63 - 1"
        )
    return version


def check_label(name: str, label: str) -> str:
    """Return *label* if it can be a label of *name*.

    Raises:
        InvalidArgumentError: It is empty, no `str`, or holds ":" or "@".
    """
    if not isinstance(label, str) or not label or ":" in label or "@" in label:
        raise InvalidArgumentError(
            f"not a label of servable {name!r}: {label!r}; a label is a text that is not empty and holds"
            ' neither ":" nor "@"'
        )
    return label


@final
@dataclass(frozen=True, slots=True, order=True)
class ServableId:
    """One version of one servable stream. Ordered by name, then by version.

    Threads: immutable; any thread.
    """

    name: str
    version: int

    def __post_init__(self) -> None:
        check_name(self.name)
        check_version(self.name, self.version)

    def __str__(self) -> str:
        return f"{self.name}:{self.version}"


def check_id(id: ServableId) -> ServableId:
    """Return *id*, which is to name a version.

    Raises:
        InvalidArgumentError: It is no `ServableId`.
    """
    if not isinstance(id, ServableId):
        raise InvalidArgumentError(f"a version is named by its ServableId, not by {id!r}")
    return id


class Selector(Enum):
    """How a request chooses among the versions of a stream."""

    SPECIFIC = "specific"
    LATEST = "latest"
    EARLIEST = "earliest"
    NEWEST = "newest"
    LABELED = "labeled"


@final
@dataclass(frozen=True, slots=True, repr=False)
class ServableRequest:
    """Which version of a stream is asked for. Make one with its class methods, or from a text.

    *latest* and *earliest* mean the highest and lowest version that is available now; *newest*
    means the highest version that is wanted, whether or not it is available yet. A *label* means the
    version that the configuration gives it.

    Threads: immutable; any thread.
    """

    name: str
    selector: Selector = Selector.LATEST
    version: int | None = None
    label: str | None = None

    def __post_init__(self) -> None:
        check_name(self.name)
        if (self.selector is Selector.LABELED) != (self.label is not None):
            raise InvalidArgumentError(
                f"servable {self.name!r}: a label belongs to a request by label, and only to one"
            )
        if self.label is not None:
            check_label(self.name, self.label)
        if (self.selector is Selector.SPECIFIC) != (self.version is not None):
            raise InvalidArgumentError(
                f"servable {self.name!r}: a version belongs to a specific request, and only to one"
            )
        if self.version is not None:
            check_version(self.name, self.version)

    @classmethod
    def latest(cls, name: str) -> ServableRequest:
        """Ask for the highest available version of *name*."""
        return cls(name, Selector.LATEST)

    @classmethod
    def earliest(cls, name: str) -> ServableRequest:
        """Ask for the lowest available version of *name*."""
        return cls(name, Selector.EARLIEST)

    @classmethod
    def newest(cls, name: str) -> ServableRequest:
        """Ask for the highest version of *name* that is wanted, and no other."""
        return cls(name, Selector.NEWEST)

    @classmethod
    def specific(cls, name: str, version: int) -> ServableRequest:
        """Ask for exactly this version."""
        return cls(name, Selector.SPECIFIC, version)

    @classmethod
    def labeled(cls, name: str, label: str) -> ServableRequest:
        """Ask for the version that *label* of *name* means."""
        return cls(name, Selector.LABELED, label=label)

    @classmethod
    def parse(cls, text: str) -> ServableRequest:
        """Read a request from its text form: "m" (latest), "m:3", "m:newest", "m:earliest", "m@label".

        Raises:
            InvalidArgumentError: The text is none of these.
        """
        # Clients may send names of any length; long ones are not remembered.
        return cls._parsed(text) if len(text) <= _REMEMBERED else cls._parse(text)

    @classmethod
    @functools.lru_cache(maxsize=4096)
    def _parsed(cls, text: str) -> ServableRequest:
        return cls._parse(text)

    @classmethod
    def _parse(cls, text: str) -> ServableRequest:
        name, at, label = text.partition("@")
        if at:
            return cls.labeled(name, label)
        name, colon, rest = text.partition(":")
        if not colon or rest == "latest":
            return cls.latest(name)
        if rest == "newest":
            return cls.newest(name)
        if rest == "earliest":
            return cls.earliest(name)
        if rest.isascii() and rest.isdigit() and len(rest) <= _MAX_DIGITS:
            return cls.specific(name, int(rest))
        raise InvalidArgumentError(
            f'not a servable request: {text!r}; write "name", "name:3", "name:newest", "name:earliest"'
            ' or "name@label"'
        )

    @classmethod
    def of(cls, request: AnyRequest) -> ServableRequest:
        """Return *request* as a `ServableRequest`; every public call takes any of the three.

        Raises:
            InvalidArgumentError: It is none of the three, or a text that is no request.
        """
        if isinstance(request, ServableRequest):
            return request
        if isinstance(request, str):
            return cls.parse(request)
        if isinstance(request, ServableId):
            return cls.specific(request.name, request.version)
        raise InvalidArgumentError(
            f"not a servable request: {request!r}; pass a text, a ServableId or a ServableRequest"
        )

    def __repr__(self) -> str:
        return f"ServableRequest.parse({str(self)!r})"

    def __str__(self) -> str:
        match self.selector:
            case Selector.LATEST:
                return self.name
            case Selector.SPECIFIC:
                return f"{self.name}:{self.version}"
            case Selector.LABELED:
                return f"{self.name}@{self.label}"
            case Selector.NEWEST | Selector.EARLIEST:
                return f"{self.name}:{self.selector.value}"


AnyRequest = str | ServableId | ServableRequest
"""What every public call takes for a request; `ServableRequest.of` makes one of it."""
