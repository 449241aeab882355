"""The frame of a page: nothing from outside gets in, a file is whole or as it was."""

from __future__ import annotations

from html import escape

import pytest

from edge.core.errors import ConfigError
from edge.page import frame, svg
from edge.page.style import fills, sheet
from edge.page.whole import write_whole
from edge.page.words import count, percent

HOSTILE = "<script>alert(1)</script>\"'&"


def test_a_page_shows_its_own_pictures_only_where_it_says_so():
    plain = frame.page(HOSTILE, "p {}", ["<h1>a</h1>", "<p>b</p>"])
    assert "<script" not in plain
    assert f"<title>{escape(HOSTILE)}</title><style>p {{}}</style></head><body>" in plain
    assert "<h1>a</h1>\n<p>b</p>" in plain
    assert "img-src" not in plain
    assert "refresh" not in plain
    shown = frame.page("a", "", [], pictures=True, reload_s=60)
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src data:" in shown
    assert '<meta http-equiv="refresh" content="60">' in shown


def test_a_table_without_heads_has_none():
    assert "<thead>" not in frame.table(("", ""), ["<tr><td>1</td></tr>"], "words")
    found = frame.table((HOSTILE, ""), ["<tr><td>1</td></tr>"], "words")
    assert f'<th scope="col">{escape(HOSTILE)}</th><th scope="col"></th>' in found


def test_a_style_has_its_own_colours_in_both_lights():
    found = sheet("--late: #ff0000;", "--late: #00ff00;", "h1 { margin: 0; }" + fills({"s": "red"}))
    assert found.count("--late: #ff0000;") == 2  # on a light screen, and on paper
    assert found.count("--late: #00ff00;") == 1
    assert "svg .s { fill: red; } i.s { background: red; }" in found


def test_words_in_drawings_are_escaped_and_cut():
    assert "<script" not in svg.document(10, 10, HOSTILE, [svg.text(1, 1, HOSTILE)])
    assert "<script" not in svg.rectangle(0, 0, 1, 1, "bar", HOSTILE)
    assert svg.shortened("scratch", 40) == "scrat\N{HORIZONTAL ELLIPSIS}"
    assert svg.shortened("dent", 40) == "dent"


def test_a_page_that_cannot_be_written_leaves_what_was_there(tmp_path):
    html = tmp_path / "shift.html"
    write_whole(html, "old")
    write_whole(html, "new \N{BULLET}")
    assert html.read_text("utf-8") == "new \N{BULLET}"
    for place in (tmp_path, tmp_path / "nowhere" / "shift.html"):
        with pytest.raises(ConfigError, match="cannot be written: "):
            write_whole(place, "newer")
    assert [file.name for file in tmp_path.iterdir()] == ["shift.html"]
    assert not list(tmp_path.parent.glob("*.part"))


@pytest.mark.parametrize(
    ("share", "said"),
    [(0, "0.00 %"), (1, "100.00 %"), (0.5, "50.0 %"), (0.001234, "0.123 %"), (3e-7, "0.0000300 %")],
)
def test_shares_in_percent(share, said):
    assert percent(share) == said


def test_counts_have_their_noun():
    assert [count(number, "part") for number in (0, 1, 12_000)] == [
        "0 parts",
        "1 part",
        "12,000 parts",
    ]
