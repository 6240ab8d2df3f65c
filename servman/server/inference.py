"""What is asked of a servable, whatever platform it is of: checked against its signatures, and run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, TypeGuard

import numpy as np

from servman.adapters import requests
from servman.adapters.base import failure_of
from servman.adapters.tensor_proto import as_array
from servman.adapters.tensors import checked_inputs, chosen_outputs, chosen_signature
from servman.errors import (
    InternalError,
    InvalidArgumentError,
    LoadFailedError,
    ResourceExhaustedError,
    ServmanError,
    UnimplementedError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from servman.adapters.signatures import Signature
    from servman.ids import ServableId
    from servman.manager import ServableHandle

_FAULTS: Final = {
    ValueError: InvalidArgumentError,
    NotImplementedError: UnimplementedError,
    MemoryError: ResourceExhaustedError,
}
"""What a model that raises one of these means by it; anything else is its own fault."""


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
    where = f"{version}, signature {name!r}"
    given = {name: as_array(f"input {name!r}", proto) for name, proto in request.inputs.items()}
    arrays = checked_inputs(where, signature, given)
    inputs = dict(zip(signature.inputs, arrays, strict=True))
    filtered = list(names) if (names := request.output_filter) else None
    wanted = chosen_outputs(where, signature, filtered) if filtered else tuple(signature.outputs)
    given_back = run(version, "predict", servable.predict, inputs, name, filtered)
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
        kinds = [kind for fault, kind in _FAULTS.items() if isinstance(error, fault)]
    if not isinstance(failure, LoadFailedError):
        raise failure
    kind: type[ServmanError] = kinds[0] if kinds else InternalError
    raise kind(str(failure))


def _checked_outputs(
    where: str, outputs: object, wanted: tuple[str, ...]
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
    # What is no dict is rare, and to ask an abstract class costs as much as to find the model.
    return type(value) is dict or isinstance(value, Mapping)
