"""Who gets through a gate, over real sockets, and what is counted and told of the others."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections import Counter

import pytest
import zmq

from control import gate as gates
from control.gate import Gate, is_local, key_of, secure_client
from control.keys import Key
from edge.core.errors import WireError


def pair() -> Key:
    public, secret = zmq.curve_keypair()
    return Key(public.decode(), secret.decode())


SERVER, ARM, FOLLOWER, STRANGER = pair(), pair(), pair(), pair()
ALLOWED = {
    ARM.public: frozenset({"disposition", "follower"}),
    FOLLOWER.public: frozenset({"follower"}),
}


class Door:
    """A secured ROUTER, its gate, and whoever knocks."""

    def __init__(self, address: str = "tcp://127.0.0.1:*") -> None:
        self.now_ns = 1
        self.told: list[str] = []
        self.context, self.outside = zmq.Context(), zmq.Context()
        self.gate = Gate(
            self.context, "edge", SERVER, ALLOWED, self._event, now_ns=lambda: self.now_ns
        )
        self.router = self.context.socket(zmq.ROUTER)
        self.router.linger = 0
        self.gate.secure(self.router)
        self.router.bind(address)
        self.address = self.router.last_endpoint.decode()
        self.knockers: list[zmq.Socket[bytes]] = []

    def _event(self, kind: str, part: int, detail: str) -> None:
        assert (kind, part) == ("peer_refused", 0)
        self.told.append(detail)

    def knock(self, set_up=lambda knocker: None) -> zmq.Socket[bytes]:
        knocker = self.outside.socket(zmq.DEALER)
        self.knockers.append(knocker)
        knocker.linger, knocker.reconnect_ivl = 0, 10_000  # each knocks once
        set_up(knocker)
        knocker.connect(self.address)
        with contextlib.suppress(zmq.Again):  # refused already: it has nobody to send to
            knocker.send(b"let me in", zmq.NOBLOCK)
        return knocker

    def heard(self, ms: int = 3000) -> list[zmq.Frame]:
        return self.router.recv_multipart(copy=False) if self.router.poll(ms) else []

    def refusals(self, kind: str, count: int) -> list[str]:
        """What poll has told by the time so many are counted."""
        until = time.monotonic() + 3
        while self.gate.refused[kind] < count and time.monotonic() < until:
            time.sleep(0.002)
        time.sleep(0.01)  # a moment for one too many
        self.gate.poll()
        return self.told

    def close(self) -> None:
        self.gate.close()
        self.router.close()
        self.outside.destroy(linger=0)
        self.context.term()


@pytest.fixture
def door():
    door = Door()
    yield door
    door.close()


def curve(own: Key, server: Key = SERVER):
    return lambda knocker: secure_client(knocker, own, server.public)


def plain(knocker) -> None:
    knocker.plain_username, knocker.plain_password = b"user", b"word"


@pytest.mark.parametrize("transport", ["tcp", "ipc"])
def test_an_allowed_key_is_let_in_and_is_on_every_message(transport, tmp_path):
    door = Door("tcp://127.0.0.1:*" if transport == "tcp" else f"ipc://{tmp_path}/door")
    arm, follower = door.knock(curve(ARM)), door.knock(curve(FOLLOWER))
    keys = {key_of(door.heard()[-1]) for _ in "12"}
    assert keys == {ARM.public, FOLLOWER.public}
    arm.send(b"again")
    frames = door.heard()
    assert (frames[-1].bytes, key_of(frames[-1])) == (b"again", ARM.public)
    door.router.send_multipart([frames[0], b"hello"])
    assert arm.poll(3000)
    assert not follower.poll(0)
    assert door.refusals("zap", 0) == []
    assert not any(door.gate.refused.values())
    door.close()


@pytest.mark.parametrize(
    ("key", "role", "allowed"),
    [
        (ARM.public, "disposition", True),
        (FOLLOWER.public, "follower", True),
        (FOLLOWER.public, "disposition", False),
        (STRANGER.public, "follower", False),
        ("", "follower", False),
    ],
)
def test_roles(door, key, role, allowed):
    assert door.gate.role_allowed(key, role) is allowed


@pytest.mark.parametrize(
    ("set_up", "kind", "words"),
    [
        (curve(STRANGER), "zap", f"zap: 127.0.0.1: key {STRANGER.public} is not allowed"),
        (curve(ARM, STRANGER), "handshake", "made for another server key"),
        (lambda knocker: None, "handshake", ""),
        (plain, "handshake", ""),
    ],
    ids=["wrong client key", "wrong server key", "no key", "PLAIN"],
)
def test_the_others_are_refused_and_counted_once_as_one_kind(door, set_up, kind, words):
    door.knock(set_up)
    assert words in door.refusals(kind, 1)[0]
    assert door.gate.refused == Counter({kind: 1})
    assert not door.heard(0)
    door.knock(curve(ARM))
    assert key_of(door.heard()[-1]) == ARM.public


def test_a_peer_that_says_nothing_is_refused_in_the_end(door):
    router = door.context.socket(zmq.ROUTER)
    door.gate.secure(router)
    router.handshake_ivl = 50
    router.bind("tcp://127.0.0.1:*")
    port = int(router.last_endpoint.decode().rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)):
        assert "handshake: 127.0.0.1: left" in door.refusals("handshake", 1)[0]
    router.close()


def test_told_once_a_minute_and_address_but_always_counted(door):
    for count in (1, 2, 3):
        door.knock(curve(pair()))
        assert len(door.refusals("zap", count)) == 1
    door.now_ns += gates.QUIET_NS - 1
    door.knock(curve(pair()))
    assert len(door.refusals("zap", 4)) == 1
    door.now_ns += 1
    door.knock(curve(pair()))
    assert len(door.refusals("zap", 5)) == 2
    assert door.gate.refused == Counter(zap=5)


def test_the_memory_of_addresses_is_bounded_and_expires(door, monkeypatch):
    monkeypatch.setattr(gates, "ADDRESSES", 3)
    monkeypatch.setattr(gates, "REPORTS_A_TURN", 2)
    refuse = door.gate._porter._refuse  # a thousand hosts are not at hand
    for number in range(5):
        refuse("zap", f"10.0.0.{number}", "no")
    door.gate.poll()
    assert len(door.told) == 2  # some at a time
    door.gate.poll()
    door.gate.poll()
    assert door.told == [f"zap: 10.0.0.{number}: no" for number in range(3)]
    door.now_ns += gates.QUIET_NS
    refuse("zap", "10.0.0.9", "no")
    assert door.refusals("zap", 6)[3:] == ["zap: 10.0.0.9: no"]
    assert len(door.gate._porter._told_ns) == 1


@pytest.mark.parametrize("domain", ["", "*"])
def test_a_domain_is_named(domain):
    with pytest.raises(ValueError, match="a ZAP domain has a name"):
        Gate(zmq.Context.instance(), domain, SERVER, ALLOWED, lambda *_: None, lambda: 1)


def test_a_bound_socket_is_too_late(door):
    with pytest.raises(ValueError, match="before it is bound"):
        door.gate.secure(door.router)


def test_one_gate_a_context(door):
    with pytest.raises(WireError, match="one gate a context"):
        Gate(door.context, "edge", SERVER, ALLOWED, lambda *_: None, lambda: 1)


def test_without_its_gate_a_socket_lets_nobody_new_in_and_keeps_the_old(door):
    arm = door.knock(curve(ARM))
    assert door.heard()
    door.gate.close()
    door.gate.close()
    door.knock(curve(STRANGER))
    door.knock(curve(FOLLOWER))
    assert not door.heard(200)
    arm.send(b"still here")
    assert door.heard()[-1].bytes == b"still here"


def test_a_gate_whose_thread_has_ended_says_so_once(monkeypatch, door):
    events = []
    monkeypatch.setattr(door.gate, "_event", lambda *event: events.append(event))
    monkeypatch.setattr(gates, "_STOP_S", 0.05)
    door.gate._porter.orders.send(b"")
    door.gate._porter.join(3)
    door.gate.poll()
    door.gate.poll()
    assert [kind for kind, _, _ in events] == ["gate_failed"]
    door.knock(curve(ARM))
    assert not door.heard(100)


def test_a_gate_can_be_closed_at_once_and_a_socket_secured_and_never_bound(door):
    never = door.context.socket(zmq.PUB)
    door.gate.secure(never)
    door.gate.close()
    never.close()


def test_another_socket_of_the_context_is_not_behind_the_gate(door):
    free, peer = door.context.socket(zmq.ROUTER), door.outside.socket(zmq.DEALER)
    free.bind("tcp://127.0.0.1:*")
    peer.linger = 0
    peer.connect(free.last_endpoint.decode())
    peer.send(b"hello")
    assert free.poll(3000)
    assert key_of(free.recv_multipart(copy=False)[-1]) == ""
    free.close()
    peer.close()


@pytest.mark.parametrize("first", ["gate", "socket"])
def test_close_leaves_nothing_whatever_is_closed_first(first):
    door = Door()
    door.knock(curve(ARM))
    door.knock(curve(ARM, STRANGER))
    assert door.heard()
    if first == "socket":
        door.router.close(linger=100)
    ended = threading.Thread(target=door.close)
    ended.start()
    ended.join(3)
    assert not ended.is_alive()
    assert not [thread for thread in threading.enumerate() if thread.name == "gate"]


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("ipc:///run/edge.ipc", True),
        ("inproc://edge", True),
        ("tcp://127.0.0.1:5590", True),
        ("tcp://127.8.9.1:*", True),
        ("tcp://[::1]:5590", True),
        ("tcp://localhost:5590", True),
        ("tcp://0.0.0.0:5590", False),
        ("tcp://*:5590", False),
        ("tcp://[::]:5590", False),
        ("tcp://eth0:5590", False),
        ("tcp://lo:5590", False),
        ("tcp://192.168.1.5:5590", False),
        ("tcp://127.0.0.1.example.com:5590", False),
        ("tcp://localhost.example.com:5590", False),
        ("tcp://127.0.0.1:0;10.0.0.1:5590", False),
        ("tcp://127.0.0.1", False),
        ("udp://127.0.0.1:5590", False),
        ("127.0.0.1:5590", False),
        ("", False),
    ],
)
def test_is_local(address, local):
    assert is_local(address) is local
