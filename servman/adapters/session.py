"""SavedModels in memory: the one file that imports TensorFlow. Import it on a load thread only."""

from __future__ import annotations

import ctypes
import gc
import inspect
import os
import sys
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, final

import numpy as np

# Unless the host has decided, or used TensorFlow before: on x86 oneDNN's allocator would keep all
# that a model has ever taken, so that unloading gives nothing back. It is read at the first use.
os.environ.setdefault("TF_ONEDNN_USE_SYSTEM_ALLOCATOR", "1")

import tensorflow as tf
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import config_pb2

from servman.adapters.signatures import DEFAULT_SIGNATURE, Signature, TensorSpec
from servman.adapters.tensors import checked_inputs, chosen_outputs, chosen_signature
from servman.errors import (
    FailedPreconditionError,
    InternalError,
    InvalidArgumentError,
    NotFoundError,
    ResourceExhaustedError,
    ServmanError,
    UnimplementedError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from numpy.typing import ArrayLike

    from servman.ids import ServableId

    Run = Callable[..., list[Any]]

# Unloading collects garbage, and a collection looks at every object. TensorFlow has just added some
# hundred thousand that will live as long as the process; freezing takes them out of its way, which
# cuts the time for which it holds the interpreter from 200 ms to a few.
gc.collect()
gc.freeze()

_MAX_RUNS: Final = 64
"""How many combinations of signature and outputs keep their prepared run; clients choose them."""

_MAX_TEXT: Final = 400
"""How many characters of a text of TensorFlow's are passed on."""

_INIT_SIGNATURES: Final = frozenset({"__saved_model_init_op", "__saved_model_train_op"})
"""Entries among the signatures that are no signatures: operations that the loader runs itself."""

_ERRORS: Final[Mapping[int, type[ServmanError]]] = {
    tf.errors.INVALID_ARGUMENT: InvalidArgumentError,
    tf.errors.OUT_OF_RANGE: InvalidArgumentError,
    tf.errors.NOT_FOUND: NotFoundError,
    tf.errors.FAILED_PRECONDITION: FailedPreconditionError,
    tf.errors.RESOURCE_EXHAUSTED: ResourceExhaustedError,
    tf.errors.UNIMPLEMENTED: UnimplementedError,
}

_libc: Final = ctypes.CDLL(None) if sys.platform == "linux" else None

_load_into = inspect.unwrap(tf.compat.v1.saved_model.loader.load)
"""The loader beneath its deprecation notice, which would be logged once for each host."""


@final
class SavedModelServable:
    """A SavedModel in memory.

    Attributes:
        id: The version.
        signatures: How it can be called, by name.

    Threads: any number at once; no lock is taken on the way of a request. `close` is the loader's.
    """

    def __init__(self, id: ServableId, session: Any, signatures: Mapping[str, Signature]) -> None:
        self.id = id
        self.signatures = signatures
        self._live: _LiveSession | None = _LiveSession(session)

    @classmethod
    def load(cls, id: ServableId, path: str, tags: tuple[str, ...]) -> SavedModelServable:
        """Load the graph with these tags from the SavedModel in *path*.

        Blocks: until it is loaded.

        Raises:
            ServmanError: What TensorFlow raised, in one sentence with the id, the path and the remedy.
        """
        # Graphs exported on a machine with accelerators run on one without.
        config = tf.compat.v1.ConfigProto(allow_soft_placement=True)
        session = tf.compat.v1.Session(graph=tf.Graph(), config=config)
        try:
            graph = _load_into(session, list(tags), path)
            return cls(id, session, _signatures(graph.signature_def))
        except Exception as error:  # noqa: BLE001 -- TensorFlow raises whatever it likes
            failure = _load_failure(id, path, tags, error)
        # Only here, where the error no longer keeps the session alive through its frames.
        session.close()
        del session
        _return_memory()
        raise failure

    def predict(
        self,
        inputs: Mapping[str, ArrayLike] | ArrayLike,
        signature_name: str = DEFAULT_SIGNATURE,
        output_filter: Collection[str] | None = None,
    ) -> dict[str, np.ndarray[Any, Any]]:
        """Run the model once.

        An ndarray of another dtype or shape than the signature's is refused, never cast; lists and
        scalars take the signature's dtype, see `checked_inputs`.

        Blocks: until the model has answered; the interpreter lock is released meanwhile.

        Args:
            inputs: Values by the name of the input, or one value where there is one input.
            signature_name: Which signature to call.
            output_filter: Which outputs to compute; all of them when None or empty.

        Returns:
            An ndarray for each output; strings as bytes in an array of objects.

        Raises:
            FailedPreconditionError: There is no such signature, or the version was unloaded.
            InvalidArgumentError: Inputs or the filter do not fit the signature, or the model
                refused their values.
            UnimplementedError: An input or output is of a kind that no array can hold.
            ServmanError: The model failed otherwise.
        """
        live = self._live
        if live is None:
            raise self._unloaded()
        signature = chosen_signature(self.id, self.signatures, signature_name)
        where = f"{self.id}, signature {signature_name!r}"
        outputs = chosen_outputs(where, signature, output_filter)
        run = live.prepared(where, signature, outputs)
        arrays = checked_inputs(where, signature, inputs)
        try:
            values = run(*arrays)
        except Exception as error:  # noqa: BLE001 -- TensorFlow raises whatever it likes
            failure = self._unloaded() if self._live is None else _run_failure(where, error)
            raise failure from None
        return {name: _as_array(value) for name, value in zip(outputs, values, strict=True)}

    def close(self) -> None:
        """Close the session and return its memory to the operating system. Idempotent.

        Blocks: for a garbage collection: what TensorFlow makes is full of reference cycles, and
            without one the process would grow with every version.
        """
        live, self._live = self._live, None
        if live is None:
            return
        live.close()
        del live
        _return_memory()

    def _unloaded(self) -> FailedPreconditionError:
        return FailedPreconditionError(
            f"{self.id} was unloaded; get a handle, and use the servable only while it is open"
        )


@final
class _LiveSession:
    """A session and the runs prepared in it: what goes all at once when the servable is closed."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self._runs: dict[tuple[str, tuple[str, ...]], Run] = {}  # no lock: a run may be made twice

    def prepared(self, where: str, signature: Signature, outputs: tuple[str, ...]) -> Run:
        run = self._runs.get((where, outputs))
        if run is None:
            run = self._prepare(where, signature, outputs)
            if len(self._runs) < _MAX_RUNS:
                self._runs[where, outputs] = run
        return run

    def close(self) -> None:
        self._runs.clear()
        self._session.close()

    def _prepare(self, where: str, signature: Signature, outputs: tuple[str, ...]) -> Run:
        options = config_pb2.CallableOptions()
        options.feed.extend(_dense_names(where, signature.inputs))
        options.fetch.extend(
            _dense_names(where, {name: signature.outputs[name] for name in outputs})
        )
        try:
            # The public `make_callable` takes 170 us a call where this takes 25: with inputs it falls
            # back to `Session.run`, which parses names and feeds anew each time.
            run: Run = self._session._make_callable_from_options(options)  # noqa: SLF001 -- as said
        except Exception as error:  # noqa: BLE001 -- TensorFlow raises whatever it likes
            raise _run_failure(where, error) from None
        return run


def _dense_names(where: str, specs: Mapping[str, TensorSpec]) -> list[str]:
    for name, spec in specs.items():
        if not spec.name or spec.is_opaque:
            raise UnimplementedError(
                f"{where}: {name!r} is a sparse, composite or opaque tensor ({spec}); export a signature"
                " with dense ones"
            )
    return [spec.name for spec in specs.values()]


def _signatures(definitions: Any) -> Mapping[str, Signature]:
    return MappingProxyType(
        {
            name: Signature(
                inputs=_specs(definition.inputs),
                outputs=_specs(definition.outputs),
                method_name=definition.method_name,
            )
            for name, definition in sorted(definitions.items())
            if name not in _INIT_SIGNATURES
        }
    )


def _specs(infos: Any) -> Mapping[str, TensorSpec]:
    return MappingProxyType({name: _spec(info) for name, info in sorted(infos.items())})


def _spec(info: Any) -> TensorSpec:
    shape = None
    if info.HasField("tensor_shape") and not info.tensor_shape.unknown_rank:
        shape = tuple(None if axis.size < 0 else axis.size for axis in info.tensor_shape.dim)
    return TensorSpec(_dtype(info.dtype), shape, info.name)


def _dtype(number: int) -> np.dtype | None:
    """Return the type that TensorFlow gives this number, as `TensorSpec.dtype` has it."""
    try:
        dtype = tf.dtypes.as_dtype(number).base_dtype
        return None if dtype == tf.string else np.dtype(dtype.as_numpy_dtype)
    except (KeyError, TypeError):  # numpy has no such type; or TensorFlow, of composite tensors
        return np.dtype([(types_pb2.DataType.Name(number).removeprefix("DT_").lower(), object)])


def _as_array(value: Any) -> np.ndarray[Any, Any]:
    """Return what a run gave as an array: of scalars it gives numpy scalars, and bytes."""
    if isinstance(value, np.ndarray):
        return value
    return np.array(value, dtype=object if isinstance(value, bytes) else None)


def _load_failure(
    id: ServableId, path: str, tags: tuple[str, ...], error: Exception
) -> ServmanError:
    text = _brief(error)
    if isinstance(error, tf.errors.ResourceExhaustedError | tf.errors.UnimplementedError):
        return _ERRORS[error.error_code](f"{id}: TensorFlow cannot load {path}: {text}")
    if "MetaGraphDef associated with tags" in text:
        return FailedPreconditionError(
            f"{id}: the SavedModel in {path} has no graph with the tags {list(tags)}: {text}; export one,"
            " or make the adapter with the tags that there are"
        )
    return FailedPreconditionError(
        f"{id}: TensorFlow cannot load the SavedModel in {path}: {text}; copy the whole version"
        " directory again and rename it into place, or export it with the TensorFlow installed here"
    )


def _run_failure(where: str, error: Exception) -> ServmanError:
    if isinstance(error, tf.errors.OpError):
        kind = _ERRORS.get(error.error_code, InternalError)
        return kind(f"{where}: the model failed: {_brief(error)}")
    return InternalError(f"{where}: the model failed: {type(error).__name__}: {_brief(error)}")


def _brief(error: Exception) -> str:
    """Return the sentence that says what is wrong; TensorFlow may put pages of frames before it."""
    text = getattr(error, "message", None) or str(error)
    lines = [line.strip() for line in text.partition("\n\t [[")[0].splitlines() if line.strip()]
    return lines[-1][:_MAX_TEXT] if lines else type(error).__name__


def _return_memory() -> None:
    gc.collect()
    # Without it glibc keeps what was freed, since smaller blocks above it are still in use.
    trim = getattr(_libc, "malloc_trim", None)
    if trim is not None:
        trim(0)
