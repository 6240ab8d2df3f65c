"""Our own definitions of the messages that TensorFlow Serving speaks, and what is made of them.

The definitions are the .proto files here; `make protos` compiles them into descriptors.binpb, which is
all that is read at run time. They are written from the public names, numbers and types, so that
what one side writes the other reads, byte for byte; what they leave out survives as unknown fields.

All live in a pool of their own. In protobuf's default pool each name can be defined once in a
process, and TensorFlow and the package tensorflow-serving-api define these names there.

Threads: any may use the pool and the classes; a message that is changed belongs to one at a time.
"""

from __future__ import annotations

import importlib.resources
from typing import Any, Final

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

DESCRIPTORS: Final = "descriptors.binpb"
"""The file, in this package, with the compiled definitions: each after those that it imports."""


def _read_pool() -> DescriptorPool:
    compiled = importlib.resources.files(__name__).joinpath(DESCRIPTORS).read_bytes()
    pool = DescriptorPool()
    for file in FileDescriptorSet.FromString(compiled).file:
        pool.AddSerializedFile(file.SerializeToString())
    return pool


POOL: Final = _read_pool()
"""Everything that the .proto files define, services included."""


def message_class(name: str) -> Any:
    """Return the class of the message with the full name *name*, such as "tensorflow.Example".

    Raises:
        KeyError: Nothing here has that name.
    """
    return GetMessageClass(POOL.FindMessageTypeByName(name))
