"""What stands here for a servable in worker processes."""

from __future__ import annotations

from typing import Any

import pytest

from servman.adapters import Signature, TensorSpec
from servman.ids import ServableId
from servman.workers.messages import Description
from servman.workers.servable import CALL, WorkerServable, worker_servable
from tests.unit.workers.calling import Phone

SIGNATURES = {
    "serving_default": Signature({"x": TensorSpec(None, (1,))}, {"y": TensorSpec(None, (1,))})
}


def servable(*methods: str, **attributes: Any) -> Any:
    """Return one whose only worker answers with the method and its arguments."""
    phone = Phone()
    phone.add("a")
    description = Description("Adder", methods, attributes)
    return worker_servable(ServableId("m", 3), description, phone.calls, lambda: ())


def test_its_methods_are_those_of_the_servable_in_the_processes() -> None:
    one = servable("predict", "classify")
    assert one.predict([1], "serving_default") == ("predict", ([1], "serving_default"), {})
    assert one.classify(examples=[b""]) == ("classify", (), {"examples": [b""]})
    assert not hasattr(one, "regress")


def test_a_parameter_of_any_name_gets_through() -> None:
    one = servable("predict", CALL)
    assert one.predict(self=1, name=2) == ("predict", (), {"self": 1, "name": 2})
    assert one(self=1, method=2) == (CALL, (), {"self": 1, "method": 2})


def test_it_can_be_called_if_the_servable_can() -> None:
    assert servable(CALL)(7) == (CALL, (7,), {})
    assert not callable(servable("predict"))


def test_its_data_is_that_of_the_servable() -> None:
    one = servable("predict", signatures=SIGNATURES, threshold=0.5)
    assert one.signatures == SIGNATURES
    assert one.threshold == 0.5


def test_its_id_is_that_of_the_version_unless_the_servable_has_one() -> None:
    assert servable().id == ServableId("m", 3)
    assert servable(id="its own").id == "its own"


def test_a_servable_with_something_called_workers_does_not_hide_ours() -> None:
    assert servable("workers").workers() == ()
    assert servable(workers=8).workers() == ()


def test_what_is_not_there_is_missing_by_name() -> None:
    with pytest.raises(
        AttributeError, match="m:3: the Adder in its worker processes has no method 'x'"
    ):
        _ = servable("predict").x


def test_texts_of_it_say_what_it_is() -> None:
    one = servable("predict")
    assert isinstance(one, WorkerServable)
    assert repr(one) == "<m:3: Adder in 0 worker processes>"
    assert repr(one.predict) == "<method Adder.predict in worker processes>"
    assert one.predict.__name__ == "predict"
