"""One part on a page: what became of it, its picture with the map, and where its time went."""

from __future__ import annotations

from html import escape
from pathlib import Path

from edge.core.clock import NS_PER_MS
from edge.core.regions import SizedRegion, short
from edge.core.types import Serving
from edge.historian import evidence
from edge.historian.explain import explained
from edge.historian.records.query import Shown
from edge.historian.records.rows import PartRow, regions_of
from edge.historian.records.when import utc_text
from edge.historian.report.pictures import outlined, shrunk
from edge.historian.report.style import STYLE
from edge.historian.report.table import table
from edge.page import frame
from edge.page.whole import write_whole
from edge.page.words import count

SIDE_PX = 480
# A part's instants in their order, and what ends at each.
_INSTANTS = (
    ("trigger_ns", "trigger"),
    ("frame_ns", "its picture is whole in its slot"),
    ("worker_ns", "the worker has it"),
    ("began_ns", "session.run begins"),
    ("ended_ns", "session.run has ended"),
    ("answered_ns", "the answer is with the loop"),
    ("decided_ns", "decided"),
    ("sent_ns", "the command is with the wire"),
    ("received_ns", "the controller has it"),
    ("acked_ns", "its ack is with the loop"),
    ("decide_by_ns", "deadline of the station"),
    ("act_by_ns", "deadline of the controller"),
)

_OF_THE_WORKER = ("worker_ns", "began_ns", "ended_ns")


def write(html: Path, database: Path, found: Shown) -> None:
    """Write the page of a part, whole or not at all; ConfigError where it cannot be written."""
    write_whole(html, page(database, found))


def page(database: Path, found: Shown) -> str:
    """The page's text; a picture that is not there any more is named."""
    row, number = found.row, found.events[0].part if found.events else 0
    title = f"Part {row.part if row else number}"
    lines = [f"<h1>{title}</h1>"]
    if row is None:
        lines.append("<p>It was triggered, and nothing more is on record.</p>")
    else:
        virtual = found.session is not None and found.session.virtual
        lines += [
            _became(row, found.serving),
            *_pictures(database, found, row),
            *_regions(row, found.serving),
            "<h2>Time</h2>",
            _times(row, virtual),
        ]
    lines.append("<h2>Events</h2>")
    for one in found.events:
        lines.append(f"<h3>{one.event} {escape(one.kind)}, {utc_text(one.utc_ns)}</h3>")
        lines.append(f"<p>{escape(one.body)}<br>hash {one.hash}</p>")
    return frame.page(title, STYLE, lines, pictures=True)


def _became(row: PartRow, serving: Serving | None) -> str:
    told = [
        ("when", utc_text(row.utc_ns)),
        ("verdict", row.verdict or "none"),
        ("cause", row.cause + (f", {row.fault}" if row.fault else "")),
        ("action", row.action or "unknown"),
        ("done by the controller", row.applied or "no ack"),
        ("left as", row.confirmed or "not confirmed"),
        ("score", "-" if row.score is None else f"{row.score:.6g}"),
        ("limits", f"PASS below {row.pass_below:g}, FAIL from {row.fail_from:g}"),
        ("package", _package(row, serving)),
        ("provider", _provider(row, serving)),
        ("lot", row.lot or "-"),
        ("truth", f"{row.truth} {row.defect_type}".strip() or "unknown"),
        ("detail", row.detail or "-"),
    ]
    return table(("", ""), told, "words")


def _package(row: PartRow, serving: Serving | None) -> str:
    version = serving.version if serving else ""
    return " ".join(filter(None, (row.package, version, row.content_sha256)))


def _provider(row: PartRow, serving: Serving | None) -> str:
    more = f", {count(serving.threads, 'thread')}, {serving.precision}" if serving else ""
    return f"{row.provider}{more}"


def _pictures(database: Path, found: Shown, row: PartRow) -> list[str]:
    folder = evidence.folder_of(database)
    if not row.evidence:
        return [f"<p>No picture in evidence; in footage: {escape(row.picture)}.</p>"]
    file = folder / Path(row.evidence).name
    if (pixels := evidence.picture_of(file)) is None:
        return [f'<div class="absent">{escape(file.name)}: cannot be read any more</div>']
    size = pixels.shape[1], pixels.shape[0]
    shown = [outlined(shrunk(pixels, SIDE_PX), file.name, size, regions_of(row.regions))]
    drawn, lacks = explained(database, found)
    if not lacks:
        shown.append(outlined(shrunk(drawn, SIDE_PX), f"{file.stem} with map", size, ()))
    for other in sorted(folder.glob(f"{file.stem}.*.png")):
        more = None if other == evidence.map_file(file) else evidence.picture_of(other)
        if more is not None:
            shown.append(outlined(shrunk(more, SIDE_PX), other.name, size, ()))
    figures = "".join(f"<figure>{one}</figure>" for one in shown)
    return ["<h2>Picture, map and reference</h2>", f'<div class="pictures">{figures}</div>']


def _regions(row: PartRow, serving: Serving | None) -> list[str]:
    """What was found where, worst first; sizes in mm where the station has a scale."""
    regions = regions_of(row.regions)
    if not regions:
        return []
    columns = ("", "type", "x, y, px", "size, px", "size, mm", "area, px", "area, mm²", "peak")
    knows = bool(serving and serving.type_names)
    lines = [
        (str(place), one.type or ("unknown" if knows else "-"), *_measures(one))
        for place, one in enumerate(regions, 1)
    ]
    return ["<h2>Regions</h2>", table(columns, lines, "numbers")]


def _measures(one: SizedRegion) -> tuple[str, ...]:
    box = "-"
    if one.width_mm is not None and one.height_mm is not None:
        box = f"{short(one.width_mm)} x {short(one.height_mm)}"
    area = "-" if one.area_mm2 is None else short(one.area_mm2)
    place, size = f"{one.x}, {one.y}", f"{one.width} x {one.height}"
    return place, size, box, str(one.area_px), area, f"{one.peak:.4f}"


def _times(row: PartRow, virtual: bool) -> str:
    """Instants in their order, in ms from the trigger and from the one before."""
    seen = [
        (instant, place)
        for place, (name, _) in enumerate(_INSTANTS)
        # A worker's own clock is never virtual.
        if (instant := getattr(row, name)) and not (virtual and name in _OF_THE_WORKER)
    ]
    lines, before = [], row.trigger_ns
    for instant, place in sorted(seen):
        since = (instant - row.trigger_ns) / NS_PER_MS
        step = (instant - before) / NS_PER_MS
        lines.append((_INSTANTS[place][1], f"{since:.3f} ms", f"+{step:.3f} ms"))
        before = instant
    if row.session_ms is not None:
        lines.append(("session.run took", f"{row.session_ms:.3f} ms", ""))
    return table(("", "since the trigger", "since the line above"), lines, "numbers")
