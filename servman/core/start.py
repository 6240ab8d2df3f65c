"""Servables in processes of their own, started together, all or none, by one call."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Final, final

from servman.core.config import ModelConfig, ServerConfig
from servman.core.options import ServerCoreOptions
from servman.core.server_core import ServerCore
from servman.core.start_config import Found, ServableStartConfig, merge
from servman.errors import FailedPreconditionError, InvalidArgumentError
from servman.ids import ServableId
from servman.sources import All, Specific
from servman.sources.look import list_directory
from servman.sources.versions import select

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_SIGNS: Final = (
    ("servable.py", "python"),
    ("saved_model.pb", "tensorflow"),
    ("saved_model.pbtxt", "tensorflow"),
)
"""The files by which the version directories of platforms can be told."""


def start_servables(
    configs: ServableStartConfig | Sequence[ServableStartConfig],
    timeout: float | None = 60.0,
    *,
    options: ServerCoreOptions | None = None,
) -> ServerCore:
    """Start servables in processes of their own, and return the core that serves them, once all of them do.

    They are merged first (see `merge`): configs of one name and version are one. If one of them
    cannot be started, none is: what was started is taken down before this raises. It is for a
    process that starts its servables once; while they run a second call says so and changes
    nothing: the core that the first one returned is changed by its own methods.

    Blocks: until every worker process is ready, for up to *timeout* seconds; None: as long as that takes.

    Threads: any; one call at a time, and others are refused.

    Args:
        configs: What to start.
        timeout: In seconds.
        options: How the core works; the platforms that the servables need are enabled in any case. None: the
            defaults, but a servable that does not start is not tried again.

    Raises:
        InvalidArgumentError: They cannot be started together: `faults` are all that is wrong. Nothing was started.
        FailedPreconditionError: Servables that were started before are running; they go on.
        ServableUnavailableError: One of them cannot be loaded; its reason is what its worker said.
        WaitTimeoutError: One of them is not ready in time, with the reason.
    """
    claim = _Claim()
    try:  # a Ctrl-C may come anywhere: what has begun is known to the claim before it is in use
        claim.stake()
        models = _merged(configs)
        core = claim.core = _core(models, options)
        core.start()
        core.wait_until_available(*_versions(models), timeout=timeout)
        claim.running = True
    except BaseException:
        claim.give_up()
        raise
    return core


def _merged(
    configs: ServableStartConfig | Sequence[ServableStartConfig],
) -> tuple[ModelConfig, ...]:
    asked: object = (configs,) if isinstance(configs, ServableStartConfig) else configs
    if not isinstance(asked, Iterable):
        fault = f"configs is {asked!r}; pass a ServableStartConfig, or several"
        raise InvalidArgumentError(fault, faults=(fault,))
    every = tuple(asked)
    return merge(every, {path: _found(path) for path in _base_paths(every)})


def _core(models: Sequence[ModelConfig], options: ServerCoreOptions | None) -> ServerCore:
    options = options or ServerCoreOptions(platforms=(), max_num_load_retries=0)
    needed = dict.fromkeys((*options.platforms, *(model.platform for model in models)))
    return ServerCore(ServerConfig(models), options=replace(options, platforms=tuple(needed)))


def _versions(models: Iterable[ModelConfig]) -> Iterator[ServableId]:
    for model in models:
        if isinstance(model.version_policy, Specific):  # as `merge` says it of all of them
            yield from (ServableId(model.name, one) for one in model.version_policy.versions)


def _base_paths(configs: Sequence[object]) -> set[str]:
    """Return the paths to look at; what has none is a fault that `merge` tells."""
    paths = set()
    for one in configs:
        if isinstance(one, ServableStartConfig):
            with contextlib.suppress(TypeError):
                paths.add(one.base_path)
    return paths


def _found(path: str) -> Found:
    """Look what there is below *path*."""
    base_path = os.path.abspath(path)  # noqa: PTH100 -- keeps the spelling
    try:
        versions = select(list_directory(base_path), All()).names
    except (OSError, ValueError) as error:
        problem = error.strerror if isinstance(error, OSError) else None
        return Found(base_path, problem=problem or str(error))
    return Found(
        base_path,
        {number: _platform(os.path.join(base_path, name)) for number, name in versions.items()},  # noqa: PTH118 -- likewise
    )


def _platform(directory: str) -> str:
    for name, platform in _SIGNS:
        if os.path.exists(os.path.join(directory, name)):  # noqa: PTH110, PTH118 -- likewise
            return platform
    return ""


# ---- one at a time -----------------------------------------------------------------------------


@final
class _Claim:
    """What one call of `start_servables` has to do with the process."""

    def __init__(self) -> None:
        self.core: ServerCore | None = None
        self.running = False
        self._given_up = False
        self._process = os.getpid()

    def stake(self) -> None:
        """Be the one call that starts servables, unless there is another, whose servables start or run."""
        _claims.append(self)
        for other in list(_claims):
            if other is self:
                break
            if not other.ended:
                raise FailedPreconditionError(_refusal(other))
            with contextlib.suppress(ValueError):  # somebody else has
                _claims.remove(other)

    def give_up(self) -> None:
        """Take down what was started."""
        try:
            if self.core is not None:
                self.core.close()
        finally:
            self._given_up = True

    @property
    def ended(self) -> bool:
        if self._given_up or self._process != os.getpid():  # this process was forked from that one
            return True
        return self.running and self.core is not None and self.core.closed


# In the order in which they came. No lock: a forked child could find it held for ever.
_claims: Final[list[_Claim]] = []


def _refusal(claim: _Claim) -> str:
    if claim.core is None or not claim.running:
        return "servables are being started already; wait for that call, and change the core that it returns"
    names = ", ".join(sorted(claim.core.models)) or "none"
    return (
        f"servables were started already ({names}), and run on; change the core that start_servables() returned,"
        " by add_model() or reload_config(), or close it first"
    )
