"""A finished chaos run in words."""

from __future__ import annotations

from bench.chaos.judge import ChaosReport


def summary(report: ChaosReport) -> str:
    """A line a figure, and last the promises that broke."""
    injected = ", ".join(f"{kind} {count}" for kind, count in report.injected.items())
    defaults = ", ".join(f"{cause} {count}" for cause, count in report.defaults.items())
    available = "-" if report.availability is None else f"{report.availability:.4f}"
    lines = [
        f"parts               {report.parts} in {report.wall_s} s",
        f"verdicts, accepts   {report.verdicts}, {report.accepts}",
        f"injected            {injected}",
        f"defaults            {defaults}",
        f"conservation errors {report.conservation_errors}",
        f"accepts on a fault  {report.accepts_on_fault}, of defective parts "
        f"{report.defective_accepted}",
        f"late commands       {report.late_commands}",
        f"applied twice       {report.applied_twice}",
        f"unacked             {report.unacked}",
        f"overshoot           {_spread(report.overshoot_ms)}",
        f"  without stalls    {_spread(report.overshoot_unstalled_ms)}",
        f"availability        {available} of {report.untouched} untouched parts, "
        f"{report.verdicts_changed} judged otherwise than without faults, "
        f"{report.misapplied} misapplied, {report.untouched_unacked} unacked",
        f"records             {report.records_missing} parts missing or otherwise, "
        f"{report.records_problems} problems; {report.historian_restarts} historians replaced",
        f"footage             {report.pictures_in_footage} pictures on disk of "
        f"{report.pictures_kept} taken; {report.pictures_lost} could not be taken",
    ]
    broken = [f"BROKEN: {promise}" for promise in report.broken]
    return "\n".join(lines + (broken or ["every promise held"]))


def _spread(spread: dict[str, float] | None) -> str:
    if spread is None:
        return "-"
    return "  ".join(f"{name} {value:.2f}" for name, value in spread.items()) + " ms"
