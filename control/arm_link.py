"""The reference arm as a process: `ReferenceArm` between a DEALER and its part sensor."""

from __future__ import annotations

import os
import secrets
import signal
import stat
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import zmq

from control.arm import MOVES_PARTS, Log, ReferenceArm
from control.offset import host_boot
from control.wire import (
    MAX_BYTES,
    PROTOCOL,
    AnyMessage,
    Bye,
    Hello,
    Rest,
    Tick,
    Welcome,
    decode,
    encode,
)
from edge.core.clock import NS_PER_MS, NS_PER_S, now_ns
from edge.core.errors import WireError
from edge.core.process import set_slice

Secure = Callable[[zmq.Socket[bytes]], None]
SLICE_NS = 100_000  # let in at once when a message wakes it, where the kernel can
RENEW_NS = NS_PER_S  # a secured connection without a Welcome for so long is made anew


def identity(
    *,
    rest: Rest,
    part_sensor: bool,
    line_stop: bool,
    simulated: bool,
    role: str = MOVES_PARTS,
) -> Hello:
    """This arm's Hello, under a boot id of its own."""
    return Hello(
        protocol=PROTOCOL,
        boot=secrets.token_hex(8),
        role=role,
        rest=rest,
        part_sensor=part_sensor,
        line_stop=line_stop,
        simulated=simulated,
        host=host_boot(),
        capabilities=("rework", "pose"),
    )


def serve(
    connect: str,
    hello: Hello,
    log_to: Path | None,
    say: Callable[[str], None],
    *,
    sensor: Path | None = None,
    move_ms: float | None = None,
    confirm: bool = False,
    state: bool = False,
    secure: Secure | None = None,
) -> None:
    """Play the arm at `connect` until SIGTERM or SIGINT; then say Bye and return.

    sensor: a FIFO or device, one line a part that comes by. move_ms: send Done this long after
    a part's action; confirm, state: send Confirm and State. The Hello then says so. secure: called
    with the socket before it connects. WireError where an address or the sensor cannot be used.
    """
    if sensor and hello.role != MOVES_PARTS:
        raise WireError(f"--sensor {sensor}: the role {hello.role} moves no parts")
    said = {"done": move_ms is not None, "confirm": confirm, "state": state}
    capabilities = (*hello.capabilities, *(name for name, can in said.items() if can))
    hello = msgspec.structs.replace(
        hello, capabilities=capabilities, part_sensor=hello.part_sensor or sensor is not None
    )
    set_slice(SLICE_NS)
    with ExitStack() as opened:
        stopping = _Stop(opened)
        log = _log(log_to, say, opened)
        move_ns = round((move_ms or 0) * NS_PER_MS)
        arm = ReferenceArm(hello, log, move_ns=move_ns, sensor=sensor is not None)
        lines = _Lines(sensor, opened) if sensor else None
        context = opened.enter_context(zmq.Context())
        link = _Link(lambda: _connect(context, connect, secure), arm, lines)
        opened.callback(link.close)
        while not stopping.asked:
            link.turn()
            if secure and link.is_unwelcome():
                link.renew()
        link.leave()


class _Stop:
    """True once SIGTERM or SIGINT has come."""

    def __init__(self, opened: ExitStack) -> None:
        self.asked = False
        for number in (signal.SIGTERM, signal.SIGINT):
            opened.callback(signal.signal, number, signal.signal(number, self._ask))

    def _ask(self, signum: int, frame: object) -> None:
        self.asked = True


def _log(log_to: Path | None, say: Callable[[str], None], opened: ExitStack) -> Log:
    try:
        sink = opened.enter_context(log_to.open("ab", buffering=0)) if log_to else None
    except OSError as error:
        raise WireError(f"--log {log_to}: {error.strerror}") from None

    def log(entry: dict[str, Any]) -> None:
        if sink:
            sink.write(msgspec.json.encode(entry) + b"\n")
        if entry["event"] not in ("applied", "sensed"):  # what happens to every part is no news
            say(" ".join(f"{key}={value}" for key, value in entry.items()))

    return log


def _connect(
    context: zmq.Context[zmq.Socket[bytes]], address: str, secure: Secure | None
) -> zmq.Socket[bytes]:
    socket = context.socket(zmq.DEALER)
    socket.linger = 0
    socket.immediate = 1  # a Hello queued for nobody would be answered minutes later
    socket.maxmsgsize = MAX_BYTES
    socket.reconnect_ivl, socket.reconnect_ivl_max = 20, 200
    if secure:
        secure(socket)
    try:
        socket.connect(address)
    except zmq.ZMQError as error:
        socket.close()
        raise WireError(f"--connect {address}: {error.strerror}") from None
    return socket


