"""Python models of several files: helpers beside `servable.py`."""

from __future__ import annotations

import importlib
import linecache
import sys
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from types import ModuleType
from typing import Any

import pytest

from servman.adapters import namespace
from servman.adapters.python_model import PythonModelLoader
from servman.errors import LoadFailedError, settled
from servman.ids import ServableId
from servman.loader import LoadContext
from servman.testing import Spawned
from servman.testing.clock import WATCHDOG


def loader_of(directory: Path, version: int = 1, /, **files: str) -> PythonModelLoader:
    """Write the files, by their paths without ".py", and return the loader of the directory."""
    for name, source in files.items():
        path = directory / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(source))
    return PythonModelLoader(ServableId("m", version), str(directory))


def loaded(loader: PythonModelLoader) -> Any:
    """Load as a manager does, off the main thread."""
    return Spawned(lambda: loader.load(LoadContext(ServableId("m", 1)))).result()


def failure(loader: PythonModelLoader) -> LoadFailedError:
    with pytest.raises(LoadFailedError) as failed:
        loaded(loader)
    return failed.value


def own_modules() -> list[str]:
    return [name for name in sys.modules if name.startswith("servman_python_model")]


@pytest.fixture(autouse=True)
def nothing_is_left_loaded() -> Iterator[None]:
    finders = list(sys.meta_path)
    yield
    sys.meta_path[:] = finders
    for name in own_modules():
        del sys.modules[name]
    namespace._open.clear()


def gate(monkeypatch: pytest.MonkeyPatch, **attributes: object) -> None:
    """Let models import `gate`, through which the test reaches into their code."""
    module = ModuleType("gate")
    vars(module).update(attributes)
    monkeypatch.setitem(sys.modules, "gate", module)


RETURNS_HELPERS_VALUE = """
    import helper
    def load(context): return helper.value
"""


def test_a_file_beside_it_is_imported_by_its_name(tmp_path: Path) -> None:
    loader = loader_of(tmp_path, servable=RETURNS_HELPERS_VALUE, helper="value = [7]")
    assert loaded(loader) == [7]
    assert "helper" not in sys.modules


def test_two_versions_with_helpers_of_one_name_do_not_mix(tmp_path: Path) -> None:
    made = [
        loader_of(tmp_path / str(n), n, servable=RETURNS_HELPERS_VALUE, helper=f"value = [{n}]")
        for n in (1, 2)
    ]
    assert [loaded(loader) for loader in made] == [[1], [2]]


def test_versions_that_are_loaded_at_once_do_not_see_each_others_helpers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate(monkeypatch, both_are_here=threading.Barrier(2).wait)
    helper = """
        import gate
        gate.both_are_here({watchdog})  # while this module is half imported
        import inner
        value = inner.value
    """
    made = [
        loader_of(
            tmp_path / str(n),
            n,
            servable=RETURNS_HELPERS_VALUE,
            helper=helper.format(watchdog=WATCHDOG),
            inner=f"value = [{n}]",
        )
        for n in (1, 2)
    ]
    loads = [Spawned(lambda loader=loader: loaded(loader)) for loader in made]  # type: ignore[misc] # bound now
    assert [load.result() for load in loads] == [[1], [2]]


def test_all_ways_to_import_work_among_the_files(tmp_path: Path) -> None:
    loader = loader_of(
        tmp_path,
        servable="""
            import nets.layers
            import nets.layers as again
            import plain.deep
            from nets import layers, name
            from helper import *
            from .helper import value as relative
            from . import helper
            import json, os.path

            def load(context):
                assert nets.layers is again is layers
                return [layers.size, name, plain.deep.size, value, relative, helper.value]
        """,
        helper="value = 1",
        **{
            "nets/__init__": "from .layers import size\nname = 'nets'",
            "nets/layers": "import helper\nsize = helper.value + 1",
            "plain/deep": "import servable\nsize = 3 if servable.__name__ else 0",
        },
    )
    assert loaded(loader) == [2, "nets", 3, 1, 1, 1]


def test_a_relative_import_means_the_package_that_it_stands_in(tmp_path: Path) -> None:
    loader = loader_of(
        tmp_path,
        servable="""
            from nets import inner, outer
            def load(context): return [inner, outer]
        """,
        helper="value = 'outer'",
        **{
            "nets/__init__": """
                from .helper import value as inner
                from helper import value as outer
            """,
            "nets/helper": "value = 'inner'",
        },
    )
    assert loaded(loader) == ["inner", "outer"]


def test_what_lies_beside_comes_before_what_is_installed_and_harms_nobody_else(
    tmp_path: Path,
) -> None:
    import json  # noqa: PLC0415 -- the one that everybody else goes on to see

    loader = loader_of(
        tmp_path, servable="import json\ndef load(context): return json.mine", json="mine = [1]"
    )
    assert loaded(loader) == [1]
    assert sys.modules["json"] is json
    assert not hasattr(json, "mine")


def test_a_folder_of_data_is_not_mistaken_for_a_package(tmp_path: Path) -> None:
    (tmp_path / "json").mkdir()
    (tmp_path / "json" / "vocabulary.txt").touch()
    loader = loader_of(tmp_path, servable="import json\ndef load(context): return json.dumps([1])")
    assert loaded(loader) == "[1]"


def test_a_helper_that_is_imported_late_on_another_thread_is_the_versions_own(
    tmp_path: Path,
) -> None:
    source = """
        def load(context): return predict
        def predict():
            import helper
            return helper.value
    """
    made = [loader_of(tmp_path / str(n), n, servable=source, helper=f"value = {n}") for n in (1, 2)]
    one, two = map(loaded, made)
    assert [Spawned(two).result(), Spawned(one).result()] == [2, 1]
    made[0].unload(one)
    assert len(own_modules()) == 3  # of the other version, with its helper
    assert two() == 2


