"""Agreement: what a shadow candidate says beside the package that serves, part by part.

Pure counts over pairs of decisions on the same picture; nothing here decides anything.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from edge.core.types import Decision, Serving, Verdict

KEPT = 4096  # parts in the median and the p99: about 3 minutes at 20 parts/s
LEAST_RUNS = 100  # for a p99: of fewer, a hundredth is not one


class Agreement:
    """The counts of one candidate beside one active package."""

    def __init__(self, active: Serving, shadow: Serving) -> None:
        self.active, self.shadow = active, shadow
        # Scores mean something beside each other only where the same limits apply to them.
        limits = (active.pass_below, active.fail_from)
        self._comparable = limits == (shadow.pass_below, shadow.fail_from)
        self._pairs: Counter[tuple[Verdict, Verdict]] = Counter()
        self._faults: Counter[str] = Counter()
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
            self._faults[shadow.fault or "no verdict"] += 1
        elif active.verdict is None:
            self._unjudged += 1
        else:
            self._pairs[active.verdict, shadow.verdict] += 1
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
        parts = self._pairs.total()
        agree = sum(count for (one, other), count in self._pairs.items() if one is other)
        return {
            "active": _named(self.active),
            "shadow": _named(self.shadow),
            "parts": parts,
            "agree": agree,
            "agreement": round(agree / parts, 6) if parts else None,
            "only_active_fails": self._only(0),
            "only_shadow_fails": self._only(1),
            "verdicts": {
                f"{one}/{other}": count for (one, other), count in sorted(self._pairs.items())
            },
            "max_score_delta": self._max_delta if self._deltas.count else None,
            "median_score_delta": self._deltas.percentile(50),
            "faults": self._faults.total(),
            "fault_kinds": dict(sorted(self._faults.items())),
            "unjudged": self._unjudged,
            "p99_ms": self._shadow_ms.percentile(99, least=LEAST_RUNS),
            "active_p99_ms": self._active_ms.percentile(99, least=LEAST_RUNS),
        }

    def _only(self, side: int) -> int:
        """Parts that one side alone calls FAIL."""
        return sum(
            count
            for pair, count in self._pairs.items()
            if pair[side] is Verdict.FAIL and pair[1 - side] is not Verdict.FAIL
        )


class _Window:
    """The last values, in place."""

    def __init__(self) -> None:
        self._values = np.zeros(KEPT)
        self.count = 0

    def add(self, value: float) -> None:
        self._values[self.count % KEPT] = value
        self.count += 1

    def percentile(self, at: float, *, least: int = 1) -> float | None:
        if self.count < least:
            return None
        return float(np.percentile(self._values[: min(self.count, KEPT)], at))


def _named(serving: Serving) -> dict[str, str]:
    return {
        "package": serving.package,
        "version": serving.version,
        "content_sha256": serving.content_sha256,
        "provider": serving.provider,
    }
