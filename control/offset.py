"""The other side's clock: an offset and a bound on its error, from four-stamp exchanges.

As in NTP (RFC 5905, on-wire protocol): a stamp of mine comes back with when it arrived there
and when the answer left. The error is at most half the round trip; it widens with age by the
drift two uncompensated crystals may have against each other.
"""

from __future__ import annotations

from collections import deque
from pathlib import Path

DRIFT = 200e-6  # 100 ppm a side
KEPT = 16


_HOST_BOOT = Path("/proc/sys/kernel/random/boot_id")


def host_boot() -> str:
    """The kernel's boot id: processes that share it share CLOCK_BOOTTIME; "" if unknown."""
    try:
        return _HOST_BOOT.read_text().strip()
    except OSError:
        return ""


class ClockOffset:
    """peer's clock = own clock + offset, within +- bound; unknown until the first exchange."""

    def __init__(self) -> None:
        self._samples: deque[tuple[int, int, int]] = deque(maxlen=KEPT)

    def sample(self, *, sent_ns: int, heard_ns: int, answered_ns: int, received_ns: int) -> None:
        """One exchange: sent and received on my clock, heard and answered on the peer's.

        Impossible stamps (a negative round trip) are not believed.
        """
        round_trip_ns = (received_ns - sent_ns) - (answered_ns - heard_ns)
        if round_trip_ns < 0 or received_ns < sent_ns or answered_ns < heard_ns:
            return
        offset_ns = ((heard_ns - sent_ns) + (answered_ns - received_ns)) // 2
        self._samples.append((round_trip_ns, offset_ns, received_ns))

    def forget(self) -> None:
        """Nothing from before this instant may prove freshness again."""
        self._samples.clear()

    def estimate(self, now_ns: int) -> tuple[int, int] | None:
        """(offset, bound) in ns now, from the exchange that bounds it best; None if unknown."""
        best: tuple[int, int] | None = None
        for round_trip_ns, offset_ns, at_ns in self._samples:
            bound_ns = round_trip_ns // 2 + 1 + int(max(0, now_ns - at_ns) * DRIFT)
            if best is None or bound_ns < best[1]:
                best = (offset_ns, bound_ns)
        return best
