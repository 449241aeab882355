"""The station's side of the wire: a ROUTER that arms, commands, keeps the beat and counts.

Everything here runs in the loop's thread and never waits; ZeroMQ's own thread does the
sending. ROUTER_MANDATORY is set, so that a message for a controller that is gone is an error
and not silence.
"""

from __future__ import annotations

import secrets
from collections import Counter, deque
from collections.abc import Callable, Collection
from pathlib import Path

import zmq

from control.gate import Gate, key_of
from control.offset import host_boot
from control.owed import Unacked, Unconfirmed
from control.peers import Peer, Peers
from control.wire import (
    MAX_BYTES,
    PROTOCOL,
    AnyMessage,
    Beat,
    Bye,
    Command,
    Confirm,
    Done,
    Expect,
    Hello,
    Place,
    State,
    Tick,
    Unexpected,
    Welcome,
    decode,
    encode,
)
from control.wire import Ack as WireAck
from edge.core.clock import NS_PER_MS, NS_PER_S, SystemClock
from edge.core.clock import now_ns as real_now_ns
from edge.core.config import ControllerOptions
from edge.core.errors import WireError
from edge.core.ports import Clock
from edge.core.regions import types_of
from edge.core.types import Ack, Action, Deadline, Decision, Outcome

# A peer that floods the socket must not keep deadlines waiting: 256 messages of 63 kB took 155 ms.
TURN_NS = NS_PER_MS
STRANGER_BYTES = 1024  # a Hello is shorter, and nothing else is heard of one not welcomed
OUTCOMES = 256  # waiting for the loop
# Plain integers: pyzmq's own are enumerations, whose arithmetic takes longer than the calls.
_EVENTS, _POLLIN = int(zmq.EVENTS), int(zmq.POLLIN)
_NOW, _MORE = int(zmq.NOBLOCK), int(zmq.NOBLOCK | zmq.SNDMORE)

Event = Callable[[str, int, str], None]
GateFor = Callable[["zmq.Context[zmq.Socket[bytes]]"], Gate]


