"""Which configuration is in force: one lock, one number each, and nobody overwrites anybody."""

from __future__ import annotations

from typing import Any, final

import pytest

from servman.core import ModelConfig, ServerConfig
from servman.core.configuration import Accepted, Configuration
from servman.errors import ClosedError, FailedPreconditionError, WaitTimeoutError
from servman.sources import Latest
from servman.testing import FakeClock, Spawned

M, N = ModelConfig("m", "/m"), ModelConfig("n", "/n")


@final
class Rig:
    """A configuration, and what the stages were told."""

    def __init__(self) -> None:
        self.told: list[Accepted] = []
        self.clock = FakeClock()
        self.configuration = Configuration(ServerConfig([M]), self.told.append, self.clock)
        self.configuration.hand_on()

    def accept(self, *models: ModelConfig, **options: Any) -> Accepted:
        seen = options.pop("seen", self.configuration.wanted)
        accepted = self.configuration.accept(ServerConfig(models), seen=seen, **options)
        assert accepted is not None
        return accepted

    def generations(self) -> tuple[int, int]:
        """Return which is in force, and which is wanted."""
        return self.configuration.in_force.generation, self.configuration.wanted.generation


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_the_first_one_is_in_force_and_told(rig: Rig) -> None:
    assert rig.generations() == (1, 1)
    assert [one.changed for one in rig.told] == [{"m"}]
    assert rig.configuration.in_force.config == ServerConfig([M])


def test_what_is_accepted_is_in_force_before_it_is_told(rig: Rig) -> None:
    accepted = rig.accept(M, N)
    assert rig.generations() == (2, 2)
    assert accepted.changed == {"n"}
    assert accepted.before == {"m": M}
    assert accepted.models == {"m": M, "n": N}
    assert len(rig.told) == 1
    rig.configuration.hand_on()
    rig.configuration.hand_on()  # they know
    assert rig.told[1:] == [accepted]


def test_models_that_are_equal_stay_the_very_objects(rig: Rig) -> None:
    accepted = rig.accept(ModelConfig("m", "/m"), N)
    assert accepted.models["m"] is M
    assert accepted.config.models[0] is M


def test_what_is_gone_or_configured_in_another_way_has_changed(rig: Rig) -> None:
    rig.accept(M, N)
    other = ModelConfig("n", "/n", version_policy=Latest(2))
    assert rig.accept(other).changed == {"m", "n"}


def test_the_same_again_is_what_is_in_force(rig: Rig) -> None:
    accepted = rig.accept(ModelConfig("m", "/m"))
    assert (accepted.generation, accepted.changed, accepted.atomic) == (1, frozenset(), False)
    assert rig.generations() == (1, 1)


def test_it_is_not_accepted_where_another_was_wanted_meanwhile(rig: Rig) -> None:
    seen = rig.configuration.wanted
    rig.accept(N)
    assert rig.configuration.accept(ServerConfig(), seen=seen) is None
    assert rig.generations() == (2, 2)


def test_another_generation_than_the_expected_one_is_refused(rig: Rig) -> None:
    rig.accept(N, expected=1)
    with pytest.raises(FailedPreconditionError, match="read it, and decide again"):
        rig.accept(M, expected=1)
    assert rig.generations() == (2, 2)


def test_the_expected_generation_is_checked_for_the_same_again_too(rig: Rig) -> None:
    with pytest.raises(FailedPreconditionError, match="generation 1 .* not 7"):  # noqa: RUF043 -- two places
        rig.accept(M, expected=7)


def test_who_asks_is_kept_with_it(rig: Rig) -> None:
    origins = [rig.configuration.in_force.config.origin]
    for origin in ("call", "file"):
        rig.accept(ModelConfig("m", f"/{origin}"), origin=origin)
        origins.append(rig.configuration.in_force.config.origin)
    assert origins == ["start", "call", "file"]


# ---- places ------------------------------------------------------------------------------------


def test_another_root_changes_what_is_below_it(rig: Rig) -> None:
    below = ModelConfig("below", "below")
    configuration = rig.configuration
    for root, changed in (("/a", {"below"}), ("/b", {"below"}), ("/b", set())):
        accepted = configuration.accept(
            ServerConfig([M, below], root_dir=root), seen=configuration.wanted
        )
        assert accepted is not None
        assert accepted.changed == changed


def test_another_prefix_changes_every_model(rig: Rig) -> None:
    accepted = rig.configuration.accept(
        ServerConfig([M], storage_path_prefix="/mnt"), seen=rig.configuration.wanted
    )
    assert accepted is not None
    assert accepted.changed == {"m"}
    assert accepted.generation == 2


# ---- atomic ------------------------------------------------------------------------------------


def test_an_atomic_one_is_wanted_and_told_and_not_in_force(rig: Rig) -> None:
    accepted = rig.accept(N, atomic=True)
    rig.configuration.hand_on()
    assert rig.generations() == (1, 2)
    assert rig.told[-1] is accepted


