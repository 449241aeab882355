"""The one place that reads a clock or waits.

CLOCK_BOOTTIME, because CLOCK_MONOTONIC stands still while a machine is suspended: a part
triggered before a suspend would look fresh after it.
"""

from __future__ import annotations

import select
import time
from collections.abc import Sequence

NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000

# The last stretch of a wait may be spent looking and not sleeping: after a sleep of 20 ms an idle
# 2-core virtual machine woke 190 us late (median of 100; 245 at the 90th percentile).
LOOK_NS = 250_000


def now_ns() -> int:
    """Nanoseconds since boot, suspends included; the same for every process of the machine."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def utc_ns() -> int:
    """Nanoseconds of UTC since 1970 as this machine knows it; may jump, so for records only."""
    return time.time_ns()


class SystemClock:
    """Real time."""

    def now_ns(self) -> int:
        return now_ns()

    def wait(
        self,
        fds: Sequence[int],
        until_ns: int | None,
        *,
        busy: bool = False,
        look_ns: int = LOOK_NS,
    ) -> list[int]:
        # select() rather than poll() or epoll: Python rounds their time-outs up to whole
        # milliseconds, which would make every default up to 1 ms late.
        if until_ns is None:
            return select.select(fds, [], [])[0]
        sleep_ns = until_ns - look_ns - now_ns()
        if sleep_ns > 0 and (ready := select.select(fds, [], [], sleep_ns / NS_PER_S)[0]):
            return ready
        while not (ready := select.select(fds, [], [], 0)[0]) and now_ns() < until_ns:
            pass
        return ready


class VirtualClock:
    """Lock-step time for replay at maximum pace: it moves only when nothing is outstanding.

    While work is outstanding (`busy`), real time passes on the fds, up to `watchdog_ns` a
    wait; then the clock jumps to the instant waited for, so that a hung worker runs into
    its part's deadline. A slow or busy machine therefore changes no decision.

    It starts at one second, since an instant of 0 in a record means that it never came.
    """

    def __init__(self, *, watchdog_ns: int = 10 * NS_PER_S, start_ns: int = NS_PER_S) -> None:
        self._now_ns = start_ns
        self.watchdog_ns = watchdog_ns

    def now_ns(self) -> int:
        return self._now_ns

    def wait(
        self,
        fds: Sequence[int],
        until_ns: int | None,
        *,
        busy: bool = False,
        look_ns: int = LOOK_NS,
    ) -> list[int]:
        # An instant that has come is not waited for, whatever is outstanding: the loop asks for it
        # when messages were left unread, of which their descriptor does not speak again.
        due = until_ns is not None and until_ns <= self._now_ns
        patience_s = self.watchdog_ns / NS_PER_S if busy and not due else 0.0
        ready = select.select(fds, [], [], None if until_ns is None else patience_s)[0]
        if not ready and until_ns is not None:
            self._now_ns = max(self._now_ns, until_ns)
        return ready
