"""The station's side feed: every record and event to another process, without ever waiting.

Display and scoring run over there, so that drawing a table cannot make a part late.
"""

from __future__ import annotations

import socket

import msgspec

from edge.core.ledger import Balance
from edge.core.ports import Recorder
from edge.core.types import PartRecord


class FedPart(msgspec.Struct, frozen=True, tag="part"):
    """A finished part; lost counts what the feed could not take before it."""

    record: PartRecord
    lost: int


class FedEvent(msgspec.Struct, frozen=True, tag="event"):
    """Something else worth a line."""

    kind: str
    part: int
    detail: str


class FedEnd(msgspec.Struct, frozen=True, tag="end"):
    """The run is over: the station's own counts, and what the feed had to leave out."""

    balance: Balance
    lost: int


Fed = FedPart | FedEvent | FedEnd
_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(Fed)


class Feed:
    """A recorder that sends over a SEQPACKET socket; what does not fit is counted, not awaited."""

    def __init__(self, link: socket.socket) -> None:
        self._link, self.lost = link, 0

    def part(self, record: PartRecord) -> None:
        self._send(FedPart(record, self.lost))

    def event(self, kind: str, part: int, detail: str) -> None:
        self._send(FedEvent(kind, part, detail))

    def end(self, balance: Balance) -> None:
        """Close the books; this one message may wait, the loop is over."""
        self._link.setblocking(True)
        self._link.send(_encode(FedEnd(balance, self.lost)))
        self._link.close()

    def _send(self, message: Fed) -> None:
        try:
            self._link.send(_encode(message), socket.MSG_DONTWAIT)
        except (OSError, OverflowError, ValueError):  # full, the reader gone, or not to be encoded
            self.lost += 1


def read(link: socket.socket) -> Fed | None:
    """The next message; None when the station has closed the feed."""
    data = link.recv(1 << 17)
    return _decoder.decode(data) if data else None


def tell(message: Fed, *recorders: Recorder) -> None:
    """Pass a fed message on to recorders of this process."""
    for recorder in recorders:
        match message:
            case FedPart():
                recorder.part(message.record)
            case FedEvent():
                recorder.event(message.kind, message.part, message.detail)
            case FedEnd():
                pass
