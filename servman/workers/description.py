"""What a worker process tells its host of the servable that it has loaded."""

from __future__ import annotations

import pickle
from typing import Any

from servman.workers.messages import Description
from servman.workers.plain import plain_pickle


def describe(servable: object) -> Description:
    """Return what the host can know of *servable*. Raises nothing, whatever the servable does."""
    methods = ["__call__"] if callable(servable) else []
    attributes: dict[str, Any] = {}
    for name in _public_names(servable):
        try:
            value = getattr(servable, name)
            if callable(value):
                methods.append(name)
            else:
                attributes[name] = _portable(value)
        except BaseException:  # noqa: BLE001, S112 -- foreign code; what cannot be told is not told
            continue
    return Description(type(servable).__qualname__, tuple(methods), attributes)


def _public_names(servable: object) -> list[str]:
    try:
        return [name for name in dir(servable) if not name.startswith("_")]
    except BaseException:  # noqa: BLE001 -- a foreign __dir__
        return []


def _portable(value: object) -> object:
    """Return *value* as the host will have it: views of mappings, which cannot be pickled, as dicts."""
    return pickle.loads(plain_pickle(value))  # noqa: S301 -- our own
