"""The platform "tensorflow": a version is a SavedModel, loaded into a session of its own."""

from __future__ import annotations

import importlib.util
import os
from typing import TYPE_CHECKING, Final, cast, final

from servman.adapters.base import SourceAdapter, failure_of
from servman.adapters.bundle import bundle_faults, not_whole
from servman.adapters.directory import VersionDirectory
from servman.adapters.session_options import SERVING_TAG, SessionOptions
from servman.adapters.warm_up import WarmUp, warm_up
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

_SAVED_MODEL_FILES: Final = ("saved_model.pb", "saved_model.pbtxt")
_DEFAULT_OPTIONS: Final = SessionOptions()
_DEFAULT_WARM_UP: Final = WarmUp()
_REMEDY: Final = "pip install 'servman[tensorflow]'"


@final
class SavedModelAdapter(SourceAdapter[str, Loader]):
    """Makes a loader for each version directory that holds a SavedModel.

    Making one is quick: TensorFlow is looked for, but imported by the first load, on its thread.

    A platform of one's own loads with other options than the defaults:
    `register_platform("tpu", functools.partial(SavedModelAdapter, ("serve", "tpu")))`.

    Args:
        tags: Which of the graphs in a SavedModel to load: the one with exactly these tags. Default:
            "serve".
        intra_op_parallelism_threads: How many threads one operation may use. Like the next two options,
            TensorFlow takes it from the first session of the process. Default 0: TensorFlow decides.
        inter_op_parallelism_threads: How many operations may run at once. Default 0: TensorFlow decides; but
            a graph that is so small that another thread does not pay runs on its caller's.
        per_process_gpu_memory_fraction: The share of each GPU's memory that the process may take. Default
            0: all of it, as TensorFlow does.
        device: Where operations go for which the graph names no device, such as "/gpu:1". A device that is
            not there is no fault: TensorFlow then chooses. Default: TensorFlow chooses.
        warm_up: How a version that brings requests for it is warmed up before it is available. None: not
            at all. Default: each request once, one at a time.

    Threads: any; one at a time for one stream.

    Raises:
        UnimplementedError: TensorFlow is not installed.
        InvalidArgumentError: An option is of the wrong type, or out of its range.
    """

    def __init__(
        self,
        tags: Iterable[str] = (SERVING_TAG,),
        *,
        intra_op_parallelism_threads: int = 0,
        inter_op_parallelism_threads: int = 0,
        per_process_gpu_memory_fraction: float = 0.0,
        device: str = "",
        warm_up: WarmUp | None = _DEFAULT_WARM_UP,
    ) -> None:
        super().__init__()
        self._options = SessionOptions(
            tags=cast(
                "tuple[str, ...]", tags
            ),  # any collection; it is checked, and kept as a tuple
            intra_op_parallelism_threads=intra_op_parallelism_threads,
            inter_op_parallelism_threads=inter_op_parallelism_threads,
            per_process_gpu_memory_fraction=per_process_gpu_memory_fraction,
            device=device,
        )
        if warm_up is not None and not isinstance(warm_up, WarmUp):
            raise InvalidArgumentError(f"warm_up is a WarmUp or None, not {warm_up!r}")
        self._warm_up = warm_up
        if importlib.util.find_spec("tensorflow") is None:
            raise UnimplementedError(f"TensorFlow is not installed here: {_REMEDY}")

    def convert(self, data: ServableData[str]) -> ServableData[Loader]:
        """Return the entry with a `SavedModelLoader` for its path."""
        loader = SavedModelLoader(data.id, data.payload, self._options, self._warm_up)
        return ServableData(data.id, loader, data.origin)


@final
class SavedModelLoader:
    """Loads one SavedModel into a `tf.compat.v1.Session`, which is what TensorFlow Serving does.

    `tf.saved_model.load` would keep the interpreter lock while it loads and stall every request, and
    some older SavedModels no longer load with it.

    Threads: one at a time, as a manager calls it.
    """

    def __init__(
        self,
        id: ServableId,
        path: str,
        options: SessionOptions = _DEFAULT_OPTIONS,
        warm_up: WarmUp | None = _DEFAULT_WARM_UP,
    ) -> None:
        self._files = VersionDirectory(id, path)
        self._options = options
        self._warm_up = warm_up

    def estimate_resources(self) -> ResourceAllocation:
        """Return 1.2 times the bytes on disk as main memory, as TensorFlow Serving does.

        They are counted anew each time, for a version that failed may be repaired.

        Blocks: for the file system.

        Raises:
            ServmanError: The directory cannot be read.
        """
        return ResourceAllocation({MAIN_MEMORY: self._files.size() * 6 // 5})

    def revision(self) -> Hashable:
        """Return a hash of the names, sizes and times of the files. Blocks: for the file system."""
        return self._files.revision()

    def load(self, context: LoadContext) -> object:
        """Load the SavedModel, warm it up, and return a `SavedModelServable`.

        It can be given up between its steps: reading the graph, building it, restoring the variables,
        and running what initialises tables.

        Blocks: until it is loaded; the first load of the process imports TensorFlow, for seconds.

        Raises:
            NotFoundError: There is no SavedModel in the directory.
            FailedPreconditionError: It is damaged, files that it names are missing or cut off, or it has no
                graph with the tags.
            UnimplementedError: TensorFlow cannot be imported.
            LoadCancelledError: The version was given up before it was loaded and warmed up.
            ServmanError: TensorFlow refused the model for another reason.
        """
        self._require_whole()
        servable_type = self._servable_type()

        def proceed() -> None:
            if context.cancelled.is_set():
                raise LoadCancelledError(f"{self._files.id}: given up before it was loaded")

        proceed()
        servable = servable_type.load(self._files, self._options, proceed)
        self._warm(servable, context)
        return servable

    def unload(self, servable: object) -> None:
        """Close the session of *servable* and give its memory back to the operating system.

        Blocks: for a garbage collection, since what TensorFlow makes is full of reference cycles.
        """
        cast("SavedModelServable", servable).close()

    def _warm(self, servable: SavedModelServable, context: LoadContext) -> None:
        if self._warm_up is None:
            return
        try:
            warm_up(self._files, servable, self._warm_up, context.cancelled)
        except BaseException:
            servable.close()
            raise

    def _require_whole(self) -> None:
        """Find what a torn copy lacks, as far as that can be told without TensorFlow."""
        try:
            self._require_saved_model()
            faults = list(bundle_faults(self._files))
        except OSError as error:
            raise self._files.unreadable(error) from None
        if faults:
            raise not_whole(self._files, faults)

    def _require_saved_model(self) -> None:
        for name in _SAVED_MODEL_FILES:
            try:
                size = os.stat(self._files.join(name)).st_size  # noqa: PTH116 -- spelled as the source spelled it
            except FileNotFoundError:
                continue
            if not size:
                raise not_whole(self._files, [f"{name} is empty"])
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
