"""Configurations as text: the `model_config_list` that TensorFlow Serving's users have, or its JSON."""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING, Any, Final, NoReturn

from servman.core.config import ServerConfig
from servman.core.config_message import from_message, unused_fields
from servman.core.config_places import model_places
from servman.core.config_writing import write_message
from servman.errors import FailedPreconditionError, InvalidArgumentError, NotFoundError
from servman.log import Log

if TYPE_CHECKING:
    from collections.abc import Sequence

    from servman.core.config_message import Fault
    from servman.errors import ServmanError

Place = tuple[int, int]
"""Line and column in a text, both from 1."""

# protobuf is imported where there is a text: to import servman costs nobody the time that it takes.

_log = Log(__name__)

_MOST_BYTES: Final = 2**26
"""Of a config file, which is for a million models; above it is another file, and perhaps an endless one."""

_BOM: Final = "\ufeff"
"""Which some editors begin a file with."""

_NAMED: Final = 5
"""How many models a warning names at most."""


def read_model_config_file(path: str | os.PathLike[str]) -> ServerConfig:
    """Return what the file *path* says; see `parse_model_config`. It is UTF-8, and may be empty.

    Blocks: while it is read.

    Raises:
        NotFoundError: There is no such file.
        FailedPreconditionError: It cannot be read, is a directory, or is too long for a config file.
        InvalidArgumentError: It does not hold a configuration; the error names file, line and column.
    """
    if not isinstance(path, str | bytes | os.PathLike):
        raise InvalidArgumentError(f"{path!r} is no path of a config file; pass a str or a Path")
    source = os.fsdecode(path)
    return parse_model_config(decoded(read_bytes(source), source), source)


def parse_model_config(text: str, source: str = "<text>") -> ServerConfig:
    """Return the configuration that *text* holds, as TensorFlow Serving's `model_config_file` does.

    That is a `ModelServerConfig` in protobuf's text format, or in its JSON form. Of each model it takes name,
    base_path, model_platform (or the deprecated model_type), model_version_policy and
    version_labels, as TensorFlow Serving does; what servman has beyond that stands in sub-messages called
    `servman`. A field that is known but of no use here is named in a warning; one that nobody knows is an
    error. An empty text holds no models. What it says is checked by the `ServerCore` that is given it.

    Threads: any.

    Args:
        text: The text.
        source: What it comes from, for errors and warnings.

    Raises:
        InvalidArgumentError: It does not hold a configuration; the error names source, line and column.
    """
    if not isinstance(text, str):
        raise InvalidArgumentError(f"a configuration is read from a text, not from {text!r}")
    text = text.removeprefix(_BOM)
    is_json = text.lstrip()[:1] in ("{", "[")  # which no field in text format begins with
    message = _from_json(text, source) if is_json else _from_text_format(text, source)
    config, faults = from_message(message)
    if config is None:
        _refuse(text, source, faults)
    _warn(message, source)
    return config


def format_model_config(config: ServerConfig) -> str:
    """Return *config* in text format, from which `parse_model_config` makes an equal one.

    Threads: any.

    Raises:
        InvalidArgumentError: Something in it can stand in a program only: a policy or a completeness of
            your own. All faults are listed.
    """
    from google.protobuf import text_format  # noqa: PLC0415 -- see above

    if not isinstance(config, ServerConfig):
        raise InvalidArgumentError(f"{config!r} is no ServerConfig; pass ServerConfig([...])")
    message = _new_message()
    faults = list(write_message(config, message))
    if faults:
        text = "the configuration cannot be written: " + "; ".join(faults)
        raise InvalidArgumentError(text, faults=faults)
    return text_format.MessageToString(message, as_utf8=True)


