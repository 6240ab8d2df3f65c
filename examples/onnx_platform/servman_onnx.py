"""The platform "onnx": a version is a directory that holds `model.onnx`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from servman import (
    MAIN_MEMORY,
    InvalidArgumentError,
    LoadCancelledError,
    Loader,
    LoadFailedError,
    NotFoundError,
    ResourceAllocation,
    ServableData,
    Signature,
    SourceAdapter,
    TensorSpec,
    UnimplementedError,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Hashable, Mapping

    from servman import LoadContext, ServableId

NAMES = {"float": "float32", "double": "float64"}
"""What numpy calls the types that have another name there."""


class OnnxAdapter(SourceAdapter[str, Loader]):
    """Makes a loader for each version directory. Quick: it looks at no file and imports no runtime."""

    def convert(self, data: ServableData[str]) -> ServableData[Loader]:
        """Return the entry with a loader for its path."""
        return ServableData(data.id, OnnxLoader(data.id, data.payload), data.origin)


class OnnxLoader:
    """Loads one version into an `onnxruntime.InferenceSession`."""

    def __init__(self, id: ServableId, path: str) -> None:
        self._id = id
        self._files = Path(path)
        self._model = self._files / "model.onnx"

    def estimate_resources(self) -> ResourceAllocation:
        """Return the bytes on disk: the weights are most of what a session needs."""
        size = sum(file.stat().st_size for file in self._existing().rglob("*"))
        return ResourceAllocation({MAIN_MEMORY: size})

    def revision(self) -> Hashable:
        """Let a version that failed be tried again as soon as one of its files changes."""
        files = sorted(self._existing().rglob("*"))
        return tuple((str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files)

    def load(self, context: LoadContext) -> OnnxServable:
        """Make a session of `model.onnx`."""
        self._existing()
        runtime = _onnxruntime(self._id)
        if context.cancelled.is_set():
            raise LoadCancelledError(f"{self._id}: given up before its load began")
        try:
            session = runtime.InferenceSession(self._model, providers=["CPUExecutionProvider"])
            return OnnxServable(self._id, session)
        except Exception as error:  # it has a class of its own for each cause
            raise LoadFailedError(
                f"{self._id}: onnxruntime cannot load {self._model}: {error}; export it again"
            ) from error

    def unload(self, servable: object) -> None:
        """Do nothing: the session is freed with the servable."""

    def _existing(self) -> Path:
        if not self._model.is_file():
            raise NotFoundError(
                f"{self._id}: no model.onnx in {self._files}; copy the whole version directory and"
                " rename it into place"
            )
        return self._files


class OnnxServable:
    """A loaded model. It has the same `signatures` and `predict` as a SavedModel has."""

    def __init__(self, id: ServableId, session: Any) -> None:
        self._id = id
        self._session = session
        signature = Signature(_specs(session.get_inputs()), _specs(session.get_outputs()))
        self.signatures = {"serving_default": signature}

    def predict(
        self,
        inputs: Mapping[str, Any],
        signature_name: str = "serving_default",
        output_filter: Collection[str] | None = None,
    ) -> dict[str, Any]:
        """Run the model; return its outputs by name."""
        signature = self.signatures.get(signature_name)
        if signature is None:
            raise InvalidArgumentError(f"{self._id} has no signature {signature_name!r}")
        self._require("input", inputs, signature.inputs)
        self._require("output", output_filter or (), signature.outputs)
        names = [name for name in signature.outputs if not output_filter or name in output_filter]
        arrays = {
            name: self._array(name, value, signature.inputs[name]) for name, value in inputs.items()
        }
        try:
            return dict(zip(names, self._session.run(names, arrays), strict=True))
        except Exception as error:
            raise InvalidArgumentError(f"{self._id}: {error}") from error

    def _require(self, what: str, names: Collection[str], known: Mapping[str, TensorSpec]) -> None:
        for name in names:
            if name not in known:
                raise InvalidArgumentError(
                    f"{self._id} has no {what} {name!r}, it has: {', '.join(known)}"
                )

    def _array(self, name: str, value: object, spec: TensorSpec) -> Any:
        """Give lists and scalars the type of the signature; onnxruntime refuses arrays of another."""
        try:
            dtype = object if spec.dtype is None else spec.dtype
            return value if isinstance(value, np.ndarray) else np.asarray(value, dtype)
        except (TypeError, ValueError, OverflowError) as error:
            raise InvalidArgumentError(
                f"{self._id}, input {name!r} takes {spec}: given {value!r}: {error}"
            ) from error


def _specs(values: Any) -> dict[str, TensorSpec]:
    """Read what the model says of its inputs or outputs; an axis of any length has a name there."""
    return {
        value.name: TensorSpec(
            _dtype(value.type),
            tuple(axis if isinstance(axis, int) else None for axis in value.shape),
        )
        for value in values
    }


def _dtype(text: str) -> np.dtype[Any] | None:
    """Read a type such as "tensor(float)"; strings have none."""
    name = text.removeprefix("tensor(").removesuffix(")")
    return None if name == "string" else np.dtype(NAMES.get(name, name))


def _onnxruntime(id: ServableId) -> Any:
    # Here, on the load pool: a server that has no ONNX models never pays for the import.
    try:
        import onnxruntime  # noqa: PLC0415 -- as said
    except ImportError as error:
        raise UnimplementedError(
            f"{id}: onnxruntime cannot be imported ({error}): pip install onnxruntime"
        ) from error
    return onnxruntime