def test_a_pickle_that_names_a_helper_is_read_the_way_the_guide_tells(tmp_path: Path) -> None:
    loader = loader_of(
        tmp_path,
        servable="""
            import importlib, io, pickle

            class Reader(pickle.Unpickler):
                def find_class(self, module, name):
                    try:
                        return getattr(importlib.import_module(f".{module}", __package__), name)
                    except ModuleNotFoundError:
                        return super().find_class(module, name)

            def load(context):
                import helper
                net, fraction = b"chelper\\nNet\\n.", b"cfractions\\nFraction\\n."  # as classes
                read = [Reader(io.BytesIO(pickled)).load() for pickled in (net, fraction)]
                return [read[0] is helper.Net, read[1].__module__]
        """,
        helper="class Net: pass",
    )
    assert loaded(loader) == [True, "fractions"]


def test_unloading_forgets_helpers_too_and_a_load_that_failed_leaves_none(tmp_path: Path) -> None:
    loader = loader_of(tmp_path, servable=RETURNS_HELPERS_VALUE, helper="value = [1]")
    servable = loaded(loader)
    assert len(own_modules()) == 3
    loader.unload(servable)
    assert own_modules() == []
    loader_of(tmp_path, servable="import helper\nraise ValueError")
    failure(loader)
    assert own_modules() == []
    assert namespace._open == {}


def test_every_load_sees_helpers_as_they_are_now(tmp_path: Path) -> None:
    loader = loader_of(tmp_path, servable=RETURNS_HELPERS_VALUE, helper="value = [1]")
    first = loaded(loader)
    stale = linecache.getline(str(tmp_path / "helper.py"), 1)
    loader_of(tmp_path, helper="value = [2]")  # as long, and perhaps within one tick of the clock
    assert stale == "value = [1]\n" or not stale
    assert (first, loaded(loader)) == ([1], [2])


def test_nothing_is_written_beside_them_and_no_byte_code_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    files = {"helper": "value = [1]", "nets/__init__": "", "nets/layers": ""}
    servable = RETURNS_HELPERS_VALUE + "    import nets.layers"
    loader = loader_of(tmp_path, servable=servable, **files)
    before = sorted(tmp_path.rglob("*"))
    loaded(loader)
    assert sorted(tmp_path.rglob("*")) == before
    assert not any(str(tmp_path) in path for path in sys.path_importer_cache)


def test_an_attempt_that_was_given_up_does_not_lose_its_modules_to_the_next(
    tmp_path: Path,
) -> None:
    loader = loader_of(
        tmp_path,
        servable="""
            import helper
            def load(context): return [helper.value]
            def unload(servable): servable.append(helper.value)
        """,
        helper="value = 1",
    )
    late = loaded(loader)
    loader_of(tmp_path, helper="value = 2")
    current = loaded(loader)
    loader.unload(current)
    assert (late, current) == ([1], [2, 2])
    assert len(own_modules()) == 3
    loader.unload(late)
    assert late == [1, 1]
    assert own_modules() == []


@pytest.mark.parametrize(
    ("helper", "line"),
    [
        ("x = 1\ndef f():\n    raise ValueError('x')\n", 3),
        ("x = 1\n\nf = (\n", 3),
        ("def f():\n    import json\n    json.loads('no')", 3),
    ],
)
def test_an_error_in_a_helper_names_its_file_and_line(
    tmp_path: Path, helper: str, line: int
) -> None:
    servable = "import helper\ndef load(context): helper.f()"
    error = failure(loader_of(tmp_path, servable=servable, helper=helper))
    assert str(error).startswith(f"m:1: {tmp_path}/helper.py, line {line}, raised ")


def test_the_lines_in_a_traceback_are_those_that_ran(tmp_path: Path) -> None:
    loader = loader_of(tmp_path, servable="def load(context): raise ValueError  # the first")
    assert "# the first" in (settled(failure(loader)).traceback or "")
    loader_of(tmp_path, servable="def load(context): raise ValueError  # the second")
    assert "# the second" in (settled(failure(loader)).traceback or "")


def test_unloading_leaves_no_lines_behind(tmp_path: Path) -> None:
    loader = loader_of(tmp_path, servable="def load(context): return lambda: 1 / 0  # the line")
    servable = loaded(loader)
    with pytest.raises(ZeroDivisionError) as raised:
        servable()
    assert "# the line" in "".join(traceback.format_exception(raised.value))
    assert str(tmp_path / "servable.py") in linecache.cache
    loader.unload(servable)
    assert str(tmp_path / "servable.py") not in linecache.cache


def test_what_is_missing_is_named_as_the_file_named_it(tmp_path: Path) -> None:
    nets = {"nets/__init__": ""}
    loader = loader_of(tmp_path, servable="import nets.missing", **nets)
    assert "No module named 'nets.missing'" in str(failure(loader))
    loader = loader_of(tmp_path, servable="from nets import missing", **nets)
    assert "cannot import name 'missing'" in str(failure(loader))


def test_other_imports_go_the_way_that_the_host_has_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate(monkeypatch, value=[5])
    loader = loader_of(tmp_path, servable="import gate\ndef load(context): return gate.value")
    assert loaded(loader) == [5]
    with pytest.raises(ModuleNotFoundError, match="no_such_module_at_all"):
        importlib.import_module("no_such_module_at_all")


def test_the_finder_is_placed_once(tmp_path: Path) -> None:
    for version in (1, 2):
        loaded(loader_of(tmp_path / str(version), servable="def load(context): return [1]"))
    assert sys.meta_path.count(namespace._finder) == 1
