"""Conservation: every part is counted by three sides that do not know of each other.

    triggers = accepts + rejects + reworks + holds + defaults + open        (at every instant)

The source numbers its triggers, the station counts its decisions, and the disposition
controller reports how many actions of each kind it has applied. A disagreement is an error
from which nobody may conclude that a part was good; it is counted and named.
"""

from __future__ import annotations

from collections import Counter

from edge.core.types import Ack, Action, Cause, Decision, Record


class Balance(Record, frozen=True):
    """A session's counts, as they stand or as they ended."""

    triggers: int
    decided: int
    acks: int
    unacked: int
    errors: int


class Ledger:
    """The station's books for one session. Each method returns "" or the broken rule."""

    def __init__(self) -> None:
        self.triggers = 0
        self.decisions: Counter[str] = Counter()
        self.acks = 0
        self.unacked = 0
        self.errors = 0
        self._new_controller("")

    def _new_controller(self, controller: str) -> None:
        """One that has started anew counts from zero, and so does everything compared with it."""
        self._controller = controller
        self._expected = 0  # parts armed at this controller
        self._commanded: Counter[Action] = Counter()
        self._acked: Counter[Action] = Counter()
        self._gap = 0  # by which its count was last seen to be off

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
        if controller != self._controller:
            self._new_controller(controller)
        self._expected += 1

    def decide(self, decision: Decision) -> str:
        """Count a decision; a default is its own kind, whatever action it takes."""
        kind = decision.action if decision.cause is Cause.VERDICT else "default"
        self.decisions[kind] += 1
        self._commanded[decision.action] += 1
        if self.open < 0:
            return self._broken(f"{self.decided} decisions for {self.triggers} triggers")
        return ""

    def ack(self, ack: Ack, decision: Decision | None, default: Action) -> str:
        """Compare what the controller did with the command, and its counts with its acks.

        A controller may do what it was commanded, or the default; nothing else. `refused`
        means that it never knew of the part and has not counted it.
        """
        self.acks += 1
        current = ack.controller == self._controller
        if ack.state == "refused":
            self._expected -= current
            return ""
        if current:
            self._acked[ack.action] += 1
        if ack.action is not default and (decision is None or ack.action is not decision.action):
            commanded = decision.action if decision else "nothing yet"
            return self._broken(f"part {ack.part}: {ack.action} applied, commanded {commanded}")
        return self._compare(ack.counts) if current else ""

    def beat(self, controller: str, counts: dict[Action, int]) -> str:
        """Compare the controller's cumulative counts outside of any part."""
        return self._compare(counts) if controller == self._controller else ""

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

    def _compare(self, counts: dict[Action, int]) -> str:
        """Applied counts may exceed the acks only by parts whose ack is outstanding or lost.

        An ACCEPT the station never commanded is an error at once, acked or not.
        """
        applied, acked = sum(counts.values()), self._acked.total()
        gap = applied - acked
        if not 0 <= gap <= self._expected - acked:
            if gap == self._gap:
                return ""  # the same disagreement as before: counted once
            self._gap = gap
            return self._broken(
                f"controller applied {applied}, acked {acked}, expected {self._expected}"
            )
        for action in Action:
            count = counts.get(action, 0)
            if count < self._acked[action]:
                return self._broken(f"controller counts {count} {action}, acked more")
            if action is Action.ACCEPT and count > self._commanded[action]:
                return self._broken(f"controller accepted {count}, commanded less")
        return ""

    def _broken(self, rule: str) -> str:
        self.errors += 1
        return rule
