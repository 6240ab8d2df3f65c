"""What is compiled of our definitions: not stale, as TensorFlow has them, and in nobody's way."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pool

import servman.protos
from servman.protos import DESCRIPTORS, POOL

PROTOS = Path(servman.protos.__file__).parent

OURS = "import servman.protos"
TENSORFLOW = "import tensorflow"
IN_THE_SHARED_POOL = f"""
from pathlib import Path
from google.protobuf import any_pb2, descriptor_pool, wrappers_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorSet

compiled = Path({str(PROTOS / DESCRIPTORS)!r}).read_bytes()
for file in FileDescriptorSet.FromString(compiled).file:
    if file.package != "google.protobuf":  # in files of other names, as tensorflow-serving-api has them
        theirs = [one if one.startswith("google/") else "their/" + one for one in file.dependency]
        file.dependency[:] = theirs
        file.name = "their/" + file.name
        descriptor_pool.Default().AddSerializedFile(file.SerializeToString())
"""
USE = """
from servman.protos import message_class

example = message_class("tensorflow.Example")()
example.features.feature["x"].float_list.value.append(1.5)
assert type(example).FromString(example.SerializeToString()) == example
"""


def run(*command: str) -> None:
    done = subprocess.run(  # noqa: S603 -- our own interpreter on our own text
        [sys.executable, *command], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_compiled_definitions_are_not_stale(tmp_path: Path) -> None:
    compiled = tmp_path / DESCRIPTORS
    options = [f"-I{PROTOS}", "--include_imports", f"--descriptor_set_out={compiled}"]
    run("-m", "grpc_tools.protoc", *options, *sorted(map(str, PROTOS.glob("*.proto"))))
    assert compiled.read_bytes() == (PROTOS / DESCRIPTORS).read_bytes(), "run `make protos`"


@pytest.mark.parametrize(
    "order", [(OURS, IN_THE_SHARED_POOL), (IN_THE_SHARED_POOL, OURS)], ids=["after", "before"]
)
def test_others_may_define_the_same_names_before_or_after(order: tuple[str, ...]) -> None:
    run("-W", "error", "-c", "\n".join((*order, USE)))


@pytest.mark.tensorflow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("order", [(OURS, TENSORFLOW), (TENSORFLOW, OURS)], ids=["after", "before"])
def test_tensorflow_may_be_imported_before_or_after(order: tuple[str, ...]) -> None:
    run("-c", "\n".join((*order, USE, "tensorflow.train.Example().ParseFromString(b'')")))


@pytest.fixture(scope="module")
def theirs() -> Any:
    """The pool in which TensorFlow has its messages."""
    pytest.importorskip("tensorflow")
    pytest.importorskip("tensorflow.core.protobuf.named_tensor_pb2")
    return descriptor_pool.Default()


def field(descriptor: Any) -> tuple[object, ...]:
    """Return all that decides how a field is written, and what it is called."""
    kind = descriptor.message_type or descriptor.enum_type
    return (
        descriptor.name,
        descriptor.json_name,
        descriptor.number,
        descriptor.type,
        descriptor.is_repeated,
        descriptor.has_presence,
        descriptor.containing_oneof and descriptor.containing_oneof.name,
        kind and kind.full_name,
    )


@pytest.mark.tensorflow
@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "name",
    [
        *("BytesList", "FloatList", "Int64List", "Feature", "Features", "Features.FeatureEntry"),
        *("FeatureList", "FeatureLists", "FeatureLists.FeatureListEntry"),
        *("Example", "SequenceExample"),
        *("TensorShapeProto", "TensorShapeProto.Dim", "TensorProto", "NamedTensorProto"),
        *("TensorInfo", "TensorInfo.CooSparse", "SignatureDef", "SignatureDef.InputsEntry"),
        *("SignatureDef.OutputsEntry", "SignatureDef.DefaultsEntry"),
    ],
)
def test_a_message_of_tensorflow_is_defined_as_there(name: str, theirs: Any) -> None:
    there = theirs.FindMessageTypeByName(f"tensorflow.{name}")
    here = POOL.FindMessageTypeByName(f"tensorflow.{name}")
    assert {field(one) for one in here.fields} <= {field(one) for one in there.fields}


@pytest.mark.tensorflow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", ["tensorflow.DataType", "tensorflow.error.Code"])
def test_an_enum_of_tensorflow_has_the_same_numbers(name: str, theirs: Any) -> None:
    there = theirs.FindEnumTypeByName(name).values
    here = POOL.FindEnumTypeByName(name).values
    assert {(one.name, one.number) for one in here} <= {(one.name, one.number) for one in there}
