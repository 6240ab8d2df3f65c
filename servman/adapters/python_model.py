"""The platform "python": a version is a directory whose `servable.py` loads the servable."""

from __future__ import annotations

import dataclasses
import os
import threading
from typing import TYPE_CHECKING, Final, final

from servman.adapters.base import SourceAdapter, failure_of
from servman.adapters.declaration import check_declaration
from servman.adapters.directory import VersionDirectory
from servman.adapters.namespace import ModuleNamespace
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

    1. Every load runs the file anew, in a `ModuleNamespace` of its own: no two versions, and no two
       attempts, share a module or see each other's. `import helper` there finds `helper.py`, or the
       folder `helper` with Python files in it, beside `servable.py`, and before what is installed.
    2. Its modules can be found in `sys.modules` while its servable is loaded, which dataclasses,
       typing and pickle rely on; afterwards, and after a failed load, nothing is left there.
    3. Nothing is written into the directory, and no byte code is read. Other files in it are data,
       found by `context.path`; extension modules beside it are not imported.
    4. The servable may be any object but None. One that has `predict(inputs,
       signature_name="serving_default", output_filter=None)` and declares `signatures`, a mapping of
       names to `Signature`, can be served wherever a SavedModel can.

    It estimates nothing: what the code will need cannot be told from its files.

    Threads: one at a time, as a manager calls it; a load that was given up may still run beside.
    """

    def __init__(self, id: ServableId, path: str) -> None:
        self._files = VersionDirectory(id, path)
        self._source = self._files.join(SOURCE_FILE)
        self._lock = threading.Lock()  # guards `_loaded`
        self._loaded: list[_Loaded] = []

    def __reduce__(self) -> tuple[type[PythonModelLoader], tuple[ServableId, str]]:
        """Let a copy be made in another process, where nothing is loaded yet."""
        return PythonModelLoader, (self._files.id, self._files.path)

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
            InvalidArgumentError: It has no function `load`, `load` returned None, or the servable
                declares signatures that are none.
            LoadFailedError: The code does not compile, or raised something; file and line are named.
            ServmanError: The code raised one itself, a LoadCancelledError say.
            KeyboardInterrupt: Ctrl-C came, which happens where the main thread itself calls this.
        """
        if context.path is None:
            context = dataclasses.replace(context, path=self._files.path)
        _require_source(self._files)
        namespace = ModuleNamespace(self._files.path)
        try:
            module = namespace.import_file(SOURCE_FILE.removesuffix(".py"))
            servable = self._call_load(module, context)
        except BaseException as error:
            namespace.close()
            raise self._failure(namespace, error) from error
        with self._lock:
            self._loaded.append(_Loaded(servable, module, namespace))
        return servable

    def unload(self, servable: object) -> None:
        """Call the file's `unload(servable)`, if it has one, and forget the modules.

        Memory that the modules' own globals hold returns when the interpreter next collects.

        Blocks: as long as the file's code does.

        Raises:
            ServmanError: The file's `unload` raised; the modules are forgotten all the same.
            KeyboardInterrupt: As for `load`.
        """
        loaded = self._taken_out(servable)
        if loaded is None:
            return
        try:
            _destroy(loaded.module, servable)
        except BaseException as error:
            raise self._failure(loaded.namespace, error) from error
        finally:
            loaded.namespace.close()

    def _taken_out(self, servable: object) -> _Loaded | None:
        with self._lock:
            for index, loaded in enumerate(self._loaded):
                if loaded.servable is servable:
                    return self._loaded.pop(index)
        return None

    def _call_load(self, module: ModuleType, context: LoadContext) -> object:
        servable = self._load_function(module)(context)
        if servable is None:
            raise InvalidArgumentError(
                f"{self._files.id}: load(context) in {self._source} returned None; it has to return"
                " the servable"
            )
        try:
            check_declaration(f"{self._files.id}: what load(context) in {self._source}", servable)
        except BaseException:
            _destroy(module, servable)
            raise
        return servable

    def _load_function(self, module: ModuleType) -> Callable[[LoadContext], object]:
        function: Callable[[LoadContext], object] | None = getattr(module, "load", None)
        if not callable(function):
            problem = "has no function load" if function is None else f"has load = {function!r}"
            raise InvalidArgumentError(
                f"{self._files.id}: {self._source} {problem}; define load(context) there, returning"
                " the servable"
            )
        return function

    def _failure(self, namespace: ModuleNamespace, error: BaseException) -> ServmanError:
        path, line = namespace.place_of(error) or (self._source, None)
        return failure_of(
            f"{self._files.id}: {path}" + (f", line {line}," if line else ""),
            error,
            remedy="correct the file, and the version is tried again",
        )


@dataclasses.dataclass(frozen=True, slots=True)
class _Loaded:
    """A servable, and the code that made it and takes it apart."""

    servable: object
    module: ModuleType
    namespace: ModuleNamespace


def _destroy(module: ModuleType, servable: object) -> None:
    destroy: Callable[[object], object] | None = getattr(module, "unload", None)
    if destroy is not None:
        destroy(servable)


def _require_source(files: VersionDirectory) -> None:
    path = files.join(SOURCE_FILE)
    try:
        with open(path, "rb"):  # noqa: PTH123 -- paths are texts, as spelled by the source
            return
    except FileNotFoundError:
        if not os.path.isdir(files.path):  # noqa: PTH112 -- likewise
            raise files.unreadable(FileNotFoundError(2, "", files.path)) from None
        raise NotFoundError(
            f"{files.id}: no {SOURCE_FILE} in {files.path}; copy the whole version directory and rename"
            " it into place"
        ) from None
    except OSError as error:
        raise files.unreadable(error) from None
