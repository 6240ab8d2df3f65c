"""Handles and types, where TensorFlow Serving has smart pointers: of sections 5.6 and 5.18."""

from __future__ import annotations

import pytest

from servman.errors import FailedPreconditionError, InvalidArgumentError
from servman.loader import SimpleLoader
from tests.unit.manager.rig import Rig, entry, sid


class Base:
    """A kind of servable."""


class Derived(Base):
    """A kind of that kind."""


@pytest.fixture
def rig() -> Rig:
    """Return a manager that serves one `Derived`."""
    rig = Rig()
    rig.bring("m", entry("m:1", SimpleLoader(lambda _: Derived())))
    return rig


@pytest.mark.departs("MG-07")
def test_a_handle_has_its_servable_as_an_attribute_and_a_closed_one_says_so(rig: Rig) -> None:
    one, other = (rig.manager.get_servable_handle("m", Derived) for _ in range(2))
    assert one.servable is other.servable
    assert one != other, "each is closed on its own"
    one.close()
    with pytest.raises(FailedPreconditionError, match="closed"):
        _ = one.servable
    assert isinstance(other.servable, Derived)


@pytest.mark.departs("AN-01")
def test_asked_for_another_type_a_lookup_raises_and_tells_both(rig: Rig) -> None:
    with pytest.raises(InvalidArgumentError, match="m:1 is a Derived, not the int"):
        rig.manager.get_servable_handle("m", int)
    assert rig.manager.get_available_handles(int) == {}


@pytest.mark.departs("AN-03")
def test_a_servable_is_also_of_the_base_classes_of_its_type(rig: Rig) -> None:
    with rig.manager.get_servable_handle("m", Base) as handle:
        assert type(handle.servable) is Derived
    assert list(rig.manager.get_available_handles(Base)) == [sid("m:1")]
