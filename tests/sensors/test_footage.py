"""Footage: what opens, in which order and at which times, and each error's one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge.core.errors import FootageError
from edge.core.types import Fault, Fit, ViewSpec
from sensors.footage import Footage, open_footage
from sensors.grabber import UnreadError

PICTURE = ViewSpec("image", "picture", "uint8", (24, 32))
COLOUR = ViewSpec("image", "picture", "uint8", (24, 32, 3))
REFERENCE = ViewSpec("golden", "reference", "uint8", (24, 32))
FORCE = ViewSpec("force", "samples", "float32", (6, 1))


def write_picture(path: Path, level: int = 100, *, shape: tuple[int, ...] = (24, 32)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full(shape, level, np.uint8))
    return path


def write_video(path: Path, frames: int, fps: float = 29.83) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), fps, (32, 24))
    for i in range(frames):
        writer.write(np.full((24, 32, 3), 40 + 10 * i, np.uint8))
    writer.release()
    return path


def read_row(footage: Footage, row: int) -> dict[str, Any]:
    arrays = {view.name: np.zeros(view.shape, view.dtype) for view in footage.views}
    reader = footage.reader()
    try:
        reader.fill(row, arrays)
    finally:
        reader.close()
    return arrays


@pytest.fixture
def data_set(tmp_path: Path) -> Path:
    write_picture(tmp_path / "a.png", 10)
    write_picture(tmp_path / "b.png", 20, shape=(24, 32, 3))
    write_picture(tmp_path / "ref.png", 30)
    np.save(tmp_path / "f.npy", np.ones((6, 1), np.float32))
    (tmp_path / "manifest.csv").write_text(
        "path,label,defect_type,group,split,reference_path,samples_path\n"
        "a.png,good,,g1,test,ref.png,f.npy\n"
        "b.png,defect,dent,g2,test,ref.png,f.npy\n"
        "a.png,good,,g3,train,,\n"
    )
    return tmp_path


def test_a_data_set_gives_the_rows_of_its_split(data_set: Path) -> None:
    footage = open_footage(data_set, views=(PICTURE,))
    assert [(r.label, r.defect_type, r.group) for r in footage.rows] == [
        ("good", "", "g1"),
        ("defect", "dent", "g2"),
    ]
    assert [footage.arrival_ns(i) for i in range(2)] == [0, 50_000_000]
    assert (footage.label(1), footage.label(2)) == ("good", "defect")
    assert len(open_footage(data_set, split="train", views=(PICTURE,))) == 1


def test_views_are_fed_from_their_columns(data_set: Path) -> None:
    arrays = read_row(open_footage(data_set, views=(PICTURE, REFERENCE, FORCE)), 1)
    assert [int(arrays[name].flat[0]) for name in ("image", "golden", "force")] == [20, 30, 1]


def test_colour_view_of_a_gray_file_and_the_other_way(data_set: Path) -> None:
    assert (read_row(open_footage(data_set, views=(COLOUR,)), 0)["image"] == 10).all()
    assert (read_row(open_footage(data_set, views=(PICTURE,)), 1)["image"] == 20).all()


def test_footage_csv_keeps_its_order_and_times(data_set: Path) -> None:
    (data_set / "footage.csv").write_text(
        "seq,timestamp_ns,path,label\n0,1000,b.png,defect\n1,31000,a.png,\n2,31000,b.png,defect\n"
    )
    footage = open_footage(data_set / "footage.csv", views=(PICTURE,))
    assert [footage.arrival_ns(i) for i in range(3)] == [0, 30_000, 30_000]
    assert [footage.label(part) for part in (1, 2, 3)] == ["defect", None, "defect"]


def test_a_folder_of_pictures_is_sorted(tmp_path: Path) -> None:
    for name, level in (("c.png", 3), ("a.bmp", 1), ("sub/b.png", 4)):
        write_picture(tmp_path / name, level)
    (tmp_path / "notes.txt").write_text("no picture")
    footage = open_footage(tmp_path, views=(PICTURE,), rate_hz=10)
    assert [int(read_row(footage, i)["image"][0, 0]) for i in range(3)] == [1, 3, 4]
    assert (footage.arrival_ns(2), footage.label(1)) == (200_000_000, None)


@pytest.mark.parametrize(
    ("opened", "labels"),
    [
        ("mine", ["defect", "defect", "good", None]),
        ("mine/good", ["good"]),
        ("mine/defect", ["defect", "defect"]),
        ("mine/other", [None]),
    ],
)
def test_folders_called_good_and_defect_are_labels(
    tmp_path: Path, opened: str, labels: Any
) -> None:
    for name in ("good/a.png", "defect/b.png", "defect/spur/c.png", "other/d.png"):
        write_picture(tmp_path / "mine" / name)
    footage = open_footage(tmp_path / opened, views=(PICTURE,))
    assert [footage.label(part + 1) for part in range(len(footage))] == labels


def test_recordings_among_pictures_are_not_passed_over(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.png")
    for name in ("one.mcap", "deeper/two.mcap"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(FootageError, match=r"2 recordings .*: give one file, or score all with"):
        open_footage(tmp_path, views=(PICTURE,))


def test_a_video_gives_its_frames_at_its_own_rate(tmp_path: Path) -> None:
    footage = open_footage(write_video(tmp_path / "belt.avi", 5), views=(PICTURE,))
    assert len(footage) == 5
    assert footage.arrival_ns(3) == pytest.approx(3e9 / 29.83, rel=1e-3)
    assert read_row(footage, 3)["image"].mean() == pytest.approx(70, abs=3)  # 0 to 2 passed over


def test_real_video(data: Path) -> None:
    view = ViewSpec("image", "picture", "uint8", (128, 128), Fit("resize"))
    footage = open_footage(data / "bottle_video" / "bottle-detection.mp4", views=(view,))
    assert len(footage) == 1189
    assert footage.arrival_ns(1188) == round(1188 * 6e9 / 179)


def test_real_sets(data: Path) -> None:
    gray = ViewSpec("image", "picture", "uint8", (512, 512))
    golden = ViewSpec("golden", "reference", "uint8", (512, 512))
    footage = open_footage(data / "deeppcb", views=(gray, golden))
    assert (len(footage), sum(row.label == "defect" for row in footage.rows)) == (560, 280)
    assert read_row(footage, 0)["golden"].any()
    tile = ViewSpec("image", "picture", "uint8", (416, 640), Fit("pad"))
    footage = open_footage(data / "magnetic_tile" / "footage.csv", views=(tile,))
    assert (len(footage), footage.arrival_ns(679)) == (680, 679 * 50_000_000)
    read_row(footage, 0)


# ---- errors before the start: one line each ----


def refusal(path: Path, *views: ViewSpec, **options: Any) -> str:
    with pytest.raises(FootageError) as caught:
        open_footage(path, views=views or (PICTURE,), **options)
    line = str(caught.value)
    assert "\n" not in line
    return line


def test_no_such_path(tmp_path: Path) -> None:
    assert "no such file or folder" in refusal(tmp_path / "nowhere")


def test_a_split_without_rows_lists_the_others(data_set: Path) -> None:
    assert refusal(data_set, split="holdout").endswith(
        "no rows of split 'holdout'; it has test, train"
    )


def test_an_empty_folder(tmp_path: Path) -> None:
    assert "no manifest.csv, no footage.csv and no pictures" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("path,width\na.png,3\n", "no column label, split; it has path, width"),
        ("path,label,split\n", "no rows"),
        ("", "no column path, label, split; it has none"),
        ("path,label,split\na.png,good\n", "line 2: 2 cells, not 3"),
        ("path,label,split\na.png,fine,test\n", "line 2: label 'fine'; allowed: good, defect"),
        ("path,label,split\n,good,test\n", "view image (picture), and no row has a path"),
        ("path,label,split\n\xff\xfe,good,test\n", "not a readable CSV file"),
    ],
)
def test_unreadable_manifests(tmp_path: Path, text: str, line: str) -> None:
    (tmp_path / "manifest.csv").write_text(text, encoding="latin-1")
    assert line in refusal(tmp_path)


@pytest.mark.parametrize("stamps", [("5", "4"), ("5", ""), ("", "5"), ("soon", "9"), ("-1", "2")])
def test_bad_timestamps(tmp_path: Path, stamps: tuple[str, str]) -> None:
    rows = "".join(f"a.png,{stamp}\n" for stamp in stamps)
    (tmp_path / "footage.csv").write_text("path,timestamp_ns\n" + rows)
    assert "timestamp_ns" in refusal(tmp_path / "footage.csv")


def test_views_that_the_footage_lacks(data_set: Path, tmp_path: Path) -> None:
    (data_set / "bare.csv").write_text("path\na.png\n")
    line = refusal(data_set / "bare.csv", PICTURE, REFERENCE)
    assert "wants view golden (reference), and no row has a reference_path" in line
    assert "samples_path" in refusal(data_set / "bare.csv", PICTURE, FORCE)
    video = write_video(tmp_path / "belt.avi", 2)
    assert "a video has one picture a part" in refusal(video, PICTURE, REFERENCE)
    assert "no view of kind picture" in refusal(data_set, REFERENCE)
    folder = write_picture(tmp_path / "plain" / "a.png").parent
    assert "a folder of pictures has one picture" in refusal(folder, PICTURE, FORCE)


@pytest.mark.parametrize("content", [b"", b"not a video at all" * 100])
def test_an_undecodable_video(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "belt.mp4").write_bytes(content)
    assert "not a video with a decodable frame" in refusal(tmp_path / "belt.mp4")


def test_rates(data_set: Path) -> None:
    assert "rate_hz" in refusal(data_set, rate_hz=0.0)


# ---- a broken file of one row is that row's trouble only ----


def torn(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


def gone(path: Path) -> None:
    path.unlink()


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def other_size(path: Path) -> None:
    write_picture(path, shape=(10, 10))


@pytest.mark.parametrize(
    ("break_it", "fault"),
    [
        (torn, Fault.BAD_FRAME),
        (emptied, Fault.BAD_FRAME),
        (other_size, Fault.BAD_FRAME),
        (gone, Fault.NO_IMAGE),
    ],
)
@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_broken_picture(tmp_path: Path, break_it: Any, fault: Fault, suffix: str) -> None:
    path = write_picture(tmp_path / f"a{suffix}")
    footage = open_footage(tmp_path, views=(PICTURE,))
    break_it(path)
    with pytest.raises(UnreadError, match=path.name) as caught:
        read_row(footage, 0)
    assert caught.value.fault is fault


def test_a_row_without_a_reference(data_set: Path) -> None:
    (data_set / "footage.csv").write_text("path,reference_path\na.png,ref.png\na.png,\n")
    footage = open_footage(data_set / "footage.csv", views=(PICTURE, REFERENCE))
    with pytest.raises(UnreadError, match="no file for view golden") as caught:
        read_row(footage, 1)
    assert caught.value.fault is Fault.NO_IMAGE


@pytest.mark.parametrize("content", [b"", b"\x80\x04K\x01.", None])
def test_broken_samples(data_set: Path, content: bytes | None) -> None:
    footage = open_footage(data_set, views=(PICTURE, FORCE))
    if content is None:
        (data_set / "f.npy").unlink()
    else:
        (data_set / "f.npy").write_bytes(content)  # the second is a pickle: never loaded
    with pytest.raises(UnreadError, match=r"f\.npy"):
        read_row(footage, 0)
