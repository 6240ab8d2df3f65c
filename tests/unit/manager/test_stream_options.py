"""Streams with options of their own: their policy, their retries and the pauses between."""

from __future__ import annotations

from typing import Any

import pytest

from servman.errors import ClosedError, InvalidArgumentError
from servman.manager import (
    AvailabilityPreservingPolicy,
    ExponentialBackoff,
    HarnessState,
    ResourcePreservingPolicy,
    StreamOptions,
)
from tests.unit.manager.rig import ModelLoader, Rig, entry


def failing(name: str) -> ModelLoader:
    return ModelLoader(*(ValueError(f"torn {number}") for number in range(20)))


def configure(rig: Rig, **streams: StreamOptions) -> None:
    rig.manager.configure(streams)
    rig.step()


def attempts(rig: Rig, name: str, *, within: float = 1000.0) -> int:
    """Have a version of *name* fail for good; return how often it was tried."""
    loader = failing(name)
    rig.bring(name, entry(f"{name}:1", loader))
    for _ in range(10):
        rig.advance(within / 10)
    return len(loader.contexts)


def test_each_stream_is_retried_as_it_says_and_the_others_as_the_manager_says() -> None:
    rig = Rig(max_num_load_retries=2, load_retry_interval=1.0)
    configure(rig, a=StreamOptions(max_num_load_retries=0), b=StreamOptions(max_num_load_retries=4))
    assert [attempts(rig, name) for name in ("a", "b", "c")] == [1, 5, 3]


def test_each_stream_pauses_as_it_says() -> None:
    rig = Rig(max_num_load_retries=1, load_retry_interval=10.0)
    backoff = ExponentialBackoff(initial=3.0, jitter=0.0)
    configure(
        rig, a=StreamOptions(load_retry_interval=0.5), b=StreamOptions(load_retry_interval=backoff)
    )
    for name in ("a", "b", "c"):
        rig.bring(name, entry(f"{name}:1", failing(name)))
    now = rig.clock.monotonic()
    pauses = [rig.snapshot(f"{name}:1").retry_at for name in ("a", "b", "c")]
    assert pauses == [now + 0.5, now + 3.0, now + 10.0]


def test_a_pause_that_has_begun_keeps_its_length_and_what_follows_does_not() -> None:
    rig = Rig(max_num_load_retries=5, load_retry_interval=10.0)
    loader = failing("m")
    rig.bring("m", entry("m:1", loader))
    configure(rig, m=StreamOptions(max_num_load_retries=1))
    rig.advance(9.9)
    assert len(loader.contexts) == 1
    rig.advance(0.1)
    assert len(loader.contexts) == 2
    assert rig.state("m:1") is HarnessState.ERROR


def test_reasons_tell_how_often_that_stream_is_tried() -> None:
    rig = Rig(max_num_load_retries=2)
    configure(rig, a=StreamOptions(max_num_load_retries=8))
    for name in ("a", "b"):
        rig.aspire(name, 1)
    assert "(attempt 1 of 9)" in rig.why("a").text
    assert "(attempt 1 of 3)" in rig.why("b").text


def test_each_stream_has_its_own_policy(rig: Rig) -> None:
    configure(rig, a=StreamOptions(policy=ResourcePreservingPolicy()))
    for name in ("a", "b"):
        rig.bring(name, 1)
    for name in ("a", "b"):
        rig.aspire(name, 2)
    assert rig.serving() == ["b:1"]
    rig.settle()
    assert rig.serving() == ["a:2", "b:2"]


def test_another_policy_is_asked_at_once_what_it_says() -> None:
    rig = Rig(policy=ResourcePreservingPolicy())
    rig.bring("m", 1)
    with rig.handle("m"):
        rig.bring("m", 2)
        assert rig.state("m:2") is HarnessState.NEW
        configure(rig, m=StreamOptions(policy=AvailabilityPreservingPolicy()))
        rig.settle()
        assert rig.serving() == ["m:2"]


def test_a_policy_with_no_truth_value_is_taken_all_the_same(rig: Rig) -> None:
    class Odd:
        def __bool__(self) -> bool:
            raise AssertionError

        def next_action(self, snapshots: object) -> None:
            asked.append(snapshots)

    asked: list[object] = []
    configure(rig, m=StreamOptions(policy=Odd()))
    rig.bring("m", 1)
    assert asked
    assert rig.state("m:1") is HarnessState.NEW


def test_the_table_is_complete_so_a_stream_that_is_left_out_is_as_the_manager_says() -> None:
    rig = Rig(max_num_load_retries=2, load_retry_interval=1.0)
    configure(rig, m=StreamOptions(max_num_load_retries=0))
    configure(rig)
    assert attempts(rig, "m") == 3


def test_a_list_that_is_posted_after_it_is_not_taken_up_before_it(rig: Rig) -> None:
    rig.bring("m", 1)
    rig.manager.set_aspired_versions("m", [entry("m:2")])
    rig.manager.configure({"m": StreamOptions(policy=ResourcePreservingPolicy())})
    rig.manager.set_aspired_versions("m", [entry("m:3")])
    rig.step()
    rig.settle()
    assert rig.aspirations("m") == [{1}, {2}, {3}]


def test_what_was_set_last_is_in_force_whoever_posts_last(rig: Rig) -> None:
    rig = Rig(load_retry_interval=1.0)
    rig.manager.configure({"m": StreamOptions(max_num_load_retries=7)})
    rig.manager.configure({"m": StreamOptions(max_num_load_retries=0)})
    rig.manager.step()  # the first of the two alone
    assert rig.manager._actor._reconciler._configured["m"].max_num_load_retries == 0
    assert attempts(rig, "m") == 1


@pytest.mark.parametrize(
    "streams",
    [None, [], "m", {"m": None}, {"m": {}}, {"a:b": StreamOptions()}, {3: StreamOptions()}],
)
def test_what_is_no_table_of_options_is_refused(rig: Rig, streams: Any) -> None:
    with pytest.raises(InvalidArgumentError):
        rig.manager.configure(streams)


@pytest.mark.parametrize(
    "options",
    [
        {"policy": object()},
        {"policy": AvailabilityPreservingPolicy},
        {"max_num_load_retries": -1},
        {"max_num_load_retries": True},
        {"load_retry_interval": -1.0},
        {"load_retry_interval": float("nan")},
        {"load_retry_interval": "1"},
    ],
)
def test_options_that_can_never_be_right_are_refused(options: Any) -> None:
    with pytest.raises(InvalidArgumentError):
        StreamOptions(**options)


def test_a_closed_manager_is_configured_no_more(rig: Rig) -> None:
    rig.begin_close()
    with pytest.raises(ClosedError):
        rig.manager.configure({})
