"""Training batches: poses keep marks on their defects, draws are repeatable, deals are fair."""

from __future__ import annotations

from collections import Counter

import cv2
import msgspec
import numpy as np
import pytest

from models.build.datasets import Split
from models.build.recipe import Augment, Data, Recipe, Training
from models.build.sampling import Sampler, toned

SIDE_PX = 96


def split(good=12, bad=6, views=1):
    """Gray pictures; each bad one has a black square of 16 px at a place of its own."""
    rng = np.random.default_rng(3)
    count = good + bad
    pictures = np.full((count, views, SIDE_PX, SIDE_PX), 150, np.uint8)
    marks = []
    for number in range(count):
        mask = None
        if number >= good:
            y, x = (int(v) for v in rng.integers(8, SIDE_PX - 24, 2))
            pictures[number, 0, y : y + 16, x : x + 16] = 20
            mask = np.zeros((SIDE_PX, SIDE_PX), np.uint8)
            mask[y : y + 16, x : x + 16] = 255
        marks.append(mask)
    kinds = ("",) * good + ("rare",) + ("common",) * (bad - 1)
    return Split(
        pictures=pictures,
        defect=np.arange(count) >= good,
        marks=tuple(marks),
        digests=(),
        names=tuple(str(n) for n in range(count)),
        types=kinds,
        groups=tuple(f"g{n // 2}" for n in range(count)),
    )


def recipe(balance="picture", **augment):
    plain = {"shift_px": 0.0, "gain": 0.0, "offset": 0.0} | augment
    return Recipe(
        name="a",
        terms="drawn",
        data=Data(size_px=(SIDE_PX, SIDE_PX)),
        training=Training(batch=6, balance=balance),
        augment=Augment(**plain),
    )


def batches(plan, parts, number=0):
    return list(Sampler(plan, parts).epoch(number))


POSES = [
    {},
    {"turn_deg": 30.0, "zoom": 0.3, "stretch": 0.2},
    {"crop_px": 64, "zoom": 0.2},
    {"crop_px": 64, "turn_deg": 20.0, "gamma": 0.3, "gain": 0.1, "offset": 8.0, "noise": 2.0},
]


@pytest.mark.parametrize("pose", POSES)
def test_the_marked_cells_are_where_the_defect_went(pose):
    for batch in batches(recipe(**pose), split()):
        for views, cells, bad in zip(batch.views, batch.cells, batch.defect, strict=True):
            assert cells.any() == bad
            dark = views[0].reshape(cells.shape[0], 8, cells.shape[1], 8).mean((1, 3))
            if bad:
                assert dark[cells == 1].mean() < dark[cells == 0].mean() - 0.15
                assert dark[cells == 0].min() > dark[cells == 1].min()


def test_the_same_seed_and_epoch_give_the_same_batches_and_another_epoch_others():
    plan = recipe(turn_deg=20.0, zoom=0.2, noise=4.0, pen=0.5, paste=0.5)
    one, again, later = (batches(plan, split(), number) for number in (0, 0, 1))
    assert len(one) == 3
    for a, b in zip(one, again, strict=True):
        assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
    assert not np.array_equal(one[0].views, later[0].views)


def test_without_poses_and_light_the_pictures_are_as_they_are():
    parts = split()
    plan = recipe(rotate=False, flip=False)
    shown = np.concatenate([batch.views for batch in batches(plan, parts)]) * 255
    assert sorted(part.sum() for part in parts.pictures[:, 0].astype(float)) == pytest.approx(
        sorted(part.sum() for part in shown), rel=1e-5
    )


def test_balance_by_type_shows_a_rare_type_as_often_as_a_common_one():
    parts = split(good=100, bad=20)
    seen = Counter()
    for number in range(6):
        for batch in batches(recipe("type"), parts, number):
            seen.update(batch.types.tolist())
    names = parts.type_names()
    rare, common = (seen[names.index(name)] for name in ("rare", "common"))
    assert abs(rare - common) < 0.35 * common
    assert abs(seen[-1] - rare - common) < 0.1 * seen[-1]


