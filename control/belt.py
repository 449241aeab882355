"""What a machine with a part sensor keeps in mind: which expected parts have not come by yet."""

from __future__ import annotations

from collections import OrderedDict

import msgspec

from edge.core.types import Action


class Waiting(msgspec.Struct):
    """An expected part on its way to the sensor, and what it gets there as things stand.

    forget_ns: on the arm's own clock, when it is taken for lifted off the belt.
    """

    session: int
    part: int
    action: Action
    forget_ns: int


class Belt:
    """Expected parts that the sensor has not seen yet, in the order of their Expects.

    They outlive their session: a part is on the belt whether or not the station still is.
    """

    def __init__(self, at_most: int) -> None:
        self._at_most = at_most
        self._waiting: OrderedDict[tuple[int, int], Waiting] = OrderedDict()
        self.forget_ns: int | None = None  # when `forget` may have something; never too late

    def expect(self, waiting: Waiting) -> list[Waiting]:
        """One part more; those that are forgotten for it, at the bound."""
        self._waiting[waiting.session, waiting.part] = waiting
        self.forget_ns = min(self.forget_ns or waiting.forget_ns, waiting.forget_ns)
        surplus = len(self._waiting) - self._at_most
        return [self._waiting.popitem(last=False)[1] for _ in range(surplus)]

    def act(self, session: int, part: int, action: Action) -> None:
        """The part got its action, if it is still to come."""
        if waiting := self._waiting.get((session, part)):
            waiting.action = action

    def first(self) -> Waiting | None:
        """The part that comes by next."""
        return next(iter(self._waiting.values()), None)

    def seen(self) -> None:
        """The first part has come by."""
        self._waiting.popitem(last=False)

    def forget(self, now_ns: int) -> list[Waiting]:
        """Parts that should have come by; one lifted off the belt must not shift the others."""
        if self.forget_ns is None or now_ns < self.forget_ns:
            return []
        gone = [waiting for waiting in self._waiting.values() if now_ns >= waiting.forget_ns]
        for waiting in gone:
            del self._waiting[waiting.session, waiting.part]
        self.forget_ns = min((w.forget_ns for w in self._waiting.values()), default=None)
        return gone
