"""Conservation: every part is counted by three sides that do not know of each other.

    triggers = accepts + rejects + reworks + holds + defaults + open        (at every instant)

The source numbers its triggers, the station counts its decisions, and the disposition
controller reports how many actions of each kind it has applied. A disagreement is an error
from which nobody may conclude that a part was good; it is counted and named.
"""

from __future__ import annotations

from collections import Counter, OrderedDict

from edge.core.types import Ack, Action, Cause, Decision, Record

REMEMBERED = 64  # controllers that have come and gone


class Balance(Record, frozen=True):
    """A session's counts, as they stand or as they ended."""

    triggers: int
    decided: int
    acks: int
    unacked: int
    errors: int


class _Book:
    """What is compared with one controller's cumulative counts."""

    def __init__(self) -> None:
        self.expected = 0  # parts armed there
        self.commanded: Counter[Action] = Counter()
        self.acked: Counter[Action] = Counter()
        self.told = ""  # the disagreement that stands

    def broken_rule(self, counts: dict[Action, int]) -> str:
        """Applied counts may exceed the acks only by parts whose ack is outstanding or lost.

        An ACCEPT the station never commanded is an error at once, acked or not.
        """
        applied, acked = sum(counts.values()), self.acked.total()
        if applied < acked:
            return f"controller applied {acked - applied} fewer than it acked"
        if applied > self.expected:
            return f"controller applied {applied - self.expected} more than it was told of"
        for action in Action:
            count = counts.get(action, 0)
            if count < self.acked[action]:
                return f"controller counts {self.acked[action] - count} {action} fewer than acked"
            if action is Action.ACCEPT and count > self.commanded[action]:
                return f"controller accepted {count - self.commanded[action]} never commanded"
        return ""


class Ledger:
    """The station's books for one session. Each method returns "" or the broken rule."""

    def __init__(self) -> None:
        self.triggers = 0
        self.decisions: Counter[str] = Counter()
        self.acks = 0
        self.unacked = 0
        self.errors = 0
        self._controller = ""  # whose turn it is
        self._books: OrderedDict[str, _Book] = OrderedDict()

    def _book(self, controller: str) -> _Book:
        """One that has started anew counts from zero, and so do we; one that is back goes on."""
        if book := self._books.get(controller):
            return book
        book = self._books[controller] = _Book()
        while len(self._books) > REMEMBERED:
            self._books.popitem(last=False)
        return book

    @property
    def decided(self) -> int:
        return self.decisions.total()

    @property
    def open(self) -> int:
        """Parts triggered and not yet decided."""
        return self.triggers - self.decided

    def balance(self) -> Balance:
        return Balance(self.triggers, self.decided, self.acks, self.unacked, self.errors)

    def trigger(self, number: int) -> str:
        """Count a part; `number` is the source's own count of it."""
        self.triggers += 1
        if number == self.triggers:
            return ""
        broken = f"source counts trigger {number}, station counts {self.triggers}"
        self.triggers = max(self.triggers, number)  # the missing parts stay open: seen at the end
        return self._broken(broken)

    def expect(self, controller: str) -> None:
        """A part was armed at this controller (its boot id)."""
        self._controller = controller
        self._book(controller).expected += 1

    def decide(self, decision: Decision) -> str:
        """Count a decision; a default is its own kind, whatever action it takes."""
        kind = decision.action if decision.cause is Cause.VERDICT else "default"
        self.decisions[kind] += 1
        if self._controller:
            self._book(self._controller).commanded[decision.action] += 1
        if self.open < 0:
            return self._broken(f"{self.decided} decisions for {self.triggers} triggers")
        return ""

    def ack(self, ack: Ack, decision: Decision | None, default: Action) -> str:
        """Compare what the controller did with the command, and its counts with its acks.

        A controller may do what it was commanded, or the default; nothing else. `refused`
        means that it never knew of the part and has not counted it.
        """
        self.acks += 1
        book = self._book(ack.controller)
        if ack.state == "refused":
            book.expected -= 1
            return ""
        book.acked[ack.action] += 1
        if ack.action is not default and (decision is None or ack.action is not decision.action):
            commanded = decision.action if decision else "nothing yet"
            return self._broken(f"part {ack.part}: {ack.action} applied, commanded {commanded}")
        return self._compare(book, ack.counts)

    def beat(self, controller: str, counts: dict[Action, int]) -> str:
        """Compare the controller's cumulative counts outside of any part."""
        return self._compare(self._book(controller), counts) if controller else ""

    def lose(self) -> str:
        """A part was closed without an ack: the controller may or may not have counted it."""
        self.unacked += 1
        return ""

    def close(self, source_triggers: int, controller: str, counts: dict[Action, int] | None) -> str:
        """The final balance: source, station and controller agree and nothing is open."""
        if source_triggers != self.triggers:
            return self._broken(f"source counted {source_triggers}, station {self.triggers}")
        if self.open:
            return self._broken(f"{self.open} parts still open at the end")
        return self.beat(controller, counts) if counts is not None else ""

    def _compare(self, book: _Book, counts: dict[Action, int]) -> str:
        """A disagreement is counted when it begins, and not every time it is seen."""
        rule = book.broken_rule(counts)
        if rule == book.told:
            return ""
        book.told = rule
        return self._broken(rule) if rule else ""

    def _broken(self, rule: str) -> str:
        self.errors += 1
        return rule
