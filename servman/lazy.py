"""Packages that bring in each of their names when it is first asked for (PEP 562)."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


def names_of(
    package: str, homes: Mapping[str, Sequence[str]]
) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """Return `__getattr__` and `__dir__` for *package*.

    Assign them where `TYPE_CHECKING` is false: else a misspelt name would pass for one that is brought in.

    Args:
        package: Its name.
        homes: The names, by the module that each is brought in from; ".m" is one of the package.
    """
    home_of = {name: home for home, names in homes.items() for name in names}

    def bring_in(name: str) -> object:
        """Bring in a public name, and keep it."""
        if name not in home_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        found = getattr(importlib.import_module(home_of[name], package), name)
        setattr(sys.modules[package], name, found)
        return found

    def listed() -> list[str]:
        return sorted({*vars(sys.modules[package]), *home_of})

    return bring_in, listed
