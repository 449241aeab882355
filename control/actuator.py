"""The station's side of the wire: a ROUTER that arms, commands, keeps the beat and counts.

Everything here runs in the loop's thread and never waits; ZeroMQ's own thread does the
sending. ROUTER_MANDATORY is set, so that a message for a controller that is gone is an error
and not silence.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import msgspec
import zmq

from control.arm_link import host_boot
from control.offset import ClockOffset
from control.wire import (
    MAX_BYTES,
    PROTOCOL,
    AnyMessage,
    Beat,
    Bye,
    Command,
    Done,
    Expect,
    Hello,
    Tick,
    Unexpected,
    Welcome,
    decode,
    encode,
)
from control.wire import Ack as WireAck
from edge.core.clock import NS_PER_MS, NS_PER_S, SystemClock
from edge.core.config import ControllerOptions
from edge.core.errors import WireError
from edge.core.ports import Clock
from edge.core.types import Ack, Action, Deadline, Decision

MESSAGES_A_TURN = 256  # a peer that floods the socket must not keep deadlines waiting

Event = Callable[[str, int, str], None]


class _Peer(msgspec.Struct):
    """One welcomed controller."""

    hello: Hello
    offset: ClockOffset
    same_clock: bool
    heard_ns: int
    asked_ns: int = 0  # when the oldest beat without an answer was sent
    last_stamp_ns: int = 0
    last_received_ns: int = 0
    counts: dict[Action, int] = {}


class RouterActuator:
    """Binds, welcomes controllers, and carries one command a part to all of them.

    Acks of the one `disposition` controller come back from `poll`; a second claimant of that
    role is refused. ticking: the session runs on a virtual clock, which only simulated arms
    may join and which needs no beat.
    """

    def __init__(
        self, options: ControllerOptions, clock: Clock, *, ticking: bool, event: Event
    ) -> None:
        self._options, self._clock, self._ticking, self._event = options, clock, ticking, event
        self._beat_ns = round(options.beat_ms * NS_PER_MS)
        self._lost_ns = round(options.lost_ms * NS_PER_MS)
        self._host = host_boot()
        self._peers: dict[bytes, _Peer] = {}
        self._disposition: bytes | None = None
        self._lost = self._backlog = False
        self._seq = 0
        self._ticked_ns = -1
        self._next_beat_ns = clock.now_ns()
        self.session = secrets.randbits(63) | 1
        self.dropped: Counter[str] = Counter()
        self._context = zmq.Context()
        self._socket = self._bind(options.bind)

    def _bind(self, address: str) -> zmq.Socket[bytes]:
        socket = self._context.socket(zmq.ROUTER)
        socket.linger = 0
        socket.maxmsgsize = MAX_BYTES
        socket.router_mandatory = 1
        try:
            socket.bind(address)
        except zmq.ZMQError as error:
            socket.close()
            self._context.term()
            in_use = error.errno == zmq.EADDRINUSE
            hint = "" if in_use else "; allowed: tcp://HOST:PORT | ipc://PATH"
            reason = (error.strerror or "not an address").lower()
            raise WireError(f"controller.bind = {address}: {reason}{hint}") from None
        return socket

    @property
    def connected(self) -> bool:
        """True while a disposition controller is there and its beat is not lost."""
        return self._disposition in self._peers and not self._lost

    @property
    def counts(self) -> dict[Action, int] | None:
        """The disposition controller's cumulative actions in this session, as last heard."""
        peer = self._peers.get(self._disposition) if self._disposition else None
        return None if peer is None else dict(peer.counts)

    def fileno(self) -> int:
        return int(self._socket.FD)

    def due_ns(self) -> int | None:
        if self._backlog:
            return self._clock.now_ns()  # ZeroMQ's descriptor will not speak of these again
        return None if self._ticking else self._next_beat_ns

    def wait_for_controller(self) -> None:
        """Block until a disposition controller is welcomed; WireError after `wait_s`."""
        clock = SystemClock()  # in lock-step too: a person is waiting
        until_ns = clock.now_ns() + round(self._options.wait_s * NS_PER_S)
        while not self.connected:
            now_ns = clock.now_ns()
            if now_ns >= until_ns:
                bind, wait = self._options.bind, self._options.wait_s
                raise WireError(
                    f"no controller connected to {bind} within {wait:g} s; "
                    f"start one, for example: edge arm --connect {bind}"
                )
            clock.wait((self.fileno(),), min(until_ns, now_ns + 20 * NS_PER_MS))
            self.poll(self._clock.now_ns())

    def expect(self, part: int, number: int, default: Action, deadline: Deadline) -> bool:
        """Arm the default; False when no disposition controller could be told."""
        now_ns = self._clock.now_ns()
        message = Expect(
            session=self.session,
            seq=self._number(),
            stamp_ns=now_ns,
            part=part,
            trigger_no=number,
            default=default,
            ttl_ns=deadline.act_by_ns - now_ns,
        )
        return self._tell_all(message, now_ns)

    def command(self, decision: Decision, deadline: Deadline) -> int:
        """Send the one command of a part; its sequence number, 0 when nobody could be told."""
        now_ns = self._clock.now_ns()
        reason = decision.cause if decision.fault is None else f"{decision.cause}:{decision.fault}"
        message = Command(
            session=self.session,
            seq=self._number(),
            stamp_ns=now_ns,
            part=decision.part,
            action=decision.action,
            ttl_ns=max(0, deadline.act_by_ns - now_ns),
            reason=reason,
            regions=tuple((r.x, r.y, r.width, r.height, r.area_px) for r in decision.regions),
        )
        return message.seq if self._tell_all(message, now_ns) else 0

    def poll(self, now_ns: int) -> Ack | None:
        """Keep the beat, serve Hellos and Beats, and hand out the next final ack."""
        if not self._ticking and now_ns >= self._next_beat_ns:
            self._next_beat_ns = now_ns + self._beat_ns
            for identity, peer in list(self._peers.items()):
                self._send_beat(identity, peer)
        self._backlog = True
        for _ in range(MESSAGES_A_TURN):
            try:
                identity, *frames = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                self._notice_silence()
                self._backlog = False
                return None
            try:
                message = decode(frames[0] if len(frames) == 1 else b"")
            except WireError as error:
                self._drop("unreadable", str(error))
                continue
            if ack := self._hear(identity, message, self._clock.now_ns()):
                return ack
        return None

    def _notice_silence(self) -> None:
        """Judge the beat, with everything that came read: a stall of our own is not its silence.

        A controller beats in answer to ours, so its silence begins with a beat it left unanswered.
        """
        peer = self._peers.get(self._disposition) if self._disposition else None
        asked_ns = peer.asked_ns if peer else 0
        silent = bool(asked_ns) and self._clock.now_ns() - asked_ns > self._lost_ns
        if silent and not self._ticking and not self._lost:
            self._event("controller_silent", 0, f"no beat for {self._options.lost_ms:g} ms")
        self._lost = silent and not self._ticking

    def close(self) -> None:
        """Say Bye to everyone and close; nothing is left behind."""
        for identity in list(self._peers):
            bye = Bye(session=self.session, seq=self._number(), stamp_ns=self._clock.now_ns())
            self._tell(identity, bye)
        self._socket.close(linger=200)
        self._context.term()
        if self._options.bind.startswith("ipc://"):
            Path(self._options.bind.removeprefix("ipc://")).unlink(missing_ok=True)

    def _hear(self, identity: bytes, message: AnyMessage, now_ns: int) -> Ack | None:
        if isinstance(message, Hello):
            self._greet(identity, message, now_ns)
            return None
        peer = self._peers.get(identity)
        if peer is None or message.session != self.session:
            self._drop("other_session", f"{type(message).__name__} of session {message.session}")
            return None
        peer.heard_ns, peer.asked_ns = now_ns, 0
        peer.last_stamp_ns, peer.last_received_ns = message.stamp_ns, now_ns
        match message:
            case Beat():
                peer.counts = message.counts
                if message.echo_stamp_ns:
                    peer.offset.sample(
                        sent_ns=message.echo_stamp_ns,
                        heard_ns=message.echo_received_ns,
                        answered_ns=message.stamp_ns,
                        received_ns=now_ns,
                    )
            case WireAck():
                return self._acked(identity, peer, message, now_ns)
            case Unexpected():
                self._event("unexpected", 0, f"part {message.own_part_count} without an Expect")
            case Done() if not message.ok:
                self._event("not_done", message.part, "the controller could not finish the part")
            case Bye():
                self._forget(identity, f"said bye: {message.reason}")
            case _:
                pass
        return None

    def _greet(self, identity: bytes, hello: Hello, now_ns: int) -> None:
        """Welcome a controller, or refuse it with a Bye that says why."""
        if refusal := self._refusal(identity, hello):
            self._event("controller_refused", 0, refusal)
            bye = Bye(session=0, seq=self._number(), stamp_ns=now_ns, reason=refusal)
            self._tell(identity, bye)
            return
        for known, peer in list(self._peers.items()):
            if peer.hello.boot == hello.boot and known != identity:
                del self._peers[known]  # the same controller on a new connection
        if identity not in self._peers:
            self._event("controller", 0, f"{hello.role} {hello.boot} rests at {hello.rest}")
        same_clock = bool(self._host) and hello.host == self._host
        self._peers[identity] = _Peer(hello, ClockOffset(), same_clock, now_ns)
        if hello.role == "disposition":
            self._disposition = identity
        welcome = Welcome(
            session=self.session,
            seq=self._number(),
            stamp_ns=self._clock.now_ns(),
            boot=hello.boot,
            protocol=PROTOCOL,
            beat_ns=self._beat_ns,
            lost_ns=self._lost_ns,
            echo_stamp_ns=hello.stamp_ns,
            echo_received_ns=now_ns,
        )
        self._tell(identity, welcome)

    def _refusal(self, identity: bytes, hello: Hello) -> str:
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
        holder = self._peers.get(self._disposition) if self._disposition else None
        claimed = hello.role == "disposition" and holder and self._disposition != identity
        if holder and claimed and not self._lost and holder.hello.boot != hello.boot:
            return f"the role disposition is taken by {holder.hello.boot}"
        return ""

    def _acked(self, identity: bytes, peer: _Peer, ack: WireAck, now_ns: int) -> Ack | None:
        if ack.counts:
            peer.counts = ack.counts
        if identity != self._disposition:
            return None
        received_ns = ack.received_ns
        if not peer.same_clock and not self._ticking:
            estimate = peer.offset.estimate(now_ns)
            received_ns = ack.received_ns - estimate[0] if estimate else now_ns
        received_ns = min(max(received_ns, 1), now_ns)  # a peer's number: bounded by what we know
        return Ack(ack.part, ack.state, ack.action, received_ns, ack.counts)

    def _tell_all(self, message: AnyMessage, now_ns: int) -> bool:
        """Send to every controller; True when the disposition controller is among them."""
        if self._ticking and now_ns != self._ticked_ns:
            self._ticked_ns = now_ns
            tick = Tick(session=self.session, seq=self._number(), stamp_ns=now_ns, now_ns=now_ns)
            for identity in list(self._peers):
                self._tell(identity, tick)
        if not self.connected:
            return False
        disposition, told = self._disposition, False
        for identity in list(self._peers):
            told |= self._tell(identity, message) and identity == disposition
        return told

    def _tell(self, identity: bytes, message: AnyMessage) -> bool:
        try:
            self._socket.send_multipart((identity, encode(message)), zmq.NOBLOCK)
        except zmq.Again:
            self._drop("queue_full", f"{type(message).__name__} not sent: the queue is full")
            return False
        except zmq.ZMQError as error:
            self._forget(identity, f"is gone: {error.strerror}")
            return False
        return True

    def _send_beat(self, identity: bytes, peer: _Peer) -> None:
        beat = Beat(
            session=self.session,
            seq=self._number(),
            stamp_ns=self._clock.now_ns(),
            echo_stamp_ns=peer.last_stamp_ns,
            echo_received_ns=peer.last_received_ns,
        )
        self._tell(identity, beat)
        peer.asked_ns = peer.asked_ns or beat.stamp_ns

    def _forget(self, identity: bytes, why: str) -> None:
        peer = self._peers.pop(identity, None)
        if peer:
            self._event("controller_lost", 0, f"{peer.hello.role} {peer.hello.boot} {why}")
        if identity == self._disposition:
            self._disposition = None

    def _drop(self, kind: str, detail: str) -> None:
        self.dropped[kind] += 1
        if self.dropped[kind] == 1:  # once a kind: hostile bytes must not fill the log
            self._event(f"dropped_{kind}", 0, detail)

    def _number(self) -> int:
        self._seq += 1
        return self._seq
