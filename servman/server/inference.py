"""What is asked of a servable, whatever platform it is of: checked against its signatures, and run."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TypeGuard

import numpy as np

from servman.adapters import requests
from servman.adapters.base import failure_of
from servman.adapters.signatures import shape_text
from servman.adapters.tensor_proto import as_array, type_name, type_number
from servman.adapters.tensors import Place, checked_inputs, chosen_outputs, chosen_signature
from servman.errors import (
    InternalError,
    InvalidArgumentError,
    LoadFailedError,
    ResourceExhaustedError,
    ServmanError,
    UnimplementedError,
    WorkerCallError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from servman.adapters.signatures import Signature
    from servman.ids import ServableId
    from servman.manager import ServableHandle

_FAULTS: Final = {
    ValueError: InvalidArgumentError,
    NotImplementedError: UnimplementedError,
    MemoryError: ResourceExhaustedError,
}
"""What a model that raises one of these means by it; anything else is its own fault."""

_MAPPINGS: Final = (dict, MappingProxyType)


def predict(handle: ServableHandle[Any], request: Any) -> dict[str, np.ndarray[Any, Any]]:
    """Put a `tensorflow.serving.PredictRequest` to a servable.

    Raises:
        UnimplementedError: It cannot be called, or a tensor cannot become an array.
        FailedPreconditionError: It has no such signature.
        InvalidArgumentError: The inputs, or the outputs asked for, are not those of the signature.
        ServmanError: It failed.
    """
    version, servable = handle.id, handle.servable
    name = requests.signature_name(request.model_spec)
    signature = chosen_signature(version, signatures_of(version, servable), name)
    where = Place(version, "signature", name)
    protos = request.inputs  # whose items() takes twice as long
    given = {one: as_array(f"input {one!r}", protos[one]) for one in protos}
    filtered = list(names) if (names := request.output_filter) else None
    wanted = chosen_outputs(where, signature, filtered) if filtered else tuple(signature.outputs)
    try:
        inputs = given if _checks_inputs(servable) else _checked_inputs(where, signature, given)
        given_back = run(version, "predict", servable.predict, inputs, name, filtered)
    except InvalidArgumentError as error:
        raise _in_words_of_messages(error, where, signature, given, request) from None
    return _checked_outputs(where, given_back, wanted)


def signatures_of(id: ServableId, servable: Any) -> Mapping[str, Signature]:
    """Return the signatures that *servable* declares.

    Raises:
        UnimplementedError: It declares none, or has no `predict`.
    """
    signatures: object = getattr(servable, "signatures", None)
    if not _is_mapping(signatures) or not hasattr(servable, "predict"):
        raise UnimplementedError(
            f"{id} cannot be called from outside: its servable, a {type(servable).__qualname__}, has no"
            " predict() or declares no signatures"
        )
    return signatures


def on_examples(handle: ServableHandle[Any], method: str, request: Any) -> Any:
    """Put a request that brings examples to the *method* of a servable: classify, regress or multi_inference.

    Raises:
        UnimplementedError: It has no such method.
        ServmanError: What it raised.
    """
    version, servable = handle.id, handle.servable
    if not callable(getattr(servable, method, None)):
        raise UnimplementedError(
            f"{version}: its servable, a {type(servable).__qualname__}, has no {method}(); call Predict"
        )
    put: Callable[[Any, Any], Any] = getattr(requests, method)
    return run(version, method, put, servable, request)


def run(id: ServableId, what: str, call: Callable[..., Any], *args: Any) -> Any:
    """Call what may be foreign.

    Raises:
        ServmanError: What it raised, as that.
    """
    try:
        return call(*args)
    except BaseException as error:  # noqa: BLE001 -- foreign code, and whoever called is to get an answer
        failure = failure_of(f"{id}: {what}", error)
        # Of what a worker process raised, and this one does not know, it is told what it derives from.
        bases = error.bases if isinstance(error, WorkerCallError) else ()
        kinds = [
            kind
            for fault, kind in _FAULTS.items()
            if isinstance(error, fault) or fault.__name__ in bases
        ]
    if not isinstance(failure, LoadFailedError) and not (kinds and bases):
        raise failure
    kind: type[ServmanError] = kinds[0] if kinds else InternalError
    raise kind(str(failure))


def _checks_inputs(servable: object) -> bool:
    """Return whether `predict` of *servable* refuses what does not fit its signatures: to do so twice takes time."""
    return getattr(servable, "checks_inputs", False) is True


def _checked_inputs(where: Place, signature: Signature, given: dict[str, Any]) -> dict[str, Any]:
    return dict(zip(signature.inputs, checked_inputs(where, signature, given), strict=True))


def _in_words_of_messages(
    error: InvalidArgumentError,
    where: Place,
    signature: Signature,
    given: dict[str, Any],
    request: Any,
) -> InvalidArgumentError:
    faults = list(_wrong_types(signature, given, request))
    return (
        InvalidArgumentError(f"{where}: " + "; ".join(faults), faults=faults) if faults else error
    )


def _wrong_types(signature: Signature, given: dict[str, Any], request: Any) -> Iterator[str]:
    """Yield a text for each input of another type than is taken, in the words of who sends messages."""
    for name, array in given.items():
        spec = signature.inputs.get(name)
        wanted = 0 if spec is None else type_number(spec.dtype)
        if spec is not None and wanted and wanted != request.inputs[name].dtype:
            yield (
                f"input {name!r} takes {type_name(wanted)} of shape {shape_text(spec.shape)}: given"
                f" {type_name(request.inputs[name].dtype)} of shape {shape_text(array.shape)}"
            )


def _checked_outputs(
    where: Place, outputs: object, wanted: tuple[str, ...]
) -> dict[str, np.ndarray[Any, Any]]:
    if not _is_mapping(outputs):
        raise InternalError(
            f"{where}: the model gave a {type(outputs).__qualname__} where a mapping of outputs is wanted"
        )
    missing = [name for name in wanted if name not in outputs]
    if missing:
        raise InternalError(f"{where}: the model did not give {', '.join(map(repr, missing))}")
    try:
        return {
            name: one if type(one := outputs[name]) is np.ndarray else np.asarray(one)
            for name in wanted
        }
    except Exception as error:  # noqa: BLE001 -- what numpy makes of foreign objects
        raise InternalError(f"{where}: the model gave what is no array: {error}") from None


def _is_mapping(value: object) -> TypeGuard[Mapping[Any, Any]]:
    # Others are rare, and to ask an abstract class costs as much as to find the model.
    return type(value) in _MAPPINGS or isinstance(value, Mapping)
