"""Failed and pausing versions whose files change are tried again; no others are looked at."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

import pytest

from servman.errors import LoadFailedError, ResourceExhaustedError
from servman.loader import LoadContext
from servman.manager import AvailabilityPreservingPolicy, HarnessState, ServableAction
from servman.manager.harness import ServableStateSnapshot
from servman.manager.policy import ActionKind
from servman.manager.tracker import ResourceTracker
from servman.resources import MAIN_MEMORY, ResourceAllocation
from tests.unit.manager.rig import FileLoader, Model, ModelLoader, Rig, entry, sid


def corrupt(times: int = 1) -> FileLoader:
    return FileLoader(*[ValueError(f"corrupt {n}") for n in range(times)])


def failed(loader: FileLoader, **options: object) -> Rig:
    """Return a rig on which "m:1" has failed for good."""
    rig = Rig(max_num_load_retries=0, **options)
    rig.bring("m", entry("m:1", loader))
    assert rig.state("m:1") is HarnessState.ERROR
    loader.asked = 0
    return rig


def pausing(loader: FileLoader) -> Rig:
    """Return a rig on which "m:1" pauses before its second attempt."""
    rig = Rig()
    rig.bring("m", entry("m:1", loader))
    assert rig.snapshot("m:1").retry_at is not None
    loader.asked = 0
    return rig


def test_a_failed_version_whose_files_change_begins_a_new_incarnation() -> None:
    loader = corrupt()
    rig = failed(loader)
    loader.files = 1
    rig.advance(1.0)
    assert rig.states("m:1") == ["START", "LOADING", "END", "START", "LOADING", "AVAILABLE"]


def test_a_failed_version_whose_files_stay_as_they_are_is_left_alone() -> None:
    loader = corrupt()
    rig = failed(loader)
    for _ in range(5):
        rig.advance(1.0)
    assert (loader.asked, len(loader.contexts), len(rig.ends("m:1"))) == (5, 1, 1)


def test_a_pausing_version_whose_files_change_is_tried_at_once_with_attempts_from_one() -> None:
    loader = corrupt(2)
    rig = pausing(loader)
    rig.advance(60.0)
    loader.files = 1
    rig.advance(1.0)
    assert [context.attempt for context in loader.contexts] == [1, 2, 1]
    assert rig.states("m:1") == ["START", "LOADING", "AVAILABLE"]


def test_files_that_change_while_they_are_loaded_count_as_changed() -> None:
    class Overwritten(FileLoader):
        def load(self, context: LoadContext) -> Model:
            self.files = context.attempt
            return super().load(context)

    loader = Overwritten(ValueError("half written"))
    rig = Rig(max_num_load_retries=0)
    rig.bring("m", entry("m:1", loader))
    rig.advance(1.0)
    assert rig.serving() == ["m:1"]


def test_files_are_looked_at_once_an_interval() -> None:
    loader = corrupt()
    rig = failed(loader, revision_interval=5.0)
    rig.advance(4.9)
    assert loader.asked == 0
    rig.advance(0.2)
    assert loader.asked == 1
    rig.advance(4.9)
    assert loader.asked == 1


def test_files_are_not_looked_at_again_before_the_last_look_has_returned() -> None:
    rig = failed(corrupt())
    for _ in range(3):
        rig.clock.advance(1.0)
        rig.step()
    assert len(rig.revisions.jobs) == 1


def test_a_look_that_hangs_is_not_joined_by_another_after_the_next_attempt() -> None:
    rig = pausing(corrupt(20))
    rig.clock.advance(1.0)
    rig.step()
    assert len(rig.revisions.jobs) == 1
    for _ in range(3):
        rig.clock.advance(60.0)
        rig.step()
        rig.load()
        rig.clock.advance(1.0)
        rig.step()
    assert len(rig.revisions.jobs) == 1


def test_what_a_look_from_before_the_last_attempt_saw_is_of_no_account() -> None:
    loader = corrupt(20)
    rig = pausing(loader)
    rig.clock.advance(1.0)
    rig.step()
    loader.files = 1
    rig.clock.advance(59.0)
    rig.step()
    rig.load()  # the second attempt has seen the new files
    rig.revisions.run()
    rig.settle()
    assert [context.attempt for context in loader.contexts] == [1, 2]
    loader.files = 2
    rig.advance(1.0)
    assert [context.attempt for context in loader.contexts] == [1, 2, 1]


def test_no_look_is_taken_while_a_load_is_queued_or_runs() -> None:
    rig = pausing(corrupt(20))
    rig.clock.advance(59.5)
    rig.settle()
    rig.clock.advance(0.5)
    rig.step()
    assert (len(rig.loads.jobs), len(rig.revisions.jobs)) == (1, 0)
    rig.clock.advance(5.0)
    rig.step()
    assert rig.revisions.jobs == []


def test_no_look_is_taken_at_a_version_that_serves() -> None:
    loader = FileLoader()
    rig = Rig()
    rig.bring("m", entry("m:1", loader))
    loader.asked = 0
    loader.files = 1
    rig.advance(100.0)
    assert (loader.asked, rig.states("m:1")) == (0, ["START", "LOADING", "AVAILABLE"])


def test_no_look_is_taken_at_a_version_that_the_policy_unloaded() -> None:
    class Fickle:
        unload = False

        def next_action(self, snapshots: list[ServableStateSnapshot]) -> ServableAction | None:
            ready = [one.id for one in snapshots if one.state is HarnessState.READY]
            if self.unload and ready:
                return ServableAction(ActionKind.UNLOAD, ready[0])
            return AvailabilityPreservingPolicy().next_action(snapshots)

    policy, loader = Fickle(), FileLoader()
    rig = Rig(policy=policy)
    rig.bring("m", entry("m:1", loader))
    policy.unload = True
    rig.bring("m", entry("m:1", loader))
    assert rig.state("m:1") is HarnessState.DISABLED
    loader.files = 1
    rig.advance(10.0)
    assert (rig.state("m:1"), len(loader.contexts)) == (HarnessState.DISABLED, 1)


def test_no_look_is_taken_at_a_version_that_is_no_longer_wanted() -> None:
    loader = corrupt()
    rig = failed(loader)
    rig.clock.advance(1.0)
    rig.step()
    rig.aspire("m")
    loader.files = 1
    rig.settle()
    rig.advance(100.0)
    assert (loader.asked, len(loader.contexts)) == (1, 1)


def test_a_loader_without_revisions_is_not_looked_at() -> None:
    rig = Rig(max_num_load_retries=0)
    rig.bring("m", entry("m:1", ModelLoader(ValueError("corrupt"))))
    rig.clock.advance(100.0)
    rig.step()
    assert rig.revisions.jobs == []


class UnspeakableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.parametrize("error", [OSError("disk gone"), SystemExit(), UnspeakableError()])
def test_files_that_cannot_be_looked_at_are_a_revision_of_their_own(error: BaseException) -> None:
    loader = corrupt(2)
    loader.files = error
    rig = failed(loader)
    rig.advance(1.0)
    assert len(loader.contexts) == 1
    loader.files = 0
    rig.advance(1.0)
    assert len(loader.contexts) == 2


class Incomparable:
    """A revision whose comparison says neither yes nor no."""

    def __ne__(self, other: object) -> bool:
        return Undecided()  # type: ignore[return-value]

    __hash__ = None  # type: ignore[assignment]


class Undecided:
    def __bool__(self) -> bool:
        raise ValueError("neither")


def test_revisions_that_cannot_be_compared_leave_the_version_failed() -> None:
    loader = corrupt()
    loader.files = Incomparable()
    rig = failed(loader)
    rig.advance(1.0)
    rig.advance(1.0)
    assert (loader.asked, rig.state("m:1")) == (2, HarnessState.ERROR)


def test_a_loader_that_cannot_even_be_asked_whether_it_has_revisions_still_loads() -> None:
    class Lazy(ModelLoader):
        def __getattr__(self, name: str) -> object:
            raise LoadFailedError(f"no {name} before it is opened")

    rig = Rig()
    rig.bring("m", entry("m:1", Lazy()))
    assert rig.serving() == ["m:1"]


def test_a_retry_asked_for_while_a_look_is_taken_makes_one_attempt() -> None:
    loader = corrupt()
    rig = failed(loader)
    loader.files = 1
    rig.clock.advance(1.0)
    rig.step()
    rig.manager.retry(sid("m:1"))
    rig.settle()
    assert (rig.serving(), len(loader.contexts)) == (["m:1"], 2)


def test_a_version_whose_estimate_failed_is_tried_again_when_its_files_change() -> None:
    class Torn(FileLoader):
        def estimate_resources(self) -> ResourceAllocation:
            if self.files == 0:
                raise ValueError("torn")
            return ResourceAllocation({MAIN_MEMORY: 1})

    rig = Rig(
        resource_tracker=ResourceTracker(ResourceAllocation({MAIN_MEMORY: 10})),
        max_num_load_retries=0,
    )
    loader = Torn()
    rig.bring("m", entry("m:1", loader))
    loader.files = 1
    rig.advance(1.0)
    rig.advance(1.0)
    assert rig.serving() == ["m:1"]


@pytest.mark.parametrize("returns_first", [False, True])
def test_a_version_whose_load_timed_out_is_tried_again_when_its_files_change(
    *, returns_first: bool
) -> None:
    class Hanging(FileLoader):
        def load(self, context: LoadContext) -> Model:
            rig.clock.advance(10.0)
            rig.step()
            assert len(rig.ends("m:1")) == 1, "timed out, and has not returned"
            if not returns_first:
                self.change()
            raise ValueError("late")

        def change(self) -> None:
            for _ in range(3):  # the same files, the same files, others
                rig.clock.advance(1.0)
                rig.step()
                rig.revisions.run_all()
                rig.step()
                assert rig.states("m:1").count("START") == 1
            self.files = 1
            rig.clock.advance(1.0)
            rig.step()
            rig.revisions.run_all()
            rig.step()

    rig = Rig(load_timeout=10.0, max_num_load_retries=0)
    loader = Hanging()
    rig.aspire("m", entry("m:1", loader))
    rig.load()
    if returns_first:
        loader.change()
    assert rig.states("m:1").count("START") == 2


def test_looks_that_hang_give_their_places_to_the_next_after_a_minute() -> None:
    """Their storage may be away for good; other failed versions are looked at all the same."""
    rig = Rig(max_num_load_retries=0)
    for number in range(4):
        rig.bring(f"stuck{number}", entry(f"stuck{number}:1", corrupt()))
    rig.clock.advance(1.0)
    rig.step()
    hanging, rig.revisions.jobs[:] = list(rig.revisions.jobs), []
    assert len(hanging) == 4
    loader = corrupt()
    rig.bring("m", entry("m:1", loader))
    loader.files = 1
    rig.advance(1.0)
    assert rig.serving() == []
    rig.advance(60.0)
    assert rig.revisions.size == 8
    assert rig.serving() == ["m:1"]
    for job in hanging:
        job()
    rig.settle()
    assert rig.revisions.size == 4


class Hanging(FileLoader):
    """Its first loads outlast their timeout, one inside the other, and then fail.

    What happens while one hangs is done by the test, in `meanwhile`; what that raises is kept for it.
    """

    def __init__(self, *meanwhile: Callable[[], None]) -> None:
        super().__init__()
        self.rig = Rig(load_timeout=10.0, max_num_load_retries=0)
        self.meanwhile = list(meanwhile)

    def load(self, context: LoadContext) -> Model:
        if not self.meanwhile:
            return super().load(context)
        self.rig.clock.advance(10.0)
        self.rig.step()
        self.meanwhile.pop(0)()
        raise ValueError("late")

    def change(self) -> None:
        """Let the files change, and let the manager look."""
        self.files = object()
        self.rig.clock.advance(1.0)
        self.rig.step()
        self.rig.revisions.run_all()
        self.rig.step()

    def begin(self) -> None:
        """Begin the first load; return when it has come back."""
        self.rig.aspire("m", entry("m:1", self))
        self.rig.load()
        assert self.meanwhile == [], "not as many loads hung as were to hang"


def test_beside_two_loads_that_hang_no_third_is_begun_when_files_change() -> None:
    """Each of them has a thread for itself."""
    begun: list[int] = []

    def begin_the_second() -> None:
        loader.change()
        loader.rig.loads.run()

    def begin_no_third() -> None:
        for _ in range(3):
            loader.change()
            begun.append(len(loader.rig.loads.jobs))

    loader = Hanging(begin_the_second, begin_no_third)
    loader.begin()
    assert begun == [0, 0, 0]


def test_when_one_of_two_loads_that_hang_has_returned_files_are_watched_again() -> None:
    served: list[list[str]] = []

    def begin_the_second_and_another_after_it() -> None:
        loader.change()
        loader.rig.load()
        loader.change()
        loader.rig.settle()
        served.append(loader.rig.serving())

    loader = Hanging(begin_the_second_and_another_after_it, lambda: None)
    loader.begin()
    assert served == [["m:1"]], "while the first hangs still"


def test_a_look_that_hangs_gives_its_place_to_the_next_though_its_version_is_tried_again() -> None:
    rig = Rig(num_load_threads=8, load_retry_interval=300.0)
    stuck = [f"stuck{number}" for number in range(4)]
    for name in stuck:
        rig.bring(name, entry(f"{name}:1", corrupt()))
    rig.clock.advance(1.0)
    rig.step()
    assert len(rig.revisions.jobs) == 4
    rig.revisions.jobs.clear()  # they hang
    loader = corrupt()
    rig.bring("m", entry("m:1", loader))
    rig.clock.advance(1.0)
    for name in stuck:
        rig.manager.retry(sid(f"{name}:1"))
    rig.step()
    assert len(rig.loads.jobs) == 4
    rig.loads.jobs.clear()  # and so do these
    loader.files = 1
    rig.advance(58.0)
    assert rig.serving() == []
    rig.advance(2.0)
    assert rig.serving() == ["m:1"]


def test_a_look_for_which_there_is_no_thread_is_taken_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(job: object) -> NoReturn:
        raise ResourceExhaustedError("no thread")

    loader = corrupt()
    rig = failed(loader)
    loader.files = 1
    with monkeypatch.context() as patch:
        patch.setattr(rig.revisions, "submit", refuse)
        rig.advance(1.0)
    assert rig.state("m:1") is HarnessState.ERROR
    rig.advance(1.0)
    assert rig.serving() == ["m:1"]
