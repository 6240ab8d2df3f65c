"""Where in a text each model stands, for errors that are found once the text has been read."""

from __future__ import annotations

from typing import Final

_LISTS: Final = ("model_config_list", "modelConfigList")


def model_places(text: str) -> list[tuple[int, int]]:
    """Return line and column, from 1, at which each model of *text* begins.

    Goes by the braces and the keys before them, and so takes text format and JSON alike.
    """
    from google.protobuf import text_format  # noqa: PLC0415 -- not for who has no such text

    tokenizer = text_format.Tokenizer(text.split("\n"))
    places: list[tuple[int, int]] = []
    keys = [""]  # of the field that is being read, in each message that is open
    word = ""
    while not tokenizer.AtEnd():
        token = tokenizer.token
        if word and token in (":", "{", "<"):
            keys[-1] = word
        word = token.strip("\"'") if token[0].isalpha() or token[0] in "\"'" else ""
        if token in ("{", "<"):
            if keys[-1] == "config" and keys[-2:-1] and keys[-2] in _LISTS:
                here = tokenizer.ParseError("")  # type: ignore[arg-type] # it takes a text; the stub errs
                places.append((here.GetLine() or 0, here.GetColumn() or 0))
            keys.append("")
        elif token in ("}", ">") and len(keys) > 1:
            keys.pop()
        tokenizer.NextToken()
    return places
