from __future__ import annotations

import os
from pathlib import Path

import pytest

from servman.sources import mounts
from servman.sources.mounts import (
    Mount,
    is_remote,
    kind_of,
    kind_of_device,
    mount_of,
    parse_mounts,
    read_mounts,
    storage_of,
    tells_changes,
)

TABLE = """\
21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
40 21 0:45 / /mnt/models rw,relatime shared:30 master:2 - nfs4 server:/models rw,vers=4.2
41 21 0:46 /sub /mnt/my\\040models rw - fuse.sshfs host:/x rw
42 40 0:47 / /mnt/models rw - tmpfs tmpfs rw
"""

ROOT, NFS, FUSE, OVER = parse_mounts(TABLE)


def test_a_table_is_read_with_and_without_optional_fields() -> None:
    assert Mount(21, (8, 1), "/", "ext4") == ROOT
    assert Mount(40, (0, 45), "/mnt/models", "nfs4") == NFS
    assert Mount(41, (0, 46), "/mnt/my models", "fuse.sshfs") == FUSE


@pytest.mark.parametrize(
    ("path", "mount"),
    [
        ("/models/m", ROOT),
        ("/mnt/models", NFS),
        ("/mnt/models/m", NFS),
        ("/mnt/models2", ROOT),
        ("/mnt/my models/m", FUSE),
    ],
)
def test_a_path_is_on_the_deepest_mount_that_holds_it(path: str, mount: Mount) -> None:
    assert mount_of(path, [NFS, FUSE, ROOT]) == mount


def test_of_two_mounts_at_one_place_the_later_counts_and_is_another_storage() -> None:
    before, after = [ROOT, NFS], [ROOT, NFS, OVER]
    assert mount_of("/mnt/models/m", after) == OVER
    assert storage_of("/mnt/models/m", before) != storage_of("/mnt/models/m", after)


def test_a_storage_is_told_by_what_people_know_it_by() -> None:
    assert storage_of("/mnt/models/m", [ROOT, NFS]) == "/mnt/models (nfs4, mount 40)"


def test_a_link_on_a_local_file_system_leads_to_the_storage_and_what_might_hang_is_not_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mounts are the test's invention."""
    dead = tmp_path / "dead"
    (dead / "models" / "m").mkdir(parents=True)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "direct").symlink_to(dead / "models")
    (tmp_path / "a" / "relative").symlink_to("../dead/models")
    (tmp_path / "a" / "chain").symlink_to("relative")
    (tmp_path / "a" / "up").symlink_to("../dead/..")
    (tmp_path / "a" / "circle").symlink_to("circle")
    table = [ROOT, Mount(50, (0, 50), str(dead), "nfs4")]
    read, touched = os.readlink, list[str]()

    def readlink(path: str) -> str:
        touched.append(path)
        return read(path)

    monkeypatch.setattr(os, "readlink", readlink)
    on_dead, on_root = f"{dead} (nfs4, mount 50)", "/ (ext4, mount 21)"
    storages = {
        name: storage_of(str(tmp_path / "a" / name), table)
        for name in ("direct/m", "relative/m", "chain", "../dead/x", "circle/m", "missing/m")
    }
    assert storages == {
        "direct/m": on_dead,
        "relative/m": on_dead,
        "chain": on_dead,
        "../dead/x": on_dead,
        "circle/m": on_root,
        "missing/m": on_root,
    }
    assert [path for path in touched if path.startswith(str(dead))] == []
    # What is above a place that might hang cannot be known without asking there.
    assert storage_of(str(tmp_path / "a" / "up" / "m"), table) == on_dead


def test_where_no_mounts_are_told_the_first_two_directories_stand_for_the_storage() -> None:
    assert storage_of("/Volumes/models/a/b", []) == storage_of("/Volumes/models/c", [])
    assert storage_of("/Volumes/models/a", []) != storage_of("/Volumes/other/a", [])


@pytest.mark.parametrize(
    ("kind", "remote", "tells"),
    [
        ("nfs4", True, False),
        ("fuse.gcsfuse", True, False),
        ("fuseblk", True, False),
        ("cifs", True, False),
        ("ext4", False, True),
        ("tmpfs", False, True),
        ("vfat", False, False),
        ("", False, False),
    ],
)
def test_kinds_of_file_systems(kind: str, remote: bool, tells: bool) -> None:
    assert (is_remote(kind), tells_changes(kind)) == (remote, tells)


def test_the_kind_goes_by_the_device() -> None:
    assert kind_of_device(os.makedev(0, 45), [ROOT, NFS]) == "nfs4"
    assert kind_of_device(os.makedev(9, 9), [ROOT, NFS]) == ""


def test_a_device_that_is_in_no_table_goes_by_the_path_without_its_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    table = [
        Mount(1, (-1, 0), str(tmp_path), "ext4"),
        Mount(2, (-1, 1), str(tmp_path / "real"), "btrfs"),
    ]
    monkeypatch.setattr(mounts, "read_mounts", lambda: table)
    assert kind_of(str(tmp_path / "link")) == "btrfs"


def test_a_system_without_the_table_has_no_mounts_to_tell_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mounts, "_TABLE", tmp_path / "missing")
    assert read_mounts() == []
    assert kind_of(str(tmp_path)) == ""
