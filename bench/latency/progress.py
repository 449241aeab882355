"""What a person sees while a run goes on: one line about once a second, live on a terminal."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.live import Live

from bench.latency.columns import Rows, latency_ms

KEPT = 4096  # parts in the rolling percentiles


class Progress:
    """Adds up what the station reports; draws only when told to, which is in a pause."""

    def __init__(self, console: Console, *, warm_up: int, of: int | None) -> None:
        """of: how many timed parts are planned; None where time decides."""
        self._console, self._warm_up = console, warm_up
        self._of = "" if of is None else f" of {of}"
        self._live = Live(console=console, auto_refresh=False) if console.is_terminal else None
        self._latest: npt.NDArray[np.float64] = np.empty(0)
        self.parts = self.overruns = 0

    def __enter__(self) -> Progress:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *exc: object) -> None:
        if self._live:
            self._live.stop()

    def say(self, line: str) -> None:
        """A line about what the run is at."""
        self._console.print(line, soft_wrap=True, highlight=False)

    def take(self, rows: Rows) -> None:
        timed = rows[rows["part"] > self._warm_up]
        self.parts += len(timed)
        self.overruns += int(timed["overrun"].sum())
        verdicts = timed[timed["verdict"] == 1]
        self._latest = np.concatenate((self._latest, latency_ms(verdicts)))[-KEPT:]

    def show(self, seconds: float) -> None:
        line = f"{seconds:6.0f} s  {self.parts}{self._of} parts  {self.overruns} overruns"
        if len(self._latest):
            p50, p99 = np.percentile(self._latest, (50.0, 99.0))
            line += f"  latency p50 {p50:.2f} p99 {p99:.2f} max {self._latest.max():.2f} ms"
        if self._live:
            self._live.update(line, refresh=True)
        else:
            self.say(line)
