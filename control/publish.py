"""Verdicts, events and statistics for anyone who listens (MES, dashboards, loggers), as PUB.

Two frames a message: the topic (`verdict`, `event`, `statistics`) and a JSON object. PUB never
waits and drops what a slow listener does not take; `seq` counts every message, so that the
listener sees what it missed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import msgspec
import zmq

from control.gate import Gate
from edge.core.errors import WireError

Topic = Literal["verdict", "event", "statistics"]
LISTENER_BYTES = 1024  # a subscription is short; nobody sends this socket anything else


class Publisher:
    """A bound PUB socket. Made, used and closed in the loop's thread."""

    def __init__(
        self,
        bind: str,
        *,
        gate_for: Callable[[zmq.Context[zmq.Socket[bytes]]], Gate] | None = None,
    ) -> None:
        """gate_for: makes who may listen; None admits anyone."""
        self._bind = bind
        self._context = zmq.Context()
        self._gate = gate_for(self._context) if gate_for else None
        self._socket = self._context.socket(zmq.PUB)
        self._socket.linger = 0
        self._socket.maxmsgsize = LISTENER_BYTES
        self._socket.handshake_ivl = 5000
        if self._gate:
            self._gate.secure(self._socket)
        self._seq = 0
        try:
            self._socket.bind(bind)
        except zmq.ZMQError as error:
            self.close()
            reason = (error.strerror or "not an address").lower()
            allowed = "tcp://HOST:PORT | ipc://PATH"
            raise WireError(f"publish.bind = {bind}: {reason}; allowed: {allowed}") from None

    def send(self, topic: Topic, body: dict[str, Any]) -> None:
        """Publish one object; never waits, and what cannot be told leaves a gap in `seq`."""
        self._seq += 1
        with suppress(ValueError, zmq.ZMQError):  # text that is no UTF-8: no reason to stop parts
            data = msgspec.json.encode({"seq": self._seq, **body})
            self._socket.send_multipart((topic.encode(), data), zmq.NOBLOCK)

    @property
    def refused(self) -> Counter[str]:
        """Connections the gate has refused, by kind."""
        return self._gate.refused if self._gate else Counter()

    def poll(self) -> None:
        """Count and report who was refused."""
        if self._gate:
            self._gate.poll()

    def close(self) -> None:
        if self._gate:
            self._gate.close()
        self._socket.close(linger=200)
        self._context.term()
        if self._bind.startswith("ipc://"):
            Path(self._bind.removeprefix("ipc://")).unlink(missing_ok=True)
