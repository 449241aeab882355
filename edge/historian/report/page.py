"""A shift as one HTML page that needs nothing else: no network, no script, A4 when printed."""

from __future__ import annotations

from html import escape
from itertools import groupby
from pathlib import Path

from edge.historian.evidence import folder_of
from edge.historian.report import attention, charts, histograms, lists, tables, words
from edge.historian.report.gather import gather
from edge.historian.report.pictures import picture
from edge.historian.report.shift import Shift, Shown
from edge.historian.report.style import STYLE
from edge.page import frame
from edge.page.frame import grid, wide
from edge.page.whole import write_whole


def write(
    html: Path,
    records: Path,
    *,
    since_ns: int = 0,
    until_ns: int = 0,
    lot: str = "",
    package: str = "",
    utc_offset_s: int = 0,
    written_utc_ns: int = 0,
    reload_s: int = 0,
) -> Shift:
    """Write the page of a database's shift, whole or not at all; the figures that are on it.

    The options are those of `gather` and `page`; the evidence is looked for beside the database.
    RecordsError where the records cannot be read, ConfigError where the page cannot be written.
    """
    shift = gather(
        records,
        since_ns=since_ns,
        until_ns=until_ns,
        lot=lot,
        package=package,
        utc_offset_s=utc_offset_s,
    )
    text = page(shift, folder_of(records), written_utc_ns=written_utc_ns, reload_s=reload_s)
    write_whole(html, text)
    return shift


def page(shift: Shift, evidence_folder: Path, *, written_utc_ns: int = 0, reload_s: int = 0) -> str:
    """The page's text. written_utc_ns: said in its foot; reload_s: a browser asks again after."""
    stations = dict.fromkeys(one.station for one in shift.sittings if one.station)
    title = f"Shift report: {words.listed(stations) if stations else shift.records}"
    body = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="period">{escape(words.span(shift))}</p>',
        *(_parts(shift, evidence_folder) if shift.total.parts else _nothing(shift)),
        "<h2>These records</h2>",
        lists.chain(shift, written_utc_ns),
        "<p>PASS and FAIL are quality, not functional safety.</p>",
    ]
    return frame.page(title, STYLE, body, pictures=True, reload_s=reload_s)


def _nothing(shift: Shift) -> list[str]:
    return [
        '<ul class="look fine"><li>No parts in this period.</li></ul>',
        *_section("Sessions", lists.sittings(shift)),
        *_section("Changes", lists.changes(shift)),
    ]


def _parts(shift: Shift, folder: Path) -> list[str]:
    return [
        _looks(shift),
        tables.tiles(shift),
        lists.header(shift),
        f"<h2>Parts per {words.step(shift.step_s)}</h2>",
        wide(charts.over_time(shift)),
        tables.over_time(shift),
        *_judges(shift),
        *_truth(shift),
        "<h2>Defects and faults</h2>",
        grid(_paretos(shift)),
        *_faults(shift),
        *_scores(shift),
        *_latency(shift),
        *_section("Do the counts agree?", tables.conservation(shift)),
        *_section("Sessions", lists.sittings(shift)),
        *_section("Changes", lists.changes(shift)),
        *_pictures(shift, folder),
    ]


def _looks(shift: Shift) -> str:
    lines = attention.lines(shift)
    css = "look" if lines else "look fine"
    lines = lines or ["Nothing stands out: no default, no overrun, and the counts agree."]
    return f'<ul class="{css}">{"".join(f"<li>{escape(line)}</li>" for line in lines)}</ul>'


def _truth(shift: Shift) -> list[str]:
    if not shift.known:
        said = "Nobody knows the truth of these parts, so escapes and overkill are unknown."
        return ["<h2>Escapes and overkill</h2>", f"<p>{said}</p>"]
    return [
        "<h2>Escapes and overkill</h2>",
        "<p>Of the parts whose truth is known. A bound is exact (Clopper-Pearson): if the true "
        "rate were higher, so few would come up in fewer than 1 shift of 20.</p>",
        tables.known(shift.known),
        lists.escaped(shift),
    ]


def _judges(shift: Shift) -> list[str]:
    if len(shift.ran) < 2:
        return []
    said = "Packages and providers that judged parts, the most parts first; Changes says when."
    return ["<h2>What judged the parts</h2>", f"<p>{said}</p>", tables.judges(shift)]


def _paretos(shift: Shift) -> list[str]:
    fared = {"caught": "caught", "escapes": "escaped", "held": "held", "undecided": "defaulted"}
    bars = [
        (
            one.name,
            dict(zip(fared, (one.caught, one.escapes, one.held, one.defaulted), strict=True)),
        )
        for one in shift.types
    ]
    kinds = {kind: said for kind, said in fared.items() if any(bar[kind] for _, bar in bars)}
    types = charts.pareto(bars, kinds, "defective parts by type")
    faults = charts.pareto(
        [(name, {"fault": parts}) for name, parts in shift.faults.items()],
        {"fault": "defaulted"},
        "defaulted and lost parts by fault",
    )
    return [
        "<h3>Defect types</h3><p>Known defective parts by type; of parts whose truth nobody "
        "knows, those that failed, by the type of their worst region.</p>"
        + (types or "<p>No defective part.</p>"),
        "<h3>Faults</h3><p>Why parts defaulted, or were lost.</p>" + (faults or "<p>No fault.</p>"),
    ]


def _faults(shift: Shift) -> list[str]:
    if not shift.faults:
        return []
    return [
        "<h3>Faults over time</h3>",
        f"<p>Parts per {words.step(shift.step_s)}; each strip has a height of its own.</p>",
        wide(charts.faults_over_time(shift)),
        tables.faults(shift),
    ]


def _scores(shift: Shift) -> list[str]:
    if not shift.scores:
        return []
    return ["<h2>Scores</h2>", wide(histograms.scores(shift.scores, shift.ran))]


def _latency(shift: Shift) -> list[str]:
    said = (
        "From trigger to command received by the controller, of parts with a verdict. The budget "
        "ends at act_by: a default leaves before it."
    )
    found = shift.latency
    if not found:
        return ["<h2>Latency</h2>", "<p>No part with a verdict on a real clock.</p>"]
    pictures = (histograms.latency(found), histograms.latency_over_time(shift, found))
    return ["<h2>Latency</h2>", f"<p>{said}</p>", tables.latency(shift, found), grid(pictures)]


def _pictures(shift: Shift, folder: Path) -> list[str]:
    counts = ", ".join(f"{kind} {parts:,}" for kind, parts in shift.pictures.items())
    found = ["<h2>Pictures to look at</h2>", f"<p>Pictures of parts: {escape(counts)}.</p>"]
    if not shift.shown:
        return [*found, "<p>None of these parts has a picture in evidence.</p>"]
    for title, those in groupby(shift.shown, key=lambda one: one.why):
        figures = "".join(_figure(shift, one, folder) for one in those)
        found.append(f'<h3>{escape(title)}</h3><div class="pictures">{figures}</div>')
    return found


def _figure(shift: Shift, one: Shown, folder: Path) -> str:
    shown = picture(folder, one.evidence, one.regions)
    said = escape(words.part(one, shift.utc_offset_s))
    return f"<figure>{shown}<figcaption>{said}</figcaption></figure>"


def _section(title: str, table: str) -> list[str]:
    return [f"<h2>{escape(title)}</h2>", table]
