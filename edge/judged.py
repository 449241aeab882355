"""What judged the parts of a recording, and which of them a replay can be compared with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from edge.core.history import Session, named, served
from edge.core.types import Fault, PartRecord, Serving
from edge.page.words import count


def was_judged(record: PartRecord) -> bool:
    """Whether the engine's word on its picture came in time; only then does what served matter."""
    decision = record.decision
    told = decision.verdict is not None or decision.fault is Fault.UNFIT_IMAGE
    return told and record.answered_ns > 0


def judges(records: Iterable[PartRecord], session: Session) -> list[Serving]:
    """What judged any of the parts, the most parts first; none: what the session began with."""
    found = Counter(_serving(record, session) for record in records if was_judged(record))
    return [one for one, _ in found.most_common()] or [served(None, session)]


class Comparison:
    """The parts that a replay's package and provider judged then, and those that others did.

    Parts are compared by content digest and provider. Where a single package and provider judged
    all of them, all are compared, whatever they are replayed with: it was asked for. A part that
    nothing judged in time is compared with any: what became of it does not depend on the package.
    """

    def __init__(
        self,
        records: Sequence[PartRecord],
        session: Session,
        *,
        content_sha256: str,
        provider: str,
    ) -> None:
        by = [_serving(record, session) if was_judged(record) else None for record in records]
        several = len({_key(one) for one in by if one}) > 1
        here = content_sha256, provider
        self.judges: list[Serving] = []  # what judged the compared parts, each once
        self.others: Counter[str] = Counter()  # by name, the parts that are left out
        self.places: list[int] = []  # of the compared parts in `records`
        for place, one in enumerate(by):
            if several and one and _key(one) != here:
                self.others[named(one)] += 1
                continue
            self.places.append(place)
            if one and one not in self.judges:
                self.judges.append(one)

    def left_out(self) -> list[str]:
        """Each of the others in a line."""
        return [
            f"{count(parts, 'part')} judged by {name}: not compared"
            for name, parts in self.others.most_common()
        ]


def _serving(record: PartRecord, session: Session) -> Serving:
    return record.serving or served(None, session)


def _key(serving: Serving) -> tuple[str, str]:
    return serving.content_sha256, serving.provider
