"""From the `ModelSpec` of a request to the version that it means, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from servman.adapters.requests import signature_name
from servman.errors import InvalidArgumentError, NotFoundError
from servman.ids import MAX_VERSION, ServableRequest

if TYPE_CHECKING:
    from servman.core import ServerCore
    from servman.ids import AnyRequest, ServableId
    from servman.manager import ServableHandle


def handle_on(core: ServerCore, spec: Any) -> ServableHandle[Any]:
    """Return a handle on the version that a `tensorflow.serving.ModelSpec` means.

    Raises:
        InvalidArgumentError: It names no model, or a label that there is not.
        NotFoundError: No such version is available; the text says why.
    """
    name: str = spec.name
    if not name:
        raise InvalidArgumentError("ModelSpec has no name specified.")
    # A bare name, as nearly always, is found at once.
    choice = spec.WhichOneof("version_choice")
    request: AnyRequest = name if choice is None and is_name(name) else asked_for(spec)
    try:
        return core.get_servable_handle(request)
    except NotFoundError as error:
        reason = error.reason
    raise _not_found(spec, "" if reason is None else reason.text)


def asked_for(spec: Any) -> ServableRequest:
    """Return the request that a `tensorflow.serving.ModelSpec` is.

    Raises:
        NotFoundError: Nothing can have that name or version.
        InvalidArgumentError: Nothing can have that label.
    """
    choice = spec.WhichOneof("version_choice")
    if not is_name(spec.name):
        raise _not_found(spec, 'no model is called so: a name holds neither ":" nor "@"')
    if choice == "version":
        if not 0 <= spec.version.value <= MAX_VERSION:
            raise _not_found(spec, "no version has a negative number")
        return ServableRequest.specific(spec.name, spec.version.value)
    if choice == "version_label":
        return ServableRequest.labeled(spec.name, spec.version_label)
    return ServableRequest.latest(spec.name)


def is_name(name: str) -> bool:
    """Return whether a model can be called so."""
    return bool(name) and ":" not in name and "@" not in name


def write_spec(id: ServableId, asked: Any, spec: Any) -> None:
    """Fill the empty `ModelSpec` *spec* of an answer: what was *asked* for, with the version that answers."""
    spec.name = id.name
    spec.version.value = id.version
    spec.signature_name = signature_name(asked)


def _not_found(spec: Any, why: str) -> NotFoundError:
    match spec.WhichOneof("version_choice"):
        case "version":
            which = f"Specific({spec.name}, {spec.version.value})"
        case "version_label":
            which = f"Label({spec.name}, {spec.version_label})"
        case _:
            which = f"Latest({spec.name})"
    return NotFoundError(f"Servable not found for request: {which}" + (f": {why}" if why else ""))
