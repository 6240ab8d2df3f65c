"""Copies that are torn, loads that are given up: what is missing is named, and nothing is left behind."""

from __future__ import annotations

import queue
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from servman.core import ModelConfig, ServerConfig, ServerCore, ServerCoreOptions
from servman.errors import FailedPreconditionError, LoadCancelledError, ServmanError
from servman.loader import CancelEvent, LoadContext
from servman.state import ManagerState, ServableState
from servman.testing.clock import WATCHDOG
from tests.integration.saved_models import CONTEXT, M1, load_error, loader_of, save_with_everything

pytestmark = [pytest.mark.tensorflow, pytest.mark.timeout(120)]

FILES = [
    "saved_model.pb",
    "assets/words.txt",
    "variables/variables.index",
    "variables/variables.data-00000-of-00002",
    "variables/variables.data-00001-of-00002",
]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("tensorflow")
    return save_with_everything(tmp_path_factory.mktemp("published"))


@pytest.fixture
def copy(published: Path, tmp_path: Path) -> Path:
    """A copy for a test to tear."""
    return Path(shutil.copytree(published, tmp_path / "m" / "1"))


def test_the_model_has_these_files(published: Path) -> None:
    found = [path.relative_to(published) for path in published.rglob("*") if path.is_file()]
    assert sorted(map(str, found)) == sorted(FILES)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named_and_its_return_makes_the_version_whole(
    copy: Path, name: str
) -> None:
    content = (copy / name).read_bytes()
    (copy / name).unlink()
    loader = loader_of(copy)
    torn = loader.revision()
    fault = "no saved_model.pb in" if name == FILES[0] else f"not whole: {name} is missing; copy"
    with pytest.raises(ServmanError, match=f"m:1: .*{re.escape(fault)}.*rename it into place"):
        loader.load(CONTEXT)
    (copy / name).write_bytes(content)
    assert loader.revision() != torn
    model: Any = loader.load(CONTEXT)
    assert model.predict(["b"])["y"].tolist() == [5.0]
    loader.unload(model)


@pytest.mark.parametrize("name", FILES[2:])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_variables_that_are_cut_off_are_named(copy: Path, name: str, share: float) -> None:
    content = (copy / name).read_bytes()
    (copy / name).write_bytes(content[: int(len(content) * share)])
    error = load_error(copy)
    assert isinstance(error, FailedPreconditionError)
    assert f"is not whole: {name} " in str(error)


def test_a_graph_that_is_cut_off_is_told(copy: Path) -> None:
    graph = copy / "saved_model.pb"
    content = graph.read_bytes()
    for length in (0, 1, 2, len(content) // 2, len(content) - 1):
        graph.write_bytes(content[:length])
        error = load_error(copy)
        assert isinstance(error, FailedPreconditionError)
        assert "saved_model.pb" in str(error)


def test_a_variables_folder_that_has_not_arrived_is_told(copy: Path) -> None:
    shutil.rmtree(copy / "variables")
    error = load_error(copy)
    assert "is not whole: variables/variables.index is missing; copy the whole" in str(error)


def test_a_torn_copy_is_loaded_as_soon_as_it_is_whole(copy: Path) -> None:
    shard = copy / FILES[-1]
    content = shard.read_bytes()
    shard.unlink()
    states: queue.SimpleQueue[ServableState] = queue.SimpleQueue()
    config = ServerConfig([ModelConfig("m", str(copy.parent))])
    options = ServerCoreOptions(max_num_load_retries=0)
    core = ServerCore(config, options=options)
    with core.event_bus.subscribe(states.put), core:
        ended = next_state(states, ManagerState.END)
        assert f"{FILES[-1]} is missing" in str(ended.error)
        shard.write_bytes(content)
        assert next_state(states, ManagerState.AVAILABLE).error is None
        with core.get_servable_handle("m") as handle:
            model: Any = handle.servable
            assert model.predict(["b"])["y"].tolist() == [5.0]
            del model


def next_state(states: queue.SimpleQueue[ServableState], wanted: ManagerState) -> ServableState:
    while (state := states.get(timeout=WATCHDOG)).manager_state is not wanted:
        pass
    return state


class _GivenUp(CancelEvent):
    """Set at the n-th look."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at = at
        self.looks = 0

    def is_set(self) -> bool:
        self.looks += 1
        return self.looks >= self.at


def test_a_load_is_given_up_after_any_of_its_steps_and_leaves_no_session(
    published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from servman.adapters import graph  # noqa: PLC0415 -- imports TensorFlow

    closed: list[object] = []
    close = graph.close_session

    def close_and_tell(session: object) -> None:
        closed.append(session)
        close(session)

    monkeypatch.setattr(graph, "close_session", close_and_tell)
    never = _GivenUp(at=1000)
    loader = loader_of(published)
    loader.unload(loader.load(LoadContext(M1, cancelled=never)))
    assert never.looks >= 5
    closed.clear()
    for look in range(1, 6):
        given_up = _GivenUp(at=look)
        with pytest.raises(LoadCancelledError, match="m:1: given up"):
            loader.load(LoadContext(M1, cancelled=given_up))
        assert given_up.looks == look
    assert len(closed) == 4  # before the first look there was none


def test_a_definition_that_cannot_be_read_leaves_no_session(
    published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from servman.adapters import graph  # noqa: PLC0415 -- imports TensorFlow

    closed: list[object] = []
    monkeypatch.setattr(graph, "close_session", closed.append)
    monkeypatch.setattr(graph, "signatures_of", lambda _: 1 / 0)
    assert isinstance(load_error(published), FailedPreconditionError)
    assert len(closed) == 1
