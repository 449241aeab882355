"""Who may speak on a bound socket: CURVE with an allow-list, and every refusal counted.

ZAP refuses and counts a wrong client key. A client without a key, with PLAIN or with another
server's key never gets as far; only the socket's monitor tells of it. Both have a thread of their
own: no handshake waits for the loop, nor the loop for a flood of them, and the address of a peer
can be asked for only while it is there.
"""

from __future__ import annotations

import asyncio
import ipaddress
import math
import os
import socket as sockets
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping

import zmq
from zmq.auth import Authenticator
from zmq.constants import Event as Heard
from zmq.utils.monitor import parse_monitor_message

from control.keys import Key
from edge.core.clock import NS_PER_S
from edge.core.errors import WireError

Event = Callable[[str, int, str], None]
_Refuse = Callable[[str, str, str], None]  # kind, address, why
QUIET_NS = 60 * NS_PER_S  # one line a minute and address: a peer retries ten times a second
ADDRESSES = 1024  # that many are remembered; beyond it refusals are counted and not told
REPORTS_A_TURN = 16
_STOP_S = 1.0  # a closed socket's monitor ends when its linger does

# Of a wrong client key the monitor tells too (HANDSHAKE_FAILED_AUTH): ZAP has counted that one.
_FAILED = Heard.HANDSHAKE_FAILED_NO_DETAIL | Heard.HANDSHAKE_FAILED_PROTOCOL
_WATCHED = Heard.ACCEPTED | Heard.DISCONNECTED | Heard.MONITOR_STOPPED | _FAILED
_WHY: dict[int, str] = {
    zmq.PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH: "no CURVE key",
    zmq.PROTOCOL_ERROR_ZMTP_CRYPTOGRAPHIC: "made for another server key",
}
_Bytes = zmq.Socket[bytes]
_Zmq = zmq.Context[_Bytes]


class Gate:
    """Makes sockets of one context CURVE servers and lets in the allowed keys, nobody else.

    allowed: public key to the roles it may claim. refused: counts by kind, `zap` (a key that is
    not allowed) and `handshake` (whatever ended before). One a context, closed before it.
    """

    def __init__(
        self,
        context: _Zmq,
        domain: str,
        server: Key,
        allowed: Mapping[str, frozenset[str]],
        event: Event,
        now_ns: Callable[[], int],
    ) -> None:
        if domain in ("", "*"):
            raise ValueError("a ZAP domain has a name: to libzmq, '' is none and '*' only a name")
        self._domain, self._server, self._allowed = domain, server, dict(allowed)
        self._event, self._failed, self._closed = event, False, False
        self._secured: list[_Bytes] = []
        self._porter = _Porter(context, domain, frozenset(allowed), now_ns)
        self.refused = self._porter.refused

    def secure(self, socket: _Bytes) -> None:
        """Make a socket that is not bound yet a CURVE server behind this gate."""
        if socket.last_endpoint:
            raise ValueError("secure a socket before it is bound: later is silently too late")
        socket.curve_server = True
        socket.curve_secretkey = self._server.secret.encode("ascii")
        socket.zap_domain = self._domain.encode()
        # Without it libzmq lets every key in while nobody answers ZAP.
        socket.zap_enforce_domain = True
        self._secured.append(socket)
        address = f"inproc://gate-{id(self):x}-{len(self._secured)}"
        socket.monitor(address, _WATCHED)
        self._porter.watch(address)

    def role_allowed(self, key: str, role: str) -> bool:
        """Whether the holder of this public key may claim `role`."""
        return role in self._allowed.get(key, ())

    def poll(self) -> None:
        """Tell of refusals, some at a time; never waits."""
        for _ in range(min(len(self._porter.reports), REPORTS_A_TURN)):
            self._event("peer_refused", 0, self._porter.reports.popleft())
        if not (self._failed or self._closed or self._porter.is_alive()):
            self._failed = True
            self._event("gate_failed", 0, "its thread has ended; nobody new is let in")

    def close(self) -> None:
        """End the thread and the monitors; the sockets live on and let nobody new in."""
        if self._closed:
            return
        self._closed = True
        for socket in (socket for socket in self._secured if not socket.closed):
            socket.disable_monitor()
        self._porter.stop()


def secure_client(socket: _Bytes, own: Key, server_public: str) -> None:
    """Make a socket that is not connected yet a CURVE client of the holder of `server_public`."""
    socket.curve_publickey = own.public.encode("ascii")
    socket.curve_secretkey = own.secret.encode("ascii")
    socket.curve_serverkey = server_public.encode("ascii")


def key_of(frame: zmq.Frame) -> str:
    """The public key a frame came with, or ""; only on a secured socket more than a claim."""
    try:
        return str(frame.get("User-Id"))
    except zmq.ZMQError:
        return ""


def is_local(address: str) -> bool:
    """Whether nobody outside this machine can reach a socket bound to `address`."""
    transport, _, rest = address.partition("://")
    host = rest.rpartition(":")[0].removeprefix("[").removesuffix("]")
    if transport != "tcp" or host == "localhost":
        return transport in ("tcp", "ipc", "inproc")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # an interface, a name, "*": whatever it means, not surely local
        return False


