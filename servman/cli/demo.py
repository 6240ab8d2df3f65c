"""`servman demo`: the main job, end to end, with what it claims checked as it goes."""

from __future__ import annotations

import contextlib
import logging
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, final

from rich.console import Console
from rich.live import Live
from rich.logging import RichHandler
from rich.markup import escape
from rich.table import Table

from servman.cli.demo_traffic import Traffic
from servman.cli.state_table import StateTable
from servman.clock import SystemClock
from servman.core import ModelConfig, ServerConfig, ServerCore, ServerCoreOptions
from servman.errors import ServableUnavailableError, ServmanError, WaitTimeoutError
from servman.ids import ServableId
from servman.reasons import ReasonCode
from servman.state import ManagerState, ServableState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from servman.cli.demo_models import DemoModels
    from servman.clock import Clock

_THREADS = 4
_MISSING_FOR = 1.0
"""Seconds that the demo waits for the model whose base path does not exist."""


def run_demo(models: DemoModels, timeout: float) -> bool:
    """Play the demo on the terminal; return whether everything it claims held."""
    console = Console()
    # The request threads compute without a pause. A thread that is woken among them waits for the
    # interpreter's lock, by default 5 ms for each; a process that serves may well choose less.
    sys.setswitchinterval(0.0005)
    with (
        tempfile.TemporaryDirectory(prefix="servman-demo-") as folder,
        _log_to(console),
    ):
        return Demo(models, Path(folder), timeout, console).run()


@contextlib.contextmanager
def _log_to(console: Console) -> Iterator[None]:
    """Print what servman logs above the live table, not through it."""
    handler = RichHandler(console=console, show_time=False, show_path=False)
    logger = logging.getLogger("servman")
    logger.addHandler(handler)
    logger.propagate = False  # TensorFlow brings a handler of its own for everything
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = True


