"""What is given up when a disk fills: footage first, evidence second, records last."""

from __future__ import annotations

import os
from enum import IntEnum
from pathlib import Path

from edge.core.clock import NS_PER_S

LOOK_NS = NS_PER_S  # between two looks at the free space
# Space must come back by so much before anything is taken up again, or it would flutter.
BACK = 1.05
AHEAD = 1.2  # old footage goes when so much of the least free space is left


class Given(IntEnum):
    """What has been given up so far; each includes those before it."""

    NOTHING = 0
    FOOTAGE = 1
    EVIDENCE = 2
    RECORDS = 3


_SHARE = {Given.FOOTAGE: 1.0, Given.EVIDENCE: 0.5, Given.RECORDS: 0.1}


class Disk:
    """Watches the free space of the disk that a folder is on."""

    def __init__(self, folder: Path, min_free_bytes: int) -> None:
        self._folder, self._min_free = folder, min_free_bytes
        self._look_ns = 0
        self.given = Given.NOTHING

    def look(self, now_ns: int) -> str:
        """Look once a second; "" or what changed, in one line for a person."""
        if now_ns < self._look_ns:
            return ""
        self._look_ns = now_ns + LOOK_NS
        try:
            free = free_bytes(self._folder)
        except OSError:  # the disk itself is gone: whoever writes there hears of it
            return ""
        given = self._step(free)
        if given is self.given:
            return ""
        worse, self.given = given > self.given, given
        left = f"{free / 2**20:.0f} MiB free on the disk of {self._folder}"
        if worse:
            return f"{left}: {_STOPPED[given]}"
        return f"{left}: {_STOPPED[given] or 'everything is kept again'}"

    def lacking_bytes(self) -> int:
        """How much old footage to delete before new footage has to stop."""
        try:
            return max(0, round(self._min_free * AHEAD) - free_bytes(self._folder))
        except OSError:
            return 0

    def full(self, at: Given, now_ns: int) -> str:
        """A write failed for want of space, whatever the free space says: give that up for now."""
        if self.given >= at:
            return ""
        self.given, self._look_ns = at, now_ns + 5 * LOOK_NS
        return f"no space left on the disk of {self._folder}: {_STOPPED[at]}"

    def _step(self, free: int) -> Given:
        given = Given.NOTHING
        for step, share in _SHARE.items():
            margin = BACK if self.given >= step else 1.0
            if free < self._min_free * share * margin:
                given = step
        return given


_STOPPED = {
    Given.NOTHING: "",
    Given.FOOTAGE: "no footage is kept",
    Given.EVIDENCE: "no footage and no evidence are kept",
    Given.RECORDS: "nothing is kept, records wait in memory",
}


def free_bytes(folder: Path) -> int:
    """Bytes that may still be written there by who we are."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def thin(files: list[Path], *, most_bytes: int, oldest_ns: int) -> list[Path]:
    """Delete the oldest files above a total size, and those last written before an instant (UTC).

    0 for no limit. Returns what was deleted; one that is gone, or refuses, is passed over.
    """
    seen: list[tuple[int, int, Path]] = []
    for file in files:
        try:
            status = file.stat()
        except OSError:
            continue
        seen.append((status.st_mtime_ns, status.st_size, file))
    total, deleted = sum(size for _, size, _ in seen), []
    for mtime_ns, size, file in sorted(seen):
        if not (most_bytes and total > most_bytes) and not mtime_ns < oldest_ns:
            break
        try:
            file.unlink()
        except OSError:
            continue
        total -= size
        deleted.append(file)
    return deleted