class _Porter(threading.Thread):
    """The gate's thread; the loop reads its `refused` and takes from its `reports`."""

    def __init__(
        self, context: _Zmq, domain: str, keys: frozenset[str], now_ns: Callable[[], int]
    ) -> None:
        super().__init__(name="gate", daemon=True)
        # Both keys from the start: a dict that grows cannot be copied by another thread.
        self.refused: Counter[str] = Counter(zap=0, handshake=0)
        self.reports: deque[str] = deque(maxlen=ADDRESSES)
        self._keys, self._now_ns, self._knocking = keys, now_ns, ""
        self._told_ns: dict[tuple[str, str], int] = {}  # oldest first
        self._watches: dict[_Bytes, _Watch] = {}
        self._zap = Authenticator(context)
        self._zap.configure_curve_callback(domain, self)
        try:
            self._zap.start()
        except zmq.ZMQError as error:
            self._zap.stop()
            raise WireError(f"ZAP: {error.strerror}; allowed: one gate a context") from None
        self.orders, self._ordered = context.socket(zmq.PAIR), context.socket(zmq.PAIR)
        self.orders.bind(f"inproc://gate-{id(self):x}")
        self._ordered.connect(f"inproc://gate-{id(self):x}")
        self.start()

    def watch(self, address: str) -> None:
        """Read this monitor, from here on: libzmq waits where a monitor has no reader."""
        watch = _Watch(self._zap.context, address, self._refuse)
        self._watches[watch.reader] = watch
        self.orders.send(b"watch")

    def stop(self) -> None:
        """End the thread, then close its sockets: not earlier, even where it ended by itself."""
        self.orders.send(b"")
        self.join(2 * _STOP_S)
        for socket in (*self._watches, self.orders, self._ordered, self._zap.zap_socket):
            socket.close(linger=0)

    def run(self) -> None:
        poller, until_s = zmq.Poller(), math.inf
        poller.register(self._ordered, zmq.POLLIN)
        poller.register(self._zap.zap_socket, zmq.POLLIN)
        with asyncio.Runner() as runner:
            while until_s == math.inf or (self._watches and time.monotonic() < until_s):
                for socket, _ in poller.poll(None if until_s == math.inf else 100):
                    if watch := self._watches.get(socket):
                        if not watch.read():
                            poller.unregister(socket)
                            self._watches.pop(socket).reader.close()
                    elif socket is self._zap.zap_socket:
                        request = socket.recv_multipart()
                        self._knocking = request[3].decode(errors="replace")
                        runner.run(self._zap.handle_zap_message(request))
                    elif socket.recv() == b"watch":
                        for reader in list(self._watches):
                            poller.register(reader, zmq.POLLIN)
                    else:
                        until_s = time.monotonic() + _STOP_S

    def callback(self, domain: str, key: bytes) -> bool:
        """The authenticator's question: is this key let in?"""
        public = key.decode("ascii")
        if public not in self._keys:
            self._refuse("zap", self._knocking, f"key {public} is not allowed")
        return public in self._keys

    def _refuse(self, kind: str, address: str, why: str) -> None:
        """Count a refusal, and tell of it once a minute: by address, as keys cost nothing."""
        self.refused[kind] += 1
        now_ns = self._now_ns()
        while self._told_ns and now_ns - next(iter(self._told_ns.values())) >= QUIET_NS:
            self._told_ns.pop(next(iter(self._told_ns)))
        if (kind, address) not in self._told_ns and len(self._told_ns) < ADDRESSES:
            self._told_ns[kind, address] = now_ns
            self.reports.append(f"{kind}: {address}: {why}")


class _Watch:
    """One secured socket's monitor: whose descriptor is whose, and who was turned away."""

    def __init__(self, context: _Zmq, address: str, refuse: _Refuse) -> None:
        self._refuse, self._why = refuse, ""
        self._peers: dict[int, str] = {}
        self.reader = context.socket(zmq.PAIR)
        self.reader.rcvhwm = 0  # where a monitor's queue is full, libzmq's own thread waits
        self.reader.connect(address)

    def read(self) -> bool:
        """Take one event; False when it was the last."""
        heard = parse_monitor_message(self.reader.recv_multipart())
        event, value = heard["event"], int(heard["value"])
        if event == Heard.ACCEPTED:
            self._peers[value] = self._peer(value) or f"somebody at {heard['endpoint'].decode()}"
        elif event == Heard.DISCONNECTED:
            address, why, self._why = self._peers.pop(value, "somebody"), self._why, ""
            if why:  # told just before, of the same connection: the context has one thread
                self._refuse("handshake", address, why)
        elif event == Heard.HANDSHAKE_FAILED_PROTOCOL:
            self._why = _WHY.get(value, f"protocol error {value:#x}")
        elif event == Heard.HANDSHAKE_FAILED_NO_DETAIL:
            self._why = f"left during the handshake: {os.strerror(value)}"
        return event != Heard.MONITOR_STOPPED

    def _peer(self, descriptor: int) -> str:
        """The remote address of an accepted connection; "" where it cannot be had for certain."""
        try:
            with sockets.fromfd(descriptor, sockets.AF_INET, sockets.SOCK_STREAM) as peer:
                # libzmq tells of a connection's end before it closes it: with nothing told since,
                # the number cannot yet be another connection's.
                certain = not self.reader.poll(0)
                name = peer.getpeername()
        except OSError:
            return ""
        return str(name[0]) if certain and isinstance(name, tuple) else ""
