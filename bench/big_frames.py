"""Frames of 5 megapixels in tiles: trays of test parts through a station, and against the truth.

A tray is a 2448 x 2048 frame of 56 synthetic parts of test seeds, 256 x 256 each, 32 to 44 px apart
on a gray of their belt's level; every other tray holds one defective part. The truth that tiling is
held against is the same network's score of each part alone. The station judges them in larger tiles
than one part, with a package of the same weights (models/build/retile.py) that is made here first.
"""

from __future__ import annotations

import csv
import math
import os
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from bench.measures import Figures
from edge.children import arm_process, station_process
from edge.core.clock import NS_PER_MS, NS_PER_S, now_ns
from edge.core.config import TileOptions
from edge.core.errors import EdgeError
from edge.core.figures import auroc
from edge.core.pool import FramePool
from edge.core.types import ViewSpec
from edge.historian.records.query import query
from edge.historian.records.rows import PartRow
from models import package
from models.package import Package
from models.session import BoundSession, available
from models.tiled_session import TiledSession
from models.tiles import Lanes, whole
from sensors.synthetic import PartGenerator

MODEL = "synthetic-part"
FRAME_PX = (2048, 2448)
TILE_PX = (560, 536)  # 4 x 5 of them, their overlaps as wide as those of the package's own 10 x 12
TRAYS, SHOWN, RATE_HZ = 200, 1000, 8.0
SIDE_PX, DOWN, ALONG, LEVEL = 256, 7, 8, 60
GAP_PX = (
    (FRAME_PX[0] - DOWN * SIDE_PX) // (DOWN + 1),
    (FRAME_PX[1] - ALONG * SIDE_PX) // (ALONG + 1),
)
SEEDS, PARTS = range(10_000, 10_030), 40  # of the test range, each
RUNS = 40

Picture = npt.NDArray[np.uint8]
Float = npt.NDArray[np.float32]

_STATION = """
name = "{name}"
budget_ms = 50
[camera]
source = "footage"
path = "{folder}/trays"
[engine]
model = "{model}"
provider = "{provider}"
threads = {threads}
[engine.tiles]
frame_px = [{frame_px[0]}, {frame_px[1]}]
[controller]
bind = "ipc://{folder}/s.ipc"
[records]
path = "{folder}/r.db"
evidence = false
"""


class Tray(NamedTuple):
    """Which parts lie on a tray, row by row; bad is the place of the defective one, if any."""

    parts: list[int]
    bad: int | None


class Trays:
    """Trays of test parts, drawn from a seed; pictures are put together when asked for."""

    def __init__(self, seed: int = 5) -> None:
        found = [g.part(i) for g in _generators() for i in range(1, PARTS + 1)]
        self.pictures: list[Picture] = [part.image for part in found]
        good = [n for n, part in enumerate(found) if part.label == "good"]
        bad = [n for n, part in enumerate(found) if part.label == "defect"]
        dice = np.random.default_rng(seed)
        dealt = cycle(dice.permutation(bad).tolist())  # each once before any comes again
        self.trays = [self._drawn(dice, good, dealt if n % 2 else None) for n in range(TRAYS)]

    @staticmethod
    def _drawn(dice: np.random.Generator, good: list[int], dealt: Iterator[int] | None) -> Tray:
        parts = [int(part) for part in dice.choice(good, DOWN * ALONG)]
        if dealt is None:
            return Tray(parts, None)
        place = int(dice.integers(len(parts)))
        parts[place] = next(dealt)
        return Tray(parts, place)

    def frame(self, tray: Tray) -> Picture:
        """The tray as the camera sees it."""
        out = np.full(FRAME_PX, LEVEL, np.uint8)
        for place, part in zip(_places(), tray.parts, strict=True):
            out[place] = self.pictures[part]
        return out


def _generators() -> Iterator[PartGenerator]:
    return (PartGenerator(seed, defect_share=0.3) for seed in SEEDS)


