"""What an archive holds: found in one order, cut into items, nothing lost silently, or twice."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from edge.archive.cluster import connected
from edge.archive.identity import Settings, identity, listing_sha256
from edge.archive.items import Archive, Item, Refused, order
from edge.archive.score import score
from edge.core.errors import ConfigError, FootageError
from edge.core.types import Fit, ViewSpec

VIEWS = (ViewSpec("image", "picture", "uint8", (16, 16), Fit("resize")),)
SETTINGS = Settings(content_sha256="0" * 64)


def walk(path: Path, **options) -> tuple[list[Item], dict[str, str], int]:
    """(items, refused: name -> reason, ignored files)"""
    archive = Archive(path, VIEWS, **options)
    found = list(archive.items())
    refused = {one.name: one.reason for one in found if isinstance(one, Refused)}
    return [one for one in found if isinstance(one, Item)], refused, archive.ignored


def test_every_kind_of_footage_is_found_in_order(archive):
    items, refused, ignored = walk(archive, rows_per_item=4)
    assert [item.name for item in items] == [
        "a-set/rows-00000001-00000004",
        "a-set/rows-00000005-00000008",
        "a-set/rows-00000009-00000010",
        "b-table/rows-00000001-00000003",
        "c-pictures/rows-00000001-00000004",
        "line/clip.avi",
        "line/torn.mp4",
    ]
    assert (refused, ignored) == ({}, 1)
    assert [(item.first, len(item.rows)) for item in items[:3]] == [(1, 4), (5, 4), (9, 2)]
    assert items[-1].rows == ()


def test_the_walk_is_the_order_of_names(tmp_path):
    # As whole strings "a-b/.." would come before "a/..": components are what is compared.
    for name in ("a/x.mp4", "a-b/x.mp4", "a.mp4", "b/a/x.mp4", "B.mp4", "\u00e9.mp4"):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    names = [item.name for item in walk(tmp_path)[0]]
    assert names == sorted(names, key=order)
    assert len(names) == 6


def test_an_archive_may_be_one_footage(archive):
    assert [item.name for item in walk(archive / "a-set", rows_per_item=9)[0]] == [
        "rows-00000001-00000009",
        "rows-00000010-00000010",
    ]
    assert [item.name for item in walk(archive / "line" / "clip.avi")[0]] == ["clip.avi"]
    table = archive / "b-table" / "footage.csv"
    assert [item.name for item in walk(table)[0]] == ["footage.csv/rows-00000001-00000003"]


def test_pictures_beside_other_footage_are_refused_and_the_rest_is_kept(archive):
    (archive / "c-pictures" / "clip.mp4").touch()
    items, refused, _ = walk(archive)
    assert list(refused) == ["c-pictures"]
    assert "clip.mp4" not in refused["c-pictures"].split("(")[0]
    names = [item.name for item in items]
    assert "c-pictures/clip.mp4" in names
    assert "a-set/rows-00000001-00000010" in names


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("path,label\n", "no column split"),
        ("path,label,split\nx.png,good,train\n", "no rows of split 'test'"),
        ("path,label,split\nx.png,odd,test\n", "allowed: good, defect, empty"),
        ("\0", "no column path"),
    ],
)
def test_a_bad_table_is_refused_with_its_reason(archive, text, said):
    (archive / "a-set" / "manifest.csv").write_text(text)
    items, refused, _ = walk(archive)
    assert said in refused["a-set"]
    assert len(items) == 4


def test_what_leads_in_a_circle_or_has_no_name_is_not_followed(archive):
    (archive / "line" / "back").symlink_to(archive)
    (archive / "line" / os.fsdecode(b"\xff.mp4")).touch()
    items, refused, ignored = walk(archive)
    assert len(items) == 5
    assert refused == {"line/\\xff.mp4": "its name is not UTF-8"}
    assert ignored == 2


def test_results_inside_the_archive_are_left(archive):
    out = archive / "line" / "out"
    out.mkdir()
    (out / "x.mp4").touch()
    assert len(walk(archive, leave=out)[0]) == 5
    assert len(walk(archive)[0]) == 6


def test_no_archive(tmp_path):
    with pytest.raises(FootageError, match="no such file or folder"):
        walk(tmp_path / "none")
    assert walk(tmp_path) == ([], {}, 0)


def test_an_identity_changes_with_every_file_and_label_and_not_with_the_place(archive, tmp_path):
    def listings(path: Path) -> list[str]:
        return [listing_sha256(item) for item in walk(path, rows_per_item=4)[0]]

    before = listings(archive)
    assert len(set(before)) == len(before)
    moved = archive.rename(tmp_path / "moved")
    assert listings(moved) == before
    os.utime(moved / "a-set/pictures/005.png", ns=(1, 1))
    (moved / "c-pictures/0.png").unlink()
    (moved / "line/torn.mp4").write_bytes(b"")
    after = listings(moved)
    assert [old == new for old, new in zip(before, after, strict=True)] == [
        *(True, False, True, True),
        *(False, True, False),
    ]
    manifest = moved / "b-table" / "footage.csv"
    manifest.write_text(manifest.read_text().replace("defect", "good"))
    assert listings(moved)[3] != after[3]


def test_settings_are_part_of_an_identity(archive):
    item = walk(archive)[0][0]
    one, two = identity(item, SETTINGS), identity(item, Settings(content_sha256="1" * 64))
    three = identity(item, Settings(content_sha256="0" * 64, threads=2))
    assert len({one.digest(), two.digest(), three.digest()}) == 3
    assert one.digest() == identity(item, SETTINGS).digest()
    assert {"python", "numpy"} <= set(one.versions)


def test_without_its_extra_it_is_named(monkeypatch, bright, tmp_path):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(ConfigError, match="extra `archive`"):
        score(tmp_path, str(bright), tmp_path / "out")
    monkeypatch.setitem(sys.modules, "ray", None)
    with (
        pytest.raises(ConfigError, match="extra `archive`"),
        connected("local", workers=None, threads=1),
    ):
        pass
