"""The signatures of a servable, as the messages that TensorFlow has for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from servman.adapters.signatures import SavedModelMetadata
from servman.adapters.tensor_proto import type_number, write_array
from servman.protos import message_class
from servman.server.inference import signatures_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from servman.adapters.signatures import Signature, TensorSpec
    from servman.ids import ServableId

_SignatureDefMap = message_class("tensorflow.serving.SignatureDefMap")


def write_signatures(id: ServableId, servable: Any, any_message: Any) -> None:
    """Pack the signatures of *servable* into the `google.protobuf.Any` *any_message*.

    Those of a SavedModel are told as they were exported.

    Raises:
        UnimplementedError: It declares none.
    """
    found = _SignatureDefMap()
    metadata: object = getattr(servable, "metadata", None)
    if isinstance(metadata, SavedModelMetadata):
        for name, definition in metadata.signature_defs.items():
            found.signature_def[name].MergeFromString(definition)
    else:
        for name, signature in signatures_of(id, servable).items():
            _write_signature(signature, found.signature_def[name])
    any_message.Pack(found)


def _write_signature(signature: Signature, definition: Any) -> None:
    definition.method_name = signature.method_name
    _write_specs(signature.inputs, definition.inputs)
    _write_specs(signature.outputs, definition.outputs)
    for name, array in signature.defaults.items():
        write_array(name, array, definition.defaults[name])


def _write_specs(specs: Mapping[str, TensorSpec], infos: Any) -> None:
    for name, spec in specs.items():
        info = infos[name]
        info.name = spec.name or name
        info.dtype = type_number(spec.dtype)
        shape = info.tensor_shape
        shape.SetInParent()
        shape.unknown_rank = spec.shape is None
        for size in spec.shape or ():
            shape.dim.add(size=-1 if size is None else size)
