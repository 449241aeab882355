"""A station that knows types and its scale, end to end: records, evidence, footage, pages."""

from __future__ import annotations

import os
import subprocess
from hashlib import sha256
from types import SimpleNamespace

import cv2
import msgspec
import numpy as np
import pytest
import zmq

from edge.core.config import Station
from edge.core.process import python_module
from edge.core.types import Action, Cause, Deadline, Decision, PartRecord, Region, Verdict
from edge.historian import evidence
from edge.historian.records.query import query, show
from edge.historian.records.verify import verify
from edge.stats import DecisionDigest

STATION = """
name = "{name}"
budget_ms = 20000
[camera]
source = "footage"
path = "{folder}/parts"
rate_hz = 8
mm_per_px = 0.05
[engine]
model = "{folder}/typed.onnx"
threads = 1
standby = false
hang_ms = 20000
[controller]
bind = "ipc://{folder}/s.ipc"
lost_ms = 10000
[publish]
bind = "ipc://{folder}/published.ipc"
[records]
path = "{folder}/r.db"
[recording]
path = "{folder}/rec.mcap"
keep = "all"
"""
# Cells of each part that are not dark: (row, column, gray level).
PARTS = (
    (),
    ((2, 1, 0.6), (2, 2, 0.6), (6, 5, 0.9)),
    ((0, 7, 0.8),),
)
DENT = {"x": 40, "y": 48, "width": 8, "height": 8, "area_px": 64, "type": "dent out"}
DENT_MM = {"width_mm": 0.4, "height_mm": 0.4, "area_mm2": 0.16}


