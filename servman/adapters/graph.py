"""From the files of a SavedModel to a session, in steps between which a load can be given up.

The first file of servman that imports TensorFlow, so import it on a load thread only.
"""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from typing import TYPE_CHECKING, Any, Final

# Unless the host has decided, or used TensorFlow before: on x86 oneDNN's allocator would keep all
# that a model has ever taken, so that unloading gives nothing back. It is read at the first use.
os.environ.setdefault("TF_ONEDNN_USE_SYSTEM_ALLOCATOR", "1")

import tensorflow as tf
from tensorflow.core.protobuf import config_pb2

# What `tf.compat.v1.saved_model.loader.load` is made of. It does everything in one go, with nowhere to
# give up, and parses the file twice.
from tensorflow.python.saved_model import loader_impl

from servman.adapters.bundle import INDEX_FILE, not_whole
from servman.adapters.definitions import is_small, metadata_of, signatures_of
from servman.adapters.failures import load_failure
from servman.errors import FailedPreconditionError, InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from servman.adapters.directory import VersionDirectory
    from servman.adapters.session_options import SessionOptions
    from servman.adapters.signatures import SavedModelMetadata, Signature

# Unloading collects garbage, and a collection looks at every object. TensorFlow has just added some
# hundred thousand that will live as long as the process; freezing takes them out of its way, which
# cuts the time for which it holds the interpreter from 200 ms to a few.
gc.collect()
gc.freeze()

_CALLERS_THREAD: Final = -1
"""What TensorFlow takes for the number of a pool that is none."""

_libc: Final = ctypes.CDLL(None) if sys.platform == "linux" else None


def open_session(
    files: VersionDirectory, options: SessionOptions, proceed: Callable[[], None]
) -> tuple[Any, Mapping[str, Signature], SavedModelMetadata, config_pb2.RunOptions]:
    """Load what lies in *files*; return its `tf.compat.v1.Session`, its signatures, its metadata, and how to run it.

    Blocks: until it is loaded.

    Args:
        files: The version.
        options: Which graph to load, and how it is to run.
        proceed: Called between the steps; what it raises ends the load.

    Raises:
        ServmanError: What TensorFlow or *proceed* raised, in one sentence with the id, the path and the
            remedy. Nothing is left in memory.
    """
    session = tf.compat.v1.Session(graph=tf.Graph(), config=session_config(options))
    try:
        return session, *_filled(session, files, options, proceed)
    except Exception as error:  # noqa: BLE001 -- TensorFlow raises whatever it likes
        failure = load_failure(files.id, files.path, error)
    # Only here, where the error no longer keeps the session alive through its frames.
    close_session(session)
    del session
    return_memory()
    raise failure


def session_config(options: SessionOptions) -> Any:
    """Return the `ConfigProto` that *options* ask for."""
    return tf.compat.v1.ConfigProto(
        # Graphs exported on a machine with accelerators run on one without.
        allow_soft_placement=True,
        intra_op_parallelism_threads=options.intra_op_parallelism_threads,
        inter_op_parallelism_threads=options.inter_op_parallelism_threads,
        gpu_options=tf.compat.v1.GPUOptions(
            per_process_gpu_memory_fraction=options.per_process_gpu_memory_fraction
        ),
    )


def close_session(session: Any) -> None:
    """Close *session*; its memory returns when its cycles are collected, see `return_memory`."""
    session.close()


def return_memory() -> None:
    """Collect garbage, and give free memory back to the operating system."""
    gc.collect()
    # Without it glibc keeps what was freed, since smaller blocks above it are still in use.
    trim = getattr(_libc, "malloc_trim", None)
    if trim is not None:
        trim(0)


def _filled(
    session: Any, files: VersionDirectory, options: SessionOptions, proceed: Callable[[], None]
) -> tuple[Mapping[str, Signature], SavedModelMetadata, config_pb2.RunOptions]:
    loader = loader_impl.SavedModelLoader(files.path)
    definition = _tagged(files, loader.saved_model.meta_graphs, options.tags)
    if faults := list(_missing_parts(files, definition)):
        raise not_whole(files, faults)
    _check_device(files, options.device)
    told = (
        signatures_of(definition),
        metadata_of(files.id, files.path, definition),
        _run_options(definition, options),
    )
    proceed()
    with session.graph.as_default(), session.graph.device(options.device or None):
        saver, _ = loader.load_graph(session.graph, options.tags)
    proceed()
    loader.restore_variables(session, saver)
    proceed()
    loader.run_init_ops(session, options.tags)
    proceed()
    return told


def _run_options(definition: Any, options: SessionOptions) -> config_pb2.RunOptions:
    """Return how runs go: of a small graph on the caller's thread, unless threads were asked for.

    To hand it to a thread of TensorFlow's costs several times as much as the run itself, and TensorFlow's threads
    look for more to do afterwards, which takes the processor from others. The runs of a graph that computes
    longer may well use several threads at once.
    """
    inline = is_small(definition.graph_def) and not options.inter_op_parallelism_threads
    return config_pb2.RunOptions(inter_op_thread_pool=_CALLERS_THREAD if inline else 0)


def _tagged(files: VersionDirectory, graphs: Any, tags: tuple[str, ...]) -> Any:
    """Return the graph that has exactly these tags."""
    for graph in graphs:
        if set(graph.meta_info_def.tags) == set(tags):
            return graph
    if not graphs:
        raise not_whole(files, ["its saved_model.pb holds no graph"])
    known = ", ".join(str(sorted(graph.meta_info_def.tags)) for graph in graphs)
    raise FailedPreconditionError(
        f"{files.id}: the SavedModel in {files.path} has no graph with the tags {sorted(tags)}, it has"
        f" those with: {known}; export one, or make a SavedModelAdapter(tags) with tags that there are"
    )


def _missing_parts(files: VersionDirectory, definition: Any) -> Iterator[str]:
    """Yield the files that the graph names and that are not there."""
    saver = definition.saver_def
    has_variables = definition.HasField("saver_def") and saver.version != saver.LEGACY
    if has_variables and not os.path.exists(files.join(INDEX_FILE)):  # noqa: PTH110 -- paths are texts
        yield f"{INDEX_FILE} is missing"
    for asset in loader_impl.get_asset_tensors(files.path, definition).values():
        path = os.fsdecode(asset)
        if not os.path.exists(path):  # noqa: PTH110 -- likewise
            yield f"{os.path.relpath(path, files.path)} is missing"


def _check_device(files: VersionDirectory, name: str) -> None:
    try:
        tf.DeviceSpec.from_string(name)
    except ValueError:
        raise InvalidArgumentError(
            f"{files.id}: {name!r} is no name of a device; write device='/gpu:0', say"
        ) from None
