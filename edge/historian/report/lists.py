"""The lists of a shift's page: what ran, sessions, changes, escapes, and the records' end."""

from __future__ import annotations

from html import escape

from edge.historian.report import words
from edge.historian.report.shift import Shift, Sitting
from edge.historian.report.table import table
from edge.page.words import count


def header(shift: Shift) -> str:
    """What ran, on which parts."""
    offset, gone = shift.utc_offset_s, shift.left_out
    first, last = (words.instant(at, offset) for at in (shift.first_utc_ns, shift.last_utc_ns))
    stations = dict.fromkeys(one.station for one in shift.sittings if one.station)
    lots = (f"{lot} ({count(parts, 'part')})" for lot, parts in shift.lots.items())
    rows = [
        ["station", words.listed(stations)],
        ["first and last part", f"{first} to {last}"],
        ["lots", words.listed(lots, gone.get("lots", 0))],
        ["sessions", count(len(shift.sittings) + gone.get("sittings", 0), "session")],
        *(["judged by", words.ran(one, alone=len(shift.ran) == 1)] for one in shift.ran),
        *(
            ["package", f"{name}, content digest (SHA-256) {digest}"]
            for name, digest in dict.fromkeys(
                (one.package, one.content_sha256) for one in shift.ran
            )
        ),
    ]
    return table(("", ""), rows, "words")


def escaped(shift: Shift) -> str:
    """The escapes, each with what is needed to find the part."""
    rows = [
        [
            f"{one.part:,}",
            words.instant(one.utc_ns, shift.utc_offset_s),
            one.lot or "-",
            one.defect_type or "unknown type",
            words.score(one.score),
            f"{one.session:x}",
            one.evidence or "none",
        ]
        for one in shift.escaped
    ]
    if not rows:
        return ""
    heads = ("escaped part", "time", "lot", "defect type", "score", "session", "picture")
    return table(heads, rows, "words", code=(5, 6)) + _missing(shift, "escaped", "more escapes")


def sittings(shift: Shift) -> str:
    offset = shift.utc_offset_s
    rows = [
        [
            f"{one.session:x}",
            words.instant(one.started_utc_ns, offset),
            one.station or "-",
            one.who or "-",
            f"{one.parts:,}",
            words.listed(one.lots),
            _ended(one),
        ]
        for one in shift.sittings
    ]
    marks = {place: "wrong" for place, one in enumerate(shift.sittings) if one.end == "lost"}
    heads = ("session", "started", "station", "by", "parts here", "lots", "end")
    versions = dict.fromkeys(tuple(one.facts.items()) for one in shift.sittings if one.facts)
    said = "".join(
        f"<p>{escape('; '.join(f'{name} {value}' for name, value in facts))}</p>"
        for facts in versions
    )
    found = table(heads, rows, "words", marks, code=(0,)) if rows else "<p>None.</p>"
    return found + _missing(shift, "sittings", "earlier sessions") + said


def _ended(one: Sitting) -> str:
    end = {"open": "goes on, or not recorded yet", "": "not known"}.get(one.end, one.end)
    end = f"{end}, virtual clock" if one.virtual else end
    if one.said is None:
        return end
    triggers, decided, errors = one.said
    return f"{end}: {triggers:,} triggers, {decided:,} decided, {count(errors, 'error')} in all"


def changes(shift: Shift) -> str:
    rows = [
        [
            words.instant(one.utc_ns, shift.utc_offset_s),
            one.who or "-",
            one.what,
            one.old or "-",
            one.new or "-",
            one.reason or "-",
        ]
        for one in shift.changes
    ]
    if not rows:
        return "<p>Nothing was changed in this period.</p>"
    heads = ("time", "who", "what", "old", "new", "reason")
    return table(heads, rows, "words") + _missing(shift, "changes", "earlier changes")


def chain(shift: Shift, written_utc_ns: int) -> str:
    """What ties the page to the database that it was made from."""
    offset, found = shift.utc_offset_s, shift.chain
    rows = [["database", shift.records]]
    if found:
        rows.append(["last event", f"{found.head_event:,}"])
        rows.append(["hash of the last event", found.head_hash])
    if found and (signed := found.checkpoint):
        when = words.instant(signed.utc_ns, offset)
        rows.append(["last checkpoint", f"event {signed.event:,}, signed {when}"])
        rows.append(["hash of the checkpoint", signed.hash])
        rows.append(["public key of the checkpoint", signed.public_key])
    elif found:
        rows.append(["last checkpoint", "none yet"])
    if found and found.removed:
        rows.append(["removed by retention", f"the oldest {count(found.removed, 'part')}"])
    if written_utc_ns:
        when = f"{words.instant(written_utc_ns, offset)}, {words.zone(offset)}"
        rows.append(["page written", when])
    said = (
        "These hashes tie the page to the records: while both occur in the chain of the database, "
        "and the chain verifies, nothing before them was changed. The page itself verifies nothing."
    )
    return f"<p>{said}</p>" + table(("", ""), rows, "words", code=(1,))


def _missing(shift: Shift, field: str, what: str) -> str:
    left_out = shift.left_out.get(field, 0)
    return f"<p>{left_out:,} {escape(what)} are not listed.</p>" if left_out else ""
