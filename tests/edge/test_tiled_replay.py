"""Frames judged in tiles, recorded and judged again: with the same tiles, or told that not."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest

from edge.core.config import Station, TileOptions
from edge.core.errors import EdgeError, FootageError
from edge.core.history import Closed
from edge.core.process import python_module
from edge.historian.footage import FootageWriter
from edge.playback import (
    Asked,
    Verified,
    against,
    elsewhere,
    missing_tiles,
    pictures,
    replay,
    verify,
)
from models import package
from sensors.mcap import open_recording
from sensors.synthetic import PartGenerator

MODEL = "synthetic-part"
FRAME, LEVEL = (608, 896), 60  # rows, columns; between the parts, about that of their belt
FRAMES = 4
# Without either of these two a frame is decided otherwise: see DIFFERENT.
TILES = TileOptions(frame_px=FRAME, overlap_px=8, fit_share=0.9)
STATION = """
name = "{name}"
budget_ms = 10000
[camera]
source = "footage"
path = "{folder}/frames"
rate_hz = 4
[engine]
model = "synthetic-part"
standby = false
hang_ms = 10000
{tiles}
[controller]
bind = "ipc://{folder}/s.ipc"
[recording]
path = "{folder}/station.mcap"
keep = "all"
[records]
min_free_gib = 0
"""
TABLE = """
[engine.tiles]
frame_px = [608, 896]
overlap_px = 8
fit_share = 0.9
"""


def edge(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = python_module("edge", *map(str, arguments))
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def a_frame(place: int) -> tuple[np.ndarray, bool]:
    """Six parts side by side, and whether a part is defective, or a corner of frame 2 dark."""
    generator = PartGenerator(20_001, defect_share=0.5 * (place % 2))
    frame, defect = np.full(FRAME, LEVEL, np.uint8), place == 2
    for number in range(6):
        part = generator.part(1 + 6 * place + number)
        y, x = 32 + number // 3 * 288, 16 + number % 3 * 288
        frame[y : y + 256, x : x + 256] = part.image
        defect |= part.label == "defect"
    if place == 2:
        frame[-180:, -180:] = 0  # one tile of 15 is unfit
    return frame, defect


@pytest.fixture(scope="module")
def recorded(tmp_path_factory) -> Path:
    """A folder with frames, a station's file, and what that station recorded of them."""
    folder = tmp_path_factory.mktemp("tiled")
    for place in range(FRAMES):
        frame, defect = a_frame(place)
        there = folder / "frames" / ("defect" if defect else "good")
        there.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(there / f"{place}.png"), frame)
    for name, tiles in (("cell", TABLE), ("plain", "")):
        text = STATION.format(name=f"tiled-{os.getpid()}", folder=folder, tiles=tiles)
        (folder / f"{name}.toml").write_text(text)
    arm = subprocess.Popen(python_module("edge", "arm", "--connect", f"ipc://{folder}/s.ipc"))
    try:
        done = edge("run", folder / "cell.toml")
    finally:
        arm.kill()
        arm.wait()
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def again(recorded) -> Verified:
    """The station's recording, decided again."""
    return verify(Asked(footage=recorded / "station.mcap"))


def test_a_station_s_recording_holds_its_tiles_and_is_decided_again_bit_for_bit(recorded, again):
    recording = open_recording(recorded / "station.mcap")
    (view,) = recording.views
    assert view.shape == FRAME
    station = msgspec.json.decode(recording.session.options, type=Station)
    assert station.engine.tiles == TILES
    assert (again.parts, again.judged, again.unseen) == (FRAMES, FRAMES, 0)
    assert (again.differences, again.elsewhere) == ([], [])
    assert again.replayed_sha256 == again.recorded_sha256


