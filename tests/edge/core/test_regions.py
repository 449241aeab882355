"""Regions in words and millimetres."""

from __future__ import annotations

import msgspec
import pytest

from edge.core.regions import SizedRegion, described, label, short, sized, types_of
from edge.core.types import Region

SHORT = Region(8, 16, 40, 32, 1280, 0.75, "short")
NAMELESS = Region(0, 0, 8, 8, 64, 0.5)


def test_a_scale_gives_every_region_its_size():
    first, second = sized((SHORT, NAMELESS), 0.05)
    assert (first.width_mm, first.height_mm, first.area_mm2) == (2.0, 1.6, 3.2)
    assert (second.width_mm, second.area_mm2) == (0.4, 0.16)
    assert first.type == "short"


def test_on_record_a_region_without_type_and_scale_is_as_it_ever_was():
    encode = msgspec.json.Encoder(order="sorted").encode
    assert encode(sized((NAMELESS,), 0.0)) == (
        b'[{"area_px":64,"height":8,"peak":0.5,"width":8,"x":0,"y":0}]'
    )
    assert encode((NAMELESS,)) == encode(sized((NAMELESS,), 0.0))


def test_what_is_on_record_is_read_with_and_without_sizes():
    for scale in (0.0, 0.05):
        known = sized((SHORT,), scale)
        text = msgspec.json.encode(known)
        assert msgspec.json.decode(text, type=tuple[SizedRegion, ...]) == known
        assert msgspec.json.decode(text, type=tuple[Region, ...]) == (SHORT,)


def test_types_are_told_of_all_regions_or_of_none():
    assert types_of((SHORT, NAMELESS)) == ("short", "")
    assert types_of((NAMELESS, NAMELESS)) == types_of(()) == ()


def test_words_for_a_person():
    in_px, in_mm = sized((SHORT,), 0.0)[0], sized((SHORT,), 0.05)[0]
    assert label(in_px) == "short 1280 px"
    assert label(in_mm) == "short 1280 px, 3.2 mm2"
    assert label(sized((NAMELESS,), 0.05)[0]) == "64 px, 0.16 mm2"
    assert described(in_px) == "short at 8, 16: 40 x 32 px, area 1280 px, peak 0.7500"
    assert described(in_mm) == (
        "short at 8, 16: 40 x 32 px (2 x 1.6 mm), area 1280 px (3.2 mm2), peak 0.7500"
    )


@pytest.mark.parametrize(
    ("value", "said"), [(0.16, "0.16"), (3.2, "3.2"), (15.777, "15.8"), (12345.6, "12346")]
)
def test_three_digits_and_every_one_before_the_point(value, said):
    assert short(value) == said
