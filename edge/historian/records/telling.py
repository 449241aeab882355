"""What the station tells, as bodies of events: pure, nothing is read or written."""

from __future__ import annotations

import math

import msgspec

from edge.core.history import Closed, Opened, Session, Swapped, served, swapped
from edge.core.regions import sized
from edge.core.types import PartRecord
from edge.historian.records.bodies import Acked, Change, Commanded, Decided, Lost, Triggered, Words

NEW_SESSION = "a new session"  # why something changed that no person changed in a running station


def triggered(opened: Opened, lot: str) -> Triggered:
    """The body of a part's trigger; lot is the one in force."""
    deadline = opened.deadline
    return Triggered(
        number=opened.number,
        encoder=opened.encoder,
        lot=lot,
        trigger_ns=deadline.trigger_ns,
        decide_by_ns=deadline.decide_by_ns,
        act_by_ns=deadline.act_by_ns,
        truth=opened.truth,
        defect_type=opened.defect_type,
    )


def unseen(record: PartRecord, lot: str) -> Triggered:
    """The trigger of a part that nobody told of before it was closed."""
    return triggered(Opened(record.part, record.number, record.encoder, record.deadline), lot)


def decided(closed: Closed, trigger: Triggered, words: Words, session: Session) -> Decided:
    """The body of a part's decision; session: as it began."""
    record = closed.record
    decision, deadline, stamps = record.decision, record.deadline, record.stamps
    return Decided(
        number=record.number,
        encoder=trigger.encoder if record.encoder is None else record.encoder,
        lot=trigger.lot,
        trigger_ns=deadline.trigger_ns,
        decide_by_ns=deadline.decide_by_ns,
        act_by_ns=deadline.act_by_ns,
        truth=trigger.truth,
        defect_type=trigger.defect_type,
        action=decision.action,
        cause=decision.cause,
        verdict=decision.verdict,
        fault=decision.fault,
        score=_finite(decision.score),
        regions=sized(decision.regions, session.mm_per_px),
        detail=decision.detail,
        pose=decision.pose,
        frame_ns=record.frame_ns,
        worker_ns=stamps.received_ns,
        began_ns=stamps.started_ns,
        ended_ns=stamps.ended_ns,
        worker_sent_ns=stamps.sent_ns,
        answered_ns=record.answered_ns,
        late_score=_finite(record.late_score),
        picture=closed.picture,
        done=words.done,
        confirmed=words.confirmed,
        evidence=words.evidence,
        footage=words.footage,
        served=swapped(record.serving, session),
    )


def commanded(record: PartRecord) -> Commanded | None:
    """The body of a part's command; None where none left."""
    if not record.command_id and not record.sent_ns:
        return None
    return Commanded(record.decision.action, record.command_id)


def acked(record: PartRecord) -> Acked | None:
    """The body of a part's ack; None where none came."""
    if not (record.acked_ns or record.received_ns or record.applied):
        return None
    return Acked(record.applied, record.received_ns)


def lost(trigger: Triggered, words: Words, last: Swapped | None) -> Lost:
    """The body of a part that was left open. last: what the last decided part was served by."""
    told = msgspec.structs.asdict(trigger) | msgspec.structs.asdict(words)
    return Lost(**told, served=last)


def changes(before: Session, last: Swapped | None, after: Session) -> list[Change]:
    """What decides about parts and is not as it was in the session before, by name.

    last: what the last part of the session before was served by; it may have begun with another.
    """
    old, new = _facts(before, last), _facts(after, None)
    return [
        Change(name, after.who, old.get(name, ""), new.get(name, ""), NEW_SESSION)
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    ]


def _facts(session: Session, told: Swapped | None) -> dict[str, str]:
    serving = served(told, session)
    facts = {
        "package": serving.package,
        "content_sha256": serving.content_sha256,
        "precision": serving.precision,
        "pass_below": f"{serving.pass_below:.9g}",
        "fail_from": f"{serving.fail_from:.9g}",
        "cpu": " ".join((session.cpu, *session.instruction_sets)).strip(),
        "provider": serving.provider,  # what the station file asks for is `engine.provider`
        "threads": str(serving.threads),
        **{f"versions.{name}": version for name, version in session.versions.items()},
    }
    return facts | session.settings


def _finite(score: float | None) -> float | None:
    """JSON knows no other numbers, and a row must follow from its events."""
    return score if score is not None and math.isfinite(score) else None