class _Lines:
    """The part sensor: a FIFO or a device that gives one line a part."""

    def __init__(self, path: Path, opened: ExitStack) -> None:
        self._path = path
        try:
            # Read-write, so that a FIFO is never at its end while nobody writes.
            self._fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        except OSError as error:
            raise WireError(f"--sensor {path}: {error.strerror}; try mkfifo {path}") from None
        opened.callback(os.close, self._fd)
        if stat.S_ISREG(os.fstat(self._fd).st_mode):  # always readable, and always at its end
            raise WireError(f"--sensor {path}: a plain file; allowed: a FIFO or a device")

    def fileno(self) -> int:
        return self._fd

    def passed(self) -> int:
        """How many parts came by since the last call; never waits."""
        try:
            data = os.read(self._fd, 4096)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise WireError(f"--sensor {self._path}: {error.strerror}") from None
        if not data:  # an arm that promised a sensor must not go on without
            raise WireError(f"--sensor {self._path}: it has ended")
        return data.count(b"\n")


class _Link:
    """An arm between its socket and its part sensor.

    Its clock is the machine's, or, for a simulated arm in a session, the last Tick.
    """

    def __init__(
        self, connect: Callable[[], zmq.Socket[bytes]], arm: ReferenceArm, lines: _Lines | None
    ) -> None:
        self._connect, self._arm, self._lines = connect, arm, lines
        self._socket, self._since_ns = connect(), now_ns()
        self._tick_ns: int | None = None
        self._poller = zmq.Poller()
        self._poller.register(self._socket, zmq.POLLIN)
        if lines:
            self._poller.register(lines.fileno(), zmq.POLLIN)

    def turn(self) -> None:
        """Wait for the next message, part or instant; answer, sense, send what time brings.

        In this order, so that after a stall of its own the arm reads the beats and Expects that
        came meanwhile before it takes the station for lost or a part for a stranger.
        """
        self._poller.poll(self._patience_ms())
        self._answer()
        for _ in range(self._lines.passed() if self._lines else 0):
            self._send(self._arm.sense(self._now_ns()))
        self._send(self._arm.advance(self._now_ns()))

    def is_unwelcome(self) -> bool:
        """Whether this connection has brought no Welcome for a while."""
        if self._arm.session:
            self._since_ns = now_ns()
        return now_ns() - self._since_ns > RENEW_NS

    def renew(self) -> None:
        """Connect anew: ZeroMQ gives up for good on a station that has once refused its key."""
        self._poller.unregister(self._socket)
        self._socket.close()
        self._socket, self._since_ns = self._connect(), now_ns()
        self._poller.register(self._socket, zmq.POLLIN)

    def close(self) -> None:
        self._socket.close()

    def leave(self) -> None:
        """Say Bye, if there is somebody to say it to."""
        if session := self._arm.session:
            bye = Bye(session=session, stamp_ns=self._now_ns(), reason="arm stopped")
            self._socket.linger = 200
            self._send([bye])

    def _now_ns(self) -> int:
        return now_ns() if self._tick_ns is None else self._tick_ns

    def _answer(self) -> None:
        while True:
            try:
                data = self._socket.recv(zmq.NOBLOCK)
            except zmq.Again:
                return
            heard_ns = self._now_ns()
            try:
                message = decode(data)
            except WireError:
                self._arm.dropped += 1
                continue
            if self._arm.simulated:
                self._follow(message)
                heard_ns = self._now_ns()
            self._send(self._arm.hear(message, heard_ns))
            if self._arm.session == 0:
                self._tick_ns = None

    def _follow(self, message: AnyMessage) -> None:
        """A simulated arm's clock is what the station says it is."""
        if isinstance(message, Welcome) and message.session != self._arm.session:
            self._tick_ns = message.stamp_ns
        elif isinstance(message, Tick) and message.session == self._arm.session:
            self._tick_ns = message.now_ns

    def _send(self, messages: list[AnyMessage]) -> None:
        """Never waits: with no station there, what cannot be said now is old when it can."""
        for message in messages:
            try:
                self._socket.send(encode(message), zmq.NOBLOCK)
            except zmq.Again:
                return

    def _patience_ms(self) -> int:
        now_ns = self._now_ns()
        due_ns = self._arm.due_ns(now_ns)
        if due_ns is None:
            return 200
        # Rounded up: waking a part of a millisecond early would only spin.
        return min(200, max(0, -(-(due_ns - now_ns) // NS_PER_MS)))
