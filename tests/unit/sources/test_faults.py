"""What storages do to a source; all of it is simulated by the listing that the test hands in."""

from __future__ import annotations

import pytest

from servman.data import ServableData
from servman.errors import FailedPreconditionError, NotFoundError
from servman.flow import connect
from servman.ids import MAX_VERSION, ServableId
from servman.sources import All, FileSystemStoragePathSource, Latest
from servman.sources.look import PATIENCE
from servman.sources.versions import select
from servman.testing import FakeClock, ManualPool, RecordingTarget
from tests.unit.sources.rig import Disk, M, N, Rig, quiet, servable

GONE, BROKEN = FileNotFoundError(), OSError(116, "Stale file handle")


def test_a_base_path_that_is_missing_and_appears_and_vanishes_keeps_what_it_had() -> None:
    rig = Rig(M, N)
    rig.disk.paths["/n"] = ["1"]
    sent = []
    for content in (GONE, ["1"], GONE, BROKEN, ["1", "2"]):
        rig.disk.paths["/m"] = content
        rig.source.poll()
        sent.append([one for one in rig.sent() if one[0] == "m"])
    assert sent == [[], [("m", [1])], [], [], [("m", [2])]]


def test_a_base_path_that_becomes_a_file_or_may_not_be_read_is_an_error_of_its_own() -> None:
    rig = Rig(M, N)
    rig.disk.paths |= {"/m": ["1"], "/n": ["1"]}
    rig.source.poll()
    rig.sent()
    for version, error in ((2, NotADirectoryError()), (3, PermissionError())):
        rig.disk.paths |= {"/m": error, "/n": [str(version)]}
        rig.source.poll()
        assert isinstance(rig.source.status("m").error, FailedPreconditionError)
        assert rig.source.status("m").versions == (1,)
        assert rig.sent() == [("n", [version])]


def test_a_listing_that_flaps_empty_unloads_nothing_where_versions_are_always_present() -> None:
    rig = Rig(M, keep_last=True)
    for content in (["1"], [], ["1"], [], [], ["1", "2"]):
        rig.disk.paths["/m"] = content
        rig.source.poll()
    assert rig.sent() == [("m", [1]), ("m", [2])]


def test_elsewhere_a_listing_that_flaps_is_followed_as_it_is() -> None:
    rig = Rig(M)
    for content in (["1"], [], ["1"]):
        rig.disk.paths["/m"] = content
        rig.source.poll()
    assert rig.sent() == [("m", [1]), ("m", []), ("m", [1])]


def test_duplicates_are_one_version_whichever_is_listed_first_and_when_one_goes() -> None:
    rig = Rig(servable("m", All()))
    origins = []
    for content in (["01", "1"], ["1", "01"], ["01"], ["0", "00", "000"]):
        rig.disk.paths["/m"] = content
        rig.source.poll()
        origins.append([one.origin for _, versions in rig.target.calls for one in versions])
        rig.sent()
    assert origins == [["/m/1"], [], ["/m/01"], ["/m/0"]]


def test_the_hugest_number_is_a_version_and_what_is_beyond_is_named_as_ignored() -> None:
    rig = Rig(M)
    rig.disk.paths["/m"] = [str(MAX_VERSION), str(MAX_VERSION + 1), "9" * 300]
    rig.source.poll()
    path = f"/m/{MAX_VERSION}"
    assert rig.target.calls == [
        ("m", (ServableData(ServableId("m", MAX_VERSION), path, origin=path),))
    ]
    assert [one.why for one in rig.source.status("m").ignored] == ["is above 2**63 - 1"] * 2


class SteppingClock:
    """A fake clock whose wall clock can be set back."""

    def __init__(self) -> None:
        self._fake = FakeClock()
        self.advance = self._fake.advance
        self.monotonic = self._fake.monotonic
        self.wait_until = self._fake.wait_until
        self.receive = self._fake.receive
        self.set_back_by = 0.0

    def wall(self) -> float:
        return self._fake.wall() - self.set_back_by


def test_a_wall_clock_that_is_set_back_delays_nothing() -> None:
    clock, disk, target, pool = SteppingClock(), Disk(), RecordingTarget[str](), ManualPool()
    source = FileSystemStoragePathSource(
        [M, N], poll_interval=5.0, watch=False, clock=clock, lister=disk.entries, pool=pool
    )
    connect(source, target)
    disk.paths |= {"/m": ["1"], "/n": ["1"]}

    def run() -> None:
        while pool.run_all() or source.step():
            pass

    run()
    clock.set_back_by = 86_400.0
    before = clock.wall()
    disk.paths["/m"] = ["2"]
    clock.advance(5.0)
    run()
    assert target.versions("m") == [2]
    assert source.status("m").last_look == before + 5.0

    def hang(path: str) -> None:
        disk.during = quiet
        clock.set_back_by *= 2
        clock.advance(PATIENCE)
        source.step()
        run()

    disk.during = hang
    disk.paths["/n"] = ["2"]
    clock.advance(5.0)
    run()
    assert target.versions("n") == [2]


def test_a_thousand_models_of_a_hundred_versions_are_each_listed_once_a_round_and_read_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = [f"m{number}" for number in range(1_000)]
    rig = Rig(*(servable(name, Latest(2)) for name in names))
    versions = [str(version) for version in range(100)]
    rig.disk.paths |= {f"/{name}": versions for name in names}
    selected: list[None] = []

    def count(*args: object) -> object:
        selected.append(None)
        return select(*args)  # type: ignore[arg-type] # as they came

    monkeypatch.setattr("servman.sources.completeness.select", count)
    work = []
    for round_ in range(3):
        if round_ == 2:
            rig.disk.paths["/m7"] = [*versions, "100"]
        rig.source.poll()
        work.append((len(rig.disk.looked()), len(selected), len(rig.sent())))
        selected.clear()
    assert work == [(1_000, 1_000, 1_000), (1_000, 0, 0), (1_000, 1, 1)]


def test_of_a_thousand_servables_of_which_many_cannot_be_read_the_others_are_found() -> None:
    names = [f"m{number}" for number in range(1_000)]
    rig = Rig(*(servable(name) for name in names))
    for number, name in enumerate(names):
        rig.disk.paths[f"/{name}"] = (["1"], GONE, BROKEN)[number % 3]
    rig.source.poll()
    assert len(rig.sent()) == 334
    assert isinstance(rig.source.status("m1").error, NotFoundError)
