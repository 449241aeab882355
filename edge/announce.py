"""What the station publishes of itself: a recorder that turns records into messages.

It is told of a part after its ack, so nothing here stands between a trigger and a command.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from edge.core.clock import NS_PER_S
from edge.core.ports import Recorder
from edge.core.regions import sized, types_of
from edge.core.types import PartRecord, Region
from edge.stats import Tally, is_overrun, spans

STATISTICS_EVERY_NS = NS_PER_S

Send = Callable[[Literal["verdict", "event", "statistics"], dict[str, Any]], None]


class Announcer:
    """A recorder that publishes each part and event, and the statistics once a second."""

    def __init__(
        self,
        send: Send,
        station: str,
        status: Callable[[], dict[str, Any]],
        *,
        mm_per_px: float = 0.0,
    ) -> None:
        """status: the station's state and counts, for the statistics.

        mm_per_px: the station's scale, 0 without one.
        """
        self._send, self._station, self._status = send, station, status
        self._mm_per_px = mm_per_px
        self._tally = Tally()
        self._next_ns = 0

    def part(self, record: PartRecord) -> None:
        self._tally.part(record)
        decision, timed = record.decision, spans(record)
        self._send(
            "verdict",
            {
                "station": self._station,
                "part": record.part,
                "trigger_no": record.number,
                "trigger_ns": record.deadline.trigger_ns,
                "verdict": decision.verdict,
                "action": decision.action,
                "cause": decision.cause,
                "fault": decision.fault,
                "score": decision.score,
                "regions": [(r.x, r.y, r.width, r.height, r.area_px) for r in decision.regions],
                "region_types": types_of(decision.regions),
                "region_areas_mm2": self._areas_mm2(decision.regions),
                "applied": record.applied,
                "latency_ms": round(timed[0], 3) if timed else None,
                "overrun": is_overrun(record),
            },
        )

    def _areas_mm2(self, regions: tuple[Region, ...]) -> list[float | None]:
        scale = self._mm_per_px
        return [one.area_mm2 for one in sized(regions, scale)] if scale else []

    def event(self, kind: str, part: int, detail: str) -> None:
        self._tally.event(kind, part, detail)
        body = {"station": self._station, "event": kind, "part": part, "detail": detail}
        self._send("event", body)

    def turn(self, now_ns: int) -> None:
        """Publish the statistics when they are due."""
        if now_ns < self._next_ns:
            return
        self._next_ns = now_ns + STATISTICS_EVERY_NS
        tally = self._tally
        self._send(
            "statistics",
            {
                "station": self._station,
                **self._status(),
                "actions": tally.actions,
                "defaults": tally.defaults,
                "events": tally.events,
                "overruns": tally.overruns,
                "deadline_misses": tally.deadline_misses,
                "latency_ms": tally.latency_ms(),
                "session_ms": tally.session_ms(),
            },
        )


class Fanout:
    """One recorder made of several, told in order."""

    def __init__(self, *recorders: Recorder) -> None:
        self.recorders = list(recorders)

    def part(self, record: PartRecord) -> None:
        for recorder in self.recorders:
            recorder.part(record)

    def event(self, kind: str, part: int, detail: str) -> None:
        for recorder in self.recorders:
            recorder.event(kind, part, detail)
