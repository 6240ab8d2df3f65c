"""The retries of section 5.18 of the catalogue: how many attempts the manager makes.

TensorFlow Serving asserts them on a function that calls another again; here loads are what is repeated.
"""

from __future__ import annotations

import pytest

from servman.manager import HarnessState
from tests.unit.manager.rig import ModelLoader, Rig, entry

ELEVEN = {"max_num_load_retries": 10, "load_retry_interval": 1.0}


def failing(count: int) -> ModelLoader:
    """Return a loader whose first *count* attempts fail."""
    return ModelLoader(*[ValueError(f"attempt {n} failed") for n in range(1, count + 1)])


def load(rig: Rig, loader: ModelLoader) -> list[int]:
    """Load "m:1" until nothing more comes of it; return the numbers of the attempts."""
    rig.bring("m", entry("m:1", loader))
    for _ in range(20):
        rig.advance(1.0)
    return [context.attempt for context in loader.contexts]


@pytest.mark.case("RE-01")
def test_the_seventh_of_eleven_attempts_may_succeed_and_is_the_last() -> None:
    rig = Rig(**ELEVEN)
    assert load(rig, failing(6)) == [1, 2, 3, 4, 5, 6, 7]
    assert rig.serving() == ["m:1"]
    assert rig.states("m:1") == ["START", "LOADING", "AVAILABLE"]


@pytest.mark.case("RE-02")
def test_ten_retries_that_all_fail_make_eleven_attempts_and_the_last_error_stands() -> None:
    rig = Rig(**ELEVEN)
    assert load(rig, failing(99)) == list(range(1, 12))
    assert "attempt 11 failed" in str(rig.end("m:1"))
    assert rig.state("m:1") is HarnessState.ERROR


@pytest.mark.case("RE-03")
def test_a_predicate_that_is_false_leaves_one_attempt_and_its_error() -> None:
    rig = Rig(should_retry=lambda _: False, **ELEVEN)
    assert load(rig, failing(99)) == [1]
    assert "attempt 1 failed" in str(rig.end("m:1"))


@pytest.mark.case("RE-04")
def test_a_predicate_that_rejects_the_fifth_error_leaves_five_attempts_and_that_error() -> None:
    rig = Rig(should_retry=lambda error: str(error) != "attempt 5 failed", **ELEVEN)
    assert load(rig, failing(99)) == [1, 2, 3, 4, 5]
    assert "attempt 5 failed" in str(rig.end("m:1"))
