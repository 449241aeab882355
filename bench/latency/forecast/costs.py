"""What operators cost on a box: fitted to measured ones, and asked of ones that were not.

Each family of operators has its own costs, found by least squares of the relative error with none
of them negative:

    time = call + MACs / rate + outputs * write + rows * gather + weights * load + bytes * move

and no operator is faster than its activations can be moved by a plain pass over them.
"""

from __future__ import annotations

import itertools

import msgspec
import numpy as np
import numpy.typing as npt

from bench.latency.forecast import macs
from bench.latency.forecast.macs import Work

Floats = npt.NDArray[np.float64]
Costs = tuple[float, ...]
# Of `features`; a family has a few of them, with all it would fit noise.
CALL, EXECUTED, OUTPUTS, ROWS, WEIGHTS, MOVED = range(6)
_OF_WEIGHTS = (CALL, EXECUTED, OUTPUTS, ROWS, WEIGHTS)
_OF_BYTES = (CALL, MOVED)


class Calibration(msgspec.Struct, frozen=True):
    """The box at `threads`. costs: family -> microseconds of each feature.

    gmacs: the rate of large dense work, in 1e9 MACs a second; gbytes: 1e9 bytes a
    second of a plain pass. node_us and run_us: of an operator and of a run with nothing to do.
    """

    threads: int
    seconds: float
    costs: dict[str, Costs]
    gmacs: dict[str, float]
    gbytes: float
    node_us: float
    run_us: float
    spread: float  # (p90 - p10) / p50 of stretches of 5 ms
    fit_error: dict[str, float]  # family -> median relative error over its own probes
    samples: tuple[tuple[float, float], ...] = ()  # (median, measured) us, in order

    def operator_us(self, work: Work) -> float:
        """One operator; a family without probes is taken for dense work, or a plain pass."""
        if work.kind == "free":
            return 0.0
        bytes_us = (work.read + work.written) / (self.gbytes * 1e3)
        precision = "int8" if work.kind.startswith("int8") else "fp32"
        costs = self.costs.get(work.kind)
        if costs is None:
            costs = self.costs[f"{precision} dense" if work.macs else f"{precision} plain"]
        return max(float(np.dot(features(work), costs)), bytes_us)

    def session_us(self, graph: macs.Graph) -> float:
        """One run of an optimised graph, back to back with others."""
        kernels = sum(self.operator_us(work) for work in graph.work)
        return kernels + self.node_us * len(graph.work) + self.run_us

    def stretches(self, length_us: float) -> Floats:
        """Calibration cut into stretches of this length: measured over expected, ascending."""
        medians = np.array([sample[0] for sample in self.samples])
        measured = np.array([sample[1] for sample in self.samples])
        place = ((np.cumsum(medians) - medians) / length_us).astype(np.int64)
        expected, got = np.bincount(place, medians), np.bincount(place, measured)
        full = expected > 0.5 * length_us
        return np.sort(got[full] / expected[full])


def features(work: Work) -> Floats:
    """What an operator is charged for, in the order of the constants above."""
    moved = work.read + work.written
    row = (1.0, work.executed, work.outputs, work.rows, work.weights, moved)
    return np.array(row, np.float64)


def fit(measured: list[tuple[Work, float]]) -> tuple[Costs, float]:
    """A family's costs from (operator, us), and the median relative error they leave.

    Least squares with no negative cost: the best of all subsets of the features.
    """
    places = _OF_WEIGHTS if any(work.executed for work, _ in measured) else _OF_BYTES
    rows = np.array([features(work) for work, _ in measured])
    us = np.array([time for _, time in measured])
    best, costs = np.inf, np.zeros(MOVED + 1)
    most = max(1, len(measured) // 2)  # of features: as many as probes would fit any noise
    for count in range(1, min(len(places), most) + 1):
        for chosen in itertools.combinations(places, count):
            scaled = rows[:, chosen] / us[:, None]
            found, *_ = np.linalg.lstsq(scaled, np.ones(len(us)), rcond=None)
            residual = float(np.sum((scaled @ found - 1) ** 2))
            if np.all(found >= 0) and residual < best - 1e-9:
                best, costs = residual, np.zeros(MOVED + 1)
                costs[list(chosen)] = found
    relative = np.abs(rows @ costs / us - 1)
    return tuple(float(cost) for cost in costs), round(float(np.median(relative)), 3)


def rate(us_each: float) -> float:
    """1e9 a second; a cost too small to see counts as 1000."""
    return round(min(1e3, 1e-3 / us_each) if us_each > 0 else 1e3, 1)
