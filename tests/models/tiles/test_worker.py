"""The worker and the station over frames: the same road as a part of the package's own size."""

from __future__ import annotations

import os
import subprocess

import cv2
import numpy as np
import pytest

from edge.core.config import TileOptions
from edge.core.pool import FramePool
from edge.core.process import python_module
from edge.core.types import Fault
from edge.historian.records.query import query
from models.exchange import FAULT_NUMBERS, WorkerPlan
from models.tiles import whole
from models.worker import Worker

FRAME = (608, 896)


@pytest.fixture
def worker(synthetic):
    """(a worker of frames, the station's end of its pool)."""
    options = TileOptions(frame_px=FRAME)
    frame = whole(synthetic.manifest, options)
    pool = FramePool.create(frame.views, 4, frame.outputs.map_shape)
    plan = WorkerPlan(
        str(synthetic.path), synthetic.file_sha256, "cpu", 2, pool.slots, os.dup(pool.fd), -1,
        os.getpid(), tiles=options,
    )  # fmt: skip
    one = Worker(plan)
    yield one, pool
    one._session.close()
    pool.close()


def judged(worker, picture):
    one, pool = worker
    slot, generation = pool.lease(7)
    pool.arrays(slot)["image"][:] = picture
    return one.judge(slot, generation, 7), slot


def test_a_defect_has_its_region_where_it_lies_in_the_frame(worker, tray):
    there = tray(defects=0.5)
    head, slot = judged(worker, there.frame)
    assert head.fault == 0
    assert head.score > 0.9467
    found = worker[0].result.regions[: head.regions]
    bad = [corner for corner, label in zip(there.corners, there.labels, strict=True) if label]
    worst = found[0]
    assert any(
        y <= worst["y"] < y + 256 and x <= worst["x"] < x + 256 for y, x in bad
    )  # the largest peak first
    kept = worker[1].map(slot)
    assert kept.shape == (76, 112)
    assert kept.max() == np.float32(head.score)


def test_a_capped_lens_is_unfit(worker):
    head, _ = judged(worker, 0)
    assert head.fault == FAULT_NUMBERS[Fault.UNFIT_IMAGE]
    assert b"15 of 15 must be" in head.detail


STATION = """
name = "{name}"
budget_ms = 900
[camera]
source = "footage"
path = "{folder}/frames"
rate_hz = 4
[engine]
model = "synthetic-part"
standby = false
[engine.tiles]
frame_px = [608, 896]
[controller]
bind = "ipc://{folder}/s.ipc"
[records]
path = "{folder}/r.db"
evidence = false
"""


def test_a_station_inspects_a_folder_of_frames(tmp_path, tray):
    (tmp_path / "frames").mkdir()
    labels = []
    for number in range(4):
        there = tray(defects=0.5 * (number % 2), first=1 + 6 * number)
        cv2.imwrite(str(tmp_path / "frames" / f"{number}.png"), there.frame)
        labels.append(any(there.labels))
    file = tmp_path / "cell.toml"
    file.write_text(STATION.format(name=f"frames-{os.getpid()}", folder=tmp_path))
    arm = subprocess.Popen(python_module("edge", "arm", "--connect", f"ipc://{tmp_path}/s.ipc"))
    try:
        done = subprocess.run(
            python_module("edge", "run", str(file)), timeout=60, capture_output=True, text=True
        )
    finally:
        arm.kill()
        arm.wait()
    assert done.returncode == 0, done.stderr
    rows = list(query(tmp_path / "r.db"))
    assert [row.verdict == "fail" for row in rows] == labels
    assert all(row.fault is None for row in rows)
