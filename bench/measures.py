"""One function a group of figures; each runs the real thing and returns numbers by name."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from edge.core.clock import NS_PER_MS, NS_PER_S, now_ns
from edge.core.pool import FramePool
from edge.core.process import python_module
from edge.core.types import Fit, ViewSpec
from edge.playback import Asked, replay
from edge.replay import Report
from models import package
from models.build.unfit import refused_share, survey
from models.package import Package
from models.session import BoundSession
from sensors.footage import open_footage
from sensors.synthetic import PartGenerator
from sensors.synthetic_camera import write_footage

Figures = dict[str, float]
Picture = npt.NDArray[np.uint8]
PACKAGES = ("deeppcb", "synthetic-part")
UNSEEN_SEED = 77_001
THREADS = 2


class SkippedError(Exception):
    """A group that cannot be measured here, and why."""


def data(name: str) -> Path:
    folder = Path(__file__).parents[1].parent / "shared" / "data" / name
    if not folder.is_dir():
        raise SkippedError(f"../shared/data/{name} is not here")
    return folder


def start_up() -> Figures:
    """The time a person waits for `edge --help`: median of 9 runs, after one to warm the cache."""
    times = []
    for _ in range(10):
        started = now_ns()
        subprocess.run(python_module("edge", "--help"), stdout=subprocess.DEVNULL, check=True)
        times.append((now_ns() - started) / NS_PER_S)
    return {"help_s": statistics.median(times[1:])}


def recorded() -> Figures:
    """deeppcb's test split in real time, 20 parts a second, deadlines and all."""
    asked = Asked(footage=data("deeppcb"), model="deeppcb", pace="recorded", threads=THREADS)
    result = replay(asked).report
    assert result.latency_ms is not None
    assert result.session_ms is not None
    assert result.registration_ms is not None
    assert result.overhead_ms is not None
    return _accounts(result) | {
        "scored_missing": result.parts - result.scored,
        "overruns": result.overruns,
        "late_commands": result.late_commands,
        "latency_p99_ms": result.latency_ms["p99"],
        "overhead_p50_ms": result.overhead_ms["p50"],
        "auroc": result.auroc or 0.0,
        "parts": result.parts,
        "latency_p50_ms": result.latency_ms["p50"],
        "session_p50_ms": result.session_ms["p50"],
        "registration_p50_ms": result.registration_ms["p50"],
        "overhead_p99_ms": result.overhead_ms["p99"],
        "detection": result.detection or 0.0,
        "overkill_rate": result.overkill_rate or 0.0,
    }


def _accounts(result: Report) -> Figures:
    return {
        "commands_missing": result.parts - result.commands,
        "conservation_errors": result.conservation_errors,
    }


def exact() -> Figures:
    """Digests of three replays; the third while two processes keep both cores busy."""
    asked = Asked(footage=data("deeppcb"), model="deeppcb")
    digests = [replay(asked).report.decisions_sha256 for _ in range(2)]
    with _loaded_cores(2):
        digests.append(replay(asked).report.decisions_sha256)
    return {"different_digests": len(set(digests)) - 1, "replays": len(digests)}


@contextmanager
def _loaded_cores(count: int) -> Iterator[None]:
    burn = [sys.executable, "-c", "while True: pass"]
    loads = [subprocess.Popen(burn) for _ in range(count)]
    try:
        yield
    finally:
        for load in loads:
            load.kill()
            load.wait()


def precision() -> Figures:
    """AUROC through the real replay and session.run in turns, INT8 against the FP32 twin."""
    figures: Figures = {}
    with tempfile.TemporaryDirectory(prefix="edge-bench-") as name:
        synthetic = write_footage(PartGenerator(UNSEEN_SEED), Path(name), 600)
        for model in PACKAGES:
            quantised = package.find(model)
            twin = package.load(quantised.path.parent / "twins" / f"{model}-fp32.onnx")
            footage = synthetic if model == "synthetic-part" else data(model)
            key = model.replace("-", "_")
            scores = [
                replay(Asked(footage=footage, model=str(one.path))).report.auroc or 0.0
                for one in (quantised, twin)
            ]
            fast, slow = paired_session_ms(quantised, twin)
            figures[f"{key}_auroc_loss"] = scores[1] - scores[0]
            figures[f"{key}_speed_up"] = slow / fast
            figures[f"{key}_int8_ms"], figures[f"{key}_fp32_ms"] = fast, slow
    figures["largest_package_bytes"] = max(package.find(model).size for model in PACKAGES)
    return figures


