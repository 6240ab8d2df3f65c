from __future__ import annotations

import pytest

from servman.errors import (
    InvalidArgumentError,
    NotFoundError,
)
from servman.flow import connect
from servman.sources import (
    All,
    FileSystemStoragePathSource,
    Latest,
    ServableToMonitor,
)
from servman.testing import ManualPool, RecordingTarget
from tests.unit.sources.rig import Disk, M, N, Rig, servable


def test_what_is_removed_is_unaspired_once_and_what_is_kept_sees_nothing() -> None:
    rig = Rig(M, N)
    rig.disk.paths |= {"/m": ["1"], "/n": ["1"]}
    rig.source.poll()
    rig.sent()
    rig.source.update_config([N])
    rig.source.update_config([N])
    assert rig.sent() == [("m", [])]
    with pytest.raises(NotFoundError, match="'m' is not configured"):
        rig.source.status("m")


def test_a_changed_servable_keeps_its_versions_until_it_was_looked_at() -> None:
    rig = Rig(M)
    rig.disk.paths |= {"/m": ["1", "2"], "/elsewhere": ["3"]}
    rig.source.poll()
    rig.source.update_config([servable("m", All())])
    rig.source.update_config([ServableToMonitor("m", "/elsewhere")])
    rig.source.update_config([ServableToMonitor("m", "/nowhere")])
    assert rig.sent() == [("m", [2]), ("m", [1, 2]), ("m", [3])]
    assert rig.source.status("m").versions == (3,)
    rig.source.update_config([])
    assert rig.sent() == [("m", [])]


def test_a_faulty_configuration_changes_nothing() -> None:
    rig = Rig(M)
    rig.disk.paths["/m"] = ["1"]
    rig.source.poll()
    rig.sent()
    with pytest.raises(InvalidArgumentError, match="relative"):
        rig.source.update_config([N, ServableToMonitor("o", "relative")])
    assert rig.sent() == []
    assert rig.source.status("m").versions == (1,)


def test_a_look_begun_before_the_configuration_changed_is_dropped() -> None:
    pool = ManualPool()
    rig = Rig(servable("m", All()), pool=pool)
    rig.disk.paths["/m"] = ["1", "2"]
    rig.source.step()
    rig.source.update_config([servable("m", Latest(1))])
    pool.run_all()
    rig.run()
    assert rig.sent() == []
    pool.run_all()
    assert rig.run() == [("m", [2])]


def test_what_is_added_is_looked_at_before_the_rest_of_a_long_round() -> None:
    pool = ManualPool()
    many = [servable(f"m{number}") for number in range(100)]
    rig = Rig(*many, pool=pool)
    rig.source.step()
    rig.source.update_config([*many, N])
    rig.source.step()
    pool.run_all()
    assert rig.disk.looked()[0] == "/n"


def test_a_kept_servable_sees_nothing_of_an_update_though_its_base_path_fails_meanwhile() -> None:
    rig = Rig(M, N)
    rig.disk.paths |= {"/m": ["1"], "/n": ["1"]}
    rig.source.poll()
    rig.sent()
    rig.disk.paths["/m"] = OSError(5, "I/O error")
    rig.source.update_config([M])
    rig.source.update_config([M, servable("o")])
    rig.source.poll()
    assert rig.sent() == [("n", [])]


def test_what_is_removed_is_unaspired_before_anything_new_is_looked_at() -> None:
    pool = ManualPool()
    rig = Rig(M, pool=pool)
    rig.disk.paths |= {"/m": ["1"], "/n": ["1"]}
    rig.source.step()
    pool.run_all()
    rig.run()
    rig.source.update_config([N])
    assert rig.run() == [("m", [])]
    pool.run_all()
    assert rig.run() == [("n", [1])]


def test_a_look_for_a_servable_that_was_removed_is_dropped() -> None:
    pool = ManualPool()
    rig = Rig(M, pool=pool)
    rig.disk.paths["/m"] = ["1"]
    rig.source.step()
    rig.source.update_config([])
    pool.run_all()
    assert rig.run() == []


def test_a_configuration_set_before_connecting_is_looked_at_when_polled() -> None:
    disk, target = Disk(), RecordingTarget[str]()
    source = FileSystemStoragePathSource(watch=False, lister=disk.entries)
    source.update_config([M])
    assert disk.looked() == []
    connect(source, target)
    source.poll()
    assert disk.looked() == ["/m"]


@pytest.mark.parametrize("content", [FileNotFoundError(), ["tmp"]], ids=["missing", "empty"])
def test_fail_if_zero_versions_raises_before_anything_changes(
    content: list[str] | Exception,
) -> None:
    disk, target = Disk(), RecordingTarget[str]()
    disk.paths |= {"/m": ["1"], "/n": content}
    source = FileSystemStoragePathSource(
        [M], watch=False, fail_if_zero_versions_at_startup=True, lister=disk.entries
    )
    connect(source, target)
    source.poll()
    with pytest.raises(NotFoundError, match=r"servable 'n'.*/n"):
        source.update_config([N])
    assert target.versions("m") == [1]
    disk.paths["/m"] = content
    with pytest.raises(NotFoundError, match="servable 'm'"):
        source.start()
    source.close()


def test_an_interval_that_is_no_number_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="poll_interval"):
        FileSystemStoragePathSource(poll_interval=float("nan"))
