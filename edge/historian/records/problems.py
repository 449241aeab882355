"""What a verification finds wrong, one line each."""

from __future__ import annotations

MOST = 100  # one edit may break a thousand things; a person reads the first ones


class Problems:
    """The first MOST lines, and how many more there are."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._more = 0

    def add(self, line: str) -> None:
        if len(self._lines) < MOST:
            self._lines.append(line)
        else:
            self._more += 1

    def lines(self) -> tuple[str, ...]:
        more = (f"and {self._more} more problems",) if self._more else ()
        return (*self._lines, *more)
