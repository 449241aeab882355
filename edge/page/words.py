"""Numbers in words, as every page says them."""

from __future__ import annotations

import math


def percent(share: float) -> str:
    """Three significant digits, never in powers of ten."""
    value = 100 * share
    digits = 2 if value in (0, 100) else max(0, 2 - math.floor(math.log10(value)))
    return f"{value:.{min(digits, 9)}f} %"


def count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def overruns(number: int, of_pictures: int) -> str:
    """of_pictures: those of a picture that could not be judged, and of no other delay."""
    said = count(number, "overrun")
    if not of_pictures:
        return said
    return f"{said}, of which {of_pictures:,} had a picture that could not be judged"
