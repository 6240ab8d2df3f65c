"""Modules of one load of a Python model: they find each other by file name, and nobody else does."""

from __future__ import annotations

import builtins
import importlib.machinery
import importlib.util
import itertools
import linecache
import os
import sys
from typing import TYPE_CHECKING, Any, Final, final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import CodeType, ModuleType

PREFIX: Final = "servman_python_model_"
"""How the name of every namespace in `sys.modules` begins; a number follows."""

_serials = itertools.count(1)

# Written and read by one atomic operation each, as importing threads must not wait for each other.
_open: Final[dict[str, ModuleNamespace]] = {}


@final
class ModuleNamespace:
    """A private package that holds what the files of one directory define.

    1. `import helper`, in a file of the directory, finds `helper.py` or the folder `helper` there before
       anything that is installed, in functions that are called later and on other threads, too. A folder
       counts when Python files lie directly in it. All other imports are as everywhere.
    2. Two namespaces share no module, whatever the files are called and whoever loads at the same time.
    3. Files are read anew; no byte code is written or read, and the directory is left as it was.
    4. Its modules are in `sys.modules`, under names of their own, from `import_file` to `close`.

    It works through the `__import__` that the code of its modules sees, and a finder on `sys.meta_path`,
    which the first namespace puts there and which answers for its own names only.

    Blocks: for the file system.

    Threads: one at a time; the code of its modules on any.
    """

    def __init__(self, directory: str) -> None:
        self.name = f"{PREFIX}{next(_serials)}"
        self._directory = directory
        self._own = frozenset(_module_names(directory))
        self._files: set[str] = set()
        self._builtins: Mapping[str, object] = {**vars(builtins), "__import__": self._import}

    def import_file(self, name: str) -> ModuleType:
        """Run *name*.py and return it as a module. Raises what its code raises."""
        spec = importlib.machinery.ModuleSpec(self.name, None, is_package=True)
        spec.submodule_search_locations = [self._directory]
        sys.modules[self.name] = importlib.util.module_from_spec(spec)
        _open[self.name] = self
        if _finder not in sys.meta_path:
            # In front: the finder of files would take the modules for its own, and write byte code.
            sys.meta_path.insert(0, _finder)
        return importlib.import_module(f"{self.name}.{name}")

    def close(self) -> None:
        """Forget the modules. Their code runs on, but finds nothing beside it any more."""
        _open.pop(self.name, None)
        # Of those that are newer than the package: there may be many thousands, and all others wait meanwhile.
        newest = reversed(list(sys.modules))
        newer = itertools.takewhile(lambda name: name != self.name, newest)
        for name in [self.name, *newer]:
            if name.partition(".")[0] == self.name:
                sys.modules.pop(name, None)
        for path in self._files:
            linecache.cache.pop(path, None)

    def place_of(self, error: BaseException) -> tuple[str, int | None] | None:
        """Return which file of the directory raised *error*, and in which line; None: none did."""
        if isinstance(error, SyntaxError) and self._holds(error.filename):
            return str(error.filename), error.lineno
        place = None
        frames = error.__traceback__
        while frames is not None:
            path = frames.tb_frame.f_code.co_filename
            if self._holds(path):
                place = path, frames.tb_lineno
            frames = frames.tb_next
        return place

    def find(self, fullname: str) -> importlib.machinery.ModuleSpec:
        """Return where the module *fullname* of this namespace is.

        Raises:
            ModuleNotFoundError: It is nowhere. To say so ends the search: other finders would look
                into the directory as well, and remember what they saw there.
        """
        _, *parts = fullname.split(".")
        path = os.path.join(self._directory, *parts)  # noqa: PTH118 -- spelled as the source spelled it
        package = os.path.join(path, "__init__.py")  # noqa: PTH118 -- likewise
        if os.path.isfile(package):  # noqa: PTH113 -- likewise
            return self._spec(fullname, package, path)
        if os.path.isfile(f"{path}.py"):  # noqa: PTH113 -- likewise
            return self._spec(fullname, f"{path}.py")
        if _holds_modules(path):
            spec = importlib.machinery.ModuleSpec(fullname, None, is_package=True)
            spec.submodule_search_locations = [path]
            return spec
        missing = ".".join(parts)
        raise ModuleNotFoundError(f"No module named {missing!r}", name=fullname, path=path)

    def _spec(
        self, fullname: str, path: str, folder: str | None = None
    ) -> importlib.machinery.ModuleSpec:
        self._files.add(path)
        loader = _SourceLoader(fullname, path, self._builtins)
        spec = importlib.machinery.ModuleSpec(fullname, loader, origin=path)
        spec.has_location = True
        if folder is not None:
            spec.submodule_search_locations = [folder]
        return spec

    def _holds(self, path: object) -> bool:
        return isinstance(path, str) and path.startswith(
            os.path.join(self._directory, "")  # noqa: PTH118 -- likewise
        )

    def _import(
        self,
        name: str,
        globals: Mapping[str, object] | None = None,
        locals: Mapping[str, object] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> Any:
        """Stand for `__import__` in the code of these modules; relative imports need no help."""
        top = name.partition(".")[0]
        if level or top not in self._own:
            return builtins.__import__(name, globals, locals, fromlist, level)
        module = builtins.__import__(f"{self.name}.{name}", globals, locals, fromlist, 0)
        return module if fromlist else sys.modules[f"{self.name}.{top}"]


@final
class _SourceLoader(importlib.machinery.SourceFileLoader):
    """Runs one file from its text, which is kept: tracebacks show it when the file has been moved."""

    def __init__(self, fullname: str, path: str, builtins: Mapping[str, object]) -> None:
        super().__init__(fullname, path)
        self._builtins = builtins
        self._content = super().get_data(path)

    def get_data(self, path: str) -> bytes:
        return self._content if path == self.path else super().get_data(path)

    def get_code(self, fullname: str) -> CodeType:
        """Compile the text: no byte code is read or written."""
        del fullname
        # From the bytes: what cannot be decoded is then an error that names the file.
        return self.source_to_code(self._content, self.path)

    def exec_module(self, module: ModuleType) -> None:
        linecache.cache.pop(self.path, None)  # the lines that an attempt before has shown
        module.__dict__["__builtins__"] = self._builtins
        super().exec_module(module)


@final
class _Finder:
    """Asks the namespace that a name belongs to."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        del path, target
        namespace = _open.get(fullname.partition(".")[0])
        return None if namespace is None else namespace.find(fullname)


_finder: Final = _Finder()


def _module_names(directory: str) -> list[str]:
    with os.scandir(directory) as entries:
        return [
            entry.name.removesuffix(".py")
            for entry in entries
            if entry.name.endswith(".py") or _holds_modules(entry.path)
        ]


def _holds_modules(path: str) -> bool:
    try:
        with os.scandir(path) as entries:
            return any(entry.name.endswith(".py") for entry in entries)
    except OSError:  # it is no folder, or a closed one
        return False
