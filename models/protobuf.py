"""Protobuf fields, read and written by hand: as much as a package needs, and nothing else.

A few dozen lines that can be reviewed, in front of the parser of ONNX Runtime that cannot.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
# A 2 MB network has about 10 top-level fields and 500 below; a file of millions is an attack.
MAX_FIELDS = 100_000


class FormatError(Exception):
    """Bytes that are not what they should be; the message is the reason, without a file name."""


class Field(msgspec.Struct, frozen=True):
    """One field: its tag begins at `at`, its content is start..end; value is set for varints."""

    number: int
    wire: int
    at: int
    start: int
    end: int
    value: int = 0


def fields(view: memoryview, most: int = MAX_FIELDS) -> Iterator[Field]:
    """The fields of a message, in order; FormatError when it is cut short, malformed, or there
    are more than `most`."""
    at, size, count = 0, len(view), 0
    while at < size:
        count += 1
        if count > most:
            raise FormatError(f"more than {most} fields in one message")
        tag, start = _varint(view, at)
        number, wire = tag >> 3, tag & 7
        value = 0
        if number == 0:
            raise FormatError(f"damaged: field number 0 at byte {at}")
        if wire == VARINT:
            value, end = _varint(view, start)
        elif wire == BYTES:
            length, start = _varint(view, start)
            end = start + length
        elif wire in (FIXED64, FIXED32):
            end = start + (8 if wire == FIXED64 else 4)
        else:
            raise FormatError(f"damaged: wire type {wire} at byte {at}")
        if end > size:
            raise FormatError(f"truncated: field {number} at byte {at} ends beyond the file")
        yield Field(number, wire, at, start, end, value)
        at = end


def numbers(view: memoryview) -> Iterator[int]:
    """The varints of a packed field, in order, as signed 64-bit numbers."""
    at, size = 0, len(view)
    while at < size:
        value, at = _varint(view, at)
        yield signed(value)


def signed(value: int) -> int:
    """A varint as the int64 it stands for."""
    return value - (1 << 64) if value >> 63 else value


def text_pair(view: memoryview) -> tuple[str, str]:
    """A StringStringEntryProto: (key, value)."""
    key = value = ""
    for item in fields(view, 2):
        if item.wire != BYTES or item.number not in (1, 2):
            raise FormatError("damaged: a metadata entry that is not a pair of texts")
        try:
            text = str(view[item.start : item.end], "utf-8")
        except UnicodeDecodeError:
            raise FormatError("damaged: a metadata entry that is not UTF-8") from None
        if item.number == 1:
            key = text
        else:
            value = text
    return key, value


def entry(number: int, key: str, value: str) -> bytes:
    """A StringStringEntryProto as field `number` of the message it is appended to."""
    pair = _text(1, key) + _text(2, value)
    return varint(number << 3 | BYTES) + varint(len(pair)) + pair


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 64:
        if at >= len(view):
            raise FormatError("truncated: the file ends inside a number")
        byte = view[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            if value >> 64:
                break
            return value, at
        shift += 7
    raise FormatError(f"damaged: a number of more than 64 bits at byte {at}")


def varint(value: int) -> bytes:
    """A whole number as protobuf writes it."""
    value &= (1 << 64) - 1  # negative numbers are two's complement
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _text(number: int, text: str) -> bytes:
    raw = text.encode()
    return varint(number << 3 | BYTES) + varint(len(raw)) + raw
