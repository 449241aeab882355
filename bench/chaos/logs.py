"""What the injectors and the station write down, each process for itself, to be joined at the end.

Lines are appended by single writes, so that a process killed in the middle of its work leaves
whole lines behind.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from edge.core.clock import now_ns
from edge.core.types import PartRecord

INJECTED, TRIGGERS, RECORDS = "injected.jsonl", "triggers.jsonl", "records.jsonl"


class Injected(msgspec.Struct, frozen=True):
    """Something was broken: at which part, from when until when nothing around it counts."""

    kind: str
    part: int
    from_ns: int
    until_ns: int


class Triggered(msgspec.Struct, frozen=True):
    """The camera's own word: a part, its instant, and the picture it shows."""

    part: int
    trigger_ns: int
    picture: int


class Lines:
    """One file of JSON lines, appended to by any number of processes."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)

    def write(self, entry: msgspec.Struct) -> None:
        os.write(self._fd, msgspec.json.encode(entry) + b"\n")

    def injected(self, kind: str, part: int, *, lasting_ns: int = 0) -> None:
        at_ns = now_ns()
        self.write(Injected(kind, part, at_ns, at_ns + lasting_ns))


class Tape:
    """A recorder that appends every part to a file, and every event to another."""

    def __init__(self, folder: Path) -> None:
        self._parts = Lines(folder / RECORDS)
        self._events = Lines(folder / "events.jsonl")

    def part(self, record: PartRecord) -> None:
        self._parts.write(record)

    def event(self, kind: str, part: int, detail: str) -> None:
        self._events.write(Event(now_ns(), kind, part, detail))


class Event(msgspec.Struct, frozen=True):
    """One event of the station."""

    at_ns: int
    kind: str
    part: int
    detail: str