def test_it_is_in_force_once_it_is_committed_and_no_longer_atomic(rig: Rig) -> None:
    accepted = rig.accept(N, atomic=True)
    rig.configuration.hand_on()
    assert rig.configuration.begin_commit(accepted)
    assert rig.generations() == (1, 2)
    rig.configuration.end_commit(accepted, done=True)
    assert rig.generations() == (2, 2)
    assert not rig.configuration.in_force.atomic
    rig.configuration.hand_on()
    assert len(rig.told) == 2  # they know
    assert not rig.configuration.withdraw(accepted, None)


def test_it_can_be_tried_again_where_the_commit_was_refused(rig: Rig) -> None:
    accepted = rig.accept(N, atomic=True)
    assert rig.configuration.begin_commit(accepted)
    rig.configuration.end_commit(accepted, done=False)
    assert rig.generations() == (1, 2)
    assert rig.configuration.begin_commit(accepted)


def test_one_that_is_no_longer_wanted_is_not_committed(rig: Rig) -> None:
    accepted = rig.accept(N, atomic=True)
    rig.accept()
    assert not rig.configuration.begin_commit(accepted)
    assert not rig.configuration.withdraw(accepted, None)
    assert rig.generations() == (3, 3)


def test_one_that_is_withdrawn_gives_way_to_what_is_in_force(rig: Rig) -> None:
    accepted = rig.accept(N, atomic=True)
    rig.configuration.hand_on()
    assert rig.configuration.withdraw(accepted, None)
    rig.configuration.hand_on()
    assert rig.generations() == (1, 1)
    assert [one.generation for one in rig.told] == [1, 2, 1]


def test_numbers_are_not_used_again(rig: Rig) -> None:
    rig.configuration.withdraw(rig.accept(N, atomic=True), None)
    assert rig.accept(N).generation == 3


def test_what_is_asked_for_again_is_newer_than_what_was_withdrawn(rig: Rig) -> None:
    rig.configuration.withdraw(rig.accept(N, atomic=True), None)
    assert rig.accept(M).latest == rig.configuration.latest == 2


@pytest.mark.parametrize("done", [True, False])
def test_nothing_is_accepted_while_one_is_committed(rig: Rig, done: bool) -> None:
    first = rig.accept(N, atomic=True)
    assert rig.configuration.begin_commit(first)
    late = Spawned(lambda: rig.configuration.accept(ServerConfig(), seen=first))
    waiting = Spawned(lambda: rig.configuration.wait_for_commit(None))
    rig.configuration.end_commit(first, done=done)
    waiting.result()
    accepted = late.result()
    # What it has seen is no longer what is wanted, if that has come into force.
    assert (accepted is None) == done


def test_closing_ends_the_wait_for_a_commit(rig: Rig) -> None:
    first = rig.accept(N, atomic=True)
    assert rig.configuration.begin_commit(first)
    late = Spawned(lambda: rig.configuration.accept(ServerConfig(), seen=first))
    waiting = Spawned(lambda: rig.configuration.wait_for_commit(None))
    rig.configuration.close()
    waiting.result()
    with pytest.raises(ClosedError):
        late.result()


def test_a_manager_that_does_not_answer_is_waited_for_until_the_deadline(rig: Rig) -> None:
    first = rig.accept(N, atomic=True)
    assert rig.configuration.begin_commit(first)
    deadline = rig.clock.monotonic() + 5.0
    late = Spawned(lambda: rig.configuration.accept(ServerConfig(), seen=first, deadline=deadline))
    withdrawing = Spawned(lambda: rig.configuration.withdraw(first, deadline))
    waiting = Spawned(lambda: rig.configuration.wait_for_commit(deadline))
    rig.clock.wait_until_parked(3)
    rig.clock.advance(5.0)
    with pytest.raises(WaitTimeoutError, match="a policy or sort_actions of yours may hang"):
        late.result()
    assert not withdrawing.result()
    waiting.result()
    rig.configuration.end_commit(first, done=True)  # it answers after all
    assert rig.configuration.in_force.generation == first.generation


# ---- telling -----------------------------------------------------------------------------------


def test_nothing_is_accepted_after_closing(rig: Rig) -> None:
    rig.configuration.close()
    with pytest.raises(ClosedError, match="make a new one"):
        rig.accept(N)
    assert rig.generations() == (1, 1)


def test_who_comes_while_the_stages_are_told_waits_and_tells_the_newest_alone(rig: Rig) -> None:
    rig.accept(N)
    with rig.configuration.undisturbed():
        waiting = Spawned(rig.configuration.hand_on)
        rig.accept()
        assert len(rig.told) == 1
    waiting.result()
    assert [one.generation for one in rig.told] == [1, 3]


def test_stages_that_refuse_are_told_again() -> None:
    tell: Any = Refusing()
    configuration = Configuration(ServerConfig([M]), tell, FakeClock())
    with pytest.raises(ClosedError):
        configuration.hand_on()
    configuration.hand_on()
    assert tell.calls == 2


@final
class Refusing:
    """Refuses the first one."""

    calls = 0

    def __call__(self, _: Accepted) -> None:
        self.calls += 1
        if self.calls == 1:
            raise ClosedError("the source was closed")
