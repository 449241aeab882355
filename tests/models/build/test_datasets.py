"""Data sets: splits, labels, boxes and masks as cells, and clear words for what is missing."""

from __future__ import annotations

import hashlib
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest

from edge.core.errors import ConfigError
from models.build import datasets
from models.build.datasets import IGNORED, cells_of
from models.build.recipe import Data

RESIZED = Data(size_px=(64, 64), fit="resize")


def write(path, picture):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), picture)
    return path


@pytest.fixture
def folders(tmp_path):
    rng = np.random.default_rng(0)
    for label in ("good", "defect"):
        for place in range(20):
            shape = (80 + place, 100)
            write(tmp_path / label / f"{place}.png", rng.integers(0, 255, shape, np.uint8))
    return tmp_path


def test_a_folder_pair_is_split_60_20_20_by_digest(folders):
    splits = {name: datasets.load(RESIZED, folders, name) for name in ("train", "calib", "test")}
    assert [len(s.defect) for s in splits.values()] == [24, 8, 8]
    assert all(s.defect.sum() * 2 == len(s.defect) for s in splits.values())
    digests = [d for s in splits.values() for d in s.digests]
    assert len(set(digests)) == 40
    assert not any(s.marked.any() for s in splits.values())
    assert splits["train"].pictures.shape == (24, 1, 64, 64)


def test_a_renamed_copy_stays_in_the_split_of_its_original(folders):
    before = {row.path.name: row.split for row in datasets.rows(folders) if not row.defect}
    (folders / "good" / "0.png").rename(folders / "good" / "zzz.png")
    after = {row.path.name: row.split for row in datasets.rows(folders) if not row.defect}
    assert after["zzz.png"] == before["0.png"]


def test_a_picture_under_both_labels_is_refused_by_name(folders):
    (folders / "defect" / "3.png").write_bytes((folders / "good" / "7.png").read_bytes())
    with pytest.raises(ConfigError, match=r"defect/3\.png: the same file as good/7\.png"):
        datasets.rows(folders)


def manifest(root, lines, columns="path,label,split,boxes_path,reference_path"):
    (root / "manifest.csv").write_text("\n".join([columns, *lines]) + "\n")


def test_a_manifest_gives_splits_boxes_references_and_digests(tmp_path):
    picture = np.full((64, 64), 90, np.uint8)
    path = write(tmp_path / "a.png", picture)
    write(tmp_path / "b.png", picture)
    write(tmp_path / "r.png", picture + 1)
    (tmp_path / "a.txt").write_text("8 16 24 32 3\n")
    manifest(tmp_path, ["a.png,defect,train,a.txt,r.png", "b.png,good,train,,r.png"])
    data = msgspec.structs.replace(RESIZED, reference=True)
    split = datasets.load(data, tmp_path, "train")
    assert split.marks[0].sum() == 16 * 16 * 255
    assert split.marks[0][16:32, 8:24].all()
    assert datasets.cells_of(split.marks[0]).sum() == 4
    assert split.marked.tolist() == [True, False]
    assert (split.pictures[:, 1] == 91).all()
    assert split.digests[0] == hashlib.sha256(path.read_bytes()).digest()


WRONG = {
    "neither manifest.csv nor": lambda root: None,
    "no column split": lambda root: manifest(root, [], "path,label"),
    "label 'bad': good, defect": lambda root: manifest(root, ["a.png,bad,train,,"]),
    "train needs good and defect": lambda root: manifest(root, ["a.png,good,train,,"]),
    "a.png: cannot be read": lambda root: manifest(
        root, ["a.png,good,train,,", "b.png,defect,train,,"]
    ),
}


@pytest.mark.parametrize("reason", WRONG)
def test_unusable_data_is_named(tmp_path, reason):
    WRONG[reason](tmp_path)
    if reason.startswith("no column"):
        (tmp_path / "manifest.csv").write_text("path,label\na.png,good\n")
    with pytest.raises(ConfigError, match=reason):
        datasets.load(RESIZED, tmp_path, "train")


def test_a_broken_picture_and_a_missing_reference_are_named(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no picture")
    manifest(tmp_path, ["a.png,good,train,,", "a.png,defect,train,,"])
    with pytest.raises(ConfigError, match=r"a\.png: not a picture"):
        datasets.load(RESIZED, tmp_path, "train")
    write(tmp_path / "a.png", np.zeros((64, 64), np.uint8))
    with pytest.raises(ConfigError, match="has no reference"):
        datasets.load(msgspec.structs.replace(RESIZED, reference=True), tmp_path, "train")


def test_another_size_under_exact_is_refused_with_the_name_of_the_picture(tmp_path):
    write(tmp_path / "a.png", np.zeros((32, 64), np.uint8))
    manifest(tmp_path, ["a.png,good,train,,", "a.png,defect,train,,"])
    with pytest.raises(ConfigError, match=r"a\.png: 64x32 px"):
        datasets.load(msgspec.structs.replace(RESIZED, fit="exact"), tmp_path, "train")


def test_cells_are_one_zero_or_not_known():
    mask = np.zeros((64, 64), np.uint8)
    mask[0:8, 0:9] = 255  # one whole cell, and an eighth of the next
    cells = cells_of(mask)
    assert (cells[0, 0], cells[0, 1], cells[1, 1]) == (1, IGNORED, 0)


def test_a_defect_smaller_than_a_cell_still_has_one():
    mask = np.zeros((64, 64), np.uint8)
    mask[20, 20] = 255
    assert (cells_of(mask) == 1).sum() == 1


def test_synthetic_parts_come_from_the_seeds_of_the_split():
    data = Data(source="synthetic", size_px=(256, 256), calib_seeds=(3, 5), parts_per_seed=2)
    split = datasets.load(data, Path(), "calib")
    assert split.names[:3] == ("seed3/0", "seed3/1", "seed4/0")
    assert split.digests == ()
    assert (split.marked == split.defect).all()
