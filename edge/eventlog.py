"""One JSON line an event on a stream: quiet while nothing happens."""

from __future__ import annotations

from typing import TextIO

import msgspec

from edge.core.clock import now_ns
from edge.core.types import PartRecord

_OF_EVERY_PART = frozenset({"done", "confirm", "controller_state"})  # published, not logged


class EventLog:
    """A recorder for a station run by hand or by systemd: events, and parts that defaulted."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self.lost = stream, 0

    def part(self, record: PartRecord) -> None:
        if record.decision.fault is not None:
            self.event("default", record.part, f"{record.decision.action}: {record.decision.fault}")

    def event(self, kind: str, part: int, detail: str) -> None:
        if kind in _OF_EVERY_PART:
            return
        line = {"at_ns": now_ns(), "event": kind, "part": part, "detail": detail}
        try:
            self._stream.write(msgspec.json.encode(line).decode() + "\n")
            self._stream.flush()
        except (OSError, ValueError):  # full or closed: the parts go on
            self.lost += 1
