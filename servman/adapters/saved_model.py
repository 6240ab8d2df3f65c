"""The platform "tensorflow": a version is a SavedModel, loaded into a session of its own."""

from __future__ import annotations

import importlib.util
import os
from typing import TYPE_CHECKING, Final, cast, final

from servman.adapters.base import SourceAdapter, failure_of
from servman.adapters.directory import VersionDirectory
from servman.data import ServableData
from servman.errors import (
    InvalidArgumentError,
    LoadCancelledError,
    NotFoundError,
    UnimplementedError,
)
from servman.loader import Loader
from servman.resources import MAIN_MEMORY, ResourceAllocation

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

    from servman.adapters.session import SavedModelServable
    from servman.ids import ServableId
    from servman.loader import LoadContext

SERVING_TAG: Final = "serve"
"""The tag of the graph that is exported for serving."""

_REMEDY = "pip install 'servman[tensorflow]'"


@final
class SavedModelAdapter(SourceAdapter[str, Loader]):
    """Makes a loader for each version directory that holds a SavedModel.

    Making one is quick: TensorFlow is looked for, but imported by the first load, on its thread.

    Args:
        tags: Which of the graphs in a SavedModel to load.

    Threads: any; one at a time for one stream.

    Raises:
        UnimplementedError: TensorFlow is not installed.
        InvalidArgumentError: *tags* is no collection of texts.
    """

    def __init__(self, tags: Iterable[str] = (SERVING_TAG,)) -> None:
        super().__init__()
        if isinstance(tags, str):
            raise InvalidArgumentError(f"tags is a collection of texts; pass [{tags!r}]")
        if importlib.util.find_spec("tensorflow") is None:
            raise UnimplementedError(f"TensorFlow is not installed here: {_REMEDY}")
        self._tags = tuple(tags)

    def convert(self, data: ServableData[str]) -> ServableData[Loader]:
        """Return the entry with a `SavedModelLoader` for its path."""
        loader = SavedModelLoader(data.id, data.payload, self._tags)
        return ServableData(data.id, loader, data.origin)


@final
class SavedModelLoader:
    """Loads one SavedModel into a `tf.compat.v1.Session`, which is what TensorFlow Serving does.

    `tf.saved_model.load` would keep the interpreter lock while it loads and stall every request, and
    some older SavedModels no longer load with it.

    Threads: one at a time, as a manager calls it.
    """

    def __init__(self, id: ServableId, path: str, tags: tuple[str, ...] = (SERVING_TAG,)) -> None:
        self._files = VersionDirectory(id, path)
        self._tags = tags

    def estimate_resources(self) -> ResourceAllocation:
        """Return 1.2 times the bytes on disk as main memory, as TensorFlow Serving does.

        Blocks: for the file system.

        Raises:
            ServmanError: The directory cannot be read.
        """
        return ResourceAllocation({MAIN_MEMORY: self._files.size() * 6 // 5})

    def revision(self) -> Hashable:
        """Return a hash of the names, sizes and times of the files. Blocks: for the file system."""
        return self._files.revision()

    def load(self, context: LoadContext) -> object:
        """Load the SavedModel and return a `SavedModelServable`.

        Blocks: until it is loaded; the first load of the process imports TensorFlow, for seconds.

        Raises:
            NotFoundError: There is no SavedModel in the directory.
            FailedPreconditionError: It is damaged, incomplete, or has no graph with the tags.
            UnimplementedError: TensorFlow cannot be imported.
            LoadCancelledError: The version was given up before the load began.
            ServmanError: TensorFlow refused the model for another reason.
        """
        self._require_saved_model()
        servable_type = self._servable_type()
        if context.cancelled.is_set():
            raise LoadCancelledError(f"{self._files.id}: given up before its load began")
        return servable_type.load(self._files.id, self._files.path, self._tags)

    def unload(self, servable: object) -> None:
        """Close the session of *servable* and give its memory back to the operating system.

        Blocks: for a garbage collection, since what TensorFlow makes is full of reference cycles.
        """
        cast("SavedModelServable", servable).close()

    def _require_saved_model(self) -> None:
        if any(
            os.path.isfile(self._files.join(name))  # noqa: PTH113 -- spelled as the source spelled it
            for name in ("saved_model.pb", "saved_model.pbtxt")
        ):
            return
        self._files.size()  # a directory that is missing, or cannot be read, says so itself
        raise NotFoundError(
            f"{self._files.id}: no saved_model.pb in {self._files.path}; copy the whole version"
            " directory and rename it into place"
        )

    def _servable_type(self) -> type[SavedModelServable]:
        try:
            # Here, on the load pool: the import takes seconds, and most hosts of servman never need it.
            from servman.adapters.session import SavedModelServable  # noqa: PLC0415 -- as said
        except Exception as error:
            failure = failure_of("importing TensorFlow", error)
            raise UnimplementedError(f"{self._files.id}: {failure}; {_REMEDY}") from error
        return SavedModelServable
