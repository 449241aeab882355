"""PASS and FAIL limits with a finite-sample guarantee, from the scores of known units.

A unit is what is counted: a picture, or a physical part of which there are several. A defective
unit is missed when any of its defective pictures passes, so it counts by its lowest score; a good
one is overkill when any of its pictures fails or is held, so it counts by its highest. A unit no
picture of which could be judged neither passes nor fails: a default is neither escape nor overkill.

Learn then Test (Angelopoulos, Bates, Candes, Jordan, Lei 2021) with fixed-sequence testing. The
grid is every float32 there is, so nothing of it is taken from the data. From the safe end, the
lowest, each limit's hypothesis "more than `escape` of all defective units score below" is tested
with the exact binomial tail, and the walk ends at the first that stands. The count changes at a
unit's score alone, so the walk is a look at the sorted scores: it ends at the unit behind the most
misses that so many units admit. For overkill the same from the highest limit down. A walk certifies
too much in at most 1 - confidence of all samples, whatever the distribution of scores; the two
rest on different units, and each has the full confidence.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from decimal import ROUND_CEILING, Decimal
from functools import lru_cache
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from edge.core import binomial
from models.manifest import Thresholds

Scores = npt.NDArray[np.float32]
# The same few counts are asked for again and again, and a bound takes 0.1 ms.
upper = lru_cache(maxsize=4096)(binomial.upper)


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be promised: rates of units (0..1), and how sure of each."""

    escape: float
    overkill: float
    confidence: float = 0.95


class Judged(NamedTuple):
    """One picture: the unit it is of, its label, and its score; None where it has none."""

    unit: str
    defect: bool
    score: float | None


class Units(NamedTuple):
    """Units by the score that counts: the lowest of a defective one, the highest of a good one.

    Without any score that is +inf or -inf. left_out: good pictures of defective units, which are
    no word on how good units fare.
    """

    defective: Scores
    good: Scores
    left_out: int


