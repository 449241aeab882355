"""Rows of the matrix, from real sessions of the smallest package and its twin."""

from __future__ import annotations

import os

import msgspec
import pytest
from rich.console import Console

from bench.latency.box.matrix import Row, describe, families, matrix, save
from edge.core.errors import ConfigError, EngineError
from models import package
from sensors.synthetic import PartGenerator


def pictures_of(model):
    generator = PartGenerator(77_001)
    (view,) = model.manifest.views
    return [{view.name: generator.part(index).image} for index in range(1, 5)]


@pytest.fixture(scope="module")
def rows():
    models, allowed = [package.find("synthetic-part")], os.sched_getaffinity(0)
    found = matrix(models, pictures_of=pictures_of, providers=["cpu"], threads=(1, 2), seconds=0.05)
    assert os.sched_getaffinity(0) == allowed
    return found


def test_every_precision_and_thread_count_is_a_row(rows):
    assert [(row.package, row.precision, row.threads) for row in rows] == [
        ("synthetic-part", "int8", 1),
        ("synthetic-part", "int8", 2),
        ("synthetic-part-fp32", "fp32", 1),
        ("synthetic-part-fp32", "fp32", 2),
    ]
    for row in rows:
        assert (row.provider, row.frame_px) == ("cpu", "256 x 256")
        assert 0 < row.p50_ms <= row.p99_ms
        assert row.parts_per_s > 0


def test_scores_are_held_against_the_first_row_s(rows):
    assert rows[0].score_delta == 0.0
    assert rows[1].score_delta < 1e-3  # the same arithmetic on more threads
    assert 0.0 < rows[2].score_delta < 0.5  # quantised weights are not the same numbers


def test_rows_are_a_table_for_a_person_and_json_for_a_tool(rows, tmp_path):
    save(tmp_path / "matrix.json", rows)
    read = msgspec.json.decode((tmp_path / "matrix.json").read_bytes(), type=list[Row])
    assert read == rows
    console = Console(width=120)
    with console.capture() as captured:
        console.print(describe(rows))
    for row in rows:
        assert f"{row.p50_ms:.3f}" in captured.get()
    assert captured.get().count("synthetic-part-fp32") == 2


def test_the_zoo_s_twins_follow_their_packages_and_come_once():
    zoo = [package.find(name) for name in sorted(package.zoo_index(), reverse=True)]
    for models in (zoo, zoo[::-1]):
        names = [[one.manifest.name for one in family] for family in families(models)]
        assert sorted(names) == [
            ["deeppcb", "deeppcb-fp32"],
            ["synthetic-part", "synthetic-part-fp32"],
        ]
    twin = package.find("synthetic-part-fp32")
    assert families([twin, twin]) == [[twin]]


def test_a_provider_or_thread_count_that_cannot_be_is_one_line():
    models = [package.find("synthetic-part")]
    with pytest.raises(EngineError, match=r"provider abacus: unknown; allowed: cpu \|"):
        matrix(models, pictures_of=pictures_of, providers=["abacus"])
    with pytest.raises(ConfigError, match="threads 1, 0: 1 or more"):
        matrix(models, pictures_of=pictures_of, threads=(1, 0))
