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
    key: str = ""
    counts: dict[Action, int] | None = None  # until it has said
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


AT_MOST = 16  # controllers: each one is told every Expect and Command


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

    def refusal(self, identity: bytes, hello: Hello, key: str) -> str:
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
        others = [
            peer
            for peer in self._peers.values()
            if peer.identity != identity and not _is_again(peer, hello, key)
        ]
        for peer in others:
            if peer.hello.boot == hello.boot:
                return "this boot id is taken"
            if peer.hello.role == hello.role and not peer.lost:
                return f"the role {hello.role} is taken"
        if len(others) >= AT_MOST:
            return f"{AT_MOST} controllers are here, and no more are admitted"
        return ""

    def welcome(self, identity: bytes, hello: Hello, key: str) -> tuple[Peer, bytes | None]:
        """Enter a controller, and its connection before this one, if it is known from there.

        It replaces a lost one of its role, and whatever this connection was before.
        """
        counts: dict[Action, int] | None = None
        before: bytes | None = None
        for peer in self.all():
            again = _is_again(peer, hello, key)
            if again:
                counts, before = peer.counts, peer.identity
            if again or peer.hello.role == hello.role or peer.identity == identity:
                self.forget(peer.identity)
        same_clock = bool(self._host) and hello.host == self._host
        peer = Peer(identity, hello, same_clock or self._ticking, ClockOffset())
        peer.counts, peer.key = counts, key
        self._peers[identity] = peer
        if hello.role == DISPOSITION:
            self.disposition = peer
        return peer, before

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


def _is_again(peer: Peer, hello: Hello, key: str) -> bool:
    """The same controller, in the same role and with the same key, saying Hello once more."""
    known = (peer.hello.boot, peer.hello.role, peer.key)
    return known == (hello.boot, hello.role, key)
