"""A shipped package has seen its train and calib pictures, and none of test."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from models import package

DATA = Path(__file__).parents[2].parent / "shared" / "data"
SETS = {"deeppcb": "deeppcb", "deeppcb-fp32": "deeppcb"}


@pytest.mark.parametrize("name", SETS)
def test_no_test_picture_is_among_those_it_has_seen(name):
    table = DATA / SETS[name] / "manifest.csv"
    if not table.is_file():
        pytest.skip(f"{SETS[name]} is not in ../shared/data")
    of: dict[str, set[bytes]] = {}
    with table.open(newline="", encoding="utf-8") as text:
        for row in csv.DictReader(text):
            of.setdefault(row["split"], set()).add(bytes.fromhex(row["sha256"]))
    seen = package.find(name).manifest.pictures.digests()
    assert not seen & of["test"]
    assert of["calib"] <= seen
    # Train but for the few whose reference cannot be registered, and nothing from elsewhere.
    assert seen <= of["train"] | of["calib"]
    assert len(of["train"] - seen) < 0.01 * len(of["train"])


def test_a_package_of_drawn_parts_has_seen_none_of_the_seeds_it_is_tested_on():
    for name in ("synthetic-part", "synthetic-part-fp32"):
        pictures = package.find(name).manifest.pictures
        assert not any(pictures.holds_seed(seed) for seed in range(10_000, 10_500))
        assert all(pictures.holds_seed(seed) for seed in (0, 999, 1000, 1099))
