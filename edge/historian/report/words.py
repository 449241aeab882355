"""What the page says in words: labels, instants, and shares."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta, timezone

from edge.core.clock import NS_PER_S
from edge.core.regions import label
from edge.historian.report.bounds import rate
from edge.historian.report.shift import Ran, Shift, Shown
from edge.page.words import count, percent

FAULTS = {
    "no_image": "no picture came",
    "missed_trigger": "every picture slot was in use",
    "stale_frame": "the camera repeated an old picture",
    "bad_frame": "a damaged picture, or one of the wrong size",
    "unfit_image": "a picture not fit to judge",
    "not_admitted": "a limit held the line, or the answer would have been late",
    "deadline": "no verdict in time",
    "engine_down": "the inference engine was down",
    "bad_output": "the engine's answer could not be used",
    "stall": "the station itself stood still",
    "no_controller": "no controller there to act",
    "held_by_operator": "a person held the line",
    "not_as_commanded": "the controller sent no ack, or did its default",
    "lost": "the station was lost before the part was finished",
}
KINDS = {
    "accepted": "accepted",
    "rejected": "rejected",
    "reworked": "sent to rework",
    "held": "held (set aside)",
    "defaulted": "defaulted",
    "lost": "lost with their station",
}
HASH_LETTERS = 12  # of a digest where all of it is written elsewhere


def fault(name: str) -> str:
    """A fault in plain words; a name that this version does not know, as it is."""
    return FAULTS.get(name, name.replace("_", " "))


def bounded(number: int, of: int) -> str:
    """A count among others with its exact upper bound."""
    found = rate(number, of)
    if found is None:
        return f"{number:,}"
    upper = f"at most {percent(found.upper_95)} with 95 % confidence"
    return f"{number:,} of {count(of, 'part')}, {percent(found.share)}, {upper}"


def score(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def judge(one: Ran) -> str:
    """What judged parts: package and provider."""
    digest = f" {one.content_sha256[:HASH_LETTERS]}" if one.content_sha256 else ""
    return f"{one.package or 'no package'}{digest}, provider {one.provider or 'unknown'}"


def ran(one: Ran, *, alone: bool) -> str:
    """What judged parts: package, provider and thresholds."""
    said = [judge(one)]
    match one.limits:
        case (below, fail) if below == fail:
            said.append(f"PASS below score {below:g}, else FAIL")
        case (below, fail):
            said.append(f"PASS below score {below:g}, FAIL from {fail:g}, between them held")
        case _:
            said.append("no thresholds")
    if not alone:
        said.append(count(one.parts, "part"))
    return ", ".join(said)


def part(one: Shown, utc_offset_s: int) -> str:
    """A part in a line, below its picture, whose name begins with its session."""
    said = [
        f"part {one.part:,}",
        f"lot {one.lot}" if one.lot else "",
        instant(one.utc_ns, utc_offset_s),
        f"score {score(one.score)}" if one.score is not None else "",
        KINDS.get(one.kind, one.kind),
        fault(one.fault) if one.fault else "",
        _found(one),
        f"truth: {one.truth} {one.defect_type}".rstrip() if one.truth else "",
        one.evidence,
    ]
    return ", ".join(word for word in said if word)


def _found(one: Shown) -> str:
    """The worst region, and how many more there are."""
    if not one.regions:
        return ""
    more = len(one.regions) - 1
    return f"found: {label(one.regions[0])}" + (
        f" and {count(more, 'region')} more" if more else ""
    )


def zone(utc_offset_s: int) -> str:
    """UTC, or UTC+05:30."""
    if not utc_offset_s:
        return "UTC"
    minutes = abs(utc_offset_s) // 60
    sign = "+" if utc_offset_s > 0 else "\N{MINUS SIGN}"
    return f"UTC{sign}{minutes // 60:02}:{minutes % 60:02}"


def instant(utc_ns: int, utc_offset_s: int, form: str = "%Y-%m-%d %H:%M:%S") -> str:
    """In the plant's time; - for 0, and for what no calendar has."""
    try:
        there = timezone(timedelta(seconds=utc_offset_s))
        return datetime.fromtimestamp(utc_ns // NS_PER_S, there).strftime(form) if utc_ns else "-"
    except (OverflowError, ValueError, OSError):
        return "-"


def step(step_s: int) -> str:
    """The step of everything over time, after "per"."""
    names = {60: "minute", 600: "10 minutes", 3600: "hour", 86_400: "day", 604_800: "week"}
    return names.get(step_s, f"{step_s // 604_800} weeks")


def period_name(utc_ns: int, step_s: int, utc_offset_s: int) -> str:
    """A row of a table over time; the date with the first hours of a day is enough."""
    if step_s >= 86_400:
        return instant(utc_ns, utc_offset_s, "%a %Y-%m-%d")
    return instant(utc_ns, utc_offset_s, "%m-%d %H:%M")


def span(shift: Shift) -> str:
    """The period in one line."""
    offset = shift.utc_offset_s
    asked = []
    if shift.since_utc_ns:
        asked.append(f"from {instant(shift.since_utc_ns, offset)}")
    if shift.until_utc_ns:
        asked.append(f"until {instant(shift.until_utc_ns, offset)}")
    if shift.lot:
        asked.append(f"lot {shift.lot}")
    if shift.package:
        asked.append(f"judged by package {shift.package}")
    return f"{', '.join(asked) or 'everything recorded'}, {zone(offset)}"


def listed(names: Iterable[str], left_out: int = 0) -> str:
    """Names by commas, and how many more there are; - for none."""
    more = [f"and {left_out:,} more"] if left_out else []
    return ", ".join([*names, *more]) or "-"
