"""What a person should look at, in sentences for the top of the page."""

from __future__ import annotations

from collections.abc import Iterable

from edge.historian.records.telling import NEW_SESSION
from edge.historian.report.shift import Shift
from edge.historian.report.words import fault
from edge.page.words import count, overruns, percent


def lines(shift: Shift) -> list[str]:
    """The worst first; empty where nothing is wrong."""
    return [*_quality(shift), *_machine(shift), *_keeping(shift)]


def _quality(shift: Shift) -> Iterable[str]:
    total, known = shift.total, shift.known
    if known and known.escapes:
        yield f"{count(known.escapes, 'part')} known to be defective left as accepted (escapes)."
    if total.lost:
        yield f"{count(total.lost, 'part')} lost with their station: nobody knows what was decided."
    if total.defaulted and total.parts:
        worst = next(iter(shift.faults), "")
        yield (
            f"{count(total.defaulted, 'part')} defaulted ({percent(total.defaulted / total.parts)})"
            f", most often: {fault(worst)}."
        )
    if total.overruns:
        if total.overruns > total.picture_overruns:
            told = ": no verdict in time, or a command too late"
        else:
            told = "; nothing was late"
        yield f"{overruns(total.overruns, total.picture_overruns)}{told}."


def _machine(shift: Shift) -> Iterable[str]:
    kept = shift.conservation
    if kept.errors:
        yield f"{count(kept.errors, 'conservation error')}: triggers, decisions and acks disagree."
    if kept.missing_numbers:
        yield f"{count(kept.missing_numbers, 'trigger')} of the source without a part."
    if kept.otherwise:
        yield f"{count(kept.otherwise, 'part')} where the controller did not do as commanded."
    if kept.commands < kept.decisions:
        yield f"{count(kept.decisions - kept.commands, 'part')} without a command."
    if kept.acks < kept.commands:
        yield f"{count(kept.commands - kept.acks, 'command')} without an ack."
    if kept.failed:
        yield f"{count(kept.failed, 'movement')} failed, says the controller."
    if kept.left_otherwise:
        yield f"{count(kept.left_otherwise, 'part')} seen to leave another way than sent."
    swaps = sum(one.what == "provider" and one.reason != NEW_SESSION for one in shift.changes)
    if swaps:
        yield f"{count(swaps, 'change')} of the provider while parts were running (see Changes)."


def _keeping(shift: Shift) -> Iterable[str]:
    if lost := shift.pictures.get("lost"):
        yield f"{count(lost, 'picture')} could not be kept."
    gone = sum(one.end == "lost" for one in shift.sittings)
    if gone:
        yield f"{count(gone, 'session')} ended without a word: the station was lost."
    if any(one.virtual and one.parts for one in shift.sittings):
        yield "Some parts are of a replay on a virtual clock; they are left out of the latencies."
    if shift.chain and not shift.chain.checkpoint:
        yield "The records have no signed checkpoint yet."
