"""What of the platform "tensorflow" needs no TensorFlow."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from servman.adapters.directory import VersionDirectory
from servman.adapters.saved_model import SavedModelAdapter, SavedModelLoader
from servman.adapters.session_options import SessionOptions
from servman.data import ServableData
from servman.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
    LoadCancelledError,
    NotFoundError,
    ServmanError,
    UnimplementedError,
)
from servman.ids import ServableId
from servman.loader import LoadContext, RevisedLoader
from servman.resources import MAIN_MEMORY, ResourceAllocation
from tests.unit.adapters.bundles import TWO_SHARDS

M1 = ServableId("m", 1)
CONTEXT = LoadContext(M1)


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let TensorFlow be found, whether or not it is installed; it is not imported here."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: object())


@pytest.mark.case("BF-02")
def test_the_estimate_is_the_size_on_disk_and_a_fifth(tmp_path: Path) -> None:
    (tmp_path / "variables").mkdir()
    (tmp_path / "saved_model.pb").write_bytes(b"x" * 60)
    (tmp_path / "variables" / "data").write_bytes(b"x" * 40)
    estimate = SavedModelLoader(M1, str(tmp_path)).estimate_resources()
    assert estimate == ResourceAllocation({MAIN_MEMORY: 120})


@pytest.mark.case("BF-01")
def test_the_estimate_of_a_missing_directory_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"m:1: .*absent does not exist"):
        SavedModelLoader(M1, str(tmp_path / "absent")).estimate_resources()


def test_the_loader_has_a_revision_that_follows_its_files(tmp_path: Path) -> None:
    loader = SavedModelLoader(M1, str(tmp_path))
    assert isinstance(loader, RevisedLoader)
    before = loader.revision()
    (tmp_path / "saved_model.pb").touch()
    assert loader.revision() != before


def test_a_directory_without_a_saved_model_is_told_before_tensorflow_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "servman.adapters.session", None)
    with pytest.raises(NotFoundError, match=r"m:1: no saved_model\.pb in .*rename it into place"):
        SavedModelLoader(M1, str(tmp_path)).load(LoadContext(M1, str(tmp_path)))


def test_a_missing_directory_is_told_as_such(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"m:1: .*absent does not exist"):
        SavedModelLoader(M1, str(tmp_path / "absent")).load(LoadContext(M1))


def test_a_tensorflow_that_cannot_be_imported_is_the_error_of_the_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "saved_model.pb").write_bytes(b"x")
    monkeypatch.setitem(sys.modules, "servman.adapters.session", None)
    with pytest.raises(UnimplementedError, match=r"m:1: importing TensorFlow raised .*pip install"):
        SavedModelLoader(M1, str(tmp_path)).load(LoadContext(M1))


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """A version directory in which TensorFlow would have to be asked what is wrong."""
    (tmp_path / "saved_model.pb").write_bytes(b"x")
    variables = tmp_path / "variables"
    variables.mkdir()
    (variables / "variables.index").write_bytes(TWO_SHARDS)
    (variables / "variables.data-00000-of-00002").write_bytes(b"x" * 40)
    (variables / "variables.data-00001-of-00002").write_bytes(b"x" * 500)
    return tmp_path


def load_error(path: Path, context: LoadContext = CONTEXT) -> ServmanError:
    with pytest.raises(ServmanError) as failed:
        SavedModelLoader(M1, str(path)).load(context)
    assert str(failed.value).startswith("m:1: ")
    return failed.value


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("saved_model.pb", b"", "saved_model.pb is empty"),
        ("variables/variables.index", b"", "variables/variables.index is cut off or damaged"),
        ("variables/variables.data-00000-of-00002", b"x" * 39, "has 39 bytes where"),
        ("variables/variables.data-00001-of-00002", None, "data-00001-of-00002 is missing"),
    ],
)
def test_a_torn_copy_is_told_with_what_it_lacks_before_tensorflow_is_imported(
    whole: Path, name: str, content: bytes | None, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "servman.adapters.session", None)
    (whole / name).unlink()
    if content is not None:
        (whole / name).write_bytes(content)
    error = load_error(whole)
    assert isinstance(error, FailedPreconditionError)
    assert f"the SavedModel in {whole} is not whole: " in str(error)
    assert fault in str(error)
    assert str(error).endswith("copy the whole version directory again and rename it into place")


def test_what_cannot_be_read_is_told_with_its_path(whole: Path) -> None:
    index = whole / "variables" / "variables.index"
    index.unlink()
    index.mkdir()
    error = load_error(whole)
    assert isinstance(error, FailedPreconditionError)
    assert f"cannot read {index}" in str(error)


def test_a_text_form_is_a_saved_model_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "servman.adapters.session", None)
    (tmp_path / "saved_model.pbtxt").write_bytes(b"x")
    assert isinstance(load_error(tmp_path), UnimplementedError)  # that is, TensorFlow was wanted


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What a stand-in for the module with TensorFlow in it was asked to load."""
    loads: list[tuple[Any, ...]] = []

    class Servable:
        @staticmethod
        def load(files: VersionDirectory, options: SessionOptions, proceed: Any) -> object:
            loads.append((files.path, options))
            proceed()
            return "servable"

    module: Any = ModuleType("servman.adapters.session")
    module.SavedModelServable = Servable
    monkeypatch.setitem(sys.modules, "servman.adapters.session", module)
    return loads


@pytest.mark.usefixtures("installed")
def test_the_options_of_the_adapter_reach_the_session(
    whole: Path, session: list[tuple[Any, ...]]
) -> None:
    adapter = SavedModelAdapter(
        ["serve", "gpu"],
        intra_op_parallelism_threads=1,
        inter_op_parallelism_threads=2,
        per_process_gpu_memory_fraction=0.25,
        device="/gpu:1",
    )
    loader = adapter.convert(ServableData(M1, str(whole))).payload
    assert loader.load(CONTEXT) == "servable"
    options = SessionOptions(
        tags=("serve", "gpu"),
        intra_op_parallelism_threads=1,
        inter_op_parallelism_threads=2,
        per_process_gpu_memory_fraction=0.25,
        device="/gpu:1",
    )
    assert session == [(str(whole), options)]


def test_a_load_that_nobody_wants_does_not_begin(
    whole: Path, session: list[tuple[Any, ...]]
) -> None:
    context = LoadContext(M1)
    context.cancelled.set()
    assert isinstance(load_error(whole, context), LoadCancelledError)
    assert session == []


@pytest.mark.usefixtures("installed")
def test_the_adapter_makes_a_loader_and_passes_the_origin_on() -> None:
    made = SavedModelAdapter().convert(ServableData(M1, "/m/1", "/origin"))
    assert isinstance(made.payload, SavedModelLoader)
    assert (made.id, made.origin) == (M1, "/origin")


@pytest.mark.usefixtures("installed")
def test_tags_are_a_collection() -> None:
    with pytest.raises(InvalidArgumentError, match=r"pass \['serve'\]"):
        SavedModelAdapter("serve")
