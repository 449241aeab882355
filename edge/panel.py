"""What a person sees: the live table, the line a second, and the summary of a run."""

from __future__ import annotations

from collections.abc import Mapping

from rich.table import Table

from edge.core.types import Action, Fault
from edge.page.words import overruns
from edge.replay import Fared, Report
from edge.stats import Tally


def table(tally: Tally, parts: int) -> Table:
    """The live table of a running station; parts is how many are planned."""
    view = Table(title="station", show_header=False, min_width=64)
    view.add_column(style="bold")
    view.add_column()
    view.add_row("parts", f"{tally.parts} of {parts}")
    for action in Action:
        view.add_row(action, str(tally.actions[action]))
    view.add_row("defaults", counts(tally.defaults) or "0")
    view.add_row("commands / acks", f"{tally.commands} / {tally.acks}")
    view.add_row("overruns", str(tally.overruns))
    view.add_row("latency", _spread(tally.latency_ms()))
    view.add_row("session", _spread(tally.session_ms()))
    view.add_row("last event", tally.last_event[:60] or "-")
    return view


def line(tally: Tally, parts: int) -> str:
    """The same in one line, for a log or a pipe."""
    actions = " ".join(f"{action} {tally.actions[action]}" for action in Action)
    return (
        f"parts {tally.parts}/{parts} {actions} defaults {tally.defaults.total()} "
        f"overruns {tally.overruns} latency {_spread(tally.latency_ms())}"
    )


def summary(result: Report) -> Table:
    """A finished run in the words of the trade; rates always with their counts."""
    view = Table(show_header=False, min_width=64)
    view.add_column(style="bold")
    view.add_column()
    view.add_row("parts / commands / acks", f"{result.parts} / {result.commands} / {result.acks}")
    view.add_row("conservation errors", str(result.conservation_errors))
    view.add_row("actions", counts(result.actions))
    fared(view, result)
    view.add_row("faults", counts(dict(sorted(result.faults.items()))) or "none")
    view.add_row("overruns", overruns(result.overruns, result.picture_overruns))
    missed = f"{result.deadline_misses} without a verdict"
    slow = "; `edge bench` says what this box can hold" if result.deadline_misses else ""
    view.add_row("deadline", f"{missed}, {result.late_commands} late commands{slow}")
    if result.real_time:
        view.add_row("latency", _spread(result.latency_ms))
    else:
        view.add_row("latency", "none: the clock was virtual")
    view.add_row("session.run", _spread(result.session_ms))
    if result.registration_ms and result.registration_ms["max"]:
        view.add_row("registration", _spread(result.registration_ms))
    if result.real_time:
        view.add_row("overhead", _spread(result.overhead_ms))
    view.add_row("decisions sha256", result.decisions_sha256[:16])
    return view


def fared(view: Table, result: Fared) -> None:
    """How labelled parts fared, as rows of a table; one row where the footage has no labels."""
    if result.good is None:
        view.add_row("detection", "unknown: no label says which part is good and which defective")
        return
    view.add_row("detection", _rate(result.detection, result.caught, result.defect))
    view.add_row("escapes", f"{result.escapes} of {result.defect} defective parts")
    over = (result.overkill or 0) + (result.held_good or 0)
    view.add_row("overkill rate", _rate(result.overkill_rate, over, result.good))
    view.add_row("held", f"{result.held_good} good, {result.held_defect} defective")
    defaulted = f"{result.defaulted_good} good, {result.defaulted_defect} defective"
    unjudged = (result.defaulted_good or 0) + (result.defaulted_defect or 0)
    view.add_row(
        "defaulted", defaulted + (", not judged: neither caught nor overkill" if unjudged else "")
    )
    view.add_row("AUROC", "-" if result.auroc is None else f"{result.auroc:.4f}")


def _rate(rate: float | None, count: int | None, of: int | None) -> str:
    return "-" if rate is None else f"{100 * rate:.2f} % ({count} of {of})"


def counts(found: Mapping[str, int] | Mapping[Fault, int]) -> str:
    """Counts by their names, in their order."""
    return ", ".join(f"{name} {number}" for name, number in found.items())


def _spread(spread: dict[str, float] | None) -> str:
    if spread is None:
        return "-"
    return "  ".join(f"{name} {value:.2f}" for name, value in spread.items()) + " ms"
