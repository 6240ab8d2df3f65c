"""What a worker process and its host tell each other on the control channel.

They are tuples, which take a tenth of the time of data classes to define: it is part of every start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from servman.errors import ServmanError
    from servman.ids import ServableId


@final
class Assignment(NamedTuple):
    """Host to child, the first message: what to load.

    Attributes:
        id: The version.
        path: Its files, as in `LoadContext`.
        attempt: As in `LoadContext`.
        loader: The loader, pickled: whether it can be read is the child's to find out, and to report.
        heartbeat_interval: Seconds from one `Beat` to the next.
    """

    id: ServableId
    path: str | None
    attempt: int
    loader: bytes
    heartbeat_interval: float


@final
class Unload:
    """Host to child, the last message: no call runs any more, unload and exit."""


@final
class Started(NamedTuple):
    """Child to host: it runs, as process *pid*, and begins to load."""

    pid: int


@final
class Description(NamedTuple):
    """What the host can know of a servable that it never sees.

    Attributes:
        type_name: Its class, for people.
        methods: The names that can be called: every public callable, and "__call__" if it is one itself.
        attributes: Its public data, `signatures`, `id` and `metadata` among them, as far as they are small
            and can be read without the model's code.
    """

    type_name: str
    methods: tuple[str, ...]
    attributes: Mapping[str, Any]


@final
class Ready(NamedTuple):
    """Child to host: the servable is loaded, and calls are answered from now on."""

    description: Description


@final
class Failed(NamedTuple):
    """Child to host: the load failed; the process exits."""

    error: ServmanError


@final
class Beat:
    """Child to host: its threads still get to run."""


@final
class Unloaded(NamedTuple):
    """Child to host: the servable is unloaded, or could not be; the process exits."""

    error: ServmanError | None = None


HostMessage: TypeAlias = Assignment | Unload
"""What the child reads."""

ChildMessage: TypeAlias = Started | Ready | Failed | Beat | Unloaded
"""What the host reads."""