class Counts(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What became of the units of one kind; units = passed + held + failed + unfit."""

    units: int
    passed: int
    held: int
    failed: int
    unfit: int


class Choice(msgspec.Struct, frozen=True):
    """Limits, and the rates that the data bound at them, each at the confidence asked for.

    escape: of defective units that pass; uncaught: that pass or are held. overkill: of good units
    that fail or are held; failed: that fail.
    """

    limits: Thresholds
    escape: float
    uncaught: float
    overkill: float
    failed: float


def units_of(judged: Iterable[Judged]) -> Units:
    """Pictures as units; one with any defective picture is defective."""
    held: dict[str, list[Judged]] = {}
    for one in judged:
        held.setdefault(one.unit, []).append(one)
    defective: list[float] = []
    good: list[float] = []
    left_out = 0
    for pictures in held.values():
        is_defective = any(one.defect for one in pictures)
        counted = [one for one in pictures if one.defect == is_defective]
        scores = [one.score for one in counted if one.score is not None]
        left_out += len(pictures) - len(counted)
        if is_defective:
            defective.append(min(scores, default=math.inf))
        else:
            good.append(max(scores, default=-math.inf))
    return Units(np.array(defective, np.float32), np.array(good, np.float32), left_out)


def parts_of(judged: Sequence[Judged]) -> Units | None:
    """Pictures as units where their units are physical parts.

    None where most units hold pictures of both labels: they are designs or lots.
    """
    defective, good = ({one.unit for one in judged if one.defect is kind} for kind in (True, False))
    if 2 * len(defective & good) >= len(defective | good):
        return None
    return units_of(judged)


def fared(scores: Scores, limits: Thresholds) -> Counts:
    """What becomes of units at these limits."""
    fit = np.isfinite(scores)
    passed, failed = fit & (scores < limits.pass_below), fit & (scores >= limits.fail_from)
    return Counts(
        units=len(scores),
        passed=int(passed.sum()),
        held=int((fit & ~passed & ~failed).sum()),
        failed=int(failed.sum()),
        unfit=int((~fit).sum()),
    )


def units_needed(rate: float, confidence: float, events: int = 0) -> int:
    """How many units with so many events bound their rate at `rate`; 0 < rate < 1."""
    least, most = events, events + 1
    while upper(events, most, confidence) > rate:
        least, most = most, 2 * most
    return 1 + _last(least, most, lambda units: upper(events, units, confidence) > rate)


def admitted(units: int, rate: float, confidence: float) -> int | None:
    """The most events among so many units that bound their rate at `rate`; None: not even 0."""
    if upper(0, units, confidence) > rate:
        return None
    # All of them bound nothing: rate is below 1.
    return _last(0, units, lambda events: upper(events, units, confidence) <= rate)


def _last(least: int, most: int, holds: Callable[[int], bool]) -> int:
    """The last count of which it holds: of least it does, of most and above it does not."""
    while most - least > 1:
        middle = (least + most) // 2
        if holds(middle):
            least = middle
        else:
            most = middle
    return least


def choose(units: Units, asked: Asked) -> Choice:
    """The limits that keep to what was asked, or to the nearest that so many units can support.

    Where the two walks meet, every limit between their ends keeps both promises. There
    INDETERMINATE reaches over the stretch where both kinds lie or, where they stand apart, over
    the empty one between them. Where they do not meet it is what lies between their ends, and the
    promise of overkill is not kept: the result has what is bounded then.

    How far a promise is weakened follows from the number of units alone, so that the walk stays
    exact. ValueError without a unit of either kind that has a score.
    """
    bad, good = np.sort(units.defective), np.sort(units.good)[::-1]
    every = np.concatenate([scores[np.isfinite(scores)] for scores in (bad, good)])
    if not (np.isfinite(bad).any() and np.isfinite(good).any()):
        raise ValueError("units of both kinds with a score are needed")
    sure = asked.confidence
    misses = _most(len(bad), asked.escape, sure)
    rejects = _most(len(good), asked.overkill, sure)
    # Moved to the safe side where only units without a score lie beyond.
    pass_end = min(bad[misses], _above(every.max()))
    fail_end = max(_above(good[rejects]), every.min())
    escape, overkill = upper(misses, len(bad), sure), upper(rejects, len(good), sure)
    if fail_end <= pass_end:
        from_bad = min(bad[bad >= fail_end].min(initial=np.float32(np.inf)), pass_end)
        from_good = max(_above(good[good < pass_end].max(initial=-np.inf)), fail_end)
        limits = _limits(min(from_bad, from_good), max(from_bad, from_good))
        return Choice(limits, escape, escape, overkill, overkill)
    # Each end follows from the one kind alone, and is a limit fixed beforehand for the other.
    uncaught = upper(int((bad < fail_end).sum()), len(bad), sure)
    rejected = upper(int((good >= pass_end).sum()), len(good), sure)
    return Choice(_limits(pass_end, fail_end), escape, uncaught, rejected, overkill)


def _most(units: int, rate: float, confidence: float) -> int:
    """The most events that so many units admit: for the rate, or none of them where too few."""
    return admitted(units, max(rate, upper(0, units, confidence)), confidence) or 0


def _above(score: np.float32) -> np.float32:
    """The next score that a package can give; below every score stays there."""
    return score if score == -np.inf else np.nextafter(score, np.float32(np.inf))


def _limits(pass_below: np.float32, fail_from: np.float32) -> Thresholds:
    return Thresholds(pass_below=float(pass_below), fail_from=float(fail_from))


def shortfall(choice: Choice, units: Units, asked: Asked) -> str:
    """What is missing for what was asked, in a line; "" where nothing is."""
    bad, good = np.sort(units.defective), units.good
    sure, said = asked.confidence, []
    for count, kind, rate, what in (
        (len(bad), "defective", asked.escape, "escapes"),
        (len(good), "good", asked.overkill, "overkill"),
    ):
        if (bound := upper(0, count, sure)) > rate:
            needed = units_needed(rate, sure)
            said.append(
                f"{what} of {percent(rate)} need {needed:,} {kind} units without one, "
                f"{needed - count:,} more than the {count:,} there are, which can bound them at "
                f"{at_most(bound)}"
            )
    if choice.overkill > max(asked.overkill, upper(0, len(good), sure)):
        said.append(
            f"where escapes are at most {at_most(choice.escape)}, good units that fail or are "
            f"held are at most {at_most(choice.overkill)}, not {percent(asked.overkill)}: "
            + _remedy(asked, bad, good)
        )
    return "; ".join(said)


_LARGEST = 10**7  # units that anybody may be told to bring
_TRIED = 16  # limits looked at, from the lowest defective unit's score up


def _remedy(asked: Asked, bad: Scores, good: Scores) -> str:
    """What would bring the walks together: more units that score alike, or other scores."""
    ways = []
    for misses in range(min(_TRIED, len(bad))):
        rejects = int((good >= bad[misses]).sum())
        bads = _alike(misses, len(bad), asked.escape, asked.confidence)
        goods = _alike(rejects, len(good), asked.overkill, asked.confidence)
        if bads is not None and goods is not None:
            ways.append((bads + goods, bads, goods))
    if not ways:
        return "more units that score alike would not do, a package that tells them apart would"
    _, bads, goods = min(ways)
    more = [f"{count:,} more {kind}" for count, kind in ((bads, "defective"), (goods, "good"))
            if count]  # fmt: skip
    return f"about {' and '.join(more)} units that score alike are needed"


def _alike(events: int, units: int, rate: float, confidence: float) -> int | None:
    """How many more units bound their rate, with as large a share of events; None: none do."""

    def bound(many: int) -> float:
        return upper(math.ceil(events * many / units), many, confidence)

    if bound(units) <= rate:
        return 0
    if bound(_LARGEST) > rate:
        return None
    least, most = units, _LARGEST
    while most - least > 1:
        middle = (least + most) // 2
        least, most = (middle, most) if bound(middle) > rate else (least, middle)
    return most - units


def percent(rate: float) -> str:
    """A rate that was asked for, in words: "0.2 %"."""
    return f"{100 * rate:.6g} %"


def at_most(rate: float) -> str:
    """A bound in words, never below itself: three digits, rounded up."""
    value = Decimal(f"{100 * rate:.12g}")
    digits = value.adjusted() - 2 if value else 0
    rounded = value.quantize(Decimal(1).scaleb(min(digits, 0)), ROUND_CEILING)
    return f"{rounded.normalize():f} %"
