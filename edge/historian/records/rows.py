"""A finished part as one row: a projection of its events, the same when written and when verified.

Columns not spelled out by their name: utc_ns is the trigger's, worker_ns, began_ns and ended_ns
are the engine worker's stamps; session_ms is ended - began, None where the model did not run;
latency_ms is trigger to command received, None without a verdict. overrun is that of
edge/core/figures.py. package to fail_from are what judged the part, or would have; of a lost part,
what served the last one before it. done and confirmed are the first word on each; confirmed is the
action by which the part was seen to leave. event is the last one of the part's closing.
"""

from __future__ import annotations

from typing import Any

import msgspec

from edge.core.figures import is_overrun
from edge.core.history import Session, served
from edge.core.regions import SizedRegion
from edge.core.types import Cause, Record, Serving
from edge.historian.records.bodies import Acked, Commanded, Decided, Lost, encode

NS_PER_MS = 1_000_000
CAUSE_LOST = "lost"  # of a part that was open when its station ended without deciding it


class PartRow(Record, frozen=True):
    """One row of `parts`, its fields in the order of the table's columns."""

    session: int
    part: int
    number: int
    encoder: int | None
    utc_ns: int
    lot: str
    package: str
    content_sha256: str
    provider: str
    pass_below: float
    fail_from: float
    verdict: str | None  # pass | fail | indeterminate
    action: str  # "" of a lost part
    cause: str  # of edge.core.types.Cause, or lost
    fault: str | None
    score: float | None
    detail: str
    regions: str  # JSON
    truth: str
    defect_type: str
    trigger_ns: int
    decide_by_ns: int
    act_by_ns: int
    frame_ns: int
    worker_ns: int
    began_ns: int
    ended_ns: int
    answered_ns: int
    decided_ns: int
    sent_ns: int
    received_ns: int
    acked_ns: int
    command_id: int
    applied: str | None
    late_score: float | None
    done: int | None
    confirmed: str | None
    latency_ms: float | None
    session_ms: float | None
    overrun: int
    picture: str  # kept | lost | none
    evidence: str | None
    footage: str | None
    event: int


Row = tuple[Any, ...]  # a PartRow's fields, as SQLite takes and gives them
COLUMNS = PartRow.__struct_fields__
SELECT = f"SELECT {', '.join(COLUMNS)} FROM parts"
INSERT = f"INSERT INTO parts ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"
LATE = ("done", "confirmed", "evidence", "footage")  # what may still be told when a part is closed
JUDGE = ("package", "content_sha256", "provider", "pass_below", "fail_from")
# Of a part that failed and that nobody labelled: the type that the package takes its worst region
# for. Regions that somebody altered into no JSON have none.
FOUND_TYPE = """CASE
    WHEN verdict = 'fail' AND truth NOT IN ('good', 'defect') AND json_valid(regions)
    THEN json_extract(regions, '$[0].type') END"""
# Parts of a package: by its name, or by the first digits of its content digest.
OF_PACKAGE = (
    "(package = {0} OR length({0}) >= 8 AND substr(content_sha256, 1, length({0})) = lower({0}))"
)
LATE_AT = tuple(COLUMNS.index(name) for name in LATE)
KEY_AT = (COLUMNS.index("session"), COLUMNS.index("part"))
EVENT_AT = COLUMNS.index("event")


_REGIONS = msgspec.json.Decoder(tuple[SizedRegion, ...])


def regions_of(text: str) -> tuple[SizedRegion, ...]:
    """The regions of a row, worst first; none where it does not hold any that can be read.

    What somebody has altered is told by verifying the records.
    """
    try:
        return _REGIONS.decode(text)
    except msgspec.MsgspecError:
        return ()


class Closing(msgspec.Struct):
    """The events that close a part: its decision, and its command and ack where there are any."""

    session: int
    part: int
    event: int  # the last of them
    decided_ns: int
    decided: Decided
    sent_ns: int = 0
    command: Commanded | None = None
    acked_ns: int = 0
    ack: Acked | None = None


def row(session: Session, closing: Closing) -> Row:
    """The row of a decided part."""
    told = closing.decided
    command, ack = closing.command, closing.ack
    received_ns = ack.received_ns if ack else 0
    trigger_ns, act_by_ns = told.trigger_ns, told.act_by_ns
    timed = received_ns != 0 and told.cause is Cause.VERDICT
    ran = told.ended_ns > 0
    return (
        closing.session,
        closing.part,
        told.number,
        told.encoder,
        _utc_ns(session, trigger_ns),
        told.lot,
        *_judge(served(told.served, session)),
        told.verdict and told.verdict.value,
        told.action.value,
        told.cause.value,
        told.fault and told.fault.value,
        told.score,
        told.detail,
        encode(told.regions).decode() if told.regions else "[]",
        told.truth,
        told.defect_type,
        trigger_ns,
        told.decide_by_ns,
        act_by_ns,
        told.frame_ns,
        told.worker_ns,
        told.began_ns,
        told.ended_ns,
        told.answered_ns,
        closing.decided_ns,
        closing.sent_ns,
        received_ns,
        closing.acked_ns,
        command.command_id if command else 0,
        ack.applied.value if ack and ack.applied else None,
        told.late_score,
        told.done,
        told.confirmed and told.confirmed.value,
        (received_ns - trigger_ns) / NS_PER_MS if timed else None,
        (told.ended_ns - told.began_ns) / NS_PER_MS if ran else None,
        is_overrun(told.verdict, received_ns, act_by_ns),
        told.picture,
        told.evidence,
        told.footage,
        closing.event,
    )


def lost_row(session: Session, part: int, event: int, lost: Lost) -> Row:
    """The row of a part that its station left open."""
    judge = _judge(served(lost.served, session))
    known = {
        "session": session.session,
        "part": part,
        "number": lost.number,
        "encoder": lost.encoder,
        "utc_ns": _utc_ns(session, lost.trigger_ns),
        "lot": lost.lot,
        **dict(zip(JUDGE, judge, strict=True)),
        "cause": CAUSE_LOST,
        "truth": lost.truth,
        "defect_type": lost.defect_type,
        "trigger_ns": lost.trigger_ns,
        "decide_by_ns": lost.decide_by_ns,
        "act_by_ns": lost.act_by_ns,
        "done": lost.done,
        "confirmed": lost.confirmed and lost.confirmed.value,
        "overrun": True,
        "evidence": lost.evidence,
        "footage": lost.footage,
        "event": event,
    }
    return tuple(known.get(name, _NOTHING.get(name)) for name in COLUMNS)


_NOTHING: dict[str, Any] = {
    **{name: 0 for name in COLUMNS if name.endswith("_ns") or name == "command_id"},
    "action": "",
    "detail": "",
    "regions": "[]",
    "picture": "none",
}


def _judge(serving: Serving) -> tuple[str, str, str, float, float]:
    """The columns of JUDGE."""
    return (
        serving.package,
        serving.content_sha256,
        serving.provider,
        serving.pass_below,
        serving.fail_from,
    )


def _utc_ns(session: Session, at_ns: int) -> int:
    return session.started_utc_ns + (at_ns - session.started_ns)