@pytest.mark.parametrize("flaw", ["blemish", "crack", "pit", "implant", "board"])
def test_a_good_part_with_a_flaw_put_on_is_a_marked_defect(flaw):
    parts = split()
    stripes = np.where(np.arange(SIDE_PX) // 12 % 2, 40, 190).astype(np.uint8)
    parts.pictures[:12, 0] = stripes
    good = parts.of(np.arange(12))
    parts = parts if flaw == "implant" else good
    plan = recipe(rotate=False, flip=False, paste=1.0, flaw=(flaw,))
    batch = Sampler(plan, parts).batch(np.arange(12), np.random.default_rng(1))
    flawed = np.flatnonzero(batch.defect)
    assert len(flawed) >= 9
    for number in flawed:
        changed = np.abs(batch.views[number, 0] * 255 - parts.pictures[number, 0]) > 8
        there = changed.reshape(12, 8, 12, 8).any((1, 3))
        assert there[batch.cells[number] == 1].mean() > 0.6


def test_a_stroke_of_a_pen_is_no_defect():
    batch = Sampler(recipe(pen=1.0), split()).batch(np.arange(12), np.random.default_rng(1))
    assert not batch.defect.any()
    assert (batch.views < 145 / 255).any()


def test_the_reference_moves_with_the_picture_and_keeps_its_light():
    parts = split(views=2)
    parts.pictures[:, 1] = parts.pictures[:, 0]
    plan = recipe(turn_deg=30.0, zoom=0.2, gain=0.3, offset=20.0)
    for batch in batches(plan, parts):
        picture, reference = batch.views[:, 0], batch.views[:, 1]
        assert reference.max() == pytest.approx(150 / 255, abs=0.01)
        for a, b, bad in zip(picture, reference, batch.defect, strict=True):
            if bad:
                assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.98


def test_a_defect_without_marks_is_not_located():
    parts = msgspec.structs.replace(split(), marks=(None,) * 18)
    batch = Sampler(recipe(), parts).batch(np.arange(18), np.random.default_rng(1))
    assert batch.defect.tolist() == parts.defect.tolist()
    assert batch.located.tolist() == (~parts.defect).tolist()
    assert not batch.cells.any()


def test_an_implant_at_the_border_stays_at_a_border():
    from models.build.flaws import implanted

    donor = np.full((80, 80), 140, np.uint8)
    marks = np.zeros((80, 80), np.uint8)
    cv2.circle(marks, (0, 40), 9, 255, -1)
    donor[marks > 0] = 30
    for seed in range(12):
        made = implanted(
            np.full((90, 70), 100, np.uint8), donor, marks, np.random.default_rng(seed)
        )
        assert made is not None
        assert made[1][:, :2].any() or made[1][:, -2:].any()


def test_a_toned_picture_has_the_gray_levels_of_the_other_and_its_own_shapes():
    rng = np.random.default_rng(1)
    dark, bright = (
        rng.integers(0, 90, (80, 90), np.uint8),
        rng.integers(120, 250, (60, 40), np.uint8),
    )
    made = toned(dark, bright)
    shares = [0.05, 0.5, 0.95]
    assert np.abs(np.quantile(made, shares) - np.quantile(bright, shares)).max() <= 3
    order = np.argsort(dark, axis=None)
    assert (np.diff(made.ravel()[order].astype(int)) >= 0).all()
    assert np.array_equal(toned(dark, dark), dark)


def test_tone_gives_bad_parts_the_light_of_good_ones_and_the_other_way_round():
    parts = split()
    lit = parts.pictures.astype(int) + np.where(parts.defect, -15, 60)[:, None, None, None]
    parts = msgspec.structs.replace(parts, pictures=lit.astype(np.uint8))
    plan, bright = recipe(tone=1.0, rotate=False, flip=False), {True: [], False: []}
    for number in range(20):
        for batch in batches(plan, parts, number):
            for view, bad in zip(batch.views[:, 0], batch.defect, strict=True):
                level = round(float(np.median(view)) * 255)
                assert level in (135, 210)
                bright[bool(bad)].append(level == 210)
    assert [abs(np.mean(bright[bad]) - 0.5) < 0.1 for bad in (True, False)] == [True, True]


def test_a_flaw_on_a_padded_picture_stays_on_what_the_camera_saw():
    parts = split(good=4)
    parts.pictures[:, :, :30] = parts.pictures[:, :, :, 70:] = 0
    plan = recipe(paste=1.0, flaw=("implant",), rotate=False, flip=False)
    padded = msgspec.structs.replace(plan, data=Data(size_px=(SIDE_PX, SIDE_PX), fit="pad"))
    sampler, rng = Sampler(padded, parts), np.random.default_rng(0)
    flawed = 0
    for _ in range(10):
        batch = sampler.batch(np.arange(4), rng)
        flawed += int(batch.defect.sum())
        assert not batch.cells[:, :3].any()
        assert not batch.cells[:, :, 9:].any()
        assert (batch.views[:, 0, :29] < 0.1).all()
    assert flawed > 20