def test_a_folder_replayed_with_the_station_s_tiles_decides_as_the_station_did(
    recorded, again, tmp_path
):
    done = edge(
        "replay", recorded / "frames", "--model", MODEL, "--tiles", recorded / "cell.toml",
        "--record", tmp_path / "r.mcap", "--json", tmp_path / "r.json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads((tmp_path / "r.json").read_text())
    assert (told["caught"], told["overkill"], told["scored"]) == (3, 0, FRAMES)
    # A recording of a recording holds them, too.
    replay(Asked(footage=tmp_path / "r.mcap", record=tmp_path / "again.mcap"))
    found = verify(Asked(footage=tmp_path / "again.mcap"))
    assert (found.judged, found.differences, found.elsewhere) == (FRAMES, [], [])
    # Rows of a folder are sorted by path: the station's frames came in the same order.
    assert found.replayed_sha256 == told["decisions_sha256"] == again.recorded_sha256


KEYS = "frame_px = [608,896], shrink = {}, overlap_px = {}, fit_share = {}"
DIFFERENT = [  # what is asked for, how it is told, and the first part that is decided otherwise
    ({"overlap_px": 64}, (1, 64, 0.9), "score was "),
    ({"fit_share": 1.0}, (1, 8, "1.0"), "verdict was fail, is None"),
    ({"shrink": 2}, (2, 8, 0.9), "score was "),
]


@pytest.mark.parametrize(("changes", "told", "differs"), DIFFERENT)
def test_other_tiles_are_told_and_so_is_what_they_decide(recorded, changes, told, differs):
    tiles = msgspec.structs.replace(TILES, **changes)
    found = verify(Asked(footage=recorded / "station.mcap", tiles=tiles))
    was = KEYS.format(1, 8, 0.9)
    assert found.elsewhere == [f"tiles: recorded with {was}, here {KEYS.format(*told)}"]
    assert found.differences[0].partition(": ")[2].startswith(differs)
    assert found.replayed_sha256 != found.recorded_sha256


def test_how_a_picture_became_a_frame_decides_nothing_again(recorded):
    session = open_recording(recorded / "station.mcap").session
    tiles = msgspec.structs.replace(TILES, fit="crop")
    asked = Asked(footage=recorded / "station.mcap", tiles=tiles)
    assert elsewhere(session, asked, package.find(MODEL)) == []


@pytest.fixture(scope="module")
def of_tiles(recorded) -> None:
    """The package as one that judges nothing but tiles: of-tiles.onnx."""
    found = package.find(MODEL)
    tiling = msgspec.structs.replace(found.manifest.tiling, envelope_px=(128, 128))
    manifest = msgspec.structs.replace(found.manifest, name="of-tiles", tiling=tiling)
    sealed = package.seal(package.unsealed(found.model_bytes()), manifest)
    (recorded / "of-tiles.onnx").write_bytes(sealed)


def test_both_packages_of_a_comparison_judge_in_tiles_and_frames_are_shown_whole(recorded):
    twin = Path(__file__).parents[2] / "models" / "zoo" / "twins" / "synthetic-part-fp32.onnx"
    asked = Asked(footage=recorded / "station.mcap", model=MODEL)
    assert against(asked, str(twin)) == []
    folder = Asked(footage=recorded / "frames", model=MODEL, tiles=TILES)
    (recorded_one,), (file,) = (list(pictures(one, [2])) for one in (asked, folder))
    assert file.shape == FRAME
    np.testing.assert_array_equal(recorded_one, file)


def test_frames_without_tiles_are_told_the_option_that_judges_them(recorded):
    done = edge("replay", recorded / "frames", "--model", MODEL)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "edge: no picture of the 4 parts could be judged: larger than the package's input; "
        "give --tiles 608x896"
    )
    frames = Asked(footage=recorded / "frames", model=MODEL)
    turned = msgspec.structs.replace(frames, tiles=TileOptions(frame_px=FRAME[::-1]))
    assert missing_tiles(turned) == "--tiles 608x896"
    right = msgspec.structs.replace(frames, tiles=TileOptions(frame_px=FRAME))
    assert missing_tiles(right) == ""


@pytest.fixture
def untiled(recorded, tmp_path) -> Path:
    """A recording that says nothing of tiles, as of a package that takes whole frames."""
    path = tmp_path / "untiled.mcap"
    recording = open_recording(recorded / "station.mcap")
    station = msgspec.json.decode(recording.session.options, type=Station)
    engine = msgspec.structs.replace(station.engine, tiles=None)
    options = msgspec.json.encode(msgspec.structs.replace(station, engine=engine)).decode()
    session = msgspec.structs.replace(recording.session, options=options)
    writer, reader = FootageWriter(path, session), recording.reader()
    arrays = {"image": np.zeros(FRAME, np.uint8)}
    for place, row in enumerate(recording.rows):
        reader.fill(place, arrays)
        writer.part(row.opened, Closed(row.record, "kept"), arrays)
    reader.close()
    writer.close()
    return path


def test_a_recording_of_whole_frames_names_the_option_and_takes_it(untiled):
    with pytest.raises(FootageError, match=r"larger than the input of .*; give --tiles 608x896$"):
        verify(Asked(footage=untiled))
    found = verify(Asked(footage=untiled, tiles=TILES))
    assert found.differences == []
    assert [line.partition(", here ")[0] for line in found.elsewhere] == [
        "tiles: recorded with none"
    ]


MISTAKES = [
    (Asked(footage=Path("frames"), model="of-tiles.onnx"), "of-tiles: judges nothing but tiles"),
    (
        Asked(footage=Path("frames"), model=MODEL, tiles=TileOptions(frame_px=(610, 896))),
        "frame_px .* takes multiples of 8, 256 x 256 at least",
    ),
    (
        Asked(footage=Path("station.mcap"), tiles=TileOptions(frame_px=(896, 608))),
        "holds frames of 608x896; --tiles names 896x608",
    ),
    (Asked(footage=Path("station.mcap"), model="deeppcb"), "608x896.*; the package wants image"),
]


@pytest.mark.usefixtures("of_tiles")
@pytest.mark.parametrize(("asked", "words"), MISTAKES)
def test_a_mistake_is_one_line(recorded, monkeypatch, asked, words):
    monkeypatch.chdir(recorded)
    with pytest.raises(EdgeError, match=words) as caught:
        replay(asked)
    assert "\n" not in str(caught.value)


OPTIONS = [
    (("--tiles", "608"), "--tiles 608: allowed: ROWSxCOLUMNS"),
    (("--tiles", "gone.toml"), "gone.toml"),
    (("--tiles", "plain.toml"), "--tiles plain.toml: it has no table [engine.tiles]"),
    (("--tiles", "608x896", "--out", "o"), "--out does not go with --tiles"),
]


@pytest.mark.parametrize(("options", "words"), OPTIONS)
def test_a_wrong_option_is_one_line_and_exit_2(recorded, monkeypatch, options, words):
    monkeypatch.chdir(recorded)
    done = edge("replay", "frames", "--model", MODEL, *options)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("edge: ")
    assert words in done.stderr
