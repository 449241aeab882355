"""The network between station and controller: a TCP relay that stalls, and loses acks.

Each controller has a port of its own here, and reaches the station only once it is let in, so
that a spare one can wait, started, for the other to be killed.
"""

from __future__ import annotations

import select
import selectors
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress

from control.wire import Ack, decode
from edge.core.errors import WireError

_GREETING = 64  # bytes of a ZMTP 3 greeting (RFC 37)
_COMMAND, _LONG = 0x04, 0x02  # flags of a frame


class AckLoser:
    """Passes a controller's ZMTP stream on, without the first final ack of chosen parts."""

    def __init__(self, is_lost: Callable[[int], bool]) -> None:
        self._is_lost = is_lost
        self._held = bytearray()
        self._greeting = _GREETING

    def pass_on(self, data: bytes) -> bytes:
        """The bytes that go on; a frame cut in the middle waits for its rest."""
        greeting = data[: self._greeting]  # at once: either side waits for the other's first bytes
        self._greeting -= len(greeting)
        held, out = self._held, bytearray(greeting)
        held += data[len(greeting) :]
        while len(held) >= 2:
            flags = held[0]
            head, size = (9, 0) if flags & _LONG else (2, held[1])
            if len(held) < head:
                break
            if flags & _LONG:
                (size,) = struct.unpack_from(">Q", held, 1)
            if len(held) < head + size:
                break
            frame = bytes(held[: head + size])
            del held[: head + size]
            if flags & _COMMAND or not self._loses(frame[head:]):
                out += frame
        return bytes(out)

    def _loses(self, body: bytes) -> bool:
        try:
            message = decode(body)
        except WireError:
            return False
        final = isinstance(message, Ack) and message.state != "armed"
        return final and isinstance(message, Ack) and self._is_lost(message.part)


class Link(threading.Thread):
    """One controller's way to the station: a listening port, open to the station when let in."""

    def __init__(self, station_port: int, is_lost: Callable[[int], bool]) -> None:
        super().__init__(name="chaos-link", daemon=True)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._station_port, self._is_lost = station_port, is_lost
        self.running = threading.Event()
        self.running.set()
        self._let_in = threading.Event()
        self._ended = False
        self.start()

    def is_knocked_at(self) -> bool:
        """Whether the controller is there and waits to be let in."""
        return bool(select.select([self._listener], [], [], 0)[0])

    def let_in(self) -> None:
        self._let_in.set()

    def end(self) -> None:
        self._ended = True
        self._let_in.set()
        self.running.set()

    def run(self) -> None:
        self._let_in.wait()
        self._listener.settimeout(0.2)
        station = ("127.0.0.1", self._station_port)
        with self._listener:
            while not self._ended:
                with suppress(OSError):
                    near, _ = self._listener.accept()
                    with near, socket.create_connection(station, timeout=2) as far:
                        self._relay(near, far)

    def _relay(self, near: socket.socket, far: socket.socket) -> None:
        for one in (near, far):
            one.settimeout(None)
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        acks = AckLoser(self._is_lost)
        with selectors.DefaultSelector() as selector:
            selector.register(near, selectors.EVENT_READ)
            selector.register(far, selectors.EVENT_READ)
            while not self._ended:
                for key, _ in selector.select(0.2):
                    self.running.wait()
                    try:
                        if key.fileobj is near:
                            data = near.recv(1 << 16)
                            far.sendall(acks.pass_on(data))
                        else:
                            data = far.recv(1 << 16)
                            near.sendall(data)
                    except OSError:
                        return
                    if not data:
                        return
