"""What of the platform "tensorflow" needs no TensorFlow."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from servman.adapters.saved_model import SavedModelAdapter, SavedModelLoader
from servman.data import ServableData
from servman.errors import InvalidArgumentError, NotFoundError, UnimplementedError
from servman.ids import ServableId
from servman.loader import LoadContext, RevisedLoader
from servman.resources import MAIN_MEMORY, ResourceAllocation

M1 = ServableId("m", 1)


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let TensorFlow be found, whether or not it is installed; it is not imported here."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: object())


def test_the_estimate_is_the_size_on_disk_and_a_fifth(tmp_path: Path) -> None:
    (tmp_path / "variables").mkdir()
    (tmp_path / "saved_model.pb").write_bytes(b"x" * 60)
    (tmp_path / "variables" / "data").write_bytes(b"x" * 40)
    estimate = SavedModelLoader(M1, str(tmp_path)).estimate_resources()
    assert estimate == ResourceAllocation({MAIN_MEMORY: 120})


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
    (tmp_path / "saved_model.pb").touch()
    monkeypatch.setitem(sys.modules, "servman.adapters.session", None)
    with pytest.raises(UnimplementedError, match=r"m:1: importing TensorFlow raised .*pip install"):
        SavedModelLoader(M1, str(tmp_path)).load(LoadContext(M1))


@pytest.mark.usefixtures("installed")
def test_the_adapter_makes_a_loader_and_passes_the_origin_on() -> None:
    made = SavedModelAdapter().convert(ServableData(M1, "/m/1", "/origin"))
    assert isinstance(made.payload, SavedModelLoader)
    assert (made.id, made.origin) == (M1, "/origin")


@pytest.mark.usefixtures("installed")
def test_tags_are_a_collection() -> None:
    with pytest.raises(InvalidArgumentError, match=r"pass \['serve'\]"):
        SavedModelAdapter("serve")
