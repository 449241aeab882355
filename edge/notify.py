"""sd_notify(3) without a library: systemd hears that the station is ready, and that it gets on.

The watchdog is fed from the deadline loop's own turns and from nowhere else. A timer or a thread
would go on feeding it while the loop stands still, which is the one thing it is there to notice.
"""

from __future__ import annotations

import os
import socket
import sys
from contextlib import suppress

FEEDS_A_WATCHDOG = 4  # systemd asks for two; four leave room for one feed that got lost
STATUS_CHARS = 500  # systemd drops a message of more than 4096 bytes whole
_NEVER_NS = sys.maxsize


class Notify:
    """The station's word to systemd; sends at most one datagram a call, never waits or raises."""

    def __init__(self, address: str = "", watchdog_us: int = 0) -> None:
        self.lost = 0  # messages that nobody took
        self._address, self._socket = _sockaddr(address), _socket() if address else None
        watched = self._socket is not None and watchdog_us > 0
        self._period_ns = watchdog_us * 1000 // FEEDS_A_WATCHDOG
        self._due_ns = 0 if watched else _NEVER_NS

    @classmethod
    def from_environment(cls) -> Notify:
        """What systemd told this very process; without systemd, one that does nothing."""
        pid = os.environ.get("WATCHDOG_PID", "")
        ours = pid in ("", str(os.getpid()))
        watchdog = os.environ.get("WATCHDOG_USEC", "") if ours else ""
        usable = watchdog.isascii() and watchdog.isdecimal() and len(watchdog) < 16
        return cls(os.environ.get("NOTIFY_SOCKET", ""), int(watchdog) if usable else 0)

    @property
    def watched(self) -> bool:
        """True when systemd expects to be fed."""
        return self._due_ns != _NEVER_NS

    def ready(self, status: str) -> None:
        """The start is over; the watchdog runs from here."""
        self._send(f"READY=1\nSTATUS={_one_line(status)}")

    def stopping(self) -> None:
        """No part is taken any more; the open ones are being finished."""
        self._send("STOPPING=1")

    def status(self, text: str) -> None:
        """The line `systemctl status` shows."""
        self._send(f"STATUS={_one_line(text)}")

    def progress(self, now_ns: int) -> None:
        """The loop took a turn; feeds the watchdog where a quarter of its time has passed."""
        if now_ns < self._due_ns:
            return
        # Also after a loss: to try again at once would cost every turn a system call.
        self._due_ns = now_ns + self._period_ns
        self._send("WATCHDOG=1")

    def close(self) -> None:
        """Let the socket go; everything after it is silence."""
        self._due_ns = _NEVER_NS
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, message: str) -> None:
        if self._socket is None:
            return
        try:
            # To an address each time, not a connection: systemd may bind its socket anew.
            flags = socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL
            self._socket.sendto(message.encode(errors="replace"), flags, self._address)
        except (OSError, ValueError):  # full, gone, or an address no kernel takes
            self.lost += 1


def _sockaddr(address: str) -> bytes:
    """systemd writes the zero byte of an abstract address as `@`."""
    name = os.fsencode(address)
    return b"\0" + name[1:] if name.startswith(b"@") else name


def _socket() -> socket.socket | None:
    with suppress(OSError):  # no descriptors left: the station inspects all the same
        return socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    return None


def _one_line(text: str) -> str:
    """A second line would be read as an assignment of its own."""
    return " ".join(text.split())[:STATUS_CHARS]
