from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from servman.adapters.python_model import PythonModelAdapter, PythonModelLoader
from servman.data import ServableData
from servman.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
    LoadCancelledError,
    LoadFailedError,
    NotFoundError,
    ServmanError,
    settled,
)
from servman.ids import ServableId
from servman.loader import LoadContext, RevisedLoader
from servman.resources import ResourceAllocation
from servman.testing import Spawned

M1 = ServableId("m", 1)


def loader_of(directory: Path, source: str | bytes) -> PythonModelLoader:
    """Write the source as a version directory and return its loader."""
    directory.mkdir(exist_ok=True)
    content = source if isinstance(source, bytes) else dedent(source).encode()
    (directory / "servable.py").write_bytes(content)
    return PythonModelLoader(M1, str(directory))


def loaded(loader: PythonModelLoader, path: str | None = None) -> Any:
    return loader.load(LoadContext(M1, path))


@pytest.fixture(autouse=True)
def _forget_the_modules_of_other_tests() -> None:
    """Begin without what a test before has left loaded, on purpose or not."""
    for name in own_modules():
        del sys.modules[name]


def own_modules() -> list[str]:
    return [name for name in sys.modules if name.startswith("servman_python_model")]


def failure(loader: PythonModelLoader) -> ServmanError:
    """Load as a manager does, off the main thread, and return what is raised."""
    with pytest.raises(ServmanError) as failed:
        Spawned(lambda: loaded(loader)).result()
    assert own_modules() == []
    return failed.value


def test_what_load_returns_is_the_servable(tmp_path: Path) -> None:
    loader = loader_of(tmp_path, "def load(context): return [context.id.version, context.path]")
    assert loaded(loader, "/origin/1") == [1, "/origin/1"]
    loader.unload([])


def test_without_an_origin_the_context_has_the_path_of_the_directory(tmp_path: Path) -> None:
    loader = loader_of(tmp_path, "def load(context): return context")
    given = LoadContext(M1, attempt=3)
    context = loader.load(given)
    assert isinstance(context, LoadContext)
    assert (context.path, context.attempt) == (str(tmp_path), 3)
    assert context.cancelled is given.cancelled
    loader.unload(context)


def test_the_adapter_makes_a_loader_and_passes_the_origin_on() -> None:
    made = PythonModelAdapter().convert(ServableData(M1, "/m/1", "/origin"))
    assert isinstance(made.payload, PythonModelLoader)
    assert isinstance(made.payload, RevisedLoader)
    assert made.origin == "/origin"


def test_it_estimates_nothing(tmp_path: Path) -> None:
    loader = loader_of(tmp_path, "never = run")
    assert loader.estimate_resources() == ResourceAllocation()


def test_its_revision_follows_its_files(tmp_path: Path) -> None:
    loader = loader_of(tmp_path, "def load(context): return 1")
    before = loader.revision()
    assert loader.revision() == before
    loader_of(tmp_path, "def load(context): return 12")
    assert loader.revision() != before


def test_unload_is_handed_the_servable(tmp_path: Path) -> None:
    loader = loader_of(
        tmp_path,
        """
        def load(context): return []
        def unload(servable): servable.append("unloaded")
        """,
    )
    servable = loaded(loader)
    loader.unload(servable)
    assert servable == ["unloaded"]
    loader.unload(servable)
    assert servable == ["unloaded"]


def test_nothing_is_written_into_the_directory(tmp_path: Path) -> None:
    loader = loader_of(tmp_path, "def load(context): return 1")
    loader.unload(loaded(loader))
    assert [path.name for path in tmp_path.iterdir()] == ["servable.py"]


