"""The reference arm's socket: a DEALER around `ReferenceArm`, as its own process."""

from __future__ import annotations

import secrets
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import zmq

from control.arm import ReferenceArm
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
from edge.core.clock import NS_PER_MS, now_ns
from edge.core.errors import WireError

_HOST_BOOT = Path("/proc/sys/kernel/random/boot_id")


def host_boot() -> str:
    """The kernel's boot id: processes that share it share CLOCK_BOOTTIME; "" if unknown."""
    try:
        return _HOST_BOOT.read_text().strip()
    except OSError:
        return ""


def identity(*, rest: Rest, part_sensor: bool, line_stop: bool, simulated: bool) -> Hello:
    """This arm's Hello, under a boot id of its own."""
    return Hello(
        protocol=PROTOCOL,
        boot=secrets.token_hex(8),
        rest=rest,
        part_sensor=part_sensor,
        line_stop=line_stop,
        simulated=simulated,
        host=host_boot(),
    )


def serve(connect: str, hello: Hello, log_to: Path | None, say: Callable[[str], None]) -> None:
    """Play the arm at `connect` until SIGTERM or SIGINT; then say Bye and return.

    WireError where the address cannot be used. A message it cannot read is counted and dropped.
    """
    stopping = False

    def stop(signum: int, frame: object) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    try:
        sink = log_to.open("ab", buffering=0) if log_to else None
    except OSError as error:
        raise WireError(f"--log {log_to}: {error.strerror}") from None

    def log(entry: dict[str, Any]) -> None:
        if sink:
            sink.write(msgspec.json.encode(entry) + b"\n")
        if entry["event"] != "applied":
            say(" ".join(f"{key}={value}" for key, value in entry.items()))

    arm = ReferenceArm(hello, log)
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.linger = 0
        socket.immediate = 1  # a Hello queued for nobody would be answered minutes later
        socket.maxmsgsize = MAX_BYTES
        socket.reconnect_ivl, socket.reconnect_ivl_max = 20, 200
        try:
            socket.connect(connect)
        except zmq.ZMQError as error:
            raise WireError(f"--connect {connect}: {error.strerror}") from None
        clock = _ArmClock()
        while not stopping:
            _turn(socket, arm, clock)
        if arm.session:
            bye = Bye(session=arm.session, stamp_ns=clock.now_ns(), reason="arm stopped")
            socket.linger = 200
            _send(socket, [bye])
    if sink:
        sink.close()


class _ArmClock:
    """The arm's own clock: the machine's, or, for a simulated arm in a session, the last Tick."""

    def __init__(self) -> None:
        self._tick_ns: int | None = None

    def now_ns(self) -> int:
        return now_ns() if self._tick_ns is None else self._tick_ns

    def set(self, tick_ns: int | None) -> None:
        self._tick_ns = tick_ns


def _turn(socket: zmq.Socket[bytes], arm: ReferenceArm, clock: _ArmClock) -> None:
    """Wait for the next message or instant, answer what came, send what time brings.

    In this order, so that after a stall of its own the arm reads the beats that came meanwhile
    before it takes the station for lost.
    """
    socket.poll(_patience_ms(arm, clock))
    _answer(socket, arm, clock)
    _send(socket, arm.advance(clock.now_ns()))


def _answer(socket: zmq.Socket[bytes], arm: ReferenceArm, clock: _ArmClock) -> None:
    while True:
        try:
            data = socket.recv(zmq.NOBLOCK)
        except zmq.Again:
            return
        try:
            message = decode(data)
        except WireError:
            arm.dropped += 1
            continue
        if arm.simulated and isinstance(message, Welcome) and message.session != arm.session:
            clock.set(message.stamp_ns)
        elif arm.simulated and isinstance(message, Tick) and message.session == arm.session:
            clock.set(message.now_ns)
        _send(socket, arm.hear(message, clock.now_ns()))
        if arm.session == 0:
            clock.set(None)


def _send(socket: zmq.Socket[bytes], messages: list[AnyMessage]) -> None:
    """Never waits: with no station there, what cannot be said now is old when it can."""
    for message in messages:
        try:
            socket.send(encode(message), zmq.NOBLOCK)
        except zmq.Again:
            return


def _patience_ms(arm: ReferenceArm, clock: _ArmClock) -> int:
    due_ns = arm.due_ns(clock.now_ns())
    if due_ns is None:
        return 200
    # Rounded up: waking a part of a millisecond early would only spin.
    return min(200, max(0, -(-(due_ns - clock.now_ns()) // NS_PER_MS)))
