"""Probation: whether a package that has just become active keeps to what was to be expected of it.

Pure rules over the decisions of one package. A share of the parts is too large once so many of them
would come up in fewer than 1 of 1000 runs at the share that is admitted. So one part says nothing,
two dead workers in a row say enough, and a share just over the limit needs a few hundred parts.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from enum import Enum
from typing import Any

from edge.core.bounds import lower_95, upper_95
from edge.core.config import ProbationOptions
from edge.core.types import Cause, Decision, Fault, Record, Verdict

UNLIKELY = 1e-3
LEAST_BEFORE = 50  # judged parts without which there is no reject rate to compare with
LOOK_EVERY = 50  # parts between two looks at whether too few are rejected


class Kind(Enum):
    """What a part says of the package that judged it."""

    PASSED = 1
    REJECTED = 2  # by its verdict: FAIL, or INDETERMINATE
    MISSED = 3  # no verdict in time
    FAULT = 4  # no verdict at all, and the package or its worker is why


# Faults that are missing are the camera's, the controller's or the station's own.
_OF_THE_PACKAGE = {
    Fault.DEADLINE: Kind.MISSED,
    Fault.NOT_ADMITTED: Kind.MISSED,
    Fault.UNFIT_IMAGE: Kind.FAULT,
    Fault.BAD_OUTPUT: Kind.FAULT,
    Fault.ENGINE_DOWN: Kind.FAULT,
}


class Counts(Record, frozen=True):
    """Parts that say something of a package, and how many of them said what."""

    parts: int = 0
    rejects: int = 0
    missed: int = 0
    faults: int = 0

    @property
    def judged(self) -> int:
        """Parts with a verdict."""
        return self.parts - self.missed - self.faults


def kind_of(decision: Decision) -> Kind | None:
    """What a decision says of the package; None for what is none of its doing.

    A part of a line that is held is NOT_ADMITTED too: with an operator's cause it is left out, with
    a limit's the caller has to leave it out.
    """
    if decision.fault is not None:
        operator = decision.cause is Cause.OPERATOR
        return None if operator else _OF_THE_PACKAGE.get(decision.fault)
    return Kind.PASSED if decision.verdict is Verdict.PASS else Kind.REJECTED


class Recent:
    """The last parts of the package that serves: what its successor is held against."""

    def __init__(self, parts: int = 1000) -> None:
        self._kinds: deque[Kind] = deque(maxlen=parts)
        self._found: Counter[Kind] = Counter()

    def part(self, decision: Decision) -> None:
        if (kind := kind_of(decision)) is None:
            return
        if len(self._kinds) == self._kinds.maxlen:
            self._found[self._kinds[0]] -= 1
        self._kinds.append(kind)
        self._found[kind] += 1

    @property
    def counts(self) -> Counts:
        return _counts(self._found)


class Probation:
    """One package's first parts; tell it of every decision that is the package's own."""

    def __init__(self, before: Counts, options: ProbationOptions) -> None:
        """before: of the package it replaced; without parts the rejects are not compared."""
        self._options, self._before = options, before
        self._found: Counter[Kind] = Counter()
        self._parts = 0
        self.reason = ""  # why it is to be rolled back
        known = before.judged >= LEAST_BEFORE
        self._most_rejects = self._least_rejects = None
        if known:
            # Bounds, because the rate before is itself only known from so many parts.
            upper = upper_95(before.rejects, before.judged)
            lower = lower_95(before.rejects, before.judged)
            self._most_rejects = min(1.0, upper + options.more_rejects)
            self._least_rejects = lower * (1.0 - options.fewer_rejects)

    @property
    def over(self) -> bool:
        """It has passed, or is to be rolled back: nothing more is asked."""
        return bool(self.reason) or self._parts >= self._options.parts

    @property
    def counts(self) -> Counts:
        return _counts(self._found)

    def status(self) -> dict[str, Any]:
        """Where it stands, for people."""
        counts = self.counts
        return {
            "parts": counts.parts,
            "of": self._options.parts,
            "rejects": counts.rejects,
            "missed": counts.missed,
            "faults": counts.faults,
        }

    def part(self, decision: Decision) -> str:
        """Take one part; the reason to roll back, once, else ""."""
        if self.over or (kind := kind_of(decision)) is None:
            return ""
        self._parts += 1
        self._found[kind] += 1
        match kind:
            case Kind.MISSED:
                self.reason = self._too_many("missed deadlines", kind, self._options.missed)
            case Kind.FAULT:
                self.reason = self._too_many("faults", kind, self._options.faults)
            case Kind.REJECTED:
                self.reason = self._too_many_rejects()
            case Kind.PASSED:
                pass
        if not self.reason and (self._parts % LOOK_EVERY == 0 or self.over):
            self.reason = self._too_few_rejects()
        return self.reason

    def _too_many(self, what: str, kind: Kind, more: float) -> str:
        before = self._before.missed if kind is Kind.MISSED else self._before.faults
        usual = before / self._before.parts if self._before.parts else 0.0
        admitted, count = min(1.0, usual + more), self._found[kind]
        if at_least(count, self._parts, admitted) >= UNLIKELY:
            return ""
        return f"{count} {what} in its first {self._parts} parts; {_of(admitted)} are admitted"

    def _too_many_rejects(self) -> str:
        judged, rejects = self.counts.judged, self._found[Kind.REJECTED]
        most = self._most_rejects
        if most is None or at_least(rejects, judged, most) >= UNLIKELY:
            return ""
        return f"{rejects} rejects in its first {judged} verdicts; {self._compared(most, 'most')}"

    def _too_few_rejects(self) -> str:
        judged, rejects = self.counts.judged, self._found[Kind.REJECTED]
        least = self._least_rejects
        if least is None or not judged:
            return ""
        if at_least(judged - rejects, judged, 1.0 - least) >= UNLIKELY:
            return ""
        return f"{rejects} rejects in its first {judged} verdicts; {self._compared(least, 'least')}"

    def _compared(self, limit: float, word: str) -> str:
        before = self._before
        return f"before {before.rejects} of {before.judged}; at {word} {_of(limit)} are admitted"


def at_least(count: int, parts: int, share: float) -> float:
    """How likely so many of the parts, or more, are at this share; 1.0 where they are no surprise.

    The exact binomial tail, from the first term on: beyond the mean each is smaller than the last.
    """
    if count <= parts * share:
        return 1.0
    if share <= 0.0:
        return 0.0
    log_term = (
        math.lgamma(parts + 1) - math.lgamma(count + 1) - math.lgamma(parts - count + 1)
        + count * math.log(share) + (parts - count) * math.log1p(-share)
    )  # fmt: skip
    term = total = math.exp(log_term)
    odds = share / (1.0 - share)
    for found in range(count, parts):
        term *= (parts - found) / (found + 1) * odds
        total += term
        if term < total * 1e-12:
            break
    return min(1.0, total)


def _counts(found: Counter[Kind]) -> Counts:
    rejects, missed, faults = found[Kind.REJECTED], found[Kind.MISSED], found[Kind.FAULT]
    return Counts(found[Kind.PASSED] + rejects + missed + faults, rejects, missed, faults)


def _of(share: float) -> str:
    return f"{share:.1%}".replace("%", " %")
