"""Texts from elsewhere as a terminal may show them: a name or an error must not steer it."""

from __future__ import annotations

import re
import sys
from typing import Final

import click

# Controls of C0 and C1, what turns the direction of writing, separators of lines, halves of surrogate pairs.
_STEERING: Final = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
)
_TEXT: Final = re.compile(f"[{_STEERING}]")
_LINE: Final = re.compile(f"[\t\n{_STEERING}]")


def plain(text: object) -> str:
    """Return *text*, which may have several lines, with what steers a terminal written out."""
    return _TEXT.sub(_written_out, str(text))


def plain_line(text: object) -> str:
    """Return *text* in one line, with what steers a terminal written out."""
    return _LINE.sub(_written_out, str(text))


def echo(text: object, *, err: bool = False) -> None:
    """Print *text*, on the standard error if *err*, with what steers a terminal written out."""
    click.echo(plain(text), err=err)


def speak_any_language() -> None:
    """Let what the encoding of a standard stream does not have be written out, and not be an error."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # not where a host has put something else in their place
            stream.reconfigure(errors="backslashreplace")


def _written_out(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode()
