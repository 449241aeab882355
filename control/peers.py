"""Who has been welcomed: controllers by connection and by role, and which of them are silent."""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from control.offset import ClockOffset
from control.wire import PROTOCOL, Hello, Message
from edge.core.types import Action

DISPOSITION = "disposition"


class Peer(msgspec.Struct):
    """One welcomed controller, and what is known of its clock, its counts and its silence."""

    identity: bytes
    hello: Hello
    same_clock: bool  # it runs on this machine: its stamps are ours
    offset: ClockOffset
    asked_ns: int = 0  # when the oldest beat without an answer was sent
    last_stamp_ns: int = 0
    last_received_ns: int = 0
    counts: dict[Action, int] = {}
    lost: bool = False
    acquainted: bool = False  # beats went both ways, so that either can tell the other's time

    def heard(self, message: Message, now_ns: int) -> None:
        """Anything it says ends its silence, and is echoed in the next beat."""
        self.asked_ns, self.lost = 0, False
        self.last_stamp_ns, self.last_received_ns = message.stamp_ns, now_ns

    def own_ns(self, stamp_ns: int, now_ns: int) -> int:
        """An instant on its clock as one on ours; never later than now."""
        if not self.same_clock:
            estimate = self.offset.estimate(now_ns)
            stamp_ns = stamp_ns - estimate[0] if estimate else now_ns
        return min(max(stamp_ns, 1), now_ns)  # a peer's number: bounded by what we know


class Peers:
    """The table of welcomed controllers: each role is held by one of them.

    needs: capabilities without which nobody takes the role `disposition`.
    """

    def __init__(self, host: str, *, ticking: bool, needs: Collection[str] = ()) -> None:
        self._host, self._ticking, self._needs = host, ticking, needs
        self._peers: dict[bytes, Peer] = {}
        self.disposition: Peer | None = None

    def get(self, identity: bytes) -> Peer | None:
        return self._peers.get(identity)

    def all(self) -> list[Peer]:
        return list(self._peers.values())

    def refusal(self, identity: bytes, hello: Hello) -> str:
        """Why this Hello is not welcomed; "" if it is."""
        if hello.protocol != PROTOCOL:
            return f"protocol {hello.protocol} is not spoken here; this station speaks {PROTOCOL}"
        if hello.simulated != self._ticking:
            return (
                "this session runs on a virtual clock: only an arm with --simulated may join"
                if self._ticking
                else "this session runs in real time: an arm with --simulated may not join"
            )
        if hello.rest == "pass" and not (hello.part_sensor or hello.line_stop):
            return "rest = pass needs a part sensor or a line stop driven by the lost beat"
        if hello.role == DISPOSITION:
            lacks = [need for need in self._needs if need not in hello.capabilities]
            if lacks:
                return f"the role disposition needs the capability {lacks[0]} at this station"
        for peer in self._peers.values():
            other = peer.identity != identity and peer.hello.boot != hello.boot
            if other and peer.hello.role == hello.role and not peer.lost:
                return f"the role {hello.role} is taken by {peer.hello.boot}"
        return ""

    def welcome(self, identity: bytes, hello: Hello) -> tuple[Peer, bool]:
        """Enter a controller, and whether it is new; it replaces a lost one of its role."""
        counts: dict[Action, int] | None = None
        for peer in self.all():
            again = peer.hello.boot == hello.boot  # the same controller on a new connection
            if again:
                counts = peer.counts
            if again or peer.hello.role == hello.role:
                self.forget(peer.identity)
        same_clock = bool(self._host) and hello.host == self._host
        peer = Peer(identity, hello, same_clock or self._ticking, ClockOffset())
        peer.counts = counts or {}
        self._peers[identity] = peer
        if hello.role == DISPOSITION:
            self.disposition = peer
        return peer, counts is None

    def forget(self, identity: bytes) -> Peer | None:
        peer = self._peers.pop(identity, None)
        if peer is not None and peer is self.disposition:
            self.disposition = None
        return peer

    def silenced(self, now_ns: int, lost_ns: int) -> list[Peer]:
        """Those that have just now been silent for too long; told once for each silence.

        A controller beats in answer to ours, so its silence begins with a beat unanswered.
        """
        found = []
        for peer in self._peers.values():
            if peer.asked_ns and not peer.lost and now_ns - peer.asked_ns > lost_ns:
                peer.lost = True
                found.append(peer)
        return found
