"""Choosing the golden set of a package: which parts, how near the limits, how close to FP32.

The stated delta comes first. It is the smallest of AIMS at which the set can be filled with
parts on which the package itself keeps to SHARE of it; the rest is room for providers that round
in another order. Parts on which quantisation alone moves the score further are left out: they
tell what INT8 costs, which the manifest's figures say, and would only make the gate so wide that
a broken provider passes. How far INT8 was from FP32 on any part looked at is stated beside it.

The third nearest the limits is searched: the strength of a flaw is bisected until the FP32 score
lies just beyond the stated delta from a limit, on each side that has room. Nearer would flip by
rounding, farther away saturates and shows less.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from edge.core.errors import ConfigError
from edge.core.types import Verdict
from models import golden
from models.build.datasets import Array
from models.build.series import Series
from models.manifest import Gate, Thresholds
from models.package import MAX_GOLDEN_BYTES

COUNT, NEAR = 64, 22
AIMS = (0.02, 0.04, 0.08, 0.16, 0.32)
SHARE = 0.6
_BATCH, _MOST = 40, 160  # series looked at before the set is tried, and in all
_BEYOND, _REACH = 1.05, 3.0  # a near part's distance from its limit, in stated deltas
_GRID = np.linspace(0, 1, 9)
_STEPS = 7
_LEVELS = (0.1, 0.3, 0.5, 0.7, 0.9)  # scores searched for besides, to fill the range
# Series, parts of each, and low bits dropped: the first that fits the entry is taken. A series
# costs a whole picture, its further parts next to nothing; sensor noise is what does not compress.
_SHAPES = ((16, 4, 0), (8, 8, 0), (4, 16, 0), (4, 16, 2), (4, 16, 4))

Score = Callable[[Array], float]
Sample = tuple[str, str, bool, Array]  # kind, name, defect, views


class NoGoldenSetError(ConfigError):
    """Parts from which no golden set can be made; the line says what is missing."""


class Seen(NamedTuple):
    """One part that was looked at: its series, strength, and both scores."""

    series: int
    strength: float
    fp32: float
    own: float

    @property
    def delta(self) -> float:
        return abs(self.own - self.fp32)


class Chosen(msgspec.Struct, frozen=True):
    """A golden set: its parts, the gate they state, and what a person should know of them."""

    parts: tuple[golden.Part, ...]
    gate: Gate
    told: str


def choose(
    series: Iterator[Series],
    fp32: Score,
    own: Score,
    limits: Thresholds,
    samples: Iterable[Sample] = (),
) -> Chosen:
    """A golden set from a run of series; fp32 and own score views (views, H, W) uint8.

    NoGoldenSetError where the series hold no COUNT parts that the package scores as FP32 does,
    or ConfigError for a sample that the package judges otherwise than its folder says.
    """
    asked = tuple(_sample(sample, fp32, own, limits) for sample in samples)
    search = _Search(series, fp32, own, limits)
    for families, each, bits in _SHAPES:
        parts = search.parts(families, each, bits) + asked
        if len(golden.encoded(parts)) <= MAX_GOLDEN_BYTES:
            return Chosen(parts, search.gate(), _told(parts, search, limits))
    raise NoGoldenSetError(f"golden set: over {MAX_GOLDEN_BYTES // 2**20} MiB of pictures")


def of_twin(parts: Iterable[golden.Part]) -> list[golden.Part]:
    """The same parts for the FP32 twin, whose own score is the reference."""
    return [msgspec.structs.replace(part, own=part.fp32) for part in parts]


class _Search:
    """Series, what was seen of them, and the stated delta that the last choice was made for."""

    def __init__(
        self, series: Iterator[Series], fp32: Score, own: Score, limits: Thresholds
    ) -> None:
        self._source, self._fp32, self._own = series, fp32, own
        self._limits = sorted({limits.pass_below, limits.fail_from})
        self._series: list[Series] = []
        self.seen: list[Seen] = []
        self._looked: set[tuple[int, float]] = set()  # series, stated delta
        self.aim = AIMS[0]

    def gate(self) -> Gate:
        widest = max(one.delta for one in self.seen)
        return Gate(max_score_delta=self.aim, widest_score_delta=round(widest, 4))

    def parts(self, families: int, each: int, bits: int) -> tuple[golden.Part, ...]:
        """The set at the smallest stated delta that fills it; bits are dropped from the gray."""
        if bits:  # other pictures, other scores
            self._series = [one.coarser(bits) for one in self._series]
            self.seen, self._looked = [], set()
        fallback: list[Seen] = []
        for self.aim in AIMS:
            for upto in range(_BATCH, _MOST + 1, _BATCH):
                self._look(upto, bits)
                picked = _picked(self.seen, self._limits, self.aim, families, each)
                if len(picked) == COUNT and self._near(picked) >= NEAR:
                    return self._sealed(picked)
                if len(picked) == COUNT:
                    fallback = picked
        if not fallback:
            raise NoGoldenSetError(
                f"golden set: the package scores fewer than {COUNT} of {len(self.seen)} parts "
                f"within {SHARE * AIMS[-1]:.2f} of FP32"
            )
        return self._sealed(fallback)

    def _near(self, picked: Sequence[Seen]) -> int:
        return sum(_margin(one, self._limits) <= _REACH * self.aim for one in picked)

    def _look(self, upto: int, bits: int) -> None:
        """Score the first series at a grid of strengths, and what bisection finds at this aim."""
        more = itertools.islice(self._source, max(0, upto - len(self._series)))
        self._series += [one.coarser(bits) if bits else one for one in more]
        for number, series in enumerate(self._series[:upto]):
            if (number, self.aim) in self._looked:
                continue
            self._looked.add((number, self.aim))
            here = sorted(one for one in self.seen if one.series == number)
            here = here or [self._scored(number, series, at) for at in _GRID]
            found = [one for at in self._targets() for one in self._bisected(series, here, at)]
            self.seen = sorted({*self.seen, *here, *found})

    def _targets(self) -> list[float]:
        near = [limit + sign * 1.4 * self.aim for limit in self._limits for sign in (-1, 1)]
        return [score for score in (*near, *_LEVELS) if 0 < score < 1]

    def _scored(self, number: int, series: Series, strength: float) -> Seen:
        views = series.at(strength)
        return Seen(number, float(strength), float(self._fp32(views)), float(self._own(views)))

    def _bisected(self, series: Series, here: list[Seen], target: float) -> Iterator[Seen]:
        """What bisection sees on its way to a score, where neighbours lie on both sides of it."""
        for low, high in itertools.pairwise(here):
            if (low.fp32 < target) == (high.fp32 < target):
                continue
            for _ in range(_STEPS):
                middle = (low.strength + high.strength) / 2
                one = self._scored(low.series, series, middle)
                yield one
                if (one.fp32 < target) == (low.fp32 < target):
                    low = one
                else:
                    high = one
            return

    def _sealed(self, picked: list[Seen]) -> tuple[golden.Part, ...]:
        parts = []
        for number, run in itertools.groupby(sorted(picked), key=lambda one: one.series):
            series, key = self._series[number], None
            for one in run:
                views = series.at(one.strength)
                name = f"{series.name}, {one.strength:.3g}"
                parts.append(
                    golden.part_of(list(views), key, name=name, fp32=one.fp32, own=one.own)
                )
                key = key or list(views)
        return tuple(parts)


def _picked(
    seen: Sequence[Seen], limits: Sequence[float], aim: float, families: int, each: int
) -> list[Seen]:
    """Up to COUNT parts of so many series: near ones, good ones, bad ones, then the range."""
    fit = [one for one in seen if one.delta <= SHARE * aim and _margin(one, limits) > _BEYOND * aim]
    near: dict[tuple[int, int], list[Seen]] = {}  # by series and side, the nearest first
    for one in sorted(fit, key=lambda one: (_margin(one, limits), one)):
        if _margin(one, limits) <= _REACH * aim:
            near.setdefault((one.series, _side(one, limits)), []).append(one)
    worth: dict[int, set[tuple[str, int]]] = {}  # sides near the limits, and tenths of the range
    for one in fit:
        worth.setdefault(one.series, set()).add(("tenth", _tenth(one.fp32)))
    for number, side in near:
        worth[number].add(("side", side))
    taken = sorted(worth, key=lambda number: (-len(worth[number]), number))[:families]
    picked = _in_turn([at for at in near if at[0] in taken], near, each)
    for strength in (0.0, 1.0):
        ends = [one for one in fit if one.strength == strength and one.series in taken]
        picked += _room(ends, picked, each)[: (COUNT - NEAR) // 3]
    return _filled([one for one in fit if one.series in taken], picked, each)


def _in_turn(
    places: list[tuple[int, int]], near: dict[tuple[int, int], list[Seen]], each: int
) -> list[Seen]:
    """One near part a series and side, the sides in turn, so that none is left without."""
    sides = sorted({side for _, side in places})
    queues = [[near[at][0] for at in places if at[1] == side] for side in sides]
    dealt = [one for turn in itertools.zip_longest(*queues) for one in turn if one is not None]
    return _room(dealt, [], each)[:NEAR]


def _room(wanted: Iterable[Seen], picked: Iterable[Seen], each: int) -> list[Seen]:
    """Those of the wanted that are not picked and whose series has room for more."""
    kept: list[Seen] = []
    have = set(picked)
    used = Counter(one.series for one in have)
    for one in wanted:
        if used[one.series] < each and one not in have:
            kept.append(one)
            used[one.series] += 1
    return kept


def _filled(fit: Sequence[Seen], picked: list[Seen], each: int) -> list[Seen]:
    """COUNT parts if there are so many: each further one from the tenth that has the fewest.

    Of those, first one whose score its series has not given yet: a faint flaw often changes none.
    """
    tenths, known = Counter(_tenth(one.fp32) for one in picked), {_alike(one) for one in picked}
    used, left = Counter(one.series for one in picked), set(fit).difference(picked)

    def order(one: Seen) -> tuple[bool, int, float, int]:
        return _alike(one) in known, tenths[_tenth(one.fp32)], one.strength, one.series

    while len(picked) < COUNT and left:
        one = min(left, key=order)
        left.remove(one)
        if used[one.series] < each:
            picked.append(one)
            known.add(_alike(one))
            tenths[_tenth(one.fp32)] += 1
            used[one.series] += 1
    return picked


def _alike(one: Seen) -> tuple[int, float]:
    return one.series, round(one.fp32, 2)


def _tenth(score: float) -> int:
    return min(9, max(0, int(10 * score)))


def _margin(one: Seen, limits: Sequence[float]) -> float:
    return min(abs(one.fp32 - limit) for limit in limits)


def _side(one: Seen, limits: Sequence[float]) -> int:
    """The nearest limit and the side of it: -1 and 1 of the first, -2 and 2 of the second."""
    nearest = min(range(len(limits)), key=lambda place: abs(one.fp32 - limits[place]))
    return (nearest + 1) * (1 if one.fp32 >= limits[nearest] else -1)


def _sample(sample: Sample, fp32: Score, own: Score, limits: Thresholds) -> golden.Part:
    kind, name, defect, views = sample
    expected = Verdict.FAIL if defect else Verdict.PASS
    score = own(views)
    if limits.verdict(score) is not expected:
        raise ConfigError(
            f"golden.samples {kind}/{name}: scores {score:.4f}, {limits.verdict(score)}, "
            f"where {expected} is expected: no station would serve this package"
        )
    return golden.part_of(
        list(views), name=name, fp32=fp32(views), own=score,
        kind="limit" if kind == "limit" else "challenge", expected=expected,
    )  # fmt: skip


def _told(parts: Sequence[golden.Part], search: _Search, limits: Thresholds) -> str:
    """The set in three lines: what it holds, the histogram of its scores, what it admits."""
    plain = [part for part in parts if part.kind == "golden"]
    verdicts = [limits.verdict(part.fp32) for part in plain]
    margins = sorted(
        min(abs(part.fp32 - limits.pass_below), abs(part.fp32 - limits.fail_from)) for part in plain
    )
    tenths = np.bincount([_tenth(part.fp32) for part in plain], minlength=10)
    gate = search.gate()
    counts = ", ".join(f"{verdict} {verdicts.count(verdict)}" for verdict in Verdict)
    return (
        f"golden set: {len(parts)} parts, {sum(not part.keyed for part in parts)} of them whole; "
        f"{counts}; {len(parts) - len(plain)} samples\n"
        f"FP32 scores by tenths {' '.join(map(str, tenths))}; the nearest third within "
        f"{margins[len(plain) // 3]:.4f} of a limit, the nearest at {margins[0]:.4f}\n"
        f"gate: within {gate.max_score_delta} of FP32, where the package keeps to "
        f"{max(abs(part.own - part.fp32) for part in plain):.4f} "
        f"(up to {gate.widest_score_delta} on the {len(search.seen)} parts looked at)"
    )