def _places(margin: tuple[int, int] = (0, 0), scale: int = 1) -> Iterator[tuple[slice, slice]]:
    """Where the parts lie, margin wider on each side, in units of `scale` pixels."""
    for y in range(DOWN):
        for x in range(ALONG):
            at = (GAP_PX[0] + y * (SIDE_PX + GAP_PX[0]), GAP_PX[1] + x * (SIDE_PX + GAP_PX[1]))
            down, along = (
                slice((start - wide) // scale, (start + SIDE_PX + wide) // scale)
                for start, wide in zip(at, margin, strict=True)
            )
            yield down, along


def big_frames() -> Figures:
    """Trays judged by a station at a fixed rate, and by the network part by part."""
    model, trays = package.find(MODEL), Trays()
    alone = _alone(model, trays.pictures)
    with tempfile.TemporaryDirectory(prefix="edge-trays-") as name:
        larger = _larger(model, Path(name))
        tiled = _tiled(larger, trays)
        rows = _through_a_station(Path(name), larger, trays)
    scored = [row for row in rows if row.score is not None]
    if not scored:
        raise EdgeError("the station gave no frame a score; `edge run` says why")
    expected = [float(tiled[(row.part - 1) % TRAYS][0]) for row in scored]
    differing = sum(row.score != score for row, score in zip(scored, expected, strict=True))
    # A frame without a verdict in time counts as one that takes for ever.
    latencies = [math.inf if row.latency_ms is None else row.latency_ms for row in rows]
    return {
        "latency_p99_ms": _quantile(latencies, 0.99),
        "frames_missing": SHOWN - len(rows),
        **_losses(trays.trays, alone, tiled),
        "station_differs": differing,
        "latency_p50_ms": _quantile(latencies, 0.5),
        "scored_p99_ms": _quantile([ms for ms in latencies if ms < math.inf], 0.99),
        "session_p50_ms": statistics.median(r.session_ms for r in scored if r.session_ms),
        "overruns": sum(row.overrun for row in rows),
        "unscored": len(rows) - len(scored),
        "frames": len(rows),
    }


def _losses(trays: Sequence[Tray], alone: Float, tiled: Sequence[tuple[Any, Float]]) -> Figures:
    """AUROC of trays and of parts: of each part alone, in tiles, and what tiling loses."""
    bad_trays = [tray.bad is not None for tray in trays]
    bad_parts = [n == tray.bad for tray in trays for n in range(len(tray.parts))]
    by_part = [alone[tray.parts] for tray in trays]
    single = auroc([scores.max() for scores in by_part], bad_trays) or 0.0
    single_parts = auroc(np.concatenate(by_part), bad_parts) or 0.0
    frames = auroc([score for score, _ in tiled], bad_trays) or 0.0
    parts = auroc(np.concatenate([peaks for _, peaks in tiled]), bad_parts) or 0.0
    return {
        "auroc_loss": single - frames,
        "part_auroc_loss": single_parts - parts,
        "auroc": frames,
        "part_auroc": parts,
    }


def _larger(model: Package, folder: Path) -> Package:
    """The package of larger tiles, sealed into the folder; EdgeError where onnx is not there."""
    try:
        from models.build.retile import retiled  # here: no other bench needs onnx
    except ModuleNotFoundError as error:
        raise EdgeError(f"big_frames: {error}: it builds a package, and wants onnx") from None
    file = folder / "larger.onnx"
    file.write_bytes(retiled(model, tile_px=TILE_PX))
    return package.load(file)


def _alone(model: Package, pictures: Sequence[Picture]) -> Float:
    """Each part's own score, untiled."""
    views = model.manifest.views
    pool = FramePool.create(views, 1)
    session = BoundSession(model.model_bytes(), views, pool, "cpu", 1)
    return np.array([session.judge({"image": picture}) for picture in pictures], np.float32)


def _tiled(model: Package, trays: Trays) -> list[tuple[float, Float]]:
    """Of each tray: its score, and the peak of the map around each part."""
    pool, session = _session(model, Lanes(2, 1))
    margin = GAP_PX[0] // 2, GAP_PX[1] // 2
    windows = list(_places(margin, model.manifest.outputs.cell_px))
    found = []
    for tray in trays.trays:
        pool.arrays(0)["image"][:] = trays.frame(tray)
        session.run(0)
        score, cells = session.outputs.values()
        peaks = np.array([cells[window].max() for window in windows], np.float32)
        found.append((float(score[0]), peaks))
    session.close()
    return found


def _quickest() -> str:
    """OpenVINO, in an environment that has it."""
    return "openvino" if "OpenVINOExecutionProvider" in available() else "cpu"


def _session(model: Package, lanes: Lanes) -> tuple[FramePool, TiledSession]:
    options = TileOptions(frame_px=FRAME_PX)
    pool = FramePool.create(whole(model.manifest, options).views, 2)
    data = model.model_bytes()

    def tile(views: tuple[ViewSpec, ...], place: FramePool, threads: int) -> BoundSession:
        return BoundSession(data, views, place, _quickest(), threads)

    return pool, TiledSession(model.manifest, options, pool, tile, lanes)


def _through_a_station(folder: Path, model: Package, trays: Trays) -> list[PartRow]:
    """Every frame's row on record, after a run of `edge run` and `edge arm`."""
    (folder / "trays").mkdir()
    for number, tray in enumerate(trays.trays):
        # As a camera gives them: a PNG takes 25 ms of one of the two processors to decode.
        path = str(folder / "trays" / f"{number:03}.bmp")
        cv2.imwrite(path, trays.frame(tray))
    with (folder / "trays" / "footage.csv").open("w", newline="", encoding="utf-8") as text:
        table = csv.writer(text)
        table.writerow(("path", "label", "timestamp_ns"))
        for number in range(SHOWN):
            tray = trays.trays[number % TRAYS]
            label = "good" if tray.bad is None else "defect"
            table.writerow((f"{number % TRAYS:03}.bmp", label, round(number * NS_PER_S / RATE_HZ)))
    file = folder / "cell.toml"
    name = f"trays-{os.getpid()}"
    file.write_text(
        _STATION.format(
            name=name,
            folder=folder,
            model=model.path,
            provider=_quickest(),
            threads=2,
            frame_px=FRAME_PX,
        )
    )
    with (
        arm_process(f"ipc://{folder}/s.ipc", folder / "arm.jsonl"),
        station_process(file) as (station, feed),
    ):
        while feed.recv(1 << 20):  # its records, kept elsewhere; empty when it ends
            pass
        station.wait(timeout=60.0)
    return list(query(folder / "r.db"))


def big_frames_slower() -> Figures:
    """session.run of one tray on 2 cores and less, without a station: what else there is."""
    int8 = package.find(MODEL)
    fp32 = package.find(f"{MODEL}-fp32")
    boards = package.find("deeppcb")
    found: dict[str, Callable[[], float]] = {
        "int8_ms": lambda: _run_ms(int8, Lanes(2, 1)),
        "int8_one_session_of_2_threads_ms": lambda: _run_ms(int8, Lanes(1, 2)),
        "int8_1_thread_ms": lambda: _run_ms(int8, Lanes(1, 1)),
        "fp32_ms": lambda: _run_ms(fp32, Lanes(2, 1)),
        "deeppcb_int8_ms": lambda: _run_ms(boards, Lanes(2, 1)),
        "int8_larger_tiles_ms": lambda: _run_ms(larger, Lanes(2, 1)),
        "int8_larger_tiles_1_thread_ms": lambda: _run_ms(larger, Lanes(1, 1)),
    }
    with tempfile.TemporaryDirectory(prefix="edge-tiles-") as name:
        larger = _larger(int8, Path(name))
        return {figure: work() for figure, work in found.items()}


def _run_ms(model: Package, lanes: Lanes) -> float:
    pool, session = _session(model, lanes)
    frame = np.random.default_rng(1).integers(0, 256, FRAME_PX, np.uint8)
    for array in pool.arrays(0).values():
        array[:] = frame
    times = []
    for _ in range(RUNS):
        began_ns = now_ns()
        session.run(0)
        times.append((now_ns() - began_ns) / NS_PER_MS)
    session.close()
    return statistics.median(times[3:])


def _quantile(values: Sequence[float], share: float) -> float:
    return float(np.quantile(values, share, method="higher")) if values else 0.0


GROUPS = {"big_frames": big_frames, "big_frames_slower": big_frames_slower}
