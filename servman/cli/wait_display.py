"""What is seen of a wait while it lasts: one line that changes on a terminal, else plain lines."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from rich.markup import escape

from servman.cli.plain import plain_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import Console

    from servman.client import RemoteProgress

    Tell = Callable[[RemoteProgress], None]


@contextlib.contextmanager
def show_wait(console: Console, *, quiet: bool) -> Iterator[Tell]:
    """Yield what tells the progress of a wait on *console*; nothing if it is to be *quiet*."""
    if quiet:
        yield lambda _: None
    elif console.is_terminal:
        with console.status("waiting") as status:
            yield lambda progress: status.update(escape(plain_line(progress)))
    else:
        yield lambda progress: console.print(
            plain_line(progress), markup=False, highlight=False, soft_wrap=True
        )
