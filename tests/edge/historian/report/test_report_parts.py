"""The pieces a page is made of: bounds, words, scales, charts, pictures."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.core.types import Fault, Region
from edge.historian.report import charts, words
from edge.historian.report.bounds import rate
from edge.historian.report.gather import step_of
from edge.historian.report.pictures import SIDE_PX, picture
from edge.historian.report.shift import KINDS
from edge.historian.report.table import table
from edge.page.svg import Plot

HOSTILE = "<script>alert(1)</script>\"'&"
SVG = "{http://www.w3.org/2000/svg}"


def test_both_bounds_enclose_the_share() -> None:
    found = rate(3, 400)
    assert found is not None
    assert found.lower_95 < found.share == 3 / 400 < found.upper_95
    assert found.lower_95 == pytest.approx(0.0020473, abs=1e-6)
    assert rate(0, 0) is None


def test_every_fault_and_kind_has_plain_words() -> None:
    assert set(words.FAULTS) == {*Fault, "held_by_operator", "not_as_commanded", "lost"}
    assert tuple(words.KINDS) == KINDS
    assert words.fault("not_known_yet") == "not known yet"


@pytest.mark.parametrize(
    ("span_s", "step_s", "said"),
    [
        (0, 60, "minute"),
        (1800, 60, "minute"),
        (1801, 600, "10 minutes"),
        (8 * 3600, 3600, "hour"),
        (73 * 3600, 86_400, "day"),
        (300 * 86_400, 604_800, "week"),
        (56 * 365 * 86_400, 29 * 604_800, "29 weeks"),
    ],
)
def test_steps_over_time_stay_few(span_s: int, step_s: int, said: str) -> None:
    assert step_of(span_s) == step_s
    assert words.step(step_s) == said
    assert span_s / step_s <= 104


@pytest.mark.parametrize(
    ("offset_s", "zone", "time"),
    [
        (0, "UTC", "06:00"),
        (3600, "UTC+01:00", "07:00"),
        (19_800, "UTC+05:30", "11:30"),
        (-12_600, "UTC\N{MINUS SIGN}03:30", "02:30"),
    ],
)
def test_times_are_the_plants(offset_s: int, zone: str, time: str) -> None:
    assert words.zone(offset_s) == zone
    assert words.instant(1_763_791_200_000_000_000, offset_s, "%H:%M") == time


def test_no_instant_is_a_dash() -> None:
    assert words.instant(0, 3600) == "-"
    assert words.instant(1 << 70, 3600) == "-"


@given(st.integers(0, 10**9), st.integers(0, 10**9))
def test_scales_of_counts_show_a_single_part(most: int, least: int) -> None:
    scale = charts.counting(max(most, least), min(most, least), Plot(0, 0, 100, 100))
    assert 0 <= scale(max(most, least)) <= scale(min(most, least)) <= 100


def test_a_pareto_has_counts_and_escaped_names() -> None:
    kinds = {"caught": "caught", "escapes": "escaped"}
    bars = [(HOSTILE, {"caught": 30, "escapes": 10}), ("scratch", {"caught": 10, "escapes": 0})]
    svg = ElementTree.fromstring(charts.pareto(bars, kinds, HOSTILE))
    said = [text.text for text in svg.iter(f"{SVG}text")]
    assert "40  (80.0 %)" in said
    assert "10  (100.00 %)" in said
    titles = [title.text for title in svg.iter(f"{SVG}title")]
    assert titles[0] == f"{HOSTILE}: 30 parts caught"
    assert len(titles) == 3  # nothing is drawn for nothing
    assert charts.pareto([], kinds, "none") == ""


def test_a_table_escapes_everything() -> None:
    found = table(
        (HOSTILE, "b"), [[HOSTILE, "1"], ["c", HOSTILE]], "numbers", {1: "sum"}, code=(1,)
    )
    assert "<script" not in found
    assert found.count("&lt;script&gt;") == 3
    assert '<tr class="sum"><th scope="row">c</th><td><code>' in found
    ElementTree.fromstring(found)


def _png(path: Path, shape: tuple[int, ...]) -> None:
    picture = np.random.default_rng(1).integers(0, 255, shape, np.uint8)
    assert cv2.imwrite(str(path), picture)


@pytest.mark.parametrize("shape", [(512, 1024), (20, 30, 3), (1, 4000)])
def test_a_picture_is_shrunk_and_its_regions_are_outlined(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    _png(tmp_path / "a.png", shape)
    region = Region(x=3, y=4, width=10, height=12, area_px=50, peak=0.9)
    svg = ElementTree.fromstring(picture(tmp_path, "a.png", [region]))
    high, wide = shape[:2]
    assert svg.get("viewBox") == f"0 0 {wide} {high}"
    (outline,) = svg.iter(f"{SVG}rect")
    assert [outline.get(name) for name in ("x", "y", "width", "height")] == ["3", "4", "10", "12"]
    (image,) = svg.iter(f"{SVG}image")
    data = base64.b64decode(str(image.get("href")).removeprefix("data:image/png;base64,"))
    small = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert small is not None
    assert max(small.shape[:2]) == min(SIDE_PX, max(shape[:2]))
    assert small.shape[2:] == shape[2:]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("gone.png", "no such file"),
        ("../secret.png", "not a picture's name"),
        ("/etc/passwd", "not a picture's name"),
        ("text.png", "not a PNG file"),
        ("empty.png", "not a PNG file"),
        ("cut.png", "damaged"),
        ("bomb.png", "too large to show"),
        ("folder.png", "Is a directory"),
        (f"{HOSTILE}.png", "not a picture's name"),
        ("nul\0.png", "not a picture's name"),
    ],
)
def test_what_is_no_picture_is_named(tmp_path: Path, name: str, why: str) -> None:
    folder = tmp_path / "evidence"
    folder.mkdir()
    _png(tmp_path / "secret.png", (8, 8))
    _png(folder / "whole.png", (64, 64))
    whole = (folder / "whole.png").read_bytes()
    (folder / "text.png").write_text("no picture" * 10)
    (folder / "empty.png").write_bytes(b"")
    (folder / "cut.png").write_bytes(whole[:40])
    (folder / "bomb.png").write_bytes(whole[:16] + b"\0\1\0\0\0\1\0\0" + whole[24:])
    (folder / "folder.png").mkdir()
    found = picture(folder, name, ())
    assert found.startswith('<div class="absent">')
    assert why in re.sub("&#x27;", "'", found)
    assert "<script" not in found
