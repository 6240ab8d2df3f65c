"""Reflection: lets tools such as grpcurl find out which services there are, and what they take."""

from __future__ import annotations

import importlib.resources
from typing import TYPE_CHECKING, Any, Final

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection, reflection_pb2

from servman.protos import DESCRIPTORS
from servman.server.methods import Method

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from servman.server.calls import Call

SERVICE: Final[str] = reflection.SERVICE_NAME


def reflection_method(services: Iterable[str]) -> Method:
    """Return the method that tells of *services*, and of itself."""
    servicer: Any = reflection.ReflectionServicer([*services, SERVICE], pool=_pool())

    def answer(requests: Iterator[Any], call: Call) -> Iterator[Any]:
        with call.waiting(lambda: None, streams=True):
            yield from servicer.ServerReflectionInfo(requests, call.context)

    return Method(
        service=SERVICE,
        name="ServerReflectionInfo",
        request=reflection_pb2.ServerReflectionRequest,
        answer=answer,
        waits=True,
        streams=True,
        takes_stream=True,
    )


def _pool() -> DescriptorPool:
    """Return all that is served in one pool; grpc's own services live in protobuf's, ours do not."""
    compiled = importlib.resources.files("servman.protos").joinpath(DESCRIPTORS).read_bytes()
    pool = DescriptorPool()
    for file in FileDescriptorSet.FromString(compiled).file:
        pool.AddSerializedFile(file.SerializeToString())
    for module in (health_pb2, reflection_pb2):
        pool.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
    return pool