class RouterActuator:
    """Binds, welcomes controllers, and carries one command a part to all of them.

    Acks of the one `disposition` controller come back from `poll`; a second claimant of a role
    is refused. ticking: the session runs on a virtual clock, which only simulated arms may
    join and which needs no beat. gate_for: makes who may speak at all; None admits anyone.
    """

    def __init__(
        self,
        options: ControllerOptions,
        clock: Clock,
        *,
        ticking: bool,
        event: Event,
        needs: Collection[str] = (),
        gate_for: GateFor | None = None,
    ) -> None:
        self._options, self._clock, self._ticking, self._event = options, clock, ticking, event
        self._beat_ns = round(options.beat_ms * NS_PER_MS)
        self._lost_ns = round(options.lost_ms * NS_PER_MS)
        self._ack_ns = round(options.ack_ms * NS_PER_MS)
        self._at = _place(options)
        self._peers = Peers(host_boot(), ticking=ticking, needs=needs)
        self._unacked = Unacked(round(options.resend_ms * NS_PER_MS))
        self._unconfirmed = Unconfirmed(round(options.confirm_ms * NS_PER_MS))
        self._outcomes: deque[Outcome] = deque()
        self._refusals: deque[tuple[str, str]] = deque(maxlen=64)  # those told of
        self._backlog = self._hold = False
        self._seq = 0
        self._ticked_ns = -1
        self._told_boot = ""  # the controller that what is owed was asked of
        self._next_beat_ns = clock.now_ns()
        self.session = secrets.randbits(63) | 1
        self.dropped: Counter[str] = Counter()
        self._context = zmq.Context()
        self._gate = gate_for(self._context) if gate_for else None
        self._socket = self._bind(options.bind)
        self._fd = int(self._socket.FD)

    def _bind(self, address: str) -> zmq.Socket[bytes]:
        socket = self._context.socket(zmq.ROUTER)
        socket.linger = 0
        socket.maxmsgsize = MAX_BYTES
        socket.router_mandatory = 1
        socket.handshake_ivl = 5000  # a silent connection is not kept for libzmq's 30 s
        if self._gate:
            self._gate.secure(socket)
        try:
            socket.bind(address)
        except zmq.ZMQError as error:
            if self._gate:
                self._gate.close()
            socket.close()
            self._context.term()
            in_use = error.errno == zmq.EADDRINUSE
            hint = "" if in_use else "; allowed: tcp://HOST:PORT | ipc://PATH"
            reason = (error.strerror or "not an address").lower()
            raise WireError(f"controller.bind = {address}: {reason}{hint}") from None
        return socket

    @property
    def controller(self) -> str:
        """The boot id of the disposition controller; "" without one, or with its beat lost."""
        peer = self._peers.disposition
        return peer.hello.boot if peer is not None and not peer.lost else ""

    @property
    def counts(self) -> dict[Action, int] | None:
        """The disposition controller's cumulative actions in this session, as last heard."""
        peer = self._peers.disposition
        return None if peer is None else peer.counts

    @property
    def refused(self) -> Counter[str]:
        """Connections the gate has refused, by kind."""
        return self._gate.refused if self._gate else Counter()

    def fileno(self) -> int:
        return self._fd

    def due_ns(self) -> int | None:
        if self._backlog or self._outcomes:
            return self._clock.now_ns()  # ZeroMQ's descriptor will not speak of these again
        if self._ticking:
            return None
        due = self._next_beat_ns
        for other in (self._unacked.due_ns(), self._unconfirmed.due_ns()):
            if other is not None and other < due:
                due = other
        return due

    def wait_for_controller(self, stop: Callable[[], bool] = lambda: False) -> None:
        """Block until a disposition controller is welcomed; WireError after `wait_s`.

        And until it can tell our time: before that it could prove no ACCEPT fresh.
        """
        clock = SystemClock()  # in lock-step too: a person is waiting
        until_ns = clock.now_ns() + round(self._options.wait_s * NS_PER_S)
        while not self._is_acquainted() and not stop():
            now_ns = clock.now_ns()
            if now_ns >= until_ns:
                bind, wait = self._options.bind, self._options.wait_s
                nobody = f"no controller connected to {bind} within {wait:g} s"
                if self._refusals:
                    raise WireError(f"{nobody}; one was refused: {self._refusals[-1][1]}")
                raise WireError(f"{nobody}; start one, for example: edge arm --connect {bind}")
            clock.wait((self.fileno(),), min(until_ns, now_ns + 20 * NS_PER_MS))
            self.poll(self._clock.now_ns())

    def _is_acquainted(self) -> bool:
        peer = self._peers.disposition
        return peer is not None and not peer.lost and (peer.acquainted or self._ticking)

    def expect(self, part: int, number: int, default: Action, deadline: Deadline) -> str:
        """Arm the default; the controller's boot id, "" when it could not be told."""
        now_ns = self._clock.now_ns()
        message = Expect(
            session=self.session,
            seq=self._number(),
            stamp_ns=now_ns,
            part=part,
            trigger_no=number,
            default=default,
            ttl_ns=deadline.act_by_ns - now_ns,
            at=self._at,
        )
        data = encode(message)
        if not self._tell_all(data, now_ns):
            return ""
        if not self._ticking:
            self._unacked.expect(part, data, now_ns, deadline.act_by_ns + self._ack_ns)
        return self.controller

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
            at=self._at,
            pose=decision.pose,
            regions=tuple((r.x, r.y, r.width, r.height, r.area_px) for r in decision.regions),
            region_types=types_of(decision.regions),
        )
        data = encode(message)
        told = self._tell_all(data, now_ns)
        self._unacked.command(decision.part, data, now_ns)
        return message.seq if told or decision.part in self._unacked else 0

    def nudge(self) -> None:
        """Send the next beat now, unless the last one has just gone.

        After a pause of 50 ms everything between here and the controller is out of the caches.
        """
        now_ns = self._clock.now_ns()
        if self._next_beat_ns - now_ns < 3 * self._beat_ns // 4:
            self._next_beat_ns = now_ns

    def hold(self, on: bool) -> None:
        """Say in every beat from now on whether the line should stand; at once on a change."""
        if on != self._hold:
            self._hold, self._next_beat_ns = on, self._clock.now_ns()

    def poll(self, now_ns: int) -> Ack | Outcome | None:
        """Keep the beat, send again what has no ack, and hand out the next ack or outcome."""
        if not self._ticking:
            self._keep_beat(now_ns)
        self._backlog, until_ns = True, real_now_ns() + TURN_NS
        while real_now_ns() < until_ns:
            if not self._has_come():
                if not self._ticking:
                    self._settle_accounts(self._clock.now_ns())
                # Again: a send takes the descriptor's word for what has come meanwhile.
                self._backlog = self._has_come()
                break
            try:
                identity, key, data = self._receive()
            except zmq.Again:
                continue
            if len(data) > STRANGER_BYTES and self._peers.get(identity) is None:
                self._drop("too_long", f"{len(data)} bytes from one who was not welcomed")
                continue
            try:
                message = decode(data)
            except WireError as error:
                self._drop("unreadable", str(error))
                continue
            if ack := self._hear(identity, key, message, self._clock.now_ns()):
                return ack
        return self._outcomes.popleft() if self._outcomes else None

    @property
    def backlog(self) -> bool:
        """Whether `poll` has left messages unread."""
        return self._backlog

    def close(self) -> None:
        """Say Bye to everyone and close; nothing is left behind."""
        for peer in self._peers.all():
            bye = Bye(session=self.session, seq=self._number(), stamp_ns=self._clock.now_ns())
            self._tell(peer.identity, encode(bye))
        if self._gate:
            self._gate.close()
        self._socket.close(linger=200)
        self._context.term()
        if self._options.bind.startswith("ipc://"):
            Path(self._options.bind.removeprefix("ipc://")).unlink(missing_ok=True)

    # ---- time ----

    def _keep_beat(self, now_ns: int) -> None:
        if now_ns < self._next_beat_ns:
            return
        self._next_beat_ns = now_ns + self._beat_ns
        for peer in self._peers.all():
            self._send_beat(peer)
        if self._gate:
            self._gate.poll()

    def _settle_accounts(self, now_ns: int) -> None:
        """Ask again for what is owed, and judge what is overdue.

        With everything that came read: what waited in the socket while the station itself stood
        still is neither lost nor silence.
        """
        within_ms = self._options.confirm_ms
        for data in self._unacked.again(now_ns):  # without a controller too: they must expire
            if disposition := self._peers.disposition:
                self._tell(disposition.identity, data)
        while (part := self._unconfirmed.overdue(now_ns)) is not None:
            number, action = part
            self._event("unconfirmed", number, f"{action}: not seen within {within_ms:g} ms")
            if action is not Action.ACCEPT:  # it was to be taken off the line: was it?
                self._conclude(Outcome(number, "confirm", ok=False))
        for peer in self._peers.silenced(now_ns, self._lost_ns):
            detail = f"{peer.hello.role}: no beat for {self._options.lost_ms:g} ms"
            self._event("controller_silent", 0, detail)

    def _conclude(self, outcome: Outcome) -> None:
        if len(self._outcomes) < OUTCOMES:
            self._outcomes.append(outcome)
        else:
            self._drop("outcome", f"{outcome.kind} of part {outcome.part}: too many at once")

    def _send_beat(self, peer: Peer) -> None:
        beat = Beat(
            session=self.session,
            seq=self._number(),
            stamp_ns=self._clock.now_ns(),
            echo_stamp_ns=peer.last_stamp_ns,
            echo_received_ns=peer.last_received_ns,
            hold=self._hold,
        )
        self._tell(peer.identity, encode(beat))
        peer.asked_ns = peer.asked_ns or beat.stamp_ns

    # ---- hearing ----

    def _has_come(self) -> bool:
        """Whether there is a message to read; asking is cheaper than an exception that says no."""
        return bool(int(self._socket.get(_EVENTS)) & _POLLIN)

    def _receive(self) -> tuple[bytes, str, bytes]:
        """(connection, public key, message); the message is empty where it has several frames."""
        if self._gate is None:
            identity, *frames = self._socket.recv_multipart(_NOW)
            return identity, "", frames[0] if len(frames) == 1 else b""
        name, *rest = self._socket.recv_multipart(_NOW, copy=False)
        if len(rest) != 1:
            return name.bytes, "", b""
        return name.bytes, key_of(rest[0]), rest[0].bytes

    def _hear(self, identity: bytes, key: str, message: AnyMessage, now_ns: int) -> Ack | None:
        if isinstance(message, Hello):
            self._greet(identity, key, message, now_ns)
            return None
        peer = self._peers.get(identity)
        if peer is None or message.session != self.session:
            self._drop("other_session", f"{type(message).__name__} of session {message.session}")
            return None
        peer.heard(message, now_ns)
        match message:
            case Beat():
                self._take_beat(peer, message, now_ns)
            case WireAck():
                return self._acked(peer, message, now_ns)
            case Done() | Confirm():
                self._finished(peer, message)
            case Unexpected():
                self._event("unexpected", 0, f"part {message.own_part_count} without an Expect")
            case State():
                held = f" holds part {message.part}" if message.part else ""
                at = message.pose
                where = f" at {at.frame} {at.x_mm:g} {at.y_mm:g} {at.z_mm:g} mm" if at else ""
                said = f"{peer.hello.role}{where}{held} {message.gripper}".rstrip()
                self._event("controller_state", message.part, said)
            case Bye():
                self._forget(identity, f"said bye: {message.reason}")
            case _:
                pass
        return None

    def _take_beat(self, peer: Peer, beat: Beat, now_ns: int) -> None:
        peer.counts = beat.counts
        if not beat.echo_stamp_ns:
            return
        peer.offset.sample(
            sent_ns=beat.echo_stamp_ns,
            heard_ns=beat.echo_received_ns,
            answered_ns=beat.stamp_ns,
            received_ns=now_ns,
        )
        if not peer.acquainted:
            peer.acquainted = True
            self._send_beat(peer)  # with the echo by which it learns our time, at once

    def _greet(self, identity: bytes, key: str, hello: Hello, now_ns: int) -> None:
        """Welcome a controller, or refuse it with a Bye that says why."""
        refusal = self._peers.refusal(identity, hello, key)
        if self._gate and not self._gate.role_allowed(key, hello.role):
            refusal = f"this key may not take the role {hello.role}"
        if refusal:
            if (hello.boot, refusal) not in self._refusals:  # it asks again ten times a second
                self._refusals.append((hello.boot, refusal))
                self._event("controller_refused", 0, refusal)
            bye = Bye(session=0, seq=self._number(), stamp_ns=now_ns, reason=refusal)
            self._tell(identity, encode(bye))
            return
        peer, before = self._peers.welcome(identity, hello, key)
        detail = f"{hello.role} {_short(hello.boot)} rests at {hello.rest}"
        if before is None:
            self._event("controller", 0, detail)
        elif before != identity:
            self._event("controller", 0, f"{detail}, on another connection")
        if peer is self._peers.disposition and hello.boot != self._told_boot:
            self._told_boot = hello.boot
            self._unacked.clear()
            self._unconfirmed.clear()
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
        self._tell(identity, encode(welcome))
        if not self._ticking:
            # Our first word may have waited long for the Hello to be read, which makes a poor
            # comparison of clocks: the first part's ACCEPT could not be proven by it.
            self._send_beat(peer)

    def _acked(self, peer: Peer, ack: WireAck, now_ns: int) -> Ack | None:
        """The ack for the loop; None for one that came before, or is no disposition's."""
        if peer is not self._peers.disposition:
            return None
        if ack.state == "armed":
            self._unacked.armed(ack.part)
            return None
        if not self._ticking and not self._unacked.settle(ack.part):
            # The answer to something sent again; its counts may be as old as the part.
            self.dropped["repeated_ack"] += 1
            return None
        known = peer.counts or {}
        if sum(ack.counts.values()) >= sum(known.values()):
            peer.counts = known = ack.counts  # else it was said before, and is heard only now
        if "confirm" in peer.hello.capabilities and ack.state != "refused":
            self._unconfirmed.await_one(ack.part, ack.action, now_ns)
        received_ns = peer.own_ns(ack.received_ns, now_ns)
        boot = peer.hello.boot
        return Ack(ack.part, ack.state, ack.action, received_ns, known, boot)

    def _finished(self, peer: Peer, message: Done | Confirm) -> None:
        if peer is not self._peers.disposition:
            return
        if isinstance(message, Done):
            if not message.ok:
                self._event("not_done", message.part, "the controller could not finish the part")
                self._unconfirmed.settle(message.part)
            self._conclude(Outcome(message.part, "done", message.ok))
        elif (sent := self._unconfirmed.settle(message.part)) is not None:
            as_sent = message.left_as is sent
            if not as_sent:
                self._event("misrouted", message.part, f"{sent}, but left as {message.left_as}")
            self._conclude(Outcome(message.part, "confirm", as_sent, message.left_as))

    # ---- telling ----

    def _tell_all(self, data: bytes, now_ns: int) -> bool:
        """Send to every controller; True when the disposition controller is among them."""
        if self._ticking and now_ns != self._ticked_ns:
            self._ticked_ns = now_ns
            tick = Tick(session=self.session, seq=self._number(), stamp_ns=now_ns, now_ns=now_ns)
            for peer in self._peers.all():
                self._tell(peer.identity, encode(tick))
        if not self.controller:
            return False
        disposition, told = self._peers.disposition, False
        for peer in self._peers.all():
            told |= self._tell(peer.identity, data) and peer is disposition
        return told

    def _tell(self, identity: bytes, data: bytes) -> bool:
        try:
            self._socket.send(identity, _MORE)
            self._socket.send(data, _NOW)
        except zmq.Again:
            self._drop("queue_full", "a message was not sent: the queue is full")
            return False
        except zmq.ZMQError as error:
            self._forget(identity, f"is gone: {error.strerror}")
            return False
        return True

    def _forget(self, identity: bytes, why: str) -> None:
        if peer := self._peers.forget(identity):
            self._event("controller_lost", 0, f"{peer.hello.role} {_short(peer.hello.boot)} {why}")

    def _drop(self, kind: str, detail: str) -> None:
        self.dropped[kind] += 1
        if self.dropped[kind] == 1:  # once a kind: hostile bytes must not fill the log
            self._event(f"dropped_{kind}", 0, detail)

    def _number(self) -> int:
        self._seq += 1
        return self._seq


def _short(boot: str) -> str:
    """Enough of a boot id to tell two apart, too little to claim it."""
    return boot[:6]


def _place(options: ControllerOptions) -> Place:
    if options.at_counts:
        return Place("count", options.at_counts)
    return Place("ns", round(options.at_ms * NS_PER_MS))