def edge(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    command = python_module("edge", *map(str, arguments))
    return subprocess.run(command, capture_output=True, text=True, timeout=60, **options)


@pytest.fixture(scope="module")
def ran(tmp_path_factory, typed_bytes) -> SimpleNamespace:
    """A run of three parts that is over, with what it published."""
    folder = tmp_path_factory.mktemp("explained")
    (folder / "typed.onnx").write_bytes(typed_bytes)
    (folder / "parts").mkdir()
    for number, cells in enumerate(PARTS):
        picture = np.full((8, 8), 0.1)
        for row, column, level in cells:
            picture[row, column] = level
        levels = np.rint(picture * 255).astype(np.uint8).repeat(8, 0).repeat(8, 1)
        cv2.imwrite(str(folder / "parts" / f"{number}.png"), levels)
    file = folder / "cell.toml"
    file.write_text(STATION.format(name=f"explained-{os.getpid()}", folder=folder))
    with zmq.Context() as context, context.socket(zmq.SUB) as listener:
        listener.linger, listener.rcvtimeo = 0, 20_000
        listener.connect(f"ipc://{folder}/published.ipc")
        listener.subscribe(b"verdict")
        arm = subprocess.Popen(python_module("edge", "arm", "--connect", f"ipc://{folder}/s.ipc"))
        try:
            done = edge("run", file)
            told = [msgspec.json.decode(listener.recv_multipart()[1]) for _ in PARTS]
        finally:
            arm.kill()
            arm.wait()
    assert done.returncode == 0, done.stderr
    return SimpleNamespace(folder=folder, db=folder / "r.db", told=told)


def test_the_rows_have_types_and_sizes_and_follow_from_their_events(ran):
    rows = list(query(ran.db))
    assert [row.verdict for row in rows] == ["pass", "fail", "fail"]
    dent, scratch = msgspec.json.decode(rows[1].regions)
    assert dent.items() >= (DENT | DENT_MM).items()
    assert (scratch["type"], scratch["area_px"], scratch["area_mm2"]) == ("scratch", 128, 0.32)
    assert rows[0].regions == "[]"
    assert verify(ran.db).problems == ()
    found = show(ran.db, 2)
    assert found.serving.type_names == ("scratch", "dent out")
    assert found.session.mm_per_px == 0.05
    assert found.session.settings["camera.mm_per_px"] == "0.05"


def test_verdicts_are_published_with_types_and_sizes(ran):
    passed, failed, _ = ran.told
    assert (passed["region_types"], passed["region_areas_mm2"]) == ([], [])
    assert failed["regions"] == [[40, 48, 8, 8, 64], [8, 16, 16, 8, 128]]
    assert failed["region_types"] == ["dent out", "scratch"]
    assert failed["region_areas_mm2"] == [0.16, 0.32]


def test_records_show_and_explain_say_each_region(ran, tmp_path):
    line = (
        "region 1         dent out at 40, 48: 8 x 8 px (0.4 x 0.4 mm), area 64 px (0.16 mm2), peak"
    )
    for command in ("show", "explain"):
        done = edge("records", command, ran.db, 2)
        assert line in done.stdout, done.stderr
        assert "region 2         scratch at 8, 16" in done.stdout
    assert done.stdout.startswith("part 2: fail, score 0.9020 (PASS below 0.5, FAIL from 0.5)\n")
    assert "served by        typed 1 (" in done.stdout
    asked = edge("records", "show", ran.db, 2, "--json", tmp_path / "a.json")
    assert asked.returncode == 0
    whole = msgspec.json.decode((tmp_path / "a.json").read_bytes())
    assert msgspec.json.decode(whole["row"]["regions"])[0].items() >= (DENT | DENT_MM).items()


def test_explain_draws_the_map_over_the_picture(ran, tmp_path):
    png = tmp_path / "why.png"
    done = edge("records", "explain", ran.db, 2, "--png", png)
    assert done.stdout.splitlines()[-1] == f"picture: {png}", done.stderr
    seen = cv2.imread(str(png)).astype(int)
    assert seen.shape == (512, 512, 3)  # 64 x 64, enlarged until words fit
    colour = seen.max(axis=2) - seen.min(axis=2)
    dent, scratch, good = colour[390:440, 326:376], colour[134:184, 74:180], colour[250:350, 100:]
    assert min(dent.min(), scratch.min()) > 20
    assert good[:, :200].max() < 10
    blue, _, red = seen[415, 350]
    assert red > blue + 40


def test_without_its_map_a_part_has_boxes_alone_and_without_its_picture_a_reason(ran, tmp_path):
    folder = evidence.folder_of(ran.db)
    (name,) = (row.evidence for row in query(ran.db, part=3))
    kept = evidence.map_file(folder / name)
    kept.rename(tmp_path / "map.png")
    png = tmp_path / "why.png"
    done = edge("records", "explain", ran.db, 3, "--png", png)
    assert done.stdout.endswith("no map of this part is in evidence: boxes alone\n")
    seen = cv2.imread(str(png)).astype(int)
    assert (seen.max(axis=2) == seen.min(axis=2)).all()
    assert seen.max() == 255
    (tmp_path / "map.png").write_bytes(b"no picture")
    (tmp_path / "map.png").rename(kept)
    assert "boxes alone" in edge("records", "explain", ran.db, 3, "--png", png).stdout
    (folder / name).rename(tmp_path / "gone.png")
    gone = edge("records", "explain", ran.db, 3, "--png", png)
    assert gone.returncode == 2
    assert gone.stderr == (
        f"edge: {folder / name}: cannot be read (any more); retention removes the oldest\n"
    )
    passed = edge("records", "explain", ran.db, 1, "--png", png)
    assert passed.returncode == 2
    assert "no picture of this part in evidence; kept are those of parts that" in passed.stderr


def test_the_pages_have_types_and_sizes(ran, tmp_path):
    page, shift = tmp_path / "part.html", tmp_path / "shift.html"
    assert edge("records", "show", ran.db, 2, "--html", page).returncode == 0
    text = page.read_text()
    assert text.count("<figure>") == 2  # the picture, and with its map
    for words in ("Regions", "dent out", "0.4 x 0.4", "0.16"):
        assert words in text
    assert edge("report", ran.db, "--html", shift).returncode == 0
    text = shift.read_text()
    assert "found: dent out 64 px, 0.16 mm2 and 1 region more" in text
    assert "dent out: 2 parts caught" in text  # parts without a label, by their worst region


def test_the_recording_replays_to_the_bit_with_its_types(ran):
    model = ran.folder / "typed.onnx"
    done = edge("replay", ran.folder / "rec.mcap", "--model", model, "--verify")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3" in done.stdout


def test_the_recorded_station_file_is_read_again(ran):
    options = show(ran.db, 1).session.options
    assert msgspec.json.decode(options, type=Station).camera.mm_per_px == 0.05


def digest(*regions: Region) -> str:
    decision = Decision(
        1, Action.REJECT, Cause.VERDICT, Verdict.FAIL, score=0.75, regions=tuple(regions)
    )
    made = DecisionDigest()
    made.add(PartRecord(1, 7, Deadline(1, 2, 3), decision))
    return made.hexdigest()


def test_the_digest_has_a_type_where_there_is_one_and_is_as_it_was_without():
    plain = Region(1, 2, 3, 4, 5, 0.75)
    assert digest(plain, plain) == _sha256("7 fail reject verdict 3f400000 1,2,3,4,5;1,2,3,4,5\n")
    typed = Region(1, 2, 3, 4, 5, 0.75, "short")
    assert digest(typed, plain) == _sha256(
        "7 fail reject verdict 3f400000 1,2,3,4,5,short;1,2,3,4,5\n"
    )


def _sha256(line: str) -> str:
    return sha256(line.encode()).hexdigest()
