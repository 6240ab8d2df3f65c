"""A pool whose jobs run when the test says so, on the test's own thread."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from collections.abc import Callable


@final
class ManualPool:
    """A `Pool` without threads.

    Attributes:
        jobs: What was submitted and has not run yet, oldest first. A test may reorder it.
        size: What the pool was last resized to.
        closed: Whether it was closed; jobs submitted afterwards are dropped.

    Threads: any, one at a time.
    """

    def __init__(self, size: int = 1) -> None:
        self.size = size
        self.jobs: list[Callable[[], None]] = []
        self.closed = False

    def submit(self, job: Callable[[], None]) -> bool:
        """Keep *job* for later."""
        if not self.closed:
            self.jobs.append(job)
        return not self.closed

    def resize(self, size: int) -> None:
        """Remember *size*."""
        self.size = size

    def close(self) -> None:
        """Drop the jobs that have not run."""
        self.closed = True
        self.jobs.clear()

    def join(self, deadline: float | None) -> bool:
        """Return True: there is no thread to wait for."""
        del deadline
        return True

    def run(self, index: int = 0) -> None:
        """Run the job at *index* on the calling thread."""
        self.jobs.pop(index)()

    def run_all(self) -> int:
        """Run jobs until none is left; return how many ran."""
        count = 0
        while self.jobs:
            self.run()
            count += 1
        return count
