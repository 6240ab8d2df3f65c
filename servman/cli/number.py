"""Numbers on the command line, of which "nan" is none."""

from __future__ import annotations

import math
from typing import Any, Final, final

import click

MOST: Final = 2**31 - 1
"""The highest count: what an int of 32 bits holds, here as in tensorflow_model_server."""


@final
class Number(click.FloatRange):
    """A number in a range, as `click.FloatRange` takes it; "inf" is one, "nan" is not."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return *value* as a number; see `click.ParamType`."""
        number = float(super().convert(value, param, ctx))
        if math.isnan(number):
            self.fail(f"{value} is not a number", param, ctx)
        return number
