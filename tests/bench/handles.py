"""What a lookup costs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from tests.bench.assembly import WATCHDOG, running, trivial
from tests.bench.measure import ratios

if TYPE_CHECKING:
    from servman import AspiredVersionsManager
    from tests.bench.measure import Row


class _Floor:
    """The least that a lookup could be: a fresh slotted context manager around a found object."""

    __slots__ = ("_held",)

    def __init__(self, held: object) -> None:
        self._held: object | None = held

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._held = None


def rows() -> list[Row]:
    """Run them all."""
    with running() as assembly:
        assembly.manager.set_labels({"m": {"stable": 3}})
        assembly.manager.set_aspired_versions("m", [trivial("m", 3)])
        assembly.monitor.wait_until_available("m:3", timeout=WATCHDOG)
        return _ratios(assembly.manager)


def _ratios(manager: AspiredVersionsManager) -> list[Row]:
    found = {"m": object()}

    def floor() -> None:
        with _Floor(found["m"]):
            pass

    def latest() -> None:
        with manager.get_servable_handle("m"):
            pass

    def specific() -> None:
        with manager.get_servable_handle("m:3"):
            pass

    def labeled() -> None:
        with manager.get_servable_handle("m@stable"):
            pass

    def used() -> None:
        with manager.get_servable_handle("m") as handle:
            handle.servable  # noqa: B018 -- reading it is what is measured

    return ratios(
        {
            "handle: latest by name, enter, exit|1.5": latest,
            'handle: "m:3"|2': specific,
            'handle: "m@stable"|2': labeled,
            "handle: latest with .servable read|2": used,
        },
        floor,
    )
