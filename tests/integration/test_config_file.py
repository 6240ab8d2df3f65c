"""A config file on a real file system: written in every way in which people and machines write one."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from servman.core import ConfigFile, ModelConfig, ServerConfig, format_model_config
from servman.testing.clock import WATCHDOG

NEVER = 3600.0
"""A poll interval that no test sees the end of: what it sees, it sees by file events."""


def text(*names: str) -> str:
    return format_model_config(ServerConfig([ModelConfig(name, f"/{name}") for name in names]))


class Applied:
    """What is applied, in order."""

    def __init__(self) -> None:
        self.configs: queue.Queue[ServerConfig] = queue.Queue()

    def next(self) -> list[str]:
        """Wait for the next configuration; return the names of its models."""
        return [model.name for model in self.configs.get(timeout=WATCHDOG).models]

    def is_nothing(self) -> bool:
        return self.configs.empty()


@contextmanager
def followed(path: Path, poll_interval: float = NEVER) -> Iterator[tuple[ConfigFile, Applied]]:
    """Follow *path* until the end. What happens before it is watched is seen when it is."""
    applied = Applied()
    file = ConfigFile(str(path), applied.configs.put, poll_interval=poll_interval)
    try:
        file.start()
        yield file, applied
    finally:
        file.close(WATCHDOG)


def rename(path: Path, content: str) -> None:
    new = path.with_name("new")
    new.write_text(content)
    new.replace(path)


def write_in_place(path: Path, content: str) -> None:
    path.write_text(content)


def write_in_pieces(path: Path, content: str) -> None:
    with path.open("w") as file:
        for character in content:
            file.write(character)
            file.flush()


def remove_and_create(path: Path, content: str) -> None:
    path.unlink()
    path.write_text(content)


def link(path: Path, content: str) -> None:
    target = path.with_name("target")
    target.write_text(content)
    path.unlink()
    path.symlink_to(target.name)


@pytest.mark.parametrize("poll_interval", [NEVER, 0.02], ids=["by events", "by polls"])
@pytest.mark.parametrize(
    "write", [rename, write_in_place, write_in_pieces, remove_and_create, link]
)
def test_a_file_is_applied_however_it_is_written(
    tmp_path: Path, write: Callable[[Path, str], None], poll_interval: float
) -> None:
    path = tmp_path / "models.config"
    path.write_text(text("a"))
    with followed(path, poll_interval) as (file, applied):
        assert applied.next() == ["a"]
        write(path, text("b", "c"))
        assert applied.next() == ["b", "c"]
        assert file.status.error is None


def test_a_file_that_appears_later_is_applied(tmp_path: Path) -> None:
    path = tmp_path / "models.config"
    with followed(path) as (file, applied):
        assert "does not exist" in str(file.status.error)
        rename(path, text("a"))
        assert applied.next() == ["a"]


def mount(folder: Path, number: int, content: str) -> None:
    """Write a ConfigMap as Kubernetes does: a directory of its own, and a link that is switched to it."""
    payload = folder / f"..{number}"
    payload.mkdir()
    (payload / "models.config").write_text(content)
    (folder / "..data_tmp").symlink_to(payload.name)
    (folder / "..data_tmp").replace(folder / "..data")
    if number == 0:
        (folder / "models.config").symlink_to("..data/models.config")
    else:
        (folder / f"..{number - 1}" / "models.config").unlink()
        (folder / f"..{number - 1}").rmdir()


def test_a_config_map_of_kubernetes_is_followed_from_switch_to_switch(tmp_path: Path) -> None:
    mount(tmp_path, 0, text("m0"))
    with followed(tmp_path / "models.config") as (file, applied):
        assert applied.next() == ["m0"]
        for number in range(1, 20):
            mount(tmp_path, number, text(f"m{number}"))
            assert applied.next() == [f"m{number}"]
        assert file.status.error is None


def test_what_is_torn_again_and_again_is_applied_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "models.config"
    path.write_text(text("a"))
    whole = text("b")
    with followed(path, 0.001) as (_, applied):
        assert applied.next() == ["a"]
        for cut in range(len(whole.rstrip())):
            path.write_text(whole[:cut])
        assert applied.is_nothing()
        path.write_text(whole)
        assert applied.next() == ["b"]


def test_who_forks_is_told_that_the_child_follows_nothing(tmp_path: Path) -> None:
    program = f"""
import os, servman
file = servman.ConfigFile({str(tmp_path / "f")!r}, print)
file.start()
child = os.fork()
if child == 0:
    for use in (lambda: file.close(), lambda: file.poll(), lambda: file.status):
        try:
            use()
        except servman.FailedPreconditionError:
            continue
        os._exit(1)
    os._exit(0)
_, status = os.waitpid(child, 0)
file.close()
raise SystemExit(os.waitstatus_to_exitcode(status))
"""
    done = subprocess.run(  # noqa: S603 -- our own interpreter on our own text
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_pipe_holds_up_nobody(tmp_path: Path) -> None:
    path = tmp_path / "models.config"
    os.mkfifo(path)
    with followed(path) as (file, applied):
        assert "is no regular file" in str(file.status.error)
        path.unlink()
        rename(path, text("a"))
        assert applied.next() == ["a"]


@pytest.mark.parametrize("theirs_first", [False, True], ids=["after", "before"])
def test_others_may_define_the_same_messages_before_or_after_a_file_is_read(
    tmp_path: Path, theirs_first: bool
) -> None:
    (tmp_path / "f").write_text(text("a"))
    ours = f"config = servman.read_model_config_file({str(tmp_path / 'f')!r})"
    theirs = """
import importlib.resources
from google.protobuf import any_pb2, descriptor_pool, wrappers_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorSet

compiled = importlib.resources.files("servman.protos").joinpath("descriptors.binpb").read_bytes()
for file in FileDescriptorSet.FromString(compiled).file:
    if file.package != "google.protobuf":
        file.dependency[:] = [
            one if one.startswith("google/") else "tensorflow_serving/" + one for one in file.dependency
        ]
        file.name = "tensorflow_serving/" + file.name
        descriptor_pool.Default().AddSerializedFile(file.SerializeToString())
"""
    parts = ["import servman", *((theirs, ours) if theirs_first else (ours, theirs))]
    check = "\n".join(
        (
            *parts,
            ours,
            "assert servman.parse_model_config(servman.format_model_config(config)) == config",
        )
    )
    done = subprocess.run(  # noqa: S603 -- our own interpreter on our own text
        [sys.executable, "-W", "error", "-c", check],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