def test_byte_code_that_lies_about_is_not_run(tmp_path: Path) -> None:
    source = tmp_path / "servable.py"
    loader = loader_of(tmp_path, "def load(context): return 1")
    times = source.stat()
    import py_compile  # noqa: PLC0415 -- for this one test

    py_compile.compile(str(source))
    loader_of(tmp_path, "def load(context): return 2")
    os.utime(source, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert loaded(loader) == 2
    loader.unload(2)


def test_the_module_is_in_sys_modules_only_while_it_is_loaded(tmp_path: Path) -> None:
    loader = loader_of(tmp_path, "def load(context): return 1")
    loaded(loader)
    (package, module) = own_modules()
    assert module == f"{package}.servable"
    loader.unload(1)
    assert own_modules() == []


def test_two_versions_share_no_state(tmp_path: Path) -> None:
    source = """
    count = 0
    def load(context):
        global count
        count += 1
        return lambda: count
    """
    one, two = loader_of(tmp_path / "1", source), loader_of(tmp_path / "2", source)
    first, second = loaded(one), loaded(two)
    assert (first(), second()) == (1, 1)
    one.unload(first)
    assert len(own_modules()) == 2
    two.unload(second)
    assert own_modules() == []


def test_every_load_runs_the_file_as_it_is_now(tmp_path: Path) -> None:
    loader = loader_of(tmp_path, "raise ValueError('first')")
    failure(loader)
    loader_of(tmp_path, "def load(context): return 'second'")
    assert loaded(loader) == "second"
    loader.unload("second")


def test_classes_work_with_dataclasses_and_typing(tmp_path: Path) -> None:
    loader = loader_of(
        tmp_path,
        """
        from __future__ import annotations
        import dataclasses, pickle, typing

        @dataclasses.dataclass(slots=True)
        class Model:
            scale: Scale
            kind: typing.ClassVar[str] = "linear"

        class Scale(typing.NamedTuple):
            by: float

        def load(context):
            model = Model(Scale(2.0))
            assert typing.get_type_hints(Model)["scale"] is Scale
            assert [field.name for field in dataclasses.fields(Model)] == ["scale"]
            return pickle.loads(pickle.dumps(model))
        """,
    )
    model = loaded(loader)
    assert model.scale.by == 2.0
    loader.unload(model)


def test_tracebacks_show_the_lines_of_the_file_even_when_it_was_moved_away(tmp_path: Path) -> None:
    loader = loader_of(
        tmp_path / "1",
        """
        def predict(x):
            return x / 0  # the telling line
        def load(context): return predict
        """,
    )
    predict = loaded(loader)
    (tmp_path / "1").rename(tmp_path / "2")
    with pytest.raises(ZeroDivisionError) as raised:
        predict(1)
    assert "the telling line" in "".join(traceback.format_exception(raised.value))
    loader.unload(predict)


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    error = failure(PythonModelLoader(M1, str(tmp_path / "absent")))
    assert isinstance(error, NotFoundError)
    assert str(error).startswith(f"m:1: {tmp_path}/absent does not exist; copy the whole")


def test_a_missing_file_is_named_with_the_remedy(tmp_path: Path) -> None:
    error = failure(PythonModelLoader(M1, str(tmp_path)))
    assert isinstance(error, NotFoundError)
    assert str(error).startswith(f"m:1: no servable.py in {tmp_path}; copy the whole version")


def test_a_folder_in_the_place_of_the_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "servable.py").mkdir()
    error = failure(PythonModelLoader(M1, str(tmp_path)))
    assert isinstance(error, FailedPreconditionError)
    assert str(error).startswith(f"m:1: cannot read {tmp_path}/servable.py: Is a directory")


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("pass", "has no function load; define load(context)"),
        ("import sys; sys.modules[__name__] = object()", "has no function load; define load(cont"),
        ("load = 3", "has load = 3; define load(context)"),
        ("def load(context): pass", "returned None; it has to return the servable"),
    ],
)
def test_a_file_that_gives_no_servable_is_told_what_is_missing(
    tmp_path: Path, source: str, problem: str
) -> None:
    error = failure(loader_of(tmp_path, source))
    assert isinstance(error, InvalidArgumentError)
    assert "m:1: " in str(error)
    assert str(tmp_path / "servable.py") in str(error)
    assert problem in str(error)


@pytest.mark.parametrize(
    ("source", "line", "raised"),
    [
        ("\ndef load(context) return 1", 2, "SyntaxError: expected ':'"),
        (b"\xff = 1", 1, "SyntaxError"),
        (b"\0", None, "null bytes"),
        ("import no_such_package_anywhere", 1, "ModuleNotFoundError: No module named 'no_such_"),
        ("import sys; sys.exit(3)", 1, "SystemExit: 3"),
        ("def load(context):\n    raise KeyError('weights')", 2, "KeyError: 'weights'"),
        ("def load(context): raise SystemExit", 1, "SystemExit"),
        ("def load(context): raise KeyboardInterrupt", 1, "KeyboardInterrupt"),
        ("def load(): return 1", None, "TypeError: load() takes 0 positional arguments"),
    ],
)
def test_code_that_raises_is_a_typed_error_with_id_file_line_and_remedy(
    tmp_path: Path, source: str | bytes, line: int | None, raised: str
) -> None:
    error = failure(loader_of(tmp_path, source))
    assert isinstance(error, LoadFailedError)
    place = f"{tmp_path}/servable.py" + (f", line {line}," if line else "")
    assert str(error).startswith(f"m:1: {place} raised ")
    assert raised in str(error)
    assert "correct the file" in str(error)


def test_ctrl_c_in_a_load_on_the_main_thread_goes_to_the_host(tmp_path: Path) -> None:
    loader = loader_of(tmp_path, "def load(context): raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        loaded(loader)
    assert own_modules() == []


def test_the_stored_error_shows_the_line_that_raised(tmp_path: Path) -> None:
    error = failure(loader_of(tmp_path, "def load(context):\n    raise ValueError('x')  # here"))
    assert "raise ValueError('x')  # here" in (settled(error).traceback or "")


def test_a_typed_error_that_the_code_raises_keeps_its_class_and_text(tmp_path: Path) -> None:
    loader = loader_of(
        tmp_path,
        """
        from servman.errors import LoadCancelledError
        def load(context): raise LoadCancelledError("gave up")
        """,
    )
    error = failure(loader)
    assert isinstance(error, LoadCancelledError)
    assert str(error) == "gave up"


def test_an_unload_that_raises_is_typed_and_leaves_nothing(tmp_path: Path) -> None:
    loader = loader_of(
        tmp_path,
        """
        def load(context): return 1
        def unload(servable): raise SystemExit("no")
        """,
    )
    with pytest.raises(
        LoadFailedError, match=r"m:1: .*servable\.py, line 3, raised SystemExit: no"
    ):
        loader.unload(loaded(loader))
    assert own_modules() == []
