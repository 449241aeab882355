"""One session as it is written: its messages become events of the chain, and rows where due."""

from __future__ import annotations

from collections.abc import Callable

from edge.core.history import Changed, Closed, Ended, Noted, Opened, Told
from edge.historian.records import bodies, telling
from edge.historian.records.bodies import Change, Detail, Kept, Left, encode
from edge.historian.records.group import Group, Stage
from edge.historian.records.open_parts import Known, OpenPart
from edge.historian.records.rows import Closing, lost_row, row


class Sitting:
    """A session, its open parts and its lot; everything goes into `group`."""

    def __init__(self, group: Group, known: Known, is_written: Callable[[int, int], bool]) -> None:
        """is_written: whether a session's part has its row in the tables."""
        self._group, self._is_written = group, is_written
        self.session, self.ended = known.session, known.ended
        self._open, self._lot, self._highest = known.open, known.lot, known.highest
        self._served = known.served

    def stages(self) -> dict[int, Stage]:
        """The open parts by the event of their trigger."""
        number = self.session.session
        return {one.event: one.stage(number, part) for part, one in self._open.items()}

    def begin(self, before: Known | None) -> None:
        """The session's own event, and what changed since the one before."""
        session = self.session
        at_ns, utc_ns = session.started_ns, session.started_utc_ns
        body = encode(session)
        event = self._add(bodies.SESSION, body, at_ns=at_ns, utc_ns=utc_ns)
        self._group.begin(session.session, event, body)
        for change in telling.changes(before.session, before.served, session) if before else ():
            self._add(bodies.CHANGE, encode(change), at_ns=at_ns, utc_ns=utc_ns)

    def lose(self, utc_ns: int) -> None:
        """The station was gone without a word when the next session began."""
        self._leave(Left(len(self._open)), bodies.LOST, at_ns=0, utc_ns=utc_ns)

    def take(self, told: Told, utc_ns: int) -> None:
        """Put a message of the session on record."""
        match told:
            case Opened():
                self._take_opened(told, utc_ns)
            case Closed():
                self._take_closed(told, utc_ns)
            case Noted():
                self._take_noted(told, utc_ns)
            case Changed():
                body = encode(Change(told.what, told.who, told.old, told.new, told.reason))
                self._add(bodies.CHANGE, body, at_ns=told.at_ns, utc_ns=utc_ns)
                if told.what == "lot":
                    self._lot = told.new
            case Ended():
                self._take_ended(told, utc_ns)

    def evidence(self, session: int, part: int, file_name: str, utc_ns: int) -> None:
        """A part's picture is kept; of this session, or one before it."""
        body = encode(Kept(file_name))
        self._group.add(bodies.EVIDENCE, body, session=session, part=part, at_ns=0, utc_ns=utc_ns)
        self._hear(session, part, bodies.EVIDENCE, file_name)

    def _take_opened(self, opened: Opened, utc_ns: int) -> None:
        part = opened.part
        if part in self._open or self._is_over(part):
            self._stray(opened, part, utc_ns)
            return
        trigger = telling.triggered(opened, self._lot)
        body = encode(trigger)
        event = self._add(bodies.TRIGGER, body, part=part, at_ns=trigger.trigger_ns, utc_ns=utc_ns)
        self._open[part] = OpenPart(event, trigger)
        self._highest = max(self._highest, part)

    def _take_closed(self, closed: Closed, utc_ns: int) -> None:
        record = closed.record
        part = record.part
        opened = self._open.get(part)
        if opened is None:
            if self._is_over(part):
                self._stray(closed, part, utc_ns)
                return
            opened = OpenPart(0, telling.unseen(record, self._lot))
        decided = telling.decided(closed, opened.trigger, opened.words, self.session)
        closing = Closing(self.session.session, part, 0, record.decided_ns, decided)
        events = [(bodies.DECISION, record.decided_ns, encode(closing.decided))]
        if command := telling.commanded(record):
            events.append((bodies.COMMAND, record.sent_ns, encode(command)))
            closing.command, closing.sent_ns = command, record.sent_ns
        if ack := telling.acked(record):
            events.append((bodies.ACK, record.acked_ns, encode(ack)))
            closing.ack, closing.acked_ns = ack, record.acked_ns
        for kind, at_ns, body in events:
            closing.event = self._add(kind, body, part=part, at_ns=at_ns, utc_ns=utc_ns)
        self._group.close(row(self.session, closing))
        self._open.pop(part, None)
        self._highest, self._served = max(self._highest, part), decided.served

    def _take_noted(self, noted: Noted, utc_ns: int) -> None:
        kind = f"noted.{noted.kind}" if noted.kind in bodies.OURS else noted.kind
        body = encode(Detail(noted.detail))
        self._add(kind, body, part=noted.part, at_ns=noted.at_ns, utc_ns=utc_ns)
        if kind in bodies.LATE_KINDS:
            self._hear(self.session.session, noted.part, kind, noted.detail)

    def _take_ended(self, ended: Ended, utc_ns: int) -> None:
        if self.ended:
            self._stray(ended, 0, utc_ns)
            return
        left = Left(len(self._open), ended.triggers, ended.decided, ended.errors)
        self._leave(left, bodies.END, at_ns=ended.at_ns, utc_ns=utc_ns)

    def _leave(self, left: Left, kind: str, *, at_ns: int, utc_ns: int) -> None:
        """Close the session, and what it left open as lost."""
        number = self.session.session
        for part, left_open in self._open.items():
            lost = telling.lost(left_open.trigger, left_open.words, self._served)
            event = self._add(bodies.LOST, encode(lost), part=part, utc_ns=utc_ns)
            self._group.close(lost_row(self.session, part, event, lost))
        self._open = {}
        event = self._add(kind, encode(left), at_ns=at_ns, utc_ns=utc_ns)
        self._group.end(number, event, "ended" if kind == bodies.END else "lost")
        self.ended = True

    def _hear(self, session: int, part: int, kind: str, text: str) -> None:
        """What is told of a part besides its closing: before it with it, after it in its row."""
        own = session == self.session.session
        if own and part in self._open:
            self._open[part].words.hear(kind, text)
            return
        column, value = bodies.word(kind, text)
        if value is not None and (not own or self._is_over(part)):
            self._group.late(column, value, session, part)

    def _stray(self, told: Opened | Closed | Ended, part: int, utc_ns: int) -> None:
        """A message that fits no open part: kept as it was told, and no row follows from it."""
        self._add(bodies.STRAY, encode(told), part=part, utc_ns=utc_ns)

    def _is_over(self, part: int) -> bool:
        """The part is closed already, or its session is."""
        if self.ended:
            return True
        if part > self._highest:
            return False
        number = self.session.session
        return self._group.has_closed(number, part) or self._is_written(number, part)

    def _add(self, kind: str, body: bytes, *, part: int = 0, at_ns: int = 0, utc_ns: int) -> int:
        return self._group.add(
            kind, body, session=self.session.session, part=part, at_ns=at_ns, utc_ns=utc_ns
        )
