"""Who takes part, by which command."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from bench.peers.environment import python_of
from bench.peers.turn import Turn, of_station, run, taken
from edge.core.process import python_module

SCRIPTS = Path(__file__).parent
THREADS = 2


class Work(NamedTuple):
    """What every peer gets: package file, frames (.npz by view), parts a turn, scratch folder."""

    model: Path
    frames: Path
    parts: int
    folder: Path
    say: Callable[[str], None]


class Peer(NamedTuple):
    """One row: who, which way of using it, and how it takes a turn."""

    name: str
    variant: str
    take: Callable[[str, str, Work], Turn]


def bare(name: str, variant: str, work: Work) -> Turn:
    """session.run of this product's own session, inputs bound: the limit, and the scores."""
    options = (str(work.model), str(work.frames), str(work.parts), str(THREADS))
    return taken(python_module("bench.peers.bare", *options), work.folder)


def station(name: str, variant: str, work: Work) -> Turn:
    """The whole station, one part at a time."""
    file = work.folder / "station.json"
    file.unlink(missing_ok=True)
    options = ("--scenario", "single", "--model", str(work.model), "--parts", str(work.parts))
    spread = ("--threads", str(THREADS), "--json", str(file))
    run(python_module("edge", "bench", *options, *spread), work.folder)
    return of_station(file)


def script(name: str, variant: str, work: Work) -> Turn:
    """A peer's script in its own environment, which is made when it is first asked for."""
    python = python_of(name, work.say)
    # -P: the scripts' own folder holds modules whose names a peer may import.
    options = (variant, str(work.model), str(work.frames), str(work.parts))
    command = [str(python), "-P", str(SCRIPTS / f"run_{name}.py"), *options]
    folder = work.folder / f"{name}-{variant}"  # some leave caches where they run
    folder.mkdir(exist_ok=True)
    return taken(command, folder)


ROSTER = (
    Peer("bare", "session.run", bare),
    Peer("station", "edge bench", station),
    Peer("onnxruntime", "default", script),
    Peer("onnxruntime", "threads=2", script),
    Peer("openvino", "benchmark_app", script),
    Peer("openvino", "loop", script),
    Peer("anomalib", "package", script),
    Peer("anomalib", "front", script),
    Peer("roboflow", "pipeline", script),
)
NAMES = tuple(dict.fromkeys(peer.name for peer in ROSTER))
