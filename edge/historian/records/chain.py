"""The exact bytes that are hashed and signed, so that anybody can check them without this code.

Numbers are signed, 8 bytes, most significant first; texts are UTF-8 as stored.

An event's hash is SHA-256 of
    the hash of the event before it (32 bytes; 32 zero bytes before event 1)
    event, session, part, at_ns, utc_ns (8 bytes each), the length of kind in bytes (4 bytes)
    kind, body
Events are numbered 1, 2, 3 without gaps. After a removal the chain goes on with the last
tombstone's hash_after, at its last + 1. An auditor's own check of a database without removals:

    import hashlib, sqlite3, struct, sys
    previous, expected = bytes(32), 1
    for *numbers, kind, body, found in sqlite3.connect(sys.argv[1]).execute(
        "SELECT event, session, part, at_ns, utc_ns, kind, body, hash FROM events ORDER BY event"
    ):
        head = struct.pack(">5qI", *numbers, len(kind.encode()))
        previous = hashlib.sha256(previous + head + kind.encode() + body.encode()).digest()
        assert (numbers[0], found) == (expected, previous), f"event {expected}"
        expected += 1
    print(previous.hex())

A checkpoint is an Ed25519 signature (RFC 8032) of
    b"edge checkpoint 1\\n", event, utc_ns, the event's hash
where the event is of kind `checkpoint`. A tombstone's is of
    b"edge tombstone 1\\n", first, last, events, parts, utc_ns, hash_before, hash_after, carried,
    reason
carried is SHA-256 over session, event, length of body in bytes (8 bytes each), body of each
session that goes on behind the removal although its `session` event is removed, by event.
The key's public half (32 bytes) is the row of `keys`, and the body of event 1 holds it in hex.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable

GENESIS = bytes(32)
_HEAD = struct.Struct(">5qI")
_CHECKPOINT = struct.Struct(">2q")
_TOMBSTONE = struct.Struct(">5q")
_SESSION = struct.Struct(">3q")


def link(
    previous: bytes,
    numbers: tuple[int, int, int, int, int],
    kind: bytes,
    body: bytes,
) -> bytes:
    """The hash of an event; numbers are event, session, part, at_ns and utc_ns."""
    head = _HEAD.pack(*numbers, len(kind))
    return hashlib.sha256(previous + head + kind + body).digest()


def checkpoint_text(event: int, utc_ns: int, digest: bytes) -> bytes:
    """What a checkpoint's signature is of."""
    return b"edge checkpoint 1\n" + _CHECKPOINT.pack(event, utc_ns) + digest


def tombstone_text(
    numbers: tuple[int, int, int, int, int], hashes: tuple[bytes, bytes, bytes], reason: bytes
) -> bytes:
    """What a tombstone's signature is of.

    numbers are first, last, events, parts and utc_ns; hashes those before, after and carried.
    """
    return b"edge tombstone 1\n" + _TOMBSTONE.pack(*numbers) + b"".join(hashes) + reason


def carried(sessions: Iterable[tuple[int, int, bytes]]) -> bytes:
    """The digest of (session, event, body) of sessions whose own event is removed."""
    digest = hashlib.sha256()
    for session, event, body in sessions:
        digest.update(_SESSION.pack(session, event, len(body)) + body)
    return digest.digest()


def heard(head: bytes, session: int, number: int) -> bytes:
    """Ties the number of the station's last message on record to the last event."""
    return hashlib.sha256(b"edge heard 1\n" + head + _CHECKPOINT.pack(session, number)).digest()
