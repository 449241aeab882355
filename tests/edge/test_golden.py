"""Replays against goldens: verdicts exactly, scores within 1e-3.

`python tests/edge/test_golden.py` writes the goldens anew; look at the difference before it is
committed.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest

from edge.core.config import ControllerOptions, EngineOptions, FootageOptions, Station
from edge.playback import replay_on
from models import package
from sensors.footage import open_footage
from sensors.synthetic import PartGenerator
from sensors.synthetic_camera import write_footage

GOLDEN = Path(__file__).parents[1] / "golden"
SYNTHETIC_SEED, SYNTHETIC_PARTS = 55_555, 40
DEEPPCB_PARTS = 60
SCORE_TOLERANCE = 1e-3


def decisions(path: Path, model: str, parts: int) -> list[dict[str, object]]:
    """The first decisions of a lock-step replay."""
    loaded = package.find(model)
    footage = open_footage(path, views=loaded.manifest.views)
    with tempfile.TemporaryDirectory() as folder:
        station = Station(
            camera=FootageOptions(path=str(path)),
            engine=EngineOptions(model=model),
            controller=ControllerOptions(bind=f"ipc://{folder}/s.ipc"),
        )
        played = replay_on(station, loaded, footage, Path(folder), lockstep=True)
    return [
        {
            "number": record.number,
            "verdict": record.decision.verdict,
            "action": record.decision.action,
            "cause": record.decision.cause,
            "fault": record.decision.fault,
            "score": record.decision.score,
            "regions": [[r.x, r.y, r.width, r.height] for r in record.decision.regions],
        }
        for record in played.records[:parts]
    ]


def synthetic(folder: Path) -> list[dict[str, object]]:
    path = write_footage(PartGenerator(SYNTHETIC_SEED), folder, SYNTHETIC_PARTS)
    return decisions(path, "synthetic-part", SYNTHETIC_PARTS)


def deeppcb(data: Path) -> list[dict[str, object]]:
    return decisions(data / "deeppcb", "deeppcb", DEEPPCB_PARTS)


def compare(found: list[dict[str, object]], name: str) -> None:
    wanted = json.loads((GOLDEN / f"{name}.json").read_text())
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        for key in ("number", "verdict", "action", "cause", "fault"):
            assert one[key] == other[key], (one, other)
        assert one["score"] == pytest.approx(other["score"], abs=SCORE_TOLERANCE)


def test_synthetic_parts_decide_as_recorded(tmp_path):
    compare(synthetic(tmp_path), "synthetic-part")


def test_deeppcb_decides_as_recorded(data):
    compare(deeppcb(data), "deeppcb")


def update() -> None:
    """Write both goldens; deeppcb's needs ../shared/data."""
    data = Path(__file__).parents[2].parent / "shared" / "data"
    with tempfile.TemporaryDirectory() as folder:
        made = {"synthetic-part": synthetic(Path(folder)), "deeppcb": deeppcb(data)}
    for name, found in made.items():
        lines = ",\n".join(json.dumps(decision) for decision in found)
        (GOLDEN / f"{name}.json").write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    update()
