"""One peer's turn: a command of its own, run to its end, and what it measured of so many parts."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import msgspec

from bench.latency import result

TIMEOUT_S = 600.0  # a turn is some seconds; importing a peer takes up to 20 on a busy machine


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """The last line that a peer's command prints. One sample a part, in milliseconds.

    scores: of the frames in their order, the first ones, where the peer shows them.
    """

    timed: str
    versions: dict[str, str]
    samples_ms: list[float]
    parts_per_s: float
    scores: list[float] = []
    remark: str = ""


class UnavailableError(Exception):
    """A peer that cannot be measured here, and why in one line."""


def taken(command: list[str], folder: Path) -> Turn:
    """Run a peer's command in `folder`, and read the turn off its last line."""
    return understood(run(command, folder))


def run(command: list[str], folder: Path, timeout_s: float = TIMEOUT_S) -> str:
    """The stdout of a command run in `folder`; UnavailableError with its last words if it fails."""
    try:
        ended = subprocess.run(
            command,
            cwd=folder,
            env=os.environ | {"PYTHONWARNINGS": "ignore"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise UnavailableError(f"not done within {timeout_s:.0f} s") from None
    except OSError as error:
        raise UnavailableError(f"{command[0]}: {error.strerror}") from None
    if ended.returncode:
        raise UnavailableError(last_words(ended.stderr, ended.stdout, ended.returncode))
    return ended.stdout


def understood(stdout: str) -> Turn:
    """The turn in what a peer printed; libraries may have said things before it."""
    lines = stdout.strip().splitlines()
    try:
        turn = msgspec.json.decode(lines[-1] if lines else "", type=Turn)
    except msgspec.DecodeError as error:
        raise UnavailableError(f"its last line is no result: {error}") from None
    if not turn.samples_ms or turn.parts_per_s <= 0.0:
        raise UnavailableError("it timed no part")
    return turn


def last_words(stderr: str, stdout: str, code: int) -> str:
    """One line that says why a command failed: its last one on stderr, else on stdout."""
    lines = [line.strip() for line in (stderr.strip() or stdout.strip()).splitlines()]
    said = [line for line in lines if line]
    return said[-1][:300] if said else f"exit code {code}, without a word"


def of_station(path: Path) -> Turn:
    """What `edge bench --json` wrote, as a turn; UnavailableError where no part had a verdict."""
    run = result.load(path)
    if not run.series.latency_ms or run.session_ms is None:
        raise UnavailableError("no part had a verdict")
    versions = {
        name: version for name, version in run.host.libraries.items() if "onnxruntime" in name
    }
    return Turn(
        timed="trigger to command received by the controller's process",
        versions=({"edge": run.host.commit} if run.host.commit else {}) | versions,
        samples_ms=run.series.latency_ms,
        parts_per_s=run.throughput_hz,
        remark=f"of it session.run p50 {run.session_ms['p50']:.2f} ms; {run.overruns} overruns "
        f"in {run.parts} parts (its last turn)",
    )
