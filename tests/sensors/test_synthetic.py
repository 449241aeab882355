"""Synthetic parts: reproducible, exactly masked, visibly defective."""

from __future__ import annotations

import time

import cv2
import numpy as np
import pytest

from sensors.synthetic import DEFECT_TYPES, PartGenerator


@pytest.fixture(scope="module")
def generator() -> PartGenerator:
    return PartGenerator(3)


@pytest.fixture(scope="module")
def defective() -> PartGenerator:
    return PartGenerator(3, defect_share=1.0)


def test_a_part_depends_on_seed_and_index_only(generator: PartGenerator) -> None:
    later, again = generator.part(11), PartGenerator(3)
    again.part(0)
    assert np.array_equal(later.image, again.part(11).image)
    assert np.array_equal(later.mask, again.part(11).mask)
    assert not np.array_equal(later.image, PartGenerator(4).part(11).image)
    assert not np.array_equal(later.image, generator.part(12).image)


def test_arrays_are_pictures(generator: PartGenerator) -> None:
    part = generator.part(0)
    for array in (part.image, part.mask, generator.belt(0)):
        assert (array.shape, array.dtype) == ((256, 256), np.uint8)
    assert set(np.unique(part.mask)) <= {0, 255}


def test_share_and_label_agree_with_the_picture(generator: PartGenerator) -> None:
    parts = [generator.part(i) for i in range(60)]
    assert [p.label for p in parts] == [generator.label(i) for i in range(60)]
    assert 15 < sum(p.label == "defect" for p in parts) < 45
    for part in parts:
        assert (part.label == "defect") == bool(part.defect_type) == bool(part.mask.any())
    never = PartGenerator(1, defect_share=0.0)
    assert all(never.label(i) == "good" for i in range(50))


def test_every_defect_type_comes(defective: PartGenerator) -> None:
    assert {defective.part(i).defect_type for i in range(40)} == set(DEFECT_TYPES)


@pytest.mark.parametrize("index", range(24))
def test_a_defect_differs_from_its_good_twin_inside_the_mask_only(
    defective: PartGenerator, index: int
) -> None:
    part, twin = defective.part(index), defective.twin(index)
    assert (twin.label, twin.defect_type, int(twin.mask.max())) == ("good", "", 0)
    difference = cv2.absdiff(part.image, twin.image)
    assert not difference[part.mask == 0].any()
    seen = difference[part.mask > 0]
    assert (seen >= 10).sum() >= 40, "a careful person would not see it"
    assert (seen > 0).mean() > 0.6, "the mask claims more than there is"


def test_the_belt_shows_no_part(generator: PartGenerator) -> None:
    assert generator.belt(5).mean() < 75 < generator.part(5).image[70:190, 70:190].mean()


@pytest.mark.parametrize("size_px", [64, 128, 300, 512])
def test_other_sizes(size_px: int) -> None:
    generator = PartGenerator(0, size_px=size_px, defect_share=1.0)
    for index in range(6):
        part, twin = generator.part(index), generator.twin(index)
        assert part.image.shape == (size_px, size_px)
        assert part.mask.any()
        assert not cv2.absdiff(part.image, twin.image)[part.mask == 0].any()


@pytest.mark.parametrize("options", [{"size_px": 63}, {"defect_share": 1.1}])
def test_refused_options(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        PartGenerator(0, **options)  # type: ignore[arg-type]


def test_a_part_takes_less_than_4_ms_of_one_core(generator: PartGenerator) -> None:
    costs_ns = []
    for index in range(40):
        began_ns = time.thread_time_ns()
        generator.part(index)
        costs_ns.append(time.thread_time_ns() - began_ns)
    assert sorted(costs_ns)[20] < 4_000_000
