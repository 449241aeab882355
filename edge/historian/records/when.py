"""Instants as a person writes them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from edge.core.errors import RecordsError

NS_PER_S = 1_000_000_000
_AGO_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_AGO = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)([smhdw])", re.ASCII)
_DATE = re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?(?:Z|[+-]\d\d:\d\d)?)?")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_US = timedelta(microseconds=1)
ALLOWED = "2026-11-22 | 2026-11-22T10:00 | 2026-11-22T10:00+01:00 | 90s | 30m | 2h | 3d | 1w"


def parse_when(text: str, now_utc_ns: int) -> int:
    """Nanoseconds of UTC: a date, a date and time, or so long before now.

    In UTC where no offset is given, a date at its midnight. RecordsError for anything else.
    """
    text = text.strip()
    if ago := _AGO.fullmatch(text):
        return now_utc_ns - round(float(ago[1]) * _AGO_S[ago[2]] * NS_PER_S)
    if _DATE.fullmatch(text):
        try:
            at = datetime.fromisoformat(text)
        except ValueError as error:  # a 31st of February
            raise RecordsError(f"time {text!r}: {error}; allowed: {ALLOWED}") from None
        at = at if at.tzinfo else at.replace(tzinfo=UTC)
        return (at - _EPOCH) // _US * 1000
    raise RecordsError(f"time {text!r}: allowed: {ALLOWED}")


def utc_text(utc_ns: int) -> str:
    """An instant as ISO 8601 in UTC, to the microsecond."""
    at = _EPOCH + timedelta(microseconds=utc_ns // 1000)
    return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
