"""Packages that know types of defect: what they may say, and what a worker makes of it."""

from __future__ import annotations

import os
from contextlib import contextmanager

import msgspec
import numpy as np
import pytest

from edge.core.config import TileOptions
from edge.core.errors import EdgeError, PackageError
from edge.core.pool import FramePool
from edge.core.types import Frame, Region, Serving
from models import package
from models.describe import describe
from models.exchange import ANSWER, Head, Result, WorkerPlan
from models.tiles import whole
from models.worker import Worker

TYPES = ("scratch", "dent out")
SERVING = Serving("typed", "1", "0" * 64, "cpu", 1, "fp32", 0.5, 0.5, 0.5, TYPES)


@contextmanager
def worker_of(path, tiles=None):
    """(a worker in this process, the station's end of its pool)."""
    loaded = package.load(path)
    manifest = whole(loaded.manifest, tiles) if tiles else loaded.manifest
    pool = FramePool.create(manifest.views, 4, manifest.outputs.map_shape)
    plan = WorkerPlan(
        str(path), loaded.file_sha256, "cpu", 2, pool.slots, os.dup(pool.fd), -1, os.getpid(),
        tiles=tiles,
    )  # fmt: skip
    one = Worker(plan)
    try:
        yield one, pool
    finally:
        if tiles:
            one._session.close()
        pool.close()


def regions(one, pool, cells):
    """What the station is told of a picture whose cells have these gray levels, 0 to 1."""
    slot, generation = pool.lease(7)
    picture = np.repeat(np.repeat(np.asarray(cells), 8, 0), 8, 1)
    pool.arrays(slot)["image"][:] = np.rint(picture * 255)
    one.result.write(one.judge(slot, generation, 7))
    answer = one.result.answer(Frame(7, slot, generation, 0), SERVING)
    return [(r.x // 8, r.y // 8, r.area_px // 64, r.type) for r in answer.outcome.regions]


def blank(rows=8, columns=8):
    return np.full((rows, columns), 0.1)


def test_a_region_has_the_type_that_most_of_its_cells_say(typed_package):
    cells = blank()
    cells[0, 0:3] = 0.6  # a scratch
    cells[3:6, 3:6] = 0.8  # a dent, with a paler edge
    cells[6, 3:6] = 0.55
    cells[0, 7] = 1.0
    with worker_of(typed_package) as (one, pool):
        assert regions(one, pool, cells) == [
            (7, 0, 1, "dent out"),
            (3, 3, 12, "dent out"),
            (0, 0, 3, "scratch"),
        ]
        assert regions(one, pool, blank()) == []


def test_a_type_that_the_package_has_no_name_for_has_no_say(make_typed):
    cells = blank()
    cells[0, 0] = 1.0  # the third of two
    cells[4, 4:7] = (1.0, 1.0, 0.6)
    with worker_of(make_typed(graph={"names": 3})) as (one, pool):
        assert regions(one, pool, cells) == [(0, 0, 1, ""), (4, 4, 3, "scratch")]


@pytest.mark.parametrize("batch", [1, 2])
def test_types_of_a_frame_are_those_of_one_large_picture(make_typed, batch):
    """Tiles of 8 x 8 cells over a frame of 12 x 20: regions across seams included."""
    generator = np.random.default_rng(4)
    cells = np.where(generator.random((12, 20)) < 0.3, generator.random((12, 20)), 0.0)
    large = make_typed("large", graph={"rows": 12, "columns": 20})
    tiles = TileOptions(frame_px=(96, 160), overlap_px=16)
    with worker_of(large) as (one, pool):
        expected = regions(one, pool, cells)
    with worker_of(make_typed("tile", graph={"batch": batch}), tiles) as (one, pool):
        assert regions(one, pool, cells) == expected
    assert {kind for *_, kind in expected} == set(TYPES)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"types": None}, "type_names need types"),
        ({"types": ""}, "a name of their own"),
        ({"types": "map"}, "a name of their own"),
        ({"types": "score"}, "a name of their own"),
        ({"map": None, "map_shape": None}, "beside a map"),
        ({"type_names": ()}, "1 to 255, each once"),
        ({"type_names": ("a", "a")}, "1 to 255, each once"),
        ({"type_names": tuple(map(str, range(256)))}, "1 to 255, each once"),
        ({"type_names": ("a", "")}, "type ''"),
        ({"type_names": ("größe",)}, "type 'größe'"),
        ({"type_names": ("a\nb",)}, r"type 'a\\nb'"),
        ({"type_names": ("x" * 41,)}, "1 to 40 letters"),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(make_typed, changed, reason):
    with pytest.raises(PackageError, match=reason):
        make_typed(**changed)


def test_255_types_and_names_of_the_trade_are_admitted(make_typed):
    names = ("Mouse bite", "pin-hole", "MT_Blowhole", "3rd/side", "x" * 40, *map(str, range(250)))
    path = make_typed(type_names=names)
    assert package.load(path).manifest.outputs.type_names == names
    with worker_of(path) as (one, pool):
        assert len(regions(one, pool, np.eye(8) * 0.9)) == 1


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"types": "kinds"}, "output kinds of the manifest is not in the graph"),
        ({"map": "types", "types": "map"}, "output types is uint8 .*, not float32 .*8, 8"),
    ],
)
@pytest.mark.parametrize("tiles", [None, TileOptions(frame_px=(96, 160))])
def test_a_graph_that_is_not_as_its_manifest_says_does_not_serve(make_typed, changed, words, tiles):
    path = make_typed(**changed)
    with pytest.raises(EdgeError, match=words), worker_of(path, tiles):
        pass


def test_a_manifest_of_before_types_knows_none():
    manifest = package.find("synthetic-part").manifest
    assert (manifest.outputs.types, manifest.outputs.type_names) == (None, ())


def test_an_answer_with_a_type_that_nobody_named_is_garbage():
    frame, result = Frame(7, 1, 3, 0), Result()
    result.regions[:2] = [(8, 16, 24, 8, 192, 0.75, 2), (0, 0, 8, 8, 64, 0.5, 0)]
    result.write(Head(ANSWER, 1, 3, 7, regions=2, score=0.75))
    found = result.answer(frame, SERVING).outcome.regions
    assert found == (Region(8, 16, 24, 8, 192, 0.75, "dent out"), Region(0, 0, 8, 8, 64, 0.5))
    knows_fewer = msgspec.structs.replace(SERVING, type_names=TYPES[:1])
    assert result.answer(frame, knows_fewer) is None


def test_a_package_says_its_types_in_words(typed_package):
    assert "types           scratch, dent out\n" in describe(package.load(typed_package))
