"""What stands beside the parts: sessions, what judged them, changes, conservation, the chain."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from edge.core.history import Session
from edge.historian.report.count import Cell
from edge.historian.report.judges import limits_of
from edge.historian.report.shift import Chain, Change, Conservation, Ran, Sitting
from edge.historian.report.source import Known, Source, Told

KINDS = ("session", "change", "conservation")
MOST_BROKEN = 10


class Stretch(NamedTuple):
    """Parts of one session, lot and judge."""

    session: int
    lot: str
    package: str
    content_sha256: str
    provider: str
    pass_below: float | None
    fail_from: float | None
    parts: int
    least_budget_ms: float
    most_budget_ms: float


def stretches(source: Source) -> list[Stretch]:
    """In the order of their first parts; a digest has one package."""
    found = source.rows("""
        SELECT session, coalesce(lot, ''), coalesce(package, ''), coalesce(content_sha256, ''),
            coalesce(provider, ''), pass_below, fail_from, count(*),
            min(act_by_ns - trigger_ns) / 1e6, max(act_by_ns - trigger_ns) / 1e6 FROM scope
        GROUP BY 1, 2, 4, 5, 6, 7 ORDER BY min(utc_ns)""")
    return [Stretch(*row) for row in found]


def notes(source: Source, counted: Iterable[Stretch]) -> list[Told]:
    """The events that the report speaks of, oldest first.

    Of a lot or a package, those of the sessions of their parts.
    """
    noted = source.told(KINDS, source.since_ns)
    ids = {one.session for one in counted}
    narrowed = source.lot or source.package
    return [note for note in noted if not narrowed or note.session in ids]


def lots(counted: Iterable[Stretch]) -> dict[str, int]:
    """Parts by lot, the largest first; without those that have none."""
    found: Counter[str] = Counter()
    for one in counted:
        found[one.lot] += one.parts
    return {lot: parts for lot, parts in found.most_common() if lot}


def sittings(source: Source, counted: Sequence[Stretch], noted: Sequence[Told]) -> list[Sitting]:
    """The sessions of the parts, and those that began in the period without one."""
    lots: defaultdict[int, dict[str, int]] = defaultdict(dict)
    for one in counted:
        lots[one.session].setdefault(one.lot, 0)
        lots[one.session][one.lot] += one.parts
    begun = dict.fromkeys(
        note.session for note in noted if note.kind == "session" and note.utc_ns < source.until_ns
    )
    ids = list(dict.fromkeys([*lots, *begun]))
    known = source.sessions(ids)
    found = [_sitting(one, lots[one], known.get(one)) for one in ids]
    return sorted(found, key=lambda one: one.started_utc_ns)


def _sitting(number: int, lots: dict[str, int], known: Known | None) -> Sitting:
    if known is None:  # retention, or a newer version's words
        return Sitting(session=number, lots=tuple(filter(None, lots)), parts=sum(lots.values()))
    session, outcome, end = known
    said = [end.get(name) for name in ("triggers", "decided", "errors")]
    whole = [value for value in said if isinstance(value, int)]
    return Sitting(
        session=number,
        station=session.station,
        who=session.who,
        started_utc_ns=session.started_utc_ns,
        lots=tuple(filter(None, lots)),
        parts=sum(lots.values()),
        end=outcome,
        said=(whole[0], whole[1], whole[2]) if len(whole) == 3 else None,
        virtual=session.virtual,
        facts=_facts(session),
    )


def _facts(session: Session) -> dict[str, str]:
    facts = {
        "processor": ", ".join(filter(None, (session.cpu, " ".join(session.instruction_sets)))),
        "engine": f"{session.provider}, {session.threads} threads, {session.precision}",
        "package file": session.file_sha256,
        **session.versions,
    }
    return {name: value for name, value in facts.items() if value}


def ran(counted: Iterable[Stretch]) -> list[Ran]:
    """What judged the parts, the most parts first."""
    found: Counter[tuple[str, str, str, tuple[float, ...]]] = Counter()
    for one in counted:
        limits = limits_of(one.pass_below, one.fail_from)
        found[one.package, one.content_sha256, one.provider, limits] += one.parts
    return [
        Ran(package=package, content_sha256=digest, provider=provider, limits=limits, parts=parts)
        for (package, digest, provider, limits), parts in found.most_common()
    ]


def budgets_ms(counted: Iterable[Stretch]) -> tuple[float, ...]:
    """The smallest and the largest that parts had; one where they are the same."""
    found = [ms for one in counted for ms in (one.least_budget_ms, one.most_budget_ms) if ms > 0]
    return tuple(sorted({round(ms, 2) for ms in (min(found), max(found))})) if found else ()


def missing(source: Source) -> int:
    """Trigger numbers between the first part and the last of a session that no part has.

    A part of another lot or package in between is none of the asked, but it is there.
    """
    found = source.rows("""
        SELECT last - first + 1 - (
            SELECT count(*) FROM parts
            WHERE parts.utc_ns BETWEEN since AND until AND parts.session = of.session)
        FROM (SELECT session, min(number) AS first, max(number) AS last,
            min(utc_ns) AS since, max(utc_ns) AS until FROM scope GROUP BY 1) AS of""")
    return sum(max(0, few) for (few,) in found)


def conservation(
    cells: Iterable[Cell], missing_numbers: int, noted: Iterable[Told], until_ns: int
) -> Conservation:
    """The counts of the period's parts, and the broken rules that the station noted in it."""
    cells = list(cells)
    broken = [
        str(note.body.get("detail", "no detail"))
        for note in noted
        if note.kind == "conservation" and note.utc_ns < until_ns
    ]
    return Conservation(
        triggers=sum(cell.parts for cell in cells),
        decisions=sum(cell.parts for cell in cells if cell.kind != "lost"),
        commands=sum(cell.commands for cell in cells),
        acks=sum(cell.acks for cell in cells),
        missing_numbers=missing_numbers,
        otherwise=sum(cell.otherwise for cell in cells),
        failed=sum(cell.failed for cell in cells),
        left_otherwise=sum(cell.left_otherwise for cell in cells),
        late_verdicts=sum(cell.late_verdicts for cell in cells),
        errors=len(broken),
        broken=tuple(broken[:MOST_BROKEN]),
    )


def changes(noted: Iterable[Told], until_ns: int) -> list[Change]:
    return [
        Change(
            utc_ns=note.utc_ns,
            who=str(note.body.get("who", "")),
            what=str(note.body.get("what", "")),
            old=str(note.body.get("old", "")),
            new=str(note.body.get("new", "")),
            reason=str(note.body.get("reason", "")),
        )
        for note in noted
        if note.kind == "change" and note.utc_ns < until_ns
    ]


def chain(source: Source) -> Chain | None:
    """The last event and the last checkpoint of the whole database; None where it has no event."""
    heads = source.plain("SELECT event, lower(hex(hash)) FROM events ORDER BY event DESC LIMIT 1")
    signed = source.checkpoint()
    if not heads and not signed:
        return None
    event, digest = heads[0] if heads else (0, "")
    return Chain(head_event=event, head_hash=digest, checkpoint=signed, removed=source.removed())