def read_bytes(path: str) -> bytes:
    """Return what is in the config file *path*.

    Blocks: while it is read.

    Raises:
        NotFoundError, FailedPreconditionError, InvalidArgumentError: As `read_model_config_file`.
    """
    try:
        with open(path, "rb") as file:  # noqa: PTH123 -- it may be no path, which is told below
            content = file.read(_MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from None
    if len(content) > _MOST_BYTES:
        raise FailedPreconditionError(
            f"config file {path}: it is longer than {_MOST_BYTES} bytes; is it the right file?"
        )
    return content


def unreadable(path: str, error: OSError | ValueError) -> ServmanError:
    """Return *error*, which reading the config file *path* has raised, in words, with the remedy."""
    match error:
        case FileNotFoundError() | NotADirectoryError():
            return NotFoundError(
                f"config file {path}: it does not exist; create it, or correct the path"
            )
        case IsADirectoryError():
            return FailedPreconditionError(
                f"config file {path}: it is a directory; name the file in it"
            )
        case PermissionError():
            return FailedPreconditionError(
                f"config file {path}: it may not be read by this process; grant it read permission"
            )
        case OSError():
            said = error.strerror or str(error)
            return FailedPreconditionError(
                f"config file {path}: it cannot be read ({said}); check the storage that it is on"
            )
        case ValueError():
            return InvalidArgumentError(f"config file {path!r}: that is no path ({error})")


def decoded(content: bytes, source: str) -> str:
    """Return *content* as text.

    Raises:
        InvalidArgumentError: It is not UTF-8; the error names line and column.
    """
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        before = content[: error.start].decode().removeprefix(_BOM)
        place = _place_at(before, len(before))
        text = f"byte 0x{content[error.start]:02x} is no UTF-8 text; save the file as UTF-8"
        raise InvalidArgumentError(_at(source, place, text)) from None


# ---- reading -----------------------------------------------------------------------------------


def _new_message(name: str = "ModelServerConfig") -> Any:
    from servman.protos import message_class  # noqa: PLC0415 -- see above

    return message_class(f"tensorflow.serving.{name}")()


def _from_text_format(text: str, source: str) -> Any:
    from google.protobuf import text_format  # noqa: PLC0415 -- see above

    from servman.protos import POOL  # noqa: PLC0415 -- see above

    try:
        return text_format.Parse(text, _new_message(), descriptor_pool=POOL)
    except text_format.ParseError as error:
        line, column = error.GetLine(), error.GetColumn()
        if line is None or column is None:
            raise InvalidArgumentError(_at(source, _place_of_type(text, error), error)) from None
        said = str(error).removeprefix(f"{line}:{column} : ")
        quoted = text.split("\n")[line - 1]  # however long that line is
        said = said.removeprefix(f"'{quoted}': ")
        raise InvalidArgumentError(_at(source, (line, column), said)) from None


def _from_json(text: str, source: str) -> Any:
    from google.protobuf import json_format  # noqa: PLC0415 -- see above

    from servman.protos import POOL  # noqa: PLC0415 -- see above

    data = _json(text, source)
    try:
        return json_format.ParseDict(data, _new_message(), descriptor_pool=POOL)
    except Exception as error:  # noqa: BLE001 -- it has a type for most of what is wrong, not for all
        raise InvalidArgumentError(_at(source, _place_of_culprit(text, data), error)) from None


def _json(text: str, source: str) -> dict[str, Any]:
    try:
        data = json.loads(text, object_pairs_hook=_without_repetition)
    except json.JSONDecodeError as error:
        raise InvalidArgumentError(_at(source, (error.lineno, error.colno), error.msg)) from None
    except (ValueError, RecursionError) as error:
        raise InvalidArgumentError(_at(source, None, error)) from None
    if not isinstance(data, dict):
        raise InvalidArgumentError(_at(source, (1, 1), "a configuration is an object, not a list"))
    return data


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"{key!r} stands twice in one object")
        found[key] = value
    return found


# ---- telling -----------------------------------------------------------------------------------


def _at(source: str, place: Place | None, said: object) -> str:
    where = source if place is None else f"{source}:{place[0]}:{place[1]}"
    text = " ".join(str(said).split()).rstrip(".")  # on one line
    return f"{where}: {text}".encode("utf-8", "backslashreplace").decode()


def _refuse(text: str, source: str, faults: Sequence[Fault]) -> NoReturn:
    places = dict(enumerate(model_places(text)))
    told = [
        _at(source, None if one.index is None else places.get(one.index), one.text)
        for one in faults
    ]
    raise InvalidArgumentError("; ".join(told), faults=told)


def _place_of_culprit(text: str, data: dict[str, Any]) -> Place | None:
    """Return the place of the first model in *data*, read from *text*, that cannot be read alone."""
    from google.protobuf import json_format  # noqa: PLC0415 -- see above

    from servman.protos import POOL  # noqa: PLC0415 -- see above

    listed = data.get("model_config_list") or data.get("modelConfigList")
    models = listed.get("config") if isinstance(listed, dict) else None
    for index, model in enumerate(models if isinstance(models, list) else ()):
        try:
            json_format.ParseDict(model, _new_message("ModelConfig"), descriptor_pool=POOL)
        except Exception:  # noqa: BLE001 -- as above
            return dict(enumerate(model_places(text))).get(index)
    return None


def _place_of_type(text: str, error: Exception) -> Place | None:
    """Return where *text* names the type that *error* is about, the one error that tells no place."""
    named = re.search(r"Type (\S+) not found", str(error))
    return _place_at(text, text.find(named[1])) if named else None


def _place_at(text: str, offset: int) -> Place:
    before = text[:offset]
    return before.count("\n") + 1, len(before) - before.rfind("\n")


def _warn(message: Any, source: str) -> None:
    for field, names in unused_fields(message).items():
        _log.warning("%s: servman has no use for %s (%s)", source, field, _listed(names))
    deprecated = [one.name for one in message.model_config_list.config if one.model_type]
    if deprecated:
        _log.warning(
            '%s: model_type is deprecated; write model_platform: "tensorflow" (%s)',
            source,
            _listed(deprecated),
        )


def _listed(names: Sequence[str]) -> str:
    rest = len(names) - _NAMED
    told = ", ".join(repr(name) for name in names[:_NAMED])
    return f"models {told}" + (f" and {rest} more" if rest > 0 else "")
