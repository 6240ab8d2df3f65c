"""What raises a Ctrl-C inside a call, at each point at which the interpreter would."""

from __future__ import annotations

import dis
import itertools
import pathlib
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, Final, final

import servman

_HOUSE = pathlib.Path(servman.__file__).parent

_LOOKS_AFTER: Final = frozenset({"RESUME", "JUMP_BACKWARD", "CALL", "CALL_FUNCTION_EX", "CALL_KW"})
"""Instructions after which CPython looks for signals; after a call only if what was called is no Python code."""


@final
class Interrupt:
    """Raises KeyboardInterrupt at one point of what `run` calls, counted from 0 in one room of servman alone.

    Attributes:
        raised: Whether that point was come to.
    """

    def __init__(self, point: int, room: str) -> None:
        self.raised = False
        self._left = point
        self._room = str(_HOUSE / room)
        self._last: dict[FrameType, str] = {}

    def run(self, call: Callable[[], object]) -> None:
        """Run *call*, and swallow the interrupt, but nothing else."""
        before = sys.gettrace()
        sys.settrace(self._trace)
        try:
            call()
        except KeyboardInterrupt:
            assert self.raised
        finally:
            sys.settrace(before)

    def _trace(self, frame: FrameType, event: str, _: object) -> Any:
        if frame.f_back is not None and frame.f_code.co_name != "__init__":
            # It comes back without a look; not so from making an object, as classes are C.
            self._last[frame.f_back] = ""
        if not frame.f_code.co_filename.startswith(self._room):
            return None
        frame.f_trace_opcodes = True
        return self._step

    def _step(self, frame: FrameType, event: str, _: object) -> Any:
        if event == "opcode":
            last = self._last.get(frame)
            self._last[frame] = dis.opname[frame.f_code.co_code[frame.f_lasti]]
            if last in _LOOKS_AFTER:
                self._come_to_point()
        return self._step

    def _come_to_point(self) -> None:
        if self._left == 0 and not self.raised:
            self.raised = True
            raise KeyboardInterrupt
        self._left -= 1


def interrupts(room: str) -> Iterator[Interrupt]:
    """Yield an interrupt at the first point, then at the second, and so on until one does not raise."""
    for point in itertools.count():
        interrupt = Interrupt(point, room)
        yield interrupt
        if not interrupt.raised:
            assert point > 0, "the call never came into the room"
            return