@final
class Demo:
    """One run of the demo.

    Args:
        models: Writes the versions that are published.
        folder: Where everything happens.
        timeout: Seconds that a step may take.
        console: Where it is told.
    """

    def __init__(self, models: DemoModels, folder: Path, timeout: float, console: Console) -> None:
        self._models = models
        self._staging = folder / "staging"
        self._base = folder / "models" / "half_plus"
        self._late = folder / "models" / "late"
        self._timeout = timeout
        self._console = console
        self._clock: Clock = SystemClock()
        self._claims: list[tuple[str, bool]] = []
        self._figures: list[tuple[str, str]] = []
        self._wakes: list[float] = []
        self._core = self._build_core()

    def run(self) -> bool:
        """Play it; return whether everything held."""
        self._write_models()
        self._core.event_bus.subscribe(self._tell_state)
        table = StateTable(self._core)
        with Live(get_renderable=table.__rich__, console=self._console, refresh_per_second=8):
            try:
                self._play()
            except (OSError, ServmanError) as error:
                self._claim(f"no step fails, but one did: {error}", holds=False)
            finally:
                self._close()
        self._report()
        return all(holds for _, holds in self._claims)

    # ---- the story -----------------------------------------------------------------------------

    def _build_core(self) -> ServerCore:
        config = ServerConfig(
            [
                ModelConfig("half_plus", str(self._base), self._models.platform),
                ModelConfig("late", str(self._late), self._models.platform),
            ]
        )
        # Deploys that fail should say so while people watch, not after five minutes of retries.
        options = ServerCoreOptions(
            platforms=(self._models.platform,), max_num_load_retries=1, load_retry_interval=0.2
        )
        return ServerCore(config, options=options)

    def _write_models(self) -> None:
        self._say(f"writing {self._models.describe()} ...")
        self._staging.mkdir()
        self._base.mkdir(parents=True)
        for version in (1, 2):
            self._models.write(self._staging / f"half_plus-{version}", version)
        self._models.write_corrupt(self._staging / "half_plus-3")
        self._models.write(self._staging / "late-1", 1)

    def _play(self) -> None:
        started = self._clock.monotonic()
        self._core.start()
        took = self._clock.monotonic() - started
        self._claim(
            f"the core starts without waiting for a model ({_ms(took)})", holds=took < _MISSING_FOR
        )
        self._first_version()
        traffic = Traffic(self._core, "half_plus", _THREADS, self._clock)
        try:
            self._second_version()
            self._corrupt_version(traffic)
            self._missing_model()
            self._withdrawal(traffic)
        finally:
            stopped = traffic.stop(self._timeout)
            self._judge(traffic, stopped=stopped)

    def _first_version(self) -> None:
        self._say("publish version 1 by renaming it into place")
        self._publish("half_plus", 1)
        self._claim("version 1 came up", holds=self._serves(1))

    def _second_version(self) -> None:
        self._say(f"{_THREADS} threads ask without a pause; publish version 2 under them")
        self._publish("half_plus", 2)
        gone = self._core.wait_until("half_plus:1", ManagerState.END, timeout=self._timeout)
        self._claim(
            "version 2 took over and version 1 was unloaded", holds=bool(gone) and self._serves(2)
        )

    def _corrupt_version(self, traffic: Traffic) -> None:
        self._say("publish version 3, which is corrupt")
        self._rename(self._staging / "half_plus-3", self._base / "3")
        try:
            self._core.wait_until_available("half_plus:3", timeout=self._timeout)
            why = ""
        except ServableUnavailableError as error:
            why = str(error)
            self._say(f"the deploy script is told: {error}")
        still = self._serves(2) and traffic.wait_for_more(self._timeout)
        self._claim("the corrupt version 3 was refused with its reason", holds="half_plus:3" in why)
        self._claim("version 2 went on serving", holds=still)

    def _missing_model(self) -> None:
        self._say(f"wait {_MISSING_FOR:.0f} s for a model whose base path does not exist")
        started = self._clock.monotonic()
        try:
            self._core.wait_until_available("late", timeout=_MISSING_FOR)
            codes: set[ReasonCode] = set()
        except WaitTimeoutError as error:
            codes = {reason.code for reason in error.reasons.values()}
            self._say(f"the wait ends at its deadline: {error}")
        took = self._clock.monotonic() - started
        self._figure("wait on the missing model, deadline 1 s, came back after", f"{took:.2f} s")
        self._claim(
            "the wait ended at its deadline and said that the base path is missing",
            holds=codes == {ReasonCode.BASE_PATH_MISSING} and took < 2 * _MISSING_FOR,
        )
        self._say("create that base path, with a version")
        self._late.mkdir(parents=True)
        self._publish("late", 1)
        self._claim(
            "the missing model came up when its path appeared", holds=self._serves(1, "late")
        )

    def _withdrawal(self, traffic: Traffic) -> None:
        self._say("rename versions 3 and 2 away")
        for version in (3, 2):
            self._rename(self._base / str(version), self._staging / f"withdrawn-{version}")
        self._core.wait_until_available("half_plus:1", timeout=self._timeout)
        gone = self._core.wait_until("half_plus:2", ManagerState.END, timeout=self._timeout)
        back = bool(gone) and self._serves(1) and traffic.wait_for_more(self._timeout)
        self._claim("version 1 was loaded again and serves", holds=back)

    def _close(self) -> None:
        report = self._core.close(self._timeout)
        live = self._core.monitor.get_live_states()
        self._claim("everything was unloaded at the end", holds=bool(report) and not live)

    # ---- its means -----------------------------------------------------------------------------

    def _publish(self, name: str, version: int) -> None:
        """Rename a version into place and wait for it; write down how long that took."""
        base = self._late if name == "late" else self._base
        started = self._clock.monotonic()
        self._rename(self._staging / f"{name}-{version}", base / str(version))
        self._core.wait_until_available(f"{name}:{version}", timeout=self._timeout)
        took, woken = self._clock.monotonic() - started, self._clock.wall()
        state = self._core.monitor.get_state(ServableId(name, version))
        if state is not None and state.manager_state is ManagerState.AVAILABLE:
            self._wakes.append(woken - state.time)
        self._figure(f"publish to available, {name} {version}", _ms(took))

    def _rename(self, source: Path, target: Path) -> None:
        source.rename(target)

    def _serves(self, version: int, name: str = "half_plus") -> bool:
        with self._core.get_servable_handle(name) as handle:
            return handle.id.version == version

    def _judge(self, traffic: Traffic, *, stopped: bool) -> None:
        self._figure("requests served", f"{traffic.served:,}")
        self._figure("requests failed", f"{traffic.failed:,}")
        self._figure("versions that answered", ", ".join(map(str, traffic.versions)))
        self._figure("longest time between two answers to one thread", _ms(traffic.longest_gap))
        for failure in traffic.failures[:3]:
            self._say(f"a request failed: {failure}")
        self._claim(
            "no request failed, through every swap",
            holds=stopped and traffic.served > 0 and not traffic.failed,
        )

    # ---- telling it ----------------------------------------------------------------------------

    def _say(self, text: str) -> None:
        self._console.print(f"[bold]>[/] {escape(text)}")

    def _tell_state(self, state: ServableState) -> None:
        self._console.print(f"  [dim]{escape(str(state))}[/]")

    def _claim(self, text: str, *, holds: bool) -> None:
        self._claims.append((text, holds))

    def _figure(self, what: str, value: str) -> None:
        self._figures.append((what, value))

    def _report(self) -> None:
        if self._wakes:
            self._figure("AVAILABLE published to waiter awake, longest", _ms(max(self._wakes)))
        figures = Table(title="measured", title_justify="left", show_header=False)
        for what, value in self._figures:
            figures.add_row(what, value)
        claims = Table(title="claimed", title_justify="left", show_header=False)
        for text, holds in self._claims:
            claims.add_row("[green]held[/]" if holds else "[bold red]BROKEN[/]", escape(text))
        self._console.print("", figures, claims, sep="\n")


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"
