"""What the controller still owes: acks, asked for again until they come, and confirmations.

A message is sent again as the same bytes, stamp and all: what has expired meanwhile does not
become fresh, and what was obeyed already is only acked once more.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

import msgspec

from edge.core.types import Action


class _Sent(msgspec.Struct):
    expect: bytes
    until_ns: int
    again_ns: int
    command: bytes = b""
    armed: bool = False


class Unacked:
    """Parts whose Expect or Command has no ack yet."""

    def __init__(self, every_ns: int) -> None:
        self._every_ns = every_ns
        self._parts: OrderedDict[int, _Sent] = OrderedDict()

    def __contains__(self, part: int) -> bool:
        return part in self._parts

    def expect(self, part: int, data: bytes, now_ns: int, until_ns: int) -> None:
        """An Expect was sent; the part is pursued until until_ns at the latest."""
        self._parts[part] = _Sent(data, until_ns, now_ns + self._every_ns)

    def command(self, part: int, data: bytes, now_ns: int) -> None:
        """The part's Command was sent."""
        if sent := self._parts.get(part):
            sent.command, sent.again_ns = data, now_ns + self._every_ns

    def armed(self, part: int) -> None:
        if sent := self._parts.get(part):
            sent.armed = True

    def settle(self, part: int) -> bool:
        """The part's final ack came; False if none was awaited, because it came before."""
        return self._parts.pop(part, None) is not None

    def due_ns(self) -> int | None:
        """When something is to be sent again."""
        due = [sent.again_ns for sent in self._parts.values() if sent.command or not sent.armed]
        return min(due, default=None)

    def again(self, now_ns: int) -> Iterator[bytes]:
        """What to send again now; parts past their time are given up."""
        for part, sent in list(self._parts.items()):
            if now_ns >= sent.until_ns:
                del self._parts[part]
            elif now_ns >= sent.again_ns and (sent.command or not sent.armed):
                sent.again_ns = now_ns + self._every_ns
                if not sent.armed:
                    yield sent.expect
                if sent.command:
                    yield sent.command

    def clear(self) -> None:
        """Another controller: what the old one was told is nothing to it."""
        self._parts.clear()


class Unconfirmed:
    """Parts that a sensor is still to see leaving, each with what was done and until when."""

    def __init__(self, within_ns: int) -> None:
        self._within_ns = within_ns
        self._parts: OrderedDict[int, tuple[int, Action]] = OrderedDict()

    def await_one(self, part: int, action: Action, now_ns: int) -> None:
        self._parts[part] = (now_ns + self._within_ns, action)

    def settle(self, part: int) -> Action | None:
        """What was done with the part; None if it was not awaited any more."""
        return self._parts.pop(part, (0, None))[1]

    def due_ns(self) -> int | None:
        return next((due_ns for due_ns, _ in self._parts.values()), None)

    def overdue(self, now_ns: int) -> tuple[int, Action] | None:
        """A part whose time is up and what was done with it, struck off; None if there is none."""
        part = next(iter(self._parts), None)
        if part is None or self._parts[part][0] > now_ns:
            return None
        return part, self._parts.pop(part)[1]

    def clear(self) -> None:
        self._parts.clear()
