"""`edge demo`: a whole station on synthetic parts, watched from a process of its own.

The station and the arm run as children; this process only listens to the feed, draws, and
adds up at the end, so that nothing drawn here can make a part late.
"""

from __future__ import annotations

import os
import secrets
import socket
import tempfile
from contextlib import nullcontext
from pathlib import Path

from rich.console import Console
from rich.live import Live

from edge import feed
from edge.children import arm_process, station_process
from edge.core.clock import NS_PER_S, SystemClock
from edge.core.errors import EdgeError
from edge.feed import FedEnd
from edge.panel import line, table
from edge.replay import Journal, Report, report
from edge.stats import Tally
from models import package
from sensors.synthetic import FIRST_UNSEEN_SEED, PartGenerator

MODEL = "synthetic-part"
DEFECT_SHARE = 0.25  # of a demonstration: a real line would be dull to watch


def demo(*, seconds: float, rate_hz: float, seed: int | None, console: Console) -> Report:
    """Run the demonstration and return its report; EdgeError if the station could not start."""
    seed = FIRST_UNSEEN_SEED + secrets.randbelow(1_000_000) if seed is None else seed
    parts = max(1, round(seconds * rate_hz))
    console.print(f"{parts} synthetic parts at {rate_hz:g} parts/s, seed {seed}, model {MODEL}")
    with tempfile.TemporaryDirectory(prefix="edge-demo-") as name:
        folder = Path(name)
        bind = f"ipc://{name}/station.ipc"
        arm_log, station_file = folder / "arm.jsonl", folder / "demo.toml"
        arm_log.touch()
        station_file.write_text(_station_file(bind, seed, rate_hz, parts))
        with arm_process(bind, arm_log), station_process(station_file) as (process, link):
            journal, tally = Journal(), Tally()
            end = _watch(link, journal, tally, parts, console)
            if end and end.lost:
                console.print(f"{end.lost} records did not reach this display: figures lack them")
            if end is None:
                raise EdgeError(f"the station ended early, exit code {process.wait()}")
        generator = PartGenerator(seed, defect_share=DEFECT_SHARE)
        return report(
            journal.records,
            generator.label,
            balance=end.balance,
            arm_log=arm_log,
            real_time=True,
            provider="cpu",
            model_sha256=package.find(MODEL).file_sha256,
        )


def _station_file(bind: str, seed: int, rate_hz: float, parts: int) -> str:
    return f"""
name = "demo-{os.getpid()}"

[camera]
source = "synthetic"
seed = {seed}
rate_hz = {rate_hz}
parts = {parts}
defect_share = {DEFECT_SHARE}

[engine]
model = "{MODEL}"

[controller]
bind = "{bind}"
"""


def _watch(
    link: socket.socket, journal: Journal, tally: Tally, parts: int, console: Console
) -> FedEnd | None:
    """Follow the feed to its end: a table on a terminal, a line a second elsewhere."""
    live = Live(console=console, auto_refresh=False) if console.is_terminal else None
    period_ns = NS_PER_S // 4 if live else NS_PER_S
    clock = SystemClock()
    draw_at_ns = clock.now_ns() + period_ns
    with live or nullcontext():
        while True:
            message: feed.Fed | None = None
            if clock.wait((link.fileno(),), draw_at_ns):
                message = feed.read(link)
                if message is None or isinstance(message, FedEnd):
                    return message
                feed.tell(message, journal, tally)
            if clock.now_ns() >= draw_at_ns:
                draw_at_ns += period_ns
                if live:
                    live.update(table(tally, parts), refresh=True)
                elif tally.parts:
                    console.print(line(tally, parts), soft_wrap=True)
