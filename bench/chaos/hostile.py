"""Bytes nobody should send, to every socket a station has."""

from __future__ import annotations

import random
import socket
from contextlib import suppress
from pathlib import Path

import zmq

from control.wire import MAX_BYTES, PROTOCOL, Ack, Beat, Bye, Hello, Welcome, encode
from edge.core.types import Action

_SAID_WITHIN_MS = 20


def messages(dice: random.Random) -> list[bytes]:
    """Noise, cut and altered messages, forged acks and beats, Hellos that must not be welcomed."""
    honest = [
        encode(Hello(protocol=PROTOCOL, boot="h")),
        encode(Ack(session=dice.getrandbits(63), part=1, state="applied", action=Action.ACCEPT)),
        encode(Beat(session=dice.getrandbits(63), counts={Action.ACCEPT: 1 << 40})),
        encode(Bye(session=dice.getrandbits(63))),
        encode(Welcome(boot="h", protocol=1, beat_ns=1, lost_ns=1, echo_stamp_ns=0,
                       echo_received_ns=0)),
    ]  # fmt: skip
    altered = []
    for data in honest:
        bad = bytearray(data)
        bad[dice.randrange(len(bad))] ^= 1 << dice.randrange(8)
        altered += [bytes(bad[: dice.randrange(len(bad))]), data[:-1]]
    return [
        *(dice.randbytes(dice.choice((0, 1, 7, 100, 5000))) for _ in range(4)),
        *altered,
        *honest[1:],
        encode(Hello(protocol=PROTOCOL + dice.randrange(1, 99), boot="newer")),
        encode(Hello(protocol=PROTOCOL, boot="careless", rest="pass")),
        encode(Hello(protocol=PROTOCOL, boot="dreaming", simulated=True)),
        b"\x81" * dice.randrange(1, 2000),  # maps within maps
    ]


def attack(ports: tuple[int, ...], desk: Path, dice: random.Random) -> bool:
    """Say all of it, once: raw bytes to every port and the control socket, messages over ZeroMQ.

    False where some socket could not even be reached.
    """
    reached = [_raw(str(desk), socket.AF_UNIX, dice)]
    for port in ports:
        reached.append(_raw(("127.0.0.1", port), socket.AF_INET, dice))
        _over_zmq(f"tcp://127.0.0.1:{port}", dice)
    return all(reached)


def _raw(address: object, family: int, dice: random.Random) -> bool:
    greeting = bytes.fromhex("ff00000000000000017f0301") + b"NULL".ljust(20, b"\0") + bytes(32)
    data = dice.choice((b"", b'{"verb": "hold"', greeting)) + dice.randbytes(dice.randrange(600))
    with socket.socket(family) as link:
        link.settimeout(_SAID_WITHIN_MS / 1000)
        try:
            link.connect(address)  # type: ignore[arg-type]
        except OSError:
            return False
        with suppress(OSError):  # it hung up on us: that is its right
            link.sendall(data)
    return True


def _over_zmq(address: str, dice: random.Random) -> None:
    with zmq.Context() as context, context.socket(zmq.DEALER) as peer:
        peer.linger = peer.sndtimeo = _SAID_WITHIN_MS
        peer.connect(address)
        with suppress(zmq.Again):  # it hung up: a publisher does, on anyone who is no subscriber
            for data in messages(dice):
                peer.send(data)
            peer.send_multipart([b"two", b"frames"])
            if dice.randrange(8) == 0:
                peer.send(bytes(MAX_BYTES + 1))