def paired_session_ms(first: Package, second: Package, runs: int = 200) -> tuple[float, float]:
    """Medians of session.run alone, the two in turns so that drift of the machine hits both."""
    pool = FramePool.create(first.manifest.views, 4)
    sessions = [
        BoundSession(one.model_bytes(), one.manifest.views, pool, "cpu", THREADS)
        for one in (first, second)
    ]
    times: tuple[list[float], list[float]] = ([], [])
    for turn in range(runs + 10):
        for session, series in zip(sessions, times, strict=True):
            started = now_ns()
            session.run(turn % pool.slots)
            series.append((now_ns() - started) / NS_PER_MS)
    return statistics.median(times[0][10:]), statistics.median(times[1][10:])


def unfit() -> Figures:
    """Unfit pictures against each package, and how many good test parts are refused as unfit."""
    others = {name: data(name) for name in ("magnetic_tile", "casting_impeller", "deeppcb")}
    generator = PartGenerator(UNSEEN_SEED, defect_share=0.0)
    belts = [generator.belt(index) for index in range(100)]
    figures: Figures = {"shown": 0, "accepted": 0}
    refused = []
    for model in PACKAGES:
        loaded = package.find(model)
        views = loaded.manifest.views
        if model == "synthetic-part":
            parts = np.stack([generator.part(index).image[None] for index in range(1, 1001)])
            foreign: list[Picture] = []
        else:
            parts = _pictures(others[model], views, label="good")
            foreign = [generator.part(index).image for index in range(1, 51)]
        square = (ViewSpec("image", "picture", "uint8", (512, 512), Fit("resize")),)
        for name, folder in others.items():
            if name != model:
                foreign += [part[0] for part in _pictures(folder, square, most=50)]
        spread = np.random.default_rng(1).permutation(len(foreign))
        table = survey(loaded, parts[:100], belts, [foreign[place] for place in spread])
        figures["shown"] += sum(row.shown for row in table)
        figures["accepted"] += sum(row.passed for row in table)
        refused.append(refused_share(loaded, parts))
        figures[f"{model.replace('-', '_')}_good_refused"] = refused[-1] * len(parts)
        figures[f"{model.replace('-', '_')}_good"] = len(parts)
    figures["good_refused_share"] = max(refused)
    return figures


def _pictures(
    folder: Path, views: tuple[ViewSpec, ...], *, label: str | None = None, most: int | None = None
) -> Picture:
    """Parts of a set's test split, spread over it, as (n, views, H, W), as a station sees them."""
    footage = open_footage(folder, split="test", views=views)
    rows = [row for row in range(len(footage)) if label in (None, footage.label(row + 1))]
    rows = rows[:: max(1, len(rows) // most)][:most] if most else rows
    reader, parts = footage.reader(), []
    for row in rows:
        arrays = {view.name: np.zeros(view.shape, view.dtype) for view in views}
        reader.fill(row, arrays)
        parts.append(np.stack(list(arrays.values())))
    reader.close()
    return np.stack(parts)


def demo() -> Figures:
    """The whole demonstration as a person starts it, on an unseen seed."""
    with tempfile.TemporaryDirectory(prefix="edge-bench-") as name:
        path = Path(name) / "demo.json"
        command = python_module("edge", "demo", "--seed", str(UNSEEN_SEED), "--json", str(path))
        subprocess.run(command, stdout=subprocess.DEVNULL, check=False)
        result = msgspec.json.decode(path.read_bytes(), type=Report)
    return _accounts(result) | {
        "detection": result.detection or 0.0,
        "overkill_rate": 1.0 if result.overkill_rate is None else result.overkill_rate,
        "parts": result.parts,
        "overruns": result.overruns,
        "escapes": result.escapes or 0,
    }


GROUPS: dict[str, Callable[[], Figures]] = {
    "start_up": start_up,
    "recorded": recorded,
    "exact": exact,
    "precision": precision,
    "unfit": unfit,
    "demo": demo,
}
