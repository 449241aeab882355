"""Agreement: what a shadow candidate says beside the package that serves, part by part.

Pure counts over pairs of decisions on the same picture; nothing here decides anything.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, insort
from typing import Any

from edge.core.types import Decision, Serving, Verdict

KEPT = 4096  # parts in the median and the p99: about 3 minutes at 20 parts/s
LEAST_RUNS = 100  # for a p99: of fewer, a hundredth is not one


class Agreement:
    """The counts of one candidate beside one active package."""

    def __init__(self, active: Serving, shadow: Serving) -> None:
        self.active, self.shadow = active, shadow
        self._named = {"active": _named(active), "shadow": _named(shadow)}
        # Scores mean something beside each other only where the same limits apply to them.
        limits = (active.pass_below, active.fail_from)
        self._comparable = limits == (shadow.pass_below, shadow.fail_from)
        self._parts = self._agree = self._only_active = self._only_shadow = 0
        self._verdicts: dict[str, int] = {}
        self._faults: dict[str, int] = {}
        self._unjudged = 0
        self._max_delta = 0.0
        self._deltas, self._active_ms, self._shadow_ms = _Window(), _Window(), _Window()

    def part(
        self, active: Decision, shadow: Decision, *, active_ms: float = 0.0, shadow_ms: float = 0.0
    ) -> None:
        """One part: what the policy made of the active package's answer, and of the candidate's.

        *_ms: session.run alone; 0 where it did not run. A part without a verdict of the active
        package is not compared; one that the candidate could not judge is its fault.
        """
        if active_ms > 0.0:
            self._active_ms.add(active_ms)
        if shadow_ms > 0.0:
            self._shadow_ms.add(shadow_ms)
        if shadow.verdict is None:
            _count(self._faults, shadow.fault or "no verdict")
        elif active.verdict is None:
            self._unjudged += 1
        else:
            self._compare(active.verdict, shadow.verdict)
            if self._comparable and active.score is not None and shadow.score is not None:
                delta = abs(active.score - shadow.score)
                self._max_delta = max(self._max_delta, delta)
                self._deltas.add(delta)

    def summary(self) -> dict[str, Any]:
        """Everything counted so far.

        parts: with a verdict of both. *_fails count FAIL by one where the other does not say FAIL;
        what differs besides is in `verdicts` ("active/shadow": parts). Score differences are None
        where the two packages' limits differ. The median and the p99s are of the last 4096 parts.
        """
        parts = self._parts
        return {
            **self._named,
            "parts": parts,
            "agree": self._agree,
            "agreement": round(self._agree / parts, 6) if parts else None,
            "only_active_fails": self._only_active,
            "only_shadow_fails": self._only_shadow,
            "verdicts": self._verdicts.copy(),
            "max_score_delta": self._max_delta if self._deltas.count else None,
            "median_score_delta": self._deltas.percentile(50),
            "faults": sum(self._faults.values()),
            "fault_kinds": self._faults.copy(),
            "unjudged": self._unjudged,
            "p99_ms": self._shadow_ms.percentile(99, least=LEAST_RUNS),
            "active_p99_ms": self._active_ms.percentile(99, least=LEAST_RUNS),
        }

    def _compare(self, active: Verdict, shadow: Verdict) -> None:
        self._parts += 1
        if active is shadow:
            self._agree += 1
        elif active is Verdict.FAIL:
            self._only_active += 1
        elif shadow is Verdict.FAIL:
            self._only_shadow += 1
        _count(self._verdicts, f"{active}/{shadow}")


class _Window:
    """The last values, as they came and in order: a percentile is looked up, not computed.

    A status is made in the deadline loop's thread: with np.percentile a summary took 0.10 ms there,
    0.25 ms with nothing in the caches. So it takes 0.003 and 0.03, and a part 0.003 and 0.02 more.
    """

    def __init__(self) -> None:
        self._values = array("d", bytes(8 * KEPT))
        self._ordered = array("d")
        self.count = 0

    def add(self, value: float) -> None:
        place = self.count % KEPT
        if self.count >= KEPT:
            del self._ordered[bisect_left(self._ordered, self._values[place])]
        insort(self._ordered, value)
        self._values[place] = value
        self.count += 1

    def percentile(self, at: float, *, least: int = 1) -> float | None:
        """Between the two nearest values, to the bit as np.percentile has it."""
        if self.count < least:
            return None
        place = (len(self._ordered) - 1) * (at / 100)
        below = int(place)
        low, high = self._ordered[below], self._ordered[min(below + 1, len(self._ordered) - 1)]
        share, between = place - below, high - low
        return low + between * share if share < 0.5 else high - between * (1 - share)


def _count(counts: dict[str, int], kind: str) -> None:
    """One more of a kind; the kinds stay in order, so that nobody has to sort them."""
    counts[kind] = counts.get(kind, 0) + 1
    if counts[kind] == 1:
        found = sorted(counts.items())
        counts.clear()
        counts.update(found)


def _named(serving: Serving) -> dict[str, str]:
    return {
        "package": serving.package,
        "version": serving.version,
        "content_sha256": serving.content_sha256,
        "provider": serving.provider,
    }
