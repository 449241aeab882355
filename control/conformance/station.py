"""A station played by hand against one controller: it says what it is told, and hears everything.

It keeps the beat by itself, so that a rule only plays what it is about. Unlike the real station
it may lie about the time: about how old a message is, and about how far away it stands.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Literal, TypeVar

import msgspec
import zmq

from control.wire import (
    MAX_BYTES,
    PROTOCOL,
    Ack,
    AnyMessage,
    Beat,
    Bye,
    Command,
    Expect,
    Hello,
    Welcome,
    decode,
    encode,
)
from edge.core.clock import NS_PER_MS, SystemClock
from edge.core.errors import WireError
from edge.core.types import Action, Pose

BEAT_MS = 20
LOST_MS = 150
CALM_LOST_MS = 1000  # where the lost beat is not the subject: a busy machine must not lose one
DISTANT_MS = 400
GONE_MS = 5000
PATIENT_MS = 2000  # for what must come; how soon is only judged where the wire says so

Distance = Literal["near", "slow to the station", "slow to the controller"]
T = TypeVar("T")


class GoneError(Exception):
    """The controller does not come back: no Hello."""


class Heard(msgspec.Struct, frozen=True):
    """A message of the controller, and when it came."""

    message: AnyMessage
    at_ns: int


class PlayedStation:
    """A bound ROUTER and one controller of the role disposition, in one session after another."""

    def __init__(
        self,
        bind: str,
        say: Callable[[str], None],
        secure: Callable[[zmq.Socket[bytes]], None] | None = None,
    ) -> None:
        self.say, self.clock = say, SystemClock()
        self.hello: Hello | None = None
        self.session = 0
        self.heard: list[Heard] = []  # of the controller, since `leave` or `begin`
        self.others: set[str] = set()  # roles that came and were not asked for
        self.unreadable = ""
        self.boots: list[str] = []
        self._routing_id = b""
        self._seq = 0
        self._together: list[tuple[bytes, ...]] | None = None
        self._beating = False
        self._next_beat_ns = 0
        self._distance: Distance = "near"
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.linger = 0
        self._socket.maxmsgsize = MAX_BYTES
        self._socket.router_mandatory = 1
        try:
            if secure:
                secure(self._socket)
            self._socket.bind(bind)
        except zmq.ZMQError as error:
            self.close()
            reason = (error.strerror or "not an address").lower()
            raise WireError(f"--bind {bind}: {reason}; allowed: tcp://HOST:PORT") from None
        self.address = self._socket.getsockopt_string(zmq.LAST_ENDPOINT)

    def close(self) -> None:
        self.bye()
        self._socket.close(linger=200)
        self._context.term()

    # --- Sessions ---

    def leave(self) -> Hello:
        """End the session and wait for the controller's next Hello; GoneError where none comes."""
        self.bye()
        self.session, self._beating, self._distance = 0, False, "near"
        self.heard.clear()
        hellos = self.wait(self.hellos, GONE_MS)
        if not hellos:
            raise GoneError(f"no Hello for {GONE_MS / 1000:g} s")
        return hellos[0]

    def begin(self, *, lost_ms: int = CALM_LOST_MS, distance: Distance = "near") -> None:
        """A session of its own, with nothing open, and the clocks known as well as they can be."""
        first = self.leave()
        self._distance = distance
        if distance == "slow to the station":  # its Hello takes that long to arrive, as it seems
            self.idle(DISTANT_MS)
        self.welcome(first, lost_ms=lost_ms)
        for _ in range(4):
            self.answered(self.beat(), ms=100)

    def welcome(
        self,
        hello: Hello,
        *,
        lost_ms: int = CALM_LOST_MS,
        protocol: int = PROTOCOL,
        boot: str | None = None,
        session: int = 0,
    ) -> None:
        """Answer a Hello with a session, a new one unless told, and keep the beat from here on."""
        came_ns = next(h.at_ns for h in reversed(self.heard) if h.message is hello)
        if self._distance == "slow to the controller":
            self.idle(DISTANT_MS)
        self.session = session or secrets.randbits(63) | 1
        heard_ns, stamp_ns = self._exchange(came_ns)
        self._beating, self._next_beat_ns = True, self.clock.now_ns() + BEAT_MS * NS_PER_MS
        self.send(
            Welcome(
                session=self.session,
                seq=self.number(),
                stamp_ns=stamp_ns,
                boot=hello.boot if boot is None else boot,
                protocol=protocol,
                beat_ns=BEAT_MS * NS_PER_MS,
                lost_ns=lost_ms * NS_PER_MS,
                echo_stamp_ns=hello.stamp_ns,
                echo_received_ns=heard_ns,
            )
        )

    def fall_silent(self) -> None:
        """Say nothing more by itself, as a station that hangs."""
        self._beating = False

    # --- Messages ---

    def expect(
        self,
        part: int,
        *,
        default: Action = Action.REJECT,
        ttl_ms: int = 5000,
        age_ms: int = 0,
        session: int | None = None,
    ) -> Expect:
        """Arm a part; age_ms: how long ago the station seems to have sent it."""
        message = Expect(
            session=self.session if session is None else session,
            seq=self.number(),
            stamp_ns=self._stamp_ns() - age_ms * NS_PER_MS,
            part=part,
            trigger_no=part,
            default=default,
            ttl_ns=ttl_ms * NS_PER_MS,
        )
        self.send(message)
        return message

    def command(
        self,
        part: int,
        action: Action = Action.ACCEPT,
        *,
        ttl_ms: int = 4000,
        age_ms: int = 0,
        pose: Pose | None = None,
        session: int | None = None,
    ) -> Command:
        """Command a part; age_ms: how long ago the station seems to have sent it."""
        message = Command(
            session=self.session if session is None else session,
            seq=self.number(),
            stamp_ns=self._stamp_ns() - age_ms * NS_PER_MS,
            part=part,
            action=action,
            ttl_ns=ttl_ms * NS_PER_MS,
            reason="conformance",
            pose=pose,
        )
        self.send(message)
        return message

    def beat(self, *, hold: bool = False, session: int | None = None) -> int:
        """Ask for a sign of life; the stamp it will echo."""
        now_ns = self.clock.now_ns()
        self._next_beat_ns = now_ns + BEAT_MS * NS_PER_MS
        known = self._newest(now_ns)
        heard_ns, stamp_ns = self._exchange(known.at_ns) if known else (0, self._stamp_ns())
        self.send(
            Beat(
                session=self.session if session is None else session,
                seq=self.number(),
                stamp_ns=stamp_ns,
                echo_stamp_ns=known.message.stamp_ns if known else 0,
                echo_received_ns=heard_ns,
                hold=hold,
            )
        )
        return stamp_ns

    def bye(self, session: int | None = None) -> None:
        session = self.session if session is None else session
        if session:
            self.send(Bye(session=session, seq=self.number(), stamp_ns=self.clock.now_ns()))

    def send(self, message: AnyMessage) -> None:
        self.send_frames(encode(message))

    def send_frames(self, *frames: bytes) -> None:
        """To the controller; where it is gone, its silence will tell."""
        if self._together is not None:
            self._together.append(frames)
            return
        with suppress(zmq.ZMQError):
            self._socket.send_multipart((self._routing_id, *frames), zmq.NOBLOCK)

    @contextmanager
    def together(self) -> Iterator[None]:
        """What is said within leaves at its end, so close that it is likely heard in one go."""
        said: list[tuple[bytes, ...]] = []
        self._together = said
        yield
        self._together = None
        for frames in said:
            self.send_frames(*frames)

    def number(self) -> int:
        self._seq += 1
        return self._seq

    # --- Hearing ---

    def idle(self, ms: float) -> None:
        """Let time pass, keeping the beat."""
        self.wait(lambda: False, ms)

    def wait(self, found: Callable[[], T], ms: float) -> T:
        """Turn until `found` finds something in what was heard, for at most so long."""
        until_ns = self.clock.now_ns() + round(ms * NS_PER_MS)
        while True:
            self._read()
            now_ns = self.clock.now_ns()
            if (result := found()) or now_ns >= until_ns:
                return result
            if self._beating and now_ns >= self._next_beat_ns:
                self.beat()
            due_ns = min(until_ns, self._next_beat_ns) if self._beating else until_ns
            if not int(self._socket.EVENTS) & zmq.POLLIN:  # the descriptor tells once
                self.clock.wait((int(self._socket.FD),), due_ns)

    def of(self, kind: type[T]) -> list[T]:
        """What was heard of one type in this session, in order."""
        messages = [h.message for h in self.heard if h.message.session == self.session]
        return [message for message in messages if isinstance(message, kind)]

    def hellos(self) -> list[Hello]:
        return [h.message for h in self.heard if isinstance(h.message, Hello)]

    def finals(self, part: int) -> list[Ack]:
        """What the controller has said of a part's action so far; repeats included."""
        return [ack for ack in self.of(Ack) if ack.part == part and ack.state != "armed"]

    def answered(self, stamp_ns: int, *, ms: float = PATIENT_MS) -> Beat | None:
        """The answer to the beat of this stamp, if it comes."""

        def answer() -> Beat | None:
            return next((b for b in self.of(Beat) if b.echo_stamp_ns == stamp_ns), None)

        return self.wait(answer, ms)

    def at_ns(self, message: object) -> int:
        """When it came, on this station's clock."""
        return next(h.at_ns for h in self.heard if h.message is message)

    def _read(self) -> None:
        while True:
            try:
                routing_id, *frames = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            try:
                message = decode(frames[0] if len(frames) == 1 else b"")
            except WireError as error:
                if routing_id == self._routing_id or not self._routing_id:
                    self.unreadable = str(error)
                continue
            self._hear(routing_id, message, self.clock.now_ns())

    def _hear(self, routing_id: bytes, message: AnyMessage, at_ns: int) -> None:
        if isinstance(message, Hello):
            if message.role != "disposition":
                self.others.add(message.role)
                return
            self._routing_id, self.hello = routing_id, message  # it may have connected anew
            if message.boot not in self.boots:
                self.boots.append(message.boot)
        if routing_id == self._routing_id:
            self.heard.append(Heard(message, at_ns))

    # --- The station's clock, as it seems from afar ---

    def _stamp_ns(self) -> int:
        now_ns = self.clock.now_ns()
        away = self._distance == "slow to the controller"
        return now_ns - DISTANT_MS * NS_PER_MS if away else now_ns

    def _exchange(self, came_ns: int) -> tuple[int, int]:
        """When I heard and when I answered, as I stamp it."""
        stamp_ns = self._stamp_ns()
        return (stamp_ns if self._distance == "slow to the station" else came_ns), stamp_ns

    def _newest(self, now_ns: int) -> Heard | None:
        """The newest message that can have arrived, over the distance played."""
        away_ns = 0 if self._distance == "near" else DISTANT_MS * NS_PER_MS
        return next((h for h in reversed(self.heard) if h.at_ns <= now_ns - away_ns), None)
