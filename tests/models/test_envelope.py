"""The envelope: good parts are fit, what a failed lamp, lens or line delivers is not."""

from __future__ import annotations

import tracemalloc

import cv2
import numpy as np
import pytest

from edge.core.types import ViewSpec
from models import package
from models.build import unfit
from models.envelope import FEATURES, PRESENCE, Gauge, learn
from models.manifest import Bound, Envelope
from sensors.synthetic import PartGenerator

SIDE_PX = 256
IMAGE = ViewSpec("image", "picture", "uint8", (SIDE_PX, SIDE_PX))
REFERENCE = ViewSpec("reference", "reference", "uint8", (SIDE_PX, SIDE_PX))
SHOWN = 25


def boards(count, seed=0):
    """Toy boards: a black and white reference of bars, and a soft gray picture of it."""
    rng = np.random.default_rng(seed)
    parts = np.empty((count, 2, SIDE_PX, SIDE_PX), np.uint8)
    for picture, reference in parts:
        reference.fill(255)
        for _ in range(8):
            x, y = rng.integers(0, SIDE_PX - 60, 2)
            cv2.rectangle(reference, (int(x), int(y)), (int(x) + 50, int(y) + 12), 0, -1)
        soft = cv2.GaussianBlur(reference, (0, 0), 0.8) * rng.uniform(0.55, 0.75) + 35
        picture[:] = np.clip(soft + rng.normal(0, 2, soft.shape), 0, 255)
    return parts


def flanges(count, first):
    """Good synthetic parts (n, 1, H, W) of consecutive seeds."""
    return np.stack([PartGenerator(first + i).twin(0).image for i in range(count)])[:, None]


@pytest.fixture(scope="module")
def with_reference():
    views = (IMAGE, REFERENCE)
    return views, learn(views, boards(120)), boards(SHOWN, seed=9)


@pytest.fixture(scope="module")
def alone():
    return (IMAGE,), learn((IMAGE,), flanges(60, 0)), flanges(SHOWN, 20000)


@pytest.fixture(params=["with_reference", "alone"])
def learned(request):
    return request.getfixturevalue(request.param)


def arrays(views, pictures):
    return {view.name: picture for view, picture in zip(views, pictures, strict=True)}


def test_good_parts_are_fit(learned):
    views, envelope, parts = learned
    gauge = Gauge(views, envelope)
    assert [gauge.unfit(arrays(views, part)) for part in parts] == [""] * len(parts)


@pytest.mark.parametrize("kind", unfit.KINDS)
def test_an_unfit_picture_is_refused_beside_its_reference_and_in_its_place(learned, kind):
    views, envelope, parts = learned
    gauge = Gauge(views, envelope)
    belts = [PartGenerator(seed).belt(0) for seed in range(5)]
    others = [part[0] for part in (boards(5, 4) if len(views) == 1 else flanges(5, 7))]
    pairs = list(unfit._pairs(kind, parts, belts, others, np.random.default_rng(1)))
    assert len(pairs) == len(parts) * len(views)
    assert all(gauge.unfit(arrays(views, pictures)) for pictures in pairs)


def test_the_reason_names_feature_view_value_and_range(alone):
    views, envelope, _ = alone
    reason = Gauge(views, envelope).unfit({"image": np.zeros((SIDE_PX, SIDE_PX), np.uint8)})
    assert reason.startswith("brightness of image is 0, outside ")


def test_a_package_without_bounds_refuses_nothing():
    gauge = Gauge((IMAGE,), Envelope())
    assert gauge.unfit({"image": np.zeros((SIDE_PX, SIDE_PX), np.uint8)}) == ""


def test_a_value_that_is_not_a_number_is_outside():
    bound = Bound(view="image", feature=PRESENCE, low=-2.0, high=2.0)
    gauge = Gauge((IMAGE,), Envelope(bounds=(bound,)))
    gauge._measure = lambda _: {"image": (*[0.0] * len(FEATURES), float("nan"))}
    assert gauge.unfit({"image": np.zeros((SIDE_PX, SIDE_PX), np.uint8)})


def test_a_colour_view_is_measured():
    colour = ViewSpec("image", "picture", "uint8", (SIDE_PX, SIDE_PX, 3))
    parts = np.repeat(flanges(30, 0)[:, :, :, :, None], 3, axis=4)
    gauge = Gauge((colour,), learn((colour,), parts))
    assert gauge.unfit({"image": parts[0, 0]}) == ""
    assert gauge.unfit({"image": 255 - parts[0, 0]})


def test_a_call_allocates_nothing_that_grows_with_the_picture(alone):
    views, envelope, parts = alone
    gauge, part = Gauge(views, envelope), arrays(views, parts[0])
    gauge.unfit(part)
    tracemalloc.start()
    gauge.unfit(part)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < SIDE_PX * SIDE_PX // 8


@pytest.mark.parametrize("name", ["synthetic-part", "deeppcb"])
def test_a_shipped_envelope_and_threshold_pass_no_unfit_picture(name):
    """Made from synthetic parts alone here; bench shows the real sets (docs/models.md)."""
    shipped = package.find(name)
    side_px = shipped.manifest.picture().shape[0]
    good = np.stack([cv2.resize(part[0], (side_px, side_px)) for part in flanges(10, 20000)])
    parts = np.repeat(good[:, None], len(shipped.manifest.views), axis=1)
    belts = [PartGenerator(seed).belt(0) for seed in range(10)]
    table = unfit.survey(shipped, parts, belts, [part[0] for part in boards(10, 3)])
    assert {row.kind: row.passed for row in table} == dict.fromkeys(unfit.KINDS, 0)
