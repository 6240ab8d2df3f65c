from __future__ import annotations

import threading
from types import MappingProxyType
from typing import NoReturn

from servman.adapters.signatures import Signature
from servman.workers.description import describe


class Strange:
    """Is everything that a servable should not be."""

    rate = 0.5
    lock = threading.Lock()
    large = b"x" * 1_000_000
    signatures = MappingProxyType({"one": Signature({}, {})})

    @property
    def broken(self) -> NoReturn:
        raise ValueError("not now")

    @property
    def deadly(self) -> NoReturn:
        raise SystemExit(3)

    @property
    def kin(self) -> Strange:
        return Strange()

    def predict(self) -> None:
        """Do nothing."""

    def _private(self) -> None:
        """Do nothing."""


def test_methods_and_small_data_of_known_classes_are_told() -> None:
    description = describe(Strange())
    assert description.type_name == "Strange"
    assert description.methods == ("predict",)
    assert description.attributes == {"rate": 0.5, "signatures": {"one": Signature({}, {})}}
    assert type(description.attributes["signatures"]) is dict


def test_what_can_be_called_itself_has_the_method_for_it() -> None:
    assert describe(len).methods[0] == "__call__"


class Hidden:
    def __dir__(self) -> NoReturn:
        raise ValueError("not here")


def test_a_servable_that_cannot_be_listed_has_nothing_to_tell() -> None:
    assert describe(Hidden()).methods == ()
