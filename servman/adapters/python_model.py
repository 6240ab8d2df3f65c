"""The platform "python": a version is a directory whose `servable.py` loads the servable."""

from __future__ import annotations

import dataclasses
import importlib.abc
import importlib.util
import itertools
import os
import sys
from typing import TYPE_CHECKING, Final, final

from servman.adapters.base import SourceAdapter, failure_of
from servman.adapters.directory import VersionDirectory
from servman.data import ServableData
from servman.errors import InvalidArgumentError, NotFoundError
from servman.loader import Loader
from servman.resources import ResourceAllocation

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable
    from types import ModuleType

    from servman.errors import ServmanError
    from servman.ids import ServableId
    from servman.loader import LoadContext

SOURCE_FILE: Final = "servable.py"
"""The file of a version directory that is run."""

_serials = itertools.count(1)


@final
class PythonModelAdapter(SourceAdapter[str, Loader]):
    """Makes a loader for each version directory that holds a `servable.py`.

    It runs code from the model directory, so ServerCore uses it only where it was asked for.

    Threads: any; one at a time for one stream.
    """

    def convert(self, data: ServableData[str]) -> ServableData[Loader]:
        """Return the entry with a `PythonModelLoader` for its path."""
        return ServableData(data.id, PythonModelLoader(data.id, data.payload), data.origin)


@final
class PythonModelLoader:
    """Runs the `servable.py` of one version directory.

    The file defines `load(context)`, which returns the servable, and may define `unload(servable)`.

    1. Every load runs the file anew, as a module of its own: no two versions, and no two attempts,
       share its state. What it imports by name is shared, as everywhere in Python.
    2. The module can be found in `sys.modules` while its servable is loaded, which dataclasses,
       typing and pickle rely on; afterwards, and after a failed load, nothing is left there.
    3. Nothing is written into the directory. Other files in it are data, found by `context.path`.

    It estimates nothing: what the code will need cannot be told from its files.

    Threads: one at a time, as a manager calls it.
    """

    def __init__(self, id: ServableId, path: str) -> None:
        self._files = VersionDirectory(id, path)
        self._module: ModuleType | None = None

    def estimate_resources(self) -> ResourceAllocation:
        """Return nothing; see the class."""
        return ResourceAllocation()

    def revision(self) -> Hashable:
        """Return a hash of the names, sizes and times of the files. Blocks: for the file system."""
        return self._files.revision()

    def load(self, context: LoadContext) -> object:
        """Run the file and return what its `load` returns.

        Blocks: as long as the file's code does.

        Raises:
            NotFoundError: There is no `servable.py`.
            InvalidArgumentError: It has no function `load`, or `load` returned None.
            LoadFailedError: The code does not compile, or raised something.
            ServmanError: The code raised one itself, a LoadCancelledError say.
            KeyboardInterrupt: Ctrl-C came, which happens where the main thread itself calls this.
        """
        if context.path is None:
            context = dataclasses.replace(context, path=self._files.path)
        module_name = f"servman_python_model_{next(_serials)}"
        try:
            module = self._run_file(module_name)
            servable = self._call_load(module, context)
        except BaseException as error:
            sys.modules.pop(module_name, None)
            raise self._failure(error) from error
        self._module = module
        return servable

    def unload(self, servable: object) -> None:
        """Call the file's `unload(servable)`, if it has one, and forget the module.

        Memory that the module's own globals hold returns when the interpreter next collects.

        Blocks: as long as the file's code does.

        Raises:
            ServmanError: The file's `unload` raised; the module is forgotten all the same.
            KeyboardInterrupt: As for `load`.
        """
        module, self._module = self._module, None
        if module is None:
            return
        try:
            if (destroy := getattr(module, "unload", None)) is not None:
                destroy(servable)
        except BaseException as error:
            raise self._failure(error) from error
        finally:
            sys.modules.pop(module.__name__, None)

    def _run_file(self, module_name: str) -> ModuleType:
        source = _SourceText(self._files)
        spec = importlib.util.spec_from_loader(module_name, source)
        assert spec is not None  # noqa: S101 -- for the type checker: there is a loader
        module = importlib.util.module_from_spec(spec)
        sys.modules[module_name] = module
        source.exec_module(module)
        return module

    def _call_load(self, module: ModuleType, context: LoadContext) -> object:
        servable = self._load_function(module)(context)
        if servable is None:
            raise InvalidArgumentError(
                f"{self._files.id}: load(context) in {module.__file__} returned None; it has to return"
                " the servable"
            )
        return servable

    def _load_function(self, module: ModuleType) -> Callable[[LoadContext], object]:
        function: Callable[[LoadContext], object] | None = getattr(module, "load", None)
        if not callable(function):
            problem = "has no function load" if function is None else f"has load = {function!r}"
            raise InvalidArgumentError(
                f"{self._files.id}: {module.__file__} {problem}; define load(context) there, returning"
                " the servable"
            )
        return function

    def _failure(self, error: BaseException) -> ServmanError:
        return failure_of(
            f"{self._files.id}: {self._files.join(SOURCE_FILE)}",
            error,
            remedy="correct the file, and the version is tried again",
        )


@final
class _SourceText(importlib.abc.ExecutionLoader):
    """Imports the file from its text: no byte code is written, and none that lies about is read.

    The text is kept, so that tracebacks show it when the directory has been renamed away.
    """

    def __init__(self, files: VersionDirectory) -> None:
        self._path = files.join(SOURCE_FILE)
        self._text = importlib.util.decode_source(_content(files, self._path))

    def get_filename(self, fullname: str) -> str:
        del fullname
        return self._path

    def get_source(self, fullname: str) -> str:
        del fullname
        return self._text


def _content(files: VersionDirectory, path: str) -> bytes:
    try:
        with open(path, "rb") as file:  # noqa: PTH123 -- paths are texts, as spelled by the source
            return file.read()
    except FileNotFoundError:
        if not os.path.isdir(files.path):  # noqa: PTH112 -- likewise
            raise files.unreadable(FileNotFoundError(2, "", files.path)) from None
        raise NotFoundError(
            f"{files.id}: no {SOURCE_FILE} in {files.path}; copy the whole version directory and rename"
            " it into place"
        ) from None
    except OSError as error:
        raise files.unreadable(error) from None
