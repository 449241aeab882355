"""A shipped package has seen its train and calib pictures, and none of test."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from models import package

DATA = Path(__file__).parents[2].parent / "shared" / "data"
# Its set, and how many train pictures it leaves out: a reference that cannot be registered, a
# picture under two labels.
SEEN = {
    "deeppcb": ("deeppcb", 6),
    "magnetic-tile": ("magnetic_tile", 21),
}


def digests(name):
    """The SHA-256 of a set's pictures, by split; skips where the set is not here."""
    table = DATA / name / "manifest.csv"
    if not table.is_file():
        pytest.skip(f"{name} is not in ../shared/data")
    of: dict[str, set[bytes]] = {}
    with table.open(newline="", encoding="utf-8") as text:
        for row in csv.DictReader(text):
            of.setdefault(row["split"], set()).add(bytes.fromhex(row["sha256"]))
    return of


@pytest.mark.parametrize("twin", ["", "-fp32"])
@pytest.mark.parametrize("name", SEEN)
def test_no_test_picture_is_among_those_it_has_seen(name, twin):
    folder, left_out = SEEN[name]
    of, seen = digests(folder), package.find(name + twin).manifest.pictures.digests()
    assert not seen & of["test"]
    assert of["calib"] <= seen
    assert seen <= of["train"] | of["calib"]
    assert len(of["train"] - seen) == left_out


def test_no_shipped_package_has_seen_a_set_whose_terms_are_not_known():
    of = digests("casting_impeller")
    for path in package.ZOO.rglob("*.onnx"):
        assert not package.find(str(path)).manifest.pictures.digests() & set().union(*of.values())


def test_a_package_of_drawn_parts_has_seen_none_of_the_seeds_it_is_tested_on():
    for name in ("synthetic-part", "synthetic-part-fp32"):
        pictures = package.find(name).manifest.pictures
        assert not any(pictures.holds_seed(seed) for seed in range(10_000, 10_500))
        assert all(pictures.holds_seed(seed) for seed in (0, 999, 1000, 1099))
