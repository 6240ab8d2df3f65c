"""Following a config file: by hand, on a fake clock, with the events, hangs and faults that the test makes."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from watchdog.events import DirDeletedEvent, FileClosedEvent

from servman.core.config import ModelConfig, ServerConfig
from servman.core.config_actor import REST
from servman.core.config_file import ConfigFile, read
from servman.core.config_review import GRACE, Reading
from servman.core.config_text import format_model_config
from servman.core.config_watch import RETRY
from servman.errors import (
    ClosedError,
    FailedPreconditionError,
    InvalidArgumentError,
    ResourceExhaustedError,
    ServmanError,
)
from servman.sources.look import PATIENCE
from servman.sources.placement import Placement
from servman.testing import FakeClock, ManualPool, Spawned
from servman.testing.clock import WATCHDOG
from servman.threads import Pool
from tests.unit.sources.rig import FakeObserver


def text(*names: str) -> str:
    return format_model_config(ServerConfig([ModelConfig(name, f"/{name}") for name in names]))


class Rig:
    """A config file that no thread follows: the test is the actor and every pool.

    Attributes:
        applied: The names of the models of each configuration that was applied.
        refused: What was reported.
        error: What `apply` raises.
        looks: How often the file was read.
    """

    def __init__(self, folder: Path, **options: Any) -> None:
        self.folder = folder
        self.path = folder / "models.config"
        self.clock = FakeClock()
        self.pool, self.watch_pool = ManualPool(), ManualPool()
        self.observer = FakeObserver()
        self.kind = ""
        self.applied: list[list[str]] = []
        self.refused: list[ServmanError] = []
        self.error: BaseException | None = None
        self.looks = 0
        self.file = self.follow(**options)

    def follow(self, **options: Any) -> ConfigFile:
        options.setdefault("pool", self.pool)
        placement = Placement(
            self.clock, self.watch_pool, lambda: self.observer, lambda _: self.kind
        )
        return ConfigFile(
            str(self.path),
            self.apply,
            refused=self.refused.append,
            clock=self.clock,
            reader=self.read,
            placement=placement,
            **options,
        )

    def read(self, path: str) -> Reading:
        self.looks += 1
        return read(path)

    def apply(self, config: ServerConfig) -> None:
        if self.error is not None:
            raise self.error
        self.applied.append([model.name for model in config.models])

    def settle(self) -> list[list[str]]:
        """Do all that is due now; return what was applied since the last time."""
        while self.file.step() or self.pool.run_all() or self.watch_pool.run_all():
            pass
        applied, self.applied = self.applied, []
        return applied

    def after(self, seconds: float) -> list[list[str]]:
        self.clock.advance(seconds)
        return self.settle()

    def write(self, *names: str) -> None:
        self.path.write_text(text(*names))

    def stir(self, folder: Path | None = None) -> list[list[str]]:
        """Report that something was written in the directory; return what is applied at once."""
        path = str(folder or self.folder)
        self.observer.handlers[path].dispatch(FileClosedEvent(path + "/x"))
        return self.settle()

    def errors(self) -> list[str]:
        found, self.refused[:] = [str(error) for error in self.refused], []
        return found


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    one = Rig(tmp_path)
    one.write("a")
    assert one.settle() == [["a"]]
    one.clock.advance(REST)
    return one


# ---- looks -------------------------------------------------------------------------------------


def test_the_file_is_looked_at_at_once_and_then_every_interval(tmp_path: Path) -> None:
    rig = Rig(tmp_path, poll_interval=5.0, watch_events=False)
    rig.write("a")
    assert rig.settle() == [["a"]]
    rig.write("b")
    assert rig.after(4.9) == []
    assert rig.after(0.1) == [["b"]]
    assert rig.looks == 2
    assert rig.after(5.0) == []
    assert rig.looks == 3


def test_a_negative_interval_leaves_the_first_look_to_poll_and_all_others_to_events(
    tmp_path: Path,
) -> None:
    rig = Rig(tmp_path, poll_interval=-1.0)
    rig.write("a")
    assert rig.after(1000.0) == []
    assert rig.looks == 0
    rig.file.poll()
    assert rig.settle() == [["a"]]
    rig.after(REST)
    rig.write("b")
    assert rig.after(1000.0) == []
    assert rig.stir() == [["b"]]


def test_without_an_interval_it_is_looked_at_once_and_when_asked_to(tmp_path: Path) -> None:
    rig = Rig(tmp_path, poll_interval=0.0, watch_events=False)
    rig.write("a")
    assert rig.settle() == [["a"]]
    rig.write("b")
    assert rig.after(1000.0) == []
    rig.file.poll()
    assert rig.settle() == [["b"]]


def test_without_an_interval_too_a_doubt_is_resolved(tmp_path: Path) -> None:
    rig = Rig(tmp_path, poll_interval=0.0, watch_events=False)
    rig.write("a")
    rig.settle()
    rig.path.write_text("torn {")
    rig.file.poll()
    assert (rig.settle(), rig.errors()) == ([], [])
    rig.after(GRACE)
    assert len(rig.errors()) == 1
    assert rig.looks == 3


def test_an_event_is_a_look_at_once(rig: Rig) -> None:
    rig.write("b")
    assert rig.stir() == [["b"]]


def test_many_events_are_few_looks(rig: Rig) -> None:
    before = rig.looks
    for _ in range(100):
        rig.stir()
    assert rig.looks == before + 1
    rig.write("b")
    assert rig.stir() == []
    assert rig.after(REST) == [["b"]]
    assert rig.looks == before + 2


def test_events_that_come_before_the_look_are_one_message(rig: Rig) -> None:
    for _ in range(100):
        path = str(rig.folder)
        rig.observer.handlers[path].dispatch(FileClosedEvent(path + "/x"))
    assert rig.file._actor._mailbox.qsize() == 1


def test_a_file_that_has_not_changed_is_not_applied_again(rig: Rig) -> None:
    before = rig.looks
    rig.write("a")
    os.utime(rig.path, (0, 0))
    assert rig.after(1.0) == []
    assert rig.looks > before


def test_there_is_one_look_at_a_time(rig: Rig) -> None:
    rig.clock.advance(1.0)
    while rig.file.step():
        pass
    assert len(rig.pool.jobs) == 1
    rig.file.poll()
    rig.clock.advance(5.0)
    while rig.file.step():
        pass
    assert len(rig.pool.jobs) == 1
    rig.write("b")
    before = rig.looks
    assert rig.settle() == [["b"]]
    assert rig.looks == before + 2  # and once more, for what was asked for meanwhile


def test_a_relative_path_is_meant_from_where_it_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = ConfigFile("models.config", print)
    monkeypatch.chdir("/")
    assert file.status.path == str(tmp_path / "models.config")


# ---- faults ------------------------------------------------------------------------------------


def test_a_faulty_file_is_reported_once_and_a_corrected_one_applied_at_once(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    rig.path.write_text("model_config_list {\n  confg {}\n}")
    with caplog.at_level(logging.INFO, logger="servman.core.config_actor"):
        for _ in range(10):
            assert rig.after(1.0) == []
        (error,) = rig.errors()
        assert error.startswith(f"{rig.path}:2:3: Message type")
        rig.write("b")
        assert rig.after(1.0) == [["b"]]
    assert [record.getMessage() for record in caplog.records] == [
        f"config file {rig.path} changes nothing: {error}",
        f"config file {rig.path} was applied: 1 models",
        f"config file {rig.path} is in order again",
    ]


def test_every_other_fault_is_reported(rig: Rig) -> None:
    for content in ("x", "y", "x"):
        rig.path.write_text(content)
        rig.after(1.0)
        rig.after(GRACE)
        assert len(rig.errors()) == 1


def test_the_status_tells_what_is_wrong_since_when_and_what_was_applied_last(rig: Rig) -> None:
    applied_at = rig.file.status.last_applied
    assert applied_at is not None
    rig.path.write_text("x")
    rig.after(1.0)
    assert rig.file.status.error is None
    rig.after(GRACE)
    since = rig.clock.wall()
    rig.after(7.0)
    status = rig.file.status
    assert isinstance(status.error, InvalidArgumentError)
    assert (status.path, status.error_since) == (str(rig.path), since)
    assert (status.last_look, status.last_applied) == (since + 7.0, applied_at)
    rig.write("b")
    rig.after(1.0)
    status = rig.file.status
    assert (status.error, status.error_since) == (None, None)
    assert status.last_applied == rig.clock.wall()


def test_what_apply_raises_is_reported_once_and_not_tried_again_until_it_changes(rig: Rig) -> None:
    rig.error = InvalidArgumentError("models[0] ('b'): its platform cannot change")
    rig.write("b")
    for _ in range(5):
        assert rig.after(1.0) == []
    assert rig.errors() == ["models[0] ('b'): its platform cannot change"]
    assert isinstance(rig.file.status.error, InvalidArgumentError)
    rig.error = None
    assert rig.after(1.0) == []
    rig.write("b", "c")
    assert rig.after(1.0) == [["b", "c"]]
    assert rig.file.status.error is None


@pytest.mark.parametrize("error", [ValueError("x"), SystemExit(3), KeyboardInterrupt()])
def test_whatever_apply_raises_the_file_is_followed_further(rig: Rig, error: Any) -> None:
    rig.error = error
    rig.write("b")
    rig.after(1.0)
    assert type(error).__name__ in rig.errors()[0]
    rig.error = None
    rig.write("c")
    assert rig.after(1.0) == [["c"]]


def test_to_poll_tries_again_what_was_refused(rig: Rig) -> None:
    rig.error = InvalidArgumentError("not now")
    rig.write("b")
    rig.after(1.0)
    rig.error = None
    rig.file.poll()
    assert rig.settle() == [["b"]]
    assert rig.file.status.error is None


def test_an_empty_file_is_applied_only_where_that_is_allowed(tmp_path: Path) -> None:
    for allow in (False, True):
        rig = Rig(tmp_path, allow_empty=allow)
        rig.write("a")
        rig.settle()
        rig.path.write_text("")
        assert rig.after(1.0) == []
        assert rig.after(GRACE) == ([[]] if allow else [])
        assert len(rig.errors()) == (0 if allow else 1)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (Path.exists, "it does not exist; create it"),
        (Path.mkdir, "it is a directory; name the file in it"),
        (os.mkfifo, "it is no regular file"),
    ],
)
def test_what_cannot_be_read_changes_nothing_and_is_reported_once(
    rig: Rig, make: Callable[[Path], object], said: str
) -> None:
    rig.path.unlink()
    make(rig.path)
    for _ in range(5):
        assert rig.after(1.0) == []
    (error,) = rig.errors()
    assert f"config file {rig.path}: {said}" in error


def test_a_file_that_comes_back_unchanged_is_in_order_and_not_applied_again(rig: Rig) -> None:
    rig.path.unlink()
    rig.after(1.0)
    rig.after(GRACE)
    assert rig.file.status.error is not None
    rig.write("a")
    assert rig.after(1.0) == []
    assert rig.file.status.error is None


def test_a_reader_that_raises_whatever_is_an_error_of_the_file(tmp_path: Path) -> None:
    rig = Rig(tmp_path)

    def fail(path: str) -> Reading:
        raise MemoryError("no room")

    file = ConfigFile(str(rig.path), rig.apply, clock=rig.clock, reader=fail, pool=rig.pool)
    while file.step() or rig.pool.run_all():
        pass
    assert "MemoryError: no room" in str(file.status.error)
    file.close()


def test_without_a_thread_to_be_had_it_is_tried_again(tmp_path: Path) -> None:
    def refuse(job: Callable[[], None]) -> bool:
        raise ResourceExhaustedError("no threads")

    rig = Rig(tmp_path, poll_interval=0.0)
    rig.write("a")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rig.pool, "submit", refuse)
        assert rig.settle() == []
    assert rig.after(PATIENCE) == [["a"]]


def test_who_is_told_of_a_fault_and_raises_harms_nobody(tmp_path: Path) -> None:
    rig = Rig(tmp_path)

    def fail(error: ServmanError) -> None:
        raise ValueError("no room")

    file = ConfigFile(
        str(rig.path), rig.apply, refused=fail, clock=rig.clock, pool=rig.pool, watch_events=False
    )
    rig.file = file
    rig.settle()
    assert file.status.error is not None
    rig.write("a")
    assert rig.after(1.0) == [["a"]]


# ---- hangs -------------------------------------------------------------------------------------


def test_a_look_that_hangs_is_reported_once_and_when_it_is_back_all_is_well(rig: Rig) -> None:
    rig.clock.advance(1.0)
    while rig.file.step():
        pass
    assert len(rig.pool.jobs) == 1  # which does not come back
    rig.clock.advance(PATIENCE)
    for _ in range(5):
        while rig.file.step():
            pass
        rig.clock.advance(60.0)
    assert rig.errors() == [
        f"config file {rig.path}: reading it hangs; check the storage that it is on"
    ]
    assert rig.file.status.error_since is not None
    rig.write("b")
    assert rig.settle() == [["b"]]
    assert rig.file.status.error is None


# ---- events ------------------------------------------------------------------------------------


def test_the_directory_of_the_file_is_watched_also_while_the_file_is_not_there(
    tmp_path: Path,
) -> None:
    rig = Rig(tmp_path, poll_interval=0.0)
    assert rig.settle() == []
    rig.after(REST)
    assert list(rig.observer.handlers) == [str(tmp_path)]
    assert rig.file.status.why_not_watched is None
    rig.write("a")
    rig.clock.advance(REST)
    assert rig.stir() == [["a"]]


def test_what_happens_before_the_watch_is_there_is_seen(tmp_path: Path) -> None:
    rig = Rig(tmp_path, poll_interval=0.0)
    while rig.file.step() or rig.pool.run_all():
        pass
    rig.write("a")  # after the look, before the watch
    assert rig.settle() == []
    assert rig.after(REST) == [["a"]]


def test_of_a_link_both_directories_are_watched_and_the_newest_target_only(tmp_path: Path) -> None:
    rig = Rig(tmp_path / "here", poll_interval=0.0)
    for name in ("here", "one", "two"):
        (tmp_path / name).mkdir()
    (tmp_path / "one" / "c").write_text(text("a"))
    (tmp_path / "two" / "c").write_text(text("b"))
    rig.path.symlink_to("../one/c")
    assert rig.settle() == [["a"]]
    rig.after(REST)
    here = str(tmp_path / "here")
    assert sorted(rig.observer.handlers) == [here, str(tmp_path / "one")]
    (tmp_path / "one" / "c").write_text(text("a", "aa"))
    rig.clock.advance(REST)
    assert rig.stir(tmp_path / "one") == [["a", "aa"]]
    (tmp_path / "here" / "new").symlink_to("../two/c")
    (tmp_path / "here" / "new").replace(rig.path)
    rig.clock.advance(REST)
    assert rig.stir(tmp_path / "here") == [["b"]]
    assert sorted(rig.observer.handlers) == [here, str(tmp_path / "two")]


def test_a_directory_that_is_removed_and_made_anew_is_watched_anew(tmp_path: Path) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    rig = Rig(folder)
    rig.write("a")
    rig.settle()
    rig.after(REST)
    rig.path.unlink()
    folder.rmdir()
    rig.observer.handlers[str(folder)].dispatch(DirDeletedEvent(str(folder)))
    rig.after(REST)
    assert rig.observer.handlers == {}
    assert rig.file.status.why_not_watched == "its directory cannot be found"
    folder.mkdir()
    rig.write("b")
    assert rig.after(1.0) == [["b"]]
    assert list(rig.observer.handlers) == [str(folder)]
    assert rig.file.status.why_not_watched is None


def test_a_directory_that_was_replaced_without_an_event_is_watched_anew(tmp_path: Path) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    rig = Rig(folder)
    rig.settle()
    folder.rename(tmp_path / "old")
    folder.mkdir()
    rig.after(1.0)
    assert rig.observer.placed == [str(folder)] * 2
    rig.after(10.0)
    assert rig.observer.placed == [str(folder)] * 2


def test_events_of_a_watch_that_was_taken_away_are_no_looks(tmp_path: Path) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    rig = Rig(folder, poll_interval=0.0)
    rig.settle()
    rig.after(REST)
    handler = rig.observer.handlers[str(folder)]
    handler.dispatch(DirDeletedEvent(str(folder)))
    rig.after(REST)
    rig.after(REST)
    before = rig.looks
    handler.dispatch(FileClosedEvent(str(folder / "x")))
    rig.after(REST)
    assert rig.looks == before


def test_where_events_tell_not_of_everything_the_file_is_polled_and_the_log_says_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rig = Rig(tmp_path)
    rig.kind = "nfs4"
    rig.write("a")
    rig.settle()
    assert rig.after(120.0) == []
    assert rig.observer.placed == []
    why = "nfs4 does not tell of what happens elsewhere"
    assert rig.file.status.why_not_watched == why
    assert caplog.text.count(f"config file {rig.path} is polled and not watched: {why}") == 1
    rig.write("b")
    assert rig.after(1.0) == [["b"]]


def test_a_watch_that_the_system_refuses_is_asked_for_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rig = Rig(tmp_path)
    rig.observer.error = OSError(28, "inotify watch limit reached")
    rig.write("a")
    assert rig.settle() == [["a"]]
    why = rig.file.status.why_not_watched
    assert why is not None
    assert "the system refuses" in why
    rig.observer.error = None
    rig.after(RETRY / 2)
    assert rig.observer.placed == []
    rig.after(RETRY / 2)
    assert rig.observer.placed == [str(tmp_path)]
    assert rig.file.status.why_not_watched is None


def test_a_directory_that_goes_before_it_is_watched_is_left_to_the_next_look(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    rig = Rig(folder)
    while rig.file.step() or rig.pool.run_all():
        pass
    folder.rmdir()
    rig.settle()
    assert rig.file.status.why_not_watched == "its directory cannot be found"
    folder.mkdir()
    rig.after(1.0)
    assert rig.observer.placed == [str(folder)]


def test_without_events_nothing_is_watched(tmp_path: Path) -> None:
    rig = Rig(tmp_path, watch_events=False)
    rig.settle()
    assert rig.observer.placed == []
    assert rig.file.status.why_not_watched == "watching is turned off"


# ---- threads -----------------------------------------------------------------------------------


class Gate:
    """A reader that is held up until the test lets it go."""

    def __init__(self) -> None:
        self.entered, self.release = threading.Event(), threading.Event()

    def read(self, path: str) -> Reading:
        self.entered.set()
        assert self.release.wait(WATCHDOG)
        return Reading(text("a").encode())


@pytest.fixture
def gate() -> Iterator[Gate]:
    one = Gate()
    yield one
    one.release.set()


def started(
    tmp_path: Path, applied: list[ServerConfig], pool: Pool | None = None, **options: Any
) -> ConfigFile:
    options.setdefault("clock", FakeClock())
    return ConfigFile(str(tmp_path / "f"), applied.append, watch_events=False, pool=pool, **options)


def names_of_threads() -> set[str]:
    return {thread.name for thread in threading.enumerate()}


def test_to_make_one_starts_no_thread(tmp_path: Path) -> None:
    before = names_of_threads()
    file = ConfigFile(str(tmp_path / "f"), print)
    assert (names_of_threads(), file.is_alive) == (before, False)


def test_what_the_file_holds_is_applied_before_start_returns(tmp_path: Path) -> None:
    (tmp_path / "f").write_text(text("a"))
    applied: list[ServerConfig] = []
    file = started(tmp_path, applied)
    Spawned(file.start).result()
    assert [model.name for model in applied[0].models] == ["a"]
    Spawned(file.start).result()
    assert len(applied) == 1
    assert file.is_alive
    Spawned(file.close).result()
    assert not file.is_alive


def test_start_does_not_wait_for_a_look_that_nobody_begins(tmp_path: Path) -> None:
    file = started(tmp_path, [], poll_interval=-1.0)
    Spawned(file.start).result()
    assert file.status.last_look is None
    Spawned(file.close).result()


def test_start_raises_nothing_for_a_file_that_is_not_there(tmp_path: Path) -> None:
    file = started(tmp_path, [])
    Spawned(file.start).result()
    assert "does not exist" in str(file.status.error)
    Spawned(file.close).result()


def test_start_is_not_held_up_by_a_file_that_hangs_and_neither_is_close(
    tmp_path: Path, gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    clock = FakeClock()
    applied: list[ServerConfig] = []
    file = started(tmp_path, applied, reader=gate.read, clock=clock)
    starting = Spawned(file.start)
    assert gate.entered.wait(WATCHDOG)
    clock.wait_until_parked(1)
    assert not starting.done
    clock.advance(PATIENCE)
    starting.result()
    assert "reading it hangs" in str(file.status.error)
    closing = Spawned(file.close)
    clock.wait_until_parked(1)
    clock.advance(PATIENCE)
    closing.result()
    assert "hangs, and is left behind" in caplog.text
    gate.release.set()
    assert applied == []


def test_who_waits_in_start_is_let_go_by_close(tmp_path: Path, gate: Gate) -> None:
    clock = FakeClock()
    file = started(tmp_path, [], reader=gate.read, clock=clock)
    starting = Spawned(file.start)
    assert gate.entered.wait(WATCHDOG)
    closing = Spawned(file.close)
    starting.result()
    gate.release.set()
    closing.result()


def test_nothing_is_applied_once_it_is_closed(tmp_path: Path) -> None:
    applied: list[ServerConfig] = []
    pool = ManualPool()
    file = started(tmp_path, applied, pool=pool)
    file.step()
    (job,) = pool.jobs
    (tmp_path / "f").write_text(text("a"))
    actor = file._actor
    file.close()
    job()  # a look that was under way
    while actor.step():
        pass
    assert applied == []
    with pytest.raises(ClosedError, match="make a new one"):
        file.start()
    with pytest.raises(ClosedError):
        file.poll()
    with pytest.raises(ClosedError):
        file.step()
    file.close()


def test_close_waits_for_what_is_being_applied_until_its_deadline(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "f").write_text(text("a"))
    entered, release = threading.Event(), threading.Event()

    def apply(config: ServerConfig) -> None:
        entered.set()
        assert release.wait(WATCHDOG)

    file = ConfigFile(str(tmp_path / "f"), apply, watch_events=False, clock=FakeClock())
    starting = Spawned(file.start)
    assert entered.wait(WATCHDOG)
    Spawned(lambda: file.close(timeout=0)).result()
    assert "is still being applied; that is left behind" in caplog.text
    starting.result()
    closing = Spawned(file.close)
    release.set()
    closing.result()
    assert not file.is_alive


def test_it_cannot_be_closed_from_its_own_thread(tmp_path: Path) -> None:
    (tmp_path / "f").write_text(text("a"))
    errors: list[ServmanError] = []

    def apply(config: ServerConfig) -> None:
        file.close()

    file = ConfigFile(
        str(tmp_path / "f"), apply, refused=errors.append, watch_events=False, clock=FakeClock()
    )
    Spawned(file.start).result()
    assert isinstance(errors[0], FailedPreconditionError)
    assert "must not be called from servman's own thread 'config-file'" in str(errors[0])
    assert file.is_alive
    Spawned(file.close).result()


def test_a_started_one_does_its_steps_itself(tmp_path: Path) -> None:
    file = started(tmp_path, [])
    Spawned(file.start).result()
    with pytest.raises(FailedPreconditionError, match="that no thread follows"):
        file.step()
    Spawned(file.close).result()


def test_whatever_is_written_while_many_poll_the_last_content_comes_into_force(
    tmp_path: Path,
) -> None:
    applied: list[ServerConfig] = []
    last = threading.Event()

    def apply(config: ServerConfig) -> None:
        applied.append(config)
        if config.models[0].name == "last":
            last.set()

    path = tmp_path / "f"
    path.write_text(text("m0"))
    file = ConfigFile(str(path), apply, watch_events=False, clock=FakeClock())
    Spawned(file.start).result()

    def write() -> None:
        for number in [*range(1, 30), "last"]:
            (tmp_path / "new").write_text(text(f"m{number}" if number != "last" else "last"))
            (tmp_path / "new").replace(path)
            file.poll()

    def poll() -> None:
        for _ in range(200):
            file.poll()

    for one in [Spawned(write), *(Spawned(poll) for _ in range(3))]:
        one.result()
    assert last.wait(WATCHDOG)
    numbers = [model.name for config in applied for model in config.models]
    assert numbers == sorted(set(numbers), key=lambda name: int(name[1:]) if name != "last" else 99)
    Spawned(file.close).result()
