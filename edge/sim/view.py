"""What a person sees of a simulated line: the belt while it runs, and the figures at the end."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from edge.core.clock import NS_PER_S
from edge.core.types import Action, PartRecord
from edge.page.words import overruns
from edge.replay import Percentiles
from edge.sim.line import Line
from edge.sim.rate import Bound
from edge.sim.result import Simulation
from edge.stats import Tally

BELT_CHARS = 50  # from the camera to the machine
BEHIND = 1.15  # of that way, so that parts are seen to leave


class Watch:
    """A recorder that draws the line on a terminal, and nothing elsewhere."""

    def __init__(
        self, console: Console | None, line: Line, parts: int, what: str, *, real: bool
    ) -> None:
        """what: the run's name for a person. real: triggers are on the clock that draw is given."""
        live = console is not None and console.is_terminal
        self._live = Live(console=console, auto_refresh=False) if live else None
        self._line, self._parts, self._what, self._real = line, parts, what, real
        self._tally = Tally()
        self._shown: deque[tuple[int, Action]] = deque(maxlen=BELT_CHARS)
        self._latest_ns = self._latest = 0

    def __enter__(self) -> Watch:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *exc: object) -> None:
        if self._live:
            self._live.stop()

    def part(self, record: PartRecord) -> None:
        self._tally.part(record)
        self._latest, self._latest_ns = record.part, record.deadline.trigger_ns
        self._shown.append((self._latest_ns, record.applied or record.decision.action))

    def event(self, kind: str, part: int, detail: str) -> None:
        self._tally.event(kind, part, detail)

    def draw(self, now_ns: int) -> None:
        """Show the line as it is now; on a virtual clock, as it was with the latest part."""
        if self._live:
            self._live.update(self.table(now_ns if self._real else self._latest_ns), refresh=True)

    def table(self, now_ns: int) -> Table:
        """The belt, and the counts so far; instants as of the parts' triggers."""
        tally, line = self._tally, self._line
        view = Table(title=self._what, show_header=False, min_width=BELT_CHARS + 24)
        view.add_column(style="bold", no_wrap=True)
        view.add_column(no_wrap=True)
        view.add_row("belt", f"{line.speed_mm_s:g} mm/s, {line.rate_hz:.4g} parts/s")
        view.add_row("", Text(belt_line(line, self._shown, now_ns)))
        view.add_row("parts", f"{self._latest} of {self._parts}")
        view.add_row("told", "  ".join(f"{a} {tally.actions[a]}" for a in Action))
        view.add_row("overruns", str(tally.overruns))
        view.add_row("last event", Text(tally.last_event[:BELT_CHARS] or "-"))
        return view


def belt_line(line: Line, parts: Iterable[tuple[int, Action]], now_ns: int) -> str:
    """The belt from the camera [ to the machine |: o a part told to pass, x any other."""
    belt = line.belt
    chars = ["-"] * round(BELT_CHARS * BEHIND)
    for trigger_ns, action in parts:
        way_mm = (now_ns - trigger_ns) / NS_PER_S * belt.speed_mm_s
        place = math.floor(way_mm / line.camera_to_gate_mm * BELT_CHARS)
        if 0 <= place < len(chars):
            chars[place] = "o" if action is Action.ACCEPT else "x"
    chars.insert(BELT_CHARS, "|")
    return "[" + "".join(chars)


def summary(result: Simulation) -> Table:
    """A simulated line in the words of the trade; escapes and overkill always with their counts."""
    line = result.line
    view = Table(show_header=False, min_width=64)
    view.add_column(style="bold", no_wrap=True)
    view.add_column()
    belt = f"{line.speed_mm_s:g} mm/s, {line.spacing_mm:g} mm apart: {result.rate_hz:.4g} parts/s"
    view.add_row("belt", belt)
    way = f"{line.camera_to_gate_mm:g} mm behind the camera, rests at {line.rest}"
    view.add_row(line.machine, f"{way}; budget {result.budget_ms:.1f} ms")
    stopped = f", {result.stopped} still on the belt" if result.stopped else ""
    view.add_row("parts", str(result.parts))
    view.add_row(
        "bins",
        f"{result.good_bin} in the good bin, {result.reject_bin} in the reject bin{stopped}",
    )
    if result.physical_escapes is not None:
        escapes = f"{result.physical_escapes} of {result.defect} defective parts"
        view.add_row("escapes", f"{escapes}; {result.escapes_by_machine} by the machine")
        overkill = f"{result.physical_overkill} of {result.good} good parts"
        view.add_row("overkill", f"{overkill}; {result.overkill_by_machine} by the machine")
    view.add_row("commands", _late(result.late_at_gate, result.misrouted))
    view.add_row("overruns", overruns(result.overruns, result.picture_overruns))
    view.add_row("latency", _spread(result.latency_ms))
    view.add_row("session.run", _spread(result.session_ms))
    view.add_row("overhead", _spread(result.overhead_ms))
    view.add_row("highest rate", _fastest(result))
    if (confirmed := result.confirmation) is not None:
        word = "holds" if confirmed.holds else "does not hold"
        seen = _late(confirmed.late_at_gate, confirmed.misrouted)
        at = f"{word} at {confirmed.rate_hz:.4g} parts/s in real time"
        over = overruns(confirmed.overruns, confirmed.picture_overruns)
        view.add_row("confirmed", f"{at}: {seen}; {over}")
    return view


def _late(late_at_gate: int, misrouted: int) -> str:
    return f"{late_at_gate} late at the gate, {misrouted} misrouted"


def _fastest(result: Simulation) -> str:
    if result.max_rate_hz is None or result.max_rate_bound_by is None:
        return f"no rate is slow enough for these {result.max_rate_parts} parts"
    why = _BOUNDS[result.max_rate_bound_by]
    rests = f"rests on {result.max_rate_parts} parts"
    return f"{result.max_rate_hz:.4g} parts/s, bound by {why}; {rests}"


_BOUNDS: dict[Bound, str] = {
    "inference": "inference (what the engine can do)",
    "budget": "the budget (the way to the gate)",
    "gate": "the gate (the machine's own cycle)",
    "limit": "the limit of what the simulation can feed",
}


def _spread(spread: Percentiles) -> str:
    """Percentiles, in ms."""
    if spread is None:
        return "-"
    return "  ".join(f"{name} {value:.2f}" for name, value in spread.items()) + " ms"
