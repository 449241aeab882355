"""Sessions of a build, their scores and times, and the thresholds that scores of calib give."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from models.build.datasets import Array
from models.build.recipe import Limits
from models.manifest import Thresholds
from models.session import session_options

THREADS = 2
TIMED_RUNS = 200
_WARM_UP_RUNS = 10


def session(model: bytes, threads: int) -> Any:
    """A CPU session with the options of a station's engine worker."""
    return ort.InferenceSession(model, session_options(threads), providers=["CPUExecutionProvider"])


def scores(model: bytes, views: Sequence[str], pictures: Array, threads: int = THREADS) -> Array:
    """The score of every part (n, views, H, W) uint8: float32 (n,)."""
    running = session(model, threads)
    out = np.empty(len(pictures), np.float32)
    for place, part in enumerate(pictures):
        out[place] = running.run(["score"], _feed(views, part))[0][0]
    return out


def score_of(model: bytes, views: Sequence[str]) -> Callable[[Array], float]:
    """The reference: a CPU session's score of one part's views (views, H, W) uint8."""
    running = session(model, THREADS)
    return lambda part: float(running.run(["score"], _feed(views, part))[0][0])


def thresholds_of(values: Array, defect: Array, limits: Limits) -> Thresholds:
    """Thresholds from calib scores that keep to the recipe's limits.

    Where the classes stand apart, one threshold midway between them, in logits; where they
    overlap, an INDETERMINATE band from the score at which max_escape of the defects would
    pass to the score at which max_overkill of the good parts would fail, raised from below until
    no more than max_held of all parts lie in it.
    """
    bad = float(np.quantile(values[defect], limits.max_escape, method="lower"))
    good = float(np.quantile(values[~defect], 1 - limits.max_overkill, method="higher"))
    if bad > good:
        middle = 1 / (1 + math.exp(-(_logit(bad) + _logit(good)) / 2))
        return Thresholds(pass_below=middle, fail_from=middle)
    high = float(np.nextafter(np.float32(max(bad, good)), np.float32(np.inf)))
    between = np.sort(values[(values >= bad) & (values < high)])[::-1]
    room = int(limits.max_held * len(values))
    low = bad if len(between) <= room else (float(between[room - 1]) if room else high)
    return Thresholds(pass_below=low, fail_from=high)


def run_ms(models: Sequence[bytes], views: Sequence[str], part: Array, threads: int) -> list[float]:
    """Median milliseconds of session.run for each model on one part (views, H, W).

    The models take turns, so that a slow second of a busy machine falls on all alike.
    """
    sessions, feed = [session(model, threads) for model in models], _feed(views, part)
    for running in sessions:
        for _ in range(_WARM_UP_RUNS):
            running.run(None, feed)
    taken = np.empty((TIMED_RUNS, len(sessions)))
    for turn in range(TIMED_RUNS):
        for place, running in enumerate(sessions):
            began = time.perf_counter()
            running.run(None, feed)
            taken[turn, place] = time.perf_counter() - began
    return [float(value) * 1e3 for value in np.median(taken, axis=0)]


def processor() -> str:
    """The processor's name, its cores in use here, and the INT8 instructions it has."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return "unknown processor"
    facts: dict[str, str] = {}
    for line in text.splitlines():
        key, _, value = line.partition(":")
        facts[key.strip()] = value.strip()
    flags = facts.get("flags", "").split()
    wanted = [name for name in ("avx512_vnni", "avx_vnni", "avx2") if name in flags]
    cores = text.count("processor\t")
    return f"{facts.get('model name', 'unknown')}, {cores} cores, {' '.join(wanted[:1])}"


def _feed(views: Sequence[str], part: Array) -> dict[str, Array]:
    return {name: picture[None, None] for name, picture in zip(views, part, strict=True)}


def _logit(score: float) -> float:
    inside = min(max(score, 1e-7), 1 - 1e-7)
    return math.log(inside / (1 - inside))
