"""The page: valid drawings, nothing outside them, nothing lost, nothing unescaped."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from itertools import combinations
from typing import NamedTuple
from xml.etree import ElementTree

import msgspec
import numpy as np
import pytest

from bench.latency.report import charts, scales, soak
from bench.latency.report.page import page, write
from bench.latency.result import Minute, Overrun, Plan, Series
from edge.core.errors import ConfigError
from edge.page import svg
from edge.page.scale import fitting, linear

SVG = "{http://www.w3.org/2000/svg}"
STEP = re.compile(r"([MmHhVvLlz])(-?[\d.]+)?(?:,(-?[\d.]+))?")


class Box(NamedTuple):
    left: float
    top: float
    right: float
    bottom: float

    def overlaps(self, other: Box) -> bool:
        across = self.left < other.right and other.left < self.right
        return across and self.top < other.bottom and other.top < self.bottom


def drawings(text: str) -> list[ElementTree.Element]:
    return [ElementTree.fromstring(one) for one in re.findall(r"<svg.*?</svg>", text, re.S)]


def corners(mark: ElementTree.Element) -> list[tuple[float, float]]:
    """Every point a mark goes through."""
    if mark.tag == f"{SVG}rect":
        x, y, wide, high = (float(mark.get(name)) for name in ("x", "y", "width", "height"))
        assert wide >= 0
        assert high >= 0
        return [(x, y), (x + wide, y + high)]
    if mark.tag == f"{SVG}polyline":
        return [tuple(map(float, pair.split(","))) for pair in mark.get("points").split()]
    if mark.tag != f"{SVG}path":
        return []
    found, x, y = [], 0.0, 0.0
    for letter, first, second in STEP.findall(mark.get("d")):
        a, b = float(first or 0), float(second or 0)
        match letter:
            case "M" | "L":
                x, y = a, b
            case "m" | "l":
                x, y = x + a, y + b
            case "H":
                x = a
            case "h":
                x += a
            case "V":
                y = a
            case "v":
                y += a
        found.append((x, y))
    return found


def boxes(drawing: ElementTree.Element) -> dict[str, Box]:
    """The words of a drawing and roughly the room they take."""
    found = {}
    for number, mark in enumerate(drawing.iter(f"{SVG}text")):
        x, y, wide = float(mark.get("x")), float(mark.get("y")), svg.LETTER_PX * len(mark.text)
        left = x - {"middle": wide / 2, "end": wide}.get(mark.get("text-anchor"), 0.0)
        found[f"{number} {mark.text}"] = Box(left, y - 9, left + wide, y + 2)
    return found


def check(drawing: ElementTree.Element) -> None:
    _, _, width, height = map(float, drawing.get("viewBox").split())
    for mark in drawing:
        for x, y in corners(mark):
            assert 0 <= x <= width, ElementTree.tostring(mark)
            assert 0 <= y <= height, ElementTree.tostring(mark)
    words = boxes(drawing)
    for name, box in words.items():
        assert min(box.left, box.top) >= 0, name
        assert box.right <= width, name
        assert box.bottom <= height, name
    for (one, first), (other, second) in combinations(words.items(), 2):
        assert not first.overlaps(second), (one, other)
    for axis in drawing.iter(f"{SVG}path"):
        if axis.get("class") == "axis":
            points = corners(axis)
            line = Box(*points[0], points[-1][0] + 0.1, points[-1][1] + 0.1)
            assert not [name for name, box in words.items() if box.overlaps(line)]


def minute(number: int, slow: float = 0.0) -> Minute:
    return Minute(
        minute=number,
        parts=1200,
        overruns=int(slow > 0),
        p50=5.0,
        p99=7.0,
        max=9.0 + slow,
        session_p50=4.2,
        resident_mib=60 + number / 100,
    )


def plain(make):
    return [make()]


def late(make):
    return [make(parts=9000, overruns=(1, 2, 3, 700, 701, 8999, 9000), minutes=7)]


def side_by_side(make):
    return [make(overruns=(7,)), make(parts=1200, seed=3, slower=3.0, minutes=20), make(parts=150)]


def one_part(make):
    return [make(parts=1)]


def no_part(make):
    empty = Series(step=1, second=[], latency_ms=[], session_ms=[])
    nothing = {"latency_ms": None, "session_ms": None, "overhead_ms": None, "ratio_p50": None}
    run = make(parts=100, series=empty, complete=False, ended_by="Ctrl-C", **nothing)
    return [msgspec.structs.replace(run, parts=0, verdicts=0, stages_ms={}, duration_s=0.0)]


def all_late(make):
    return [make(parts=500, overruns=tuple(range(1, 501)))]


def equal_parts(make):
    series = Series(step=1, second=[n / 20 for n in range(200)], latency_ms=[5.0] * 200,
                    session_ms=[5.0] * 200)  # fmt: skip
    return [make(parts=200, series=series)]


def a_minute_late(make):
    run = make(parts=2000)
    latency = [*run.series.latency_ms[:-1], 61_234.5]
    return [make(parts=2000, series=msgspec.structs.replace(run.series, latency_ms=latency))]


def a_week(make):
    minutes = [minute(number, 40.0 * (number % 997 == 5)) for number in range(10_080)]
    run = make(parts=10_000, duration_s=604_800.0)
    return [msgspec.structs.replace(run, minutes=minutes, parts=12_096_000)]


CASES = (plain, late, side_by_side, one_part, no_part, all_late, equal_parts, a_minute_late, a_week)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_drawings_stay_in_their_frame_and_words_apart(make_result, case):
    text = page(case(make_result))
    found = drawings(text)
    assert len(found) >= 4
    for drawing in found:
        check(drawing)


class Tags(HTMLParser):
    """Fails where a tag is closed that is not open."""

    EMPTY = ("meta", "path", "rect", "polyline")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()

    def handle_starttag(self, tag, attrs):
        self.seen.add(tag)
        if tag not in self.EMPTY or (tag in ("path", "rect") and not self.closed()):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.add(tag)

    def closed(self) -> bool:
        return (self.get_starttag_text() or "").endswith("/>")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_one_file_that_asks_for_nothing_and_its_tags_match(make_result):
    text = page(late(make_result))
    tags = Tags()
    tags.feed(text)
    assert not tags.open
    assert not tags.seen & {"script", "link", "img", "iframe", "object", "a"}
    assert set(re.findall(r"https?:[^\"' ]+", text)) == {"http://www.w3.org/2000/svg"}
    assert "url(" not in text
    assert "@import" not in text
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text


def test_words_of_a_result_are_escaped(make_result):
    evil = '<script>alert("1")</script>&amp;'
    run = make_result(overruns=(5,), model=evil, notes=[evil], ended_by=evil, started=evil)
    run = msgspec.structs.replace(
        run,
        host=msgspec.structs.replace(run.host, cpu=evil, libraries={evil: evil}),
        timeline=[Overrun(part=5, second=0.2, latency_ms=None, why=evil)],
        faults={evil: 1},
        complete=False,
    )
    for runs in ([run], [run, run]):
        text = page(runs)
        assert "<script" not in text
        assert 'alert("' not in text
        assert "&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&amp;amp;" in text
        for drawing in drawings(text):
            check(drawing)


def test_a_run_of_100_000_parts_is_small_and_keeps_its_maxima_and_overruns(make_result):
    overruns = tuple(range(40, 100_000, 100))
    run = make_result(parts=100_000, overruns=overruns)
    latency = [*run.series.latency_ms[:-1], 99.0]
    run = msgspec.structs.replace(
        run, series=msgspec.structs.replace(run.series, latency_ms=latency)
    )
    assert len(page([run])) < 1_000_000
    shared = charts.common([run])
    (drawing,) = drawings(charts.timeline(run, shared))
    titles = [
        mark.find(f"{SVG}title").text
        for mark in drawing.iter(f"{SVG}path")
        if (mark.get("class") or "").startswith("late")
    ]
    counts = (re.match(r"([\d,]+) overruns, the worst", title) for title in titles)
    assert sum(int(c[1].replace(",", "")) if c else 1 for c in counts) == len(overruns)
    assert all(re.search(r"part [\d,]+, [\d,.]+ s: .*; deadline", title) for title in titles)
    (ranges,) = (m for m in drawing.iter(f"{SVG}path") if m.get("class") == "range")
    top = fitting(shared.low, shared.high, 222, 36)(99.0)
    assert min(y for _, y in corners(ranges)) == top


def test_an_overrun_says_which_part_when_how_late_and_why(make_result):
    run = make_result(overruns=(10, 11))
    text = charts.timeline(run, charts.common([run]))
    assert "<title>part 11, 0.50 s: 66.0 ms; deadline; session 58.1 ms, usually 4.2</title>" in text
    assert 'class="late unheard"' in text
    assert "<title>part 10, 0.45 s: no command; deadline" in text


def test_the_histogram_counts_every_part_once(make_result):
    run = make_result(parts=5000)
    text = charts.histogram(run, charts.common([run]))
    counts = re.findall(r"ms: ([\d,]+) parts</title>", text)
    assert sum(int(count.replace(",", "")) for count in counts) == 5000
    assert "parts (log)" in text
    assert f"p99 {run.latency_ms['p99']:.2f} ms" in text


def test_the_curve_passes_through_the_percentiles_and_ends_where_the_parts_do(make_result):
    run = make_result(parts=2000)
    shared = charts.common([run])
    (drawing,) = drawings(charts.curve(run, shared))
    lines = {line.get("class"): corners(line) for line in drawing.iter(f"{SVG}polyline")}
    x = scales.nines(52, 476)
    y = fitting(shared.least, shared.high, 222, 52)
    spreads = {"latency": run.latency_ms, "session": run.session_ms, "overhead": run.overhead_ms}
    for name, spread in spreads.items():
        xs, ys = np.transpose(lines[name])
        for share, which in ((50, "p50"), (90, "p90"), (99, "p99")):
            assert np.interp(x(share), xs, ys) == pytest.approx(y(spread[which]), abs=3)
        assert xs.max() == pytest.approx(x(99.95), abs=0.2)


def test_the_bars_of_stages_are_as_long_as_their_times(make_result):
    run = make_result()
    shared = charts.common([run])
    (drawing,) = drawings(charts.stages(run, shared))
    bars = list(drawing.iter(f"{SVG}rect"))
    x = linear(0, shared.way, 52, 486)
    for row, which in enumerate(("p50", "p99")):
        of_row = bars[row * len(charts.WAY) : (row + 1) * len(charts.WAY)]
        total = sum(run.stages_ms[stage][which] for stage in charts.WAY)
        wide = sum(float(bar.get("width")) for bar in of_row)
        assert wide == pytest.approx(x(total) - 52, abs=0.5)
        starts = [float(bar.get("x")) for bar in of_row]
        assert starts == sorted(starts)


def test_a_long_soak_keeps_its_overruns_and_its_worst(make_result):
    minutes = [minute(number, 40.0 * (number == 777)) for number in range(10_080)]
    columns = soak.gathered(minutes)
    assert len(columns) <= soak.MOST_COLUMNS
    assert sum(one.overruns for one in columns) == 1
    assert max(one.max for one in columns) == 49.0
    assert sum(one.parts for one in columns) == 1200 * 10_080
    assert soak.gathered(minutes[:5]) == minutes[:5]
    assert soak.chart(minutes[:1]) == ""


def test_several_runs_share_scales_and_what_differs_is_marked(make_result):
    runs = [make_result(), make_result(seed=2, slower=2.0, threads=1)]
    text = page(runs)
    ticks = [
        [mark.text for mark in drawing.iter(f"{SVG}text") if mark.text[0].isdigit()]
        for drawing in drawings(charts.curve(runs[0], charts.common(runs)))
        + drawings(charts.curve(runs[1], charts.common(runs)))
    ]
    assert ticks[0] == ticks[1]
    assert re.findall(r"<b>differs</b> ([\w ]+)", text) == ["provider"]
    assert re.findall(r"<h3>([AB]): ", text) == ["A", "B"]
    assert text.count("<svg") == 8


def test_everything_is_in_the_table(make_result):
    run = make_result(plan=Plan(scenario="constant", rate_hz=20, standby=False))
    text = page([run])
    for fact in ("AMD EPYC 9B14", "no standby", "schema of the JSON", "14.50 a part", *run.notes):
        assert fact.replace("'", "&#x27;") in text
    assert "PARTIAL" not in text
    assert "PARTIAL" in page([msgspec.structs.replace(run, complete=False)])


def test_the_page_is_written_or_the_reason_is_one_line(make_result, tmp_path):
    path = tmp_path / "run.html"
    write(path, [make_result(parts=200)])
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")
    with pytest.raises(ConfigError, match=r"nowhere/run\.html: cannot be written: No such"):
        write(tmp_path / "nowhere" / "run.html", [make_result(parts=200)])
    with pytest.raises(ConfigError, match="at least one run"):
        write(path, [])
    assert [file.name for file in tmp_path.iterdir()] == ["run.html"]


@pytest.mark.parametrize(
    ("low", "high"), [(4.1, 68.0), (0.5, 1e5), (3.0, 3.2), (1e-3, 9e6), (5.0, 5.0), (0.0, 0.004)]
)
def test_ticks_are_few_and_inside(low, high):
    for scale in (linear(low, high, 0, 100), fitting(low, high, 0, 100)):
        ticks = scales.ticks(scale)
        assert 2 <= len(ticks) <= 9
        edge = 1e-8 * (scale.high - scale.low)
        assert all(scale.low - edge <= tick <= scale.high + edge for tick in ticks)
        pixels = [scale(tick) for tick in ticks]
        assert pixels == sorted(pixels)
