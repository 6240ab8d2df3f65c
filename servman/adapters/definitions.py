"""What a SavedModel defines, in servman's words. Imports TensorFlow: on a load thread only."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import types_pb2

from servman.adapters.signatures import SavedModelMetadata, Signature, TensorSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from servman.ids import ServableId

_INIT_SIGNATURES: Final = frozenset({"__saved_model_init_op", "__saved_model_train_op"})
"""Entries among the signatures that are no signatures: operations that the loader runs itself."""

_FEW: Final = 256
"""Operations of a small graph; the least that TensorFlow exports has some forty."""

_CALLS: Final = frozenset({"PartitionedCall", "StatefulPartitionedCall"})
_LOOPS: Final = frozenset({"Enter", "RefEnter"})


def is_small(graph: Any) -> bool:
    """Return whether a run of a `tensorflow.GraphDef` is so short that another thread for it does not pay.

    So it is with some hundred operations, what saves and restores included, and without loops and branches.
    """
    bodies = [graph.node, *(function.node_def for function in graph.library.function)]
    if sum(map(len, bodies)) > _FEW:
        return False
    return not any(_repeats(node) for nodes in bodies for node in nodes)


def _repeats(node: Any) -> bool:
    """Return whether *node* is part of a loop of TensorFlow 1, or runs functions otherwise than once each."""
    if node.op in _CALLS:
        return False
    takes_function = any(one.HasField("func") or one.list.func for one in node.attr.values())
    return takes_function or node.op in _LOOPS


def signatures_of(graph: Any) -> Mapping[str, Signature]:
    """Return the signatures of a `MetaGraphDef`, by name."""
    return MappingProxyType(
        {
            name: _signature(definition)
            for name, definition in sorted(graph.signature_def.items())
            if name not in _INIT_SIGNATURES
        }
    )


def metadata_of(id: ServableId, path: str, graph: Any) -> SavedModelMetadata:
    """Return what the `MetaGraphDef` of a version tells of itself."""
    definitions = {
        name: definition.SerializeToString()
        for name, definition in sorted(graph.signature_def.items())
    }
    return SavedModelMetadata(
        id=id,
        path=path,
        tags=tuple(graph.meta_info_def.tags),
        tensorflow_version=graph.meta_info_def.tensorflow_version,
        signature_defs=MappingProxyType(definitions),
    )


def _signature(definition: Any) -> Signature:
    defaults = {
        name: tf.make_ndarray(value)
        for name, value in definition.defaults.items()
        if name in definition.inputs
    }
    return Signature(
        inputs=_specs(definition.inputs),
        outputs=_specs(definition.outputs),
        method_name=definition.method_name,
        defaults=MappingProxyType(defaults),
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
