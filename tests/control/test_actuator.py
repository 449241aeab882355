"""The station's socket and the reference arm over real ZeroMQ, the arm as its own process."""

from __future__ import annotations

import select
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import msgspec
import pytest
import zmq

from control.actuator import RouterActuator
from control.wire import Ack, Beat, Command, Confirm, Expect, Hello, decode, encode
from edge.core.clock import NS_PER_MS, SystemClock
from edge.core.config import ControllerOptions
from edge.core.errors import WireError
from edge.core.types import Action, Cause, Deadline, Decision, Outcome, Region

CLOCK = SystemClock()


def deadline(budget_ms: int = 2000) -> Deadline:
    """Generous, so that a busy machine fails no test; 50 ms where lateness is the subject."""
    now = CLOCK.now_ns()
    return Deadline(now, now + (budget_ms - 5) * NS_PER_MS, now + budget_ms * NS_PER_MS)


def accept(part: int) -> Decision:
    return Decision(part=part, action=Action.ACCEPT, cause=Cause.VERDICT)


class Bench:
    """A station's actuator and whoever connects to it."""

    def __init__(self, address: str, **options) -> None:
        self.events: list[tuple[str, int, str]] = []
        self.address = address
        self.actuator = RouterActuator(
            ControllerOptions(bind=address, wait_s=10.0, **options),
            CLOCK,
            ticking=False,
            event=lambda *event: self.events.append(event),
        )

    def pump(self, ms: float, until=lambda acks: False) -> list:
        """Turn like the loop does for a while; the acks that came."""
        acks, end = [], CLOCK.now_ns() + round(ms * NS_PER_MS)
        while CLOCK.now_ns() < end and not until(acks):
            due = min(end, self.actuator.due_ns())
            CLOCK.wait((self.actuator.fileno(),), due)
            while ack := self.actuator.poll(CLOCK.now_ns()):
                acks.append(ack)
        return acks

    def final(self, part: int, ms: float = 3000):
        def there(acks):
            return any(a.part == part and a.state != "armed" for a in acks)

        return next(a for a in self.pump(ms, there) if a.part == part and a.state != "armed")

    def kinds(self) -> set[str]:
        return {kind for kind, _, _ in self.events}


@pytest.fixture
def ipc(tmp_path: Path) -> str:
    return f"ipc://{tmp_path}/wire.ipc"


@pytest.fixture
def bench(ipc):
    bench = Bench(ipc)
    yield bench
    bench.actuator.close()


@pytest.fixture
def start_arm(tmp_path: Path):
    started = []

    def start(address: str, *arguments: str) -> Path:
        log = tmp_path / f"arm{len(started)}.jsonl"
        command = [sys.executable, "-P", "-m", "edge", "arm", "--connect", address]
        started.append(
            subprocess.Popen(
                [*command, "--log", str(log), *arguments],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        )
        return log

    yield start
    for process in started:
        process.send_signal(signal.SIGTERM)
        assert process.wait(5) == 0


def applied(log: Path) -> list[tuple[int, str, str]]:
    entries = [msgspec.json.decode(line) for line in log.read_bytes().splitlines()]
    return [(e["part"], e["action"], e["cause"]) for e in entries if e["event"] == "applied"]


def test_two_processes_one_action_a_part(bench, ipc, start_arm):
    log = start_arm(ipc)
    bench.actuator.wait_for_controller()
    for part in range(1, 51):
        due = deadline()
        assert bench.actuator.expect(part, part, Action.REJECT, due)
        sent = CLOCK.now_ns()
        assert bench.actuator.command(accept(part), due) > 0
        ack = bench.final(part)
        assert (ack.state, ack.action) == ("applied", Action.ACCEPT)
        assert sent <= ack.received_ns <= CLOCK.now_ns()
        assert ack.counts == {Action.ACCEPT: part}
    assert applied(log) == [(part, "accept", "command") for part in range(1, 51)]
    assert bench.actuator.counts == {Action.ACCEPT: 50}


def test_silence_from_the_station_is_the_default(bench, ipc, start_arm):
    log = start_arm(ipc)
    bench.actuator.wait_for_controller()
    bench.actuator.expect(1, 1, Action.REJECT, deadline(50))
    ack = bench.final(1)
    assert (ack.state, ack.action) == ("applied", Action.REJECT)
    assert applied(log) == [(1, "reject", "silence")]


class StoppableNetwork(threading.Thread):
    """A TCP relay that can stop for a while; bytes sent meanwhile arrive late, none are lost."""

    def __init__(self, to_port: int) -> None:
        super().__init__(daemon=True)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._to_port = to_port
        self.running = threading.Event()
        self.running.set()
        self.ended = False
        self.start()

    def run(self) -> None:
        near, _ = self._listener.accept()
        far = socket.create_connection(("127.0.0.1", self._to_port))
        with near, far, self._listener:
            while not self.ended:
                self.running.wait()
                for ready in select.select([near, far], [], [], 0.01)[0]:
                    data = ready.recv(65536)
                    if not data:
                        return
                    self.running.wait()
                    (far if ready is near else near).sendall(data)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_a_network_stopped_for_a_second_between_expect_and_accept_applies_no_accept(start_arm):
    port = free_port()
    bench = Bench(f"tcp://127.0.0.1:{port}", lost_ms=5000)
    network = StoppableNetwork(port)
    log = start_arm(f"tcp://127.0.0.1:{network.port}")
    bench.actuator.wait_for_controller()
    bench.pump(200)  # a few beats, so that the clocks are known well
    due = deadline(50)
    bench.actuator.expect(1, 1, Action.REJECT, due)
    bench.pump(20)
    network.running.clear()
    bench.actuator.command(accept(1), due)
    bench.pump(1000)
    network.running.set()
    bench.pump(500)
    assert [action for _, action, _ in applied(log)] == ["reject"]
    due = deadline()
    bench.actuator.expect(2, 2, Action.REJECT, due)
    bench.actuator.command(accept(2), due)
    assert bench.final(2).action is Action.ACCEPT
    network.ended = True
    network.join()
    bench.actuator.close()


def test_both_expect_and_accept_stuck_for_a_second_apply_no_accept(start_arm):
    """A bare duration would let both count as fresh on arrival."""
    port = free_port()
    bench = Bench(f"tcp://127.0.0.1:{port}", lost_ms=5000)
    network = StoppableNetwork(port)
    log = start_arm(f"tcp://127.0.0.1:{network.port}")
    bench.actuator.wait_for_controller()
    bench.pump(200)
    network.running.clear()
    due = deadline(50)
    bench.actuator.expect(1, 1, Action.REJECT, due)
    bench.actuator.command(accept(1), due)
    bench.pump(1000)
    network.running.set()
    bench.pump(500)
    assert [action for _, action, _ in applied(log)] == ["reject"]
    network.ended = True
    network.join()
    bench.actuator.close()


def test_a_new_station_is_a_new_session_and_the_old_parts_get_their_default(ipc, start_arm):
    first = Bench(ipc)
    log = start_arm(ipc)
    first.actuator.wait_for_controller()
    first.actuator.expect(1, 1, Action.REJECT, deadline())
    first.pump(10)
    old = first.actuator.session
    first.actuator.close()
    second = Bench(ipc)
    second.actuator.wait_for_controller()
    assert second.actuator.session != old
    due = deadline()
    second.actuator.expect(1, 1, Action.REJECT, due)
    second.actuator.command(accept(1), due)
    assert second.final(1).counts == {Action.ACCEPT: 1}
    assert [action for _, action, _ in applied(log)] == ["reject", "accept"]
    second.actuator.close()


def test_a_port_in_use_is_one_line_that_names_it(ipc):
    port = free_port()
    first = Bench(f"tcp://127.0.0.1:{port}")
    with pytest.raises(WireError, match=f"tcp://127.0.0.1:{port}: address already in use"):
        Bench(f"tcp://127.0.0.1:{port}")
    first.actuator.close()


@pytest.mark.parametrize("address", ["nonsense", "tcp://127.0.0.1", "ipc:///none/such/folder/x"])
def test_an_address_that_cannot_be_bound_is_one_line(address):
    with pytest.raises(WireError, match=f"controller.bind = {address}"):
        Bench(address)


def test_no_controller_is_one_line_that_says_how_to_start_one(ipc):
    alone = Bench(ipc)
    alone.actuator._options = ControllerOptions(bind=ipc, wait_s=0.05)
    with pytest.raises(WireError, match=r"no controller connected to .* edge arm --connect"):
        alone.actuator.wait_for_controller()
    alone.actuator.close()


class Peer:
    """A hand-made controller in this process."""

    def __init__(self, address: str) -> None:
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.DEALER)
        self.socket.linger = 0
        self.socket.connect(address)

    def send(self, *frames: bytes) -> None:
        self.socket.send_multipart(frames)

    def answer(self, bench: Bench):
        bench.pump(300, lambda acks: bool(self.socket.poll(0)))
        assert self.socket.poll(1000)
        return decode(self.socket.recv())

    def close(self) -> None:
        self.socket.close()
        self.context.term()


@pytest.fixture
def peer(ipc, bench):
    peers = []

    def connect() -> Peer:
        peers.append(Peer(ipc))
        return peers[-1]

    yield connect
    for peer in peers:
        peer.close()


@pytest.mark.parametrize(
    ("hello", "reason"),
    [
        (Hello(protocol=2, boot="x"), "protocol 2"),
        (Hello(protocol=1, boot="x", simulated=True), "--simulated may not join"),
        (Hello(protocol=1, boot="x", rest="pass"), "rest = pass needs a part sensor"),
    ],
)
def test_a_controller_that_may_not_join_is_told_why(bench, peer, hello, reason):
    connected = peer()
    connected.send(encode(hello))
    assert reason in connected.answer(bench).reason
    assert not bench.actuator.controller


def test_a_second_claimant_of_disposition_is_refused_while_the_first_lives(bench, peer):
    first, second = peer(), peer()
    first.send(encode(Hello(protocol=1, boot="one")))
    assert first.answer(bench).boot == "one"
    second.send(encode(Hello(protocol=1, boot="two")))
    assert "the role disposition is taken" in second.answer(bench).reason
    follower = peer()
    follower.send(encode(Hello(protocol=1, boot="three", role="follower")))
    assert follower.answer(bench).boot == "three"


def test_hostile_bytes_are_dropped_and_counted_and_the_beat_goes_on(bench, peer):
    good, bad = peer(), peer()
    good.send(encode(Hello(protocol=1, boot="one")))
    good.answer(bench)
    for data in (b"", b"\xc1", b"x" * 1000, encode(Hello(protocol=1, boot="y"))[:-3]):
        bad.send(data)
    bad.send(b"two", b"frames")
    bench.pump(200)
    assert bench.actuator.dropped["unreadable"] == 5
    assert bench.kinds() >= {"dropped_unreadable"}
    assert not bench.actuator.controller or good.socket.poll(1000)


def test_a_flood_is_read_in_portions(bench, peer):
    flooder = peer()
    for _ in range(1500):
        flooder.send(b"x")
    turns, until = 0, CLOCK.now_ns() + 20_000 * NS_PER_MS
    while bench.actuator.dropped["unreadable"] < 1500:
        assert CLOCK.now_ns() < until
        assert bench.actuator.poll(CLOCK.now_ns()) is None
        turns += 1
        if bench.actuator.backlog:  # there may be more, of which the socket will not tell
            assert bench.actuator.due_ns() <= CLOCK.now_ns()
    assert turns > 1


def test_long_messages_of_strangers_are_not_even_decoded(bench, peer):
    stranger = peer()
    stranger.send(encode(Hello(protocol=1, boot="x")) + bytes(2000))
    bench.pump(1000, lambda acks: bench.actuator.dropped["too_long"] > 0)
    assert bench.actuator.dropped["too_long"] == 1


def test_a_controller_that_falls_silent_is_not_connected(bench, peer):
    connected = peer()
    connected.send(encode(Hello(protocol=1, boot="one")))
    connected.answer(bench)
    assert bench.actuator.controller
    bench.pump(300)
    assert not bench.actuator.controller
    assert not bench.actuator.expect(1, 1, Action.REJECT, deadline())
    assert bench.actuator.command(accept(1), deadline()) == 0


def welcomed(bench, peer, boot="one", **hello) -> Peer:
    connected = peer()
    connected.send(encode(Hello(protocol=1, boot=boot, **hello)))
    assert connected.answer(bench).boot == boot
    return connected


def heard(bench, peer, kind, within_ms=500):
    """The next message of a type that the peer is sent."""
    end = CLOCK.now_ns() + within_ms * NS_PER_MS
    while CLOCK.now_ns() < end:
        bench.pump(10, lambda acks: bool(peer.socket.poll(0)))
        while peer.socket.poll(0):
            message = decode(peer.socket.recv())
            if isinstance(message, kind):
                return message
    raise AssertionError(f"no {kind.__name__}")


def ack(bench, part, state, action=Action.REJECT, counts=None, seq=1):
    return encode(
        Ack(
            session=bench.actuator.session,
            seq=seq,
            part=part,
            state=state,
            action=action,
            counts=counts or {},
        )
    )


def test_an_expect_and_a_command_are_sent_again_as_they_were_until_acked(bench, peer):
    arm = welcomed(bench, peer)
    due = deadline()
    bench.actuator.expect(1, 1, Action.REJECT, due)
    first, again = heard(bench, arm, Expect), heard(bench, arm, Expect)
    assert again == first
    arm.send(ack(bench, 1, "armed"))
    bench.actuator.command(accept(1), due)
    command = heard(bench, arm, Command)
    assert heard(bench, arm, Command) == command
    arm.send(ack(bench, 1, "applied", Action.ACCEPT, {Action.ACCEPT: 1}))
    assert bench.final(1).action is Action.ACCEPT
    bench.pump(50)
    while arm.socket.poll(0):
        arm.socket.recv()
    bench.pump(50)
    kinds = [type(decode(arm.socket.recv())) for _ in range(20) if arm.socket.poll(0)]
    assert Command not in kinds
    assert Expect not in kinds


@pytest.mark.parametrize(("types", "told"), [(("short", ""), ("short", "")), (("", ""), ())])
def test_a_command_names_the_types_of_its_regions_where_there_are_any(bench, peer, types, told):
    one = welcomed(bench, peer)
    regions = tuple(Region(8, 16, 24, 8, 192, 0.75, kind) for kind in types)
    due = deadline()
    bench.actuator.expect(1, 1, Action.REJECT, due)
    bench.actuator.command(Decision(1, Action.REJECT, Cause.VERDICT, regions=regions), due)
    command = heard(bench, one, Command)
    assert command.regions == ((8, 16, 24, 8, 192),) * 2
    assert command.region_types == told


def test_an_ack_heard_twice_is_one_ack_and_its_old_counts_change_nothing(bench, peer):
    arm = welcomed(bench, peer)
    for part in (1, 2):
        bench.actuator.expect(part, part, Action.REJECT, deadline())
    arm.send(ack(bench, 1, "applied", counts={Action.REJECT: 1}))
    arm.send(ack(bench, 2, "applied", counts={Action.REJECT: 2}))
    arm.send(ack(bench, 1, "applied", counts={Action.REJECT: 1}))
    acks = bench.pump(100)
    assert [a.part for a in acks] == [1, 2]
    assert bench.actuator.counts == {Action.REJECT: 2}
    assert bench.actuator.dropped["repeated_ack"] == 1


def test_a_restarted_controller_is_another_one_and_is_told_nothing_of_old_parts(bench, peer):
    welcomed(bench, peer, "one").close()
    assert bench.actuator.expect(1, 1, Action.REJECT, deadline()) in ("one", "")
    again = welcomed(bench, peer, "two") if not bench.actuator.controller else None
    if again is None:  # the old connection is noticed at the next message
        bench.pump(300)
        again = welcomed(bench, peer, "two")
    assert bench.actuator.controller == "two"
    assert bench.actuator.counts is None or bench.actuator.counts == {}
    bench.pump(60)
    kinds = set()
    while again.socket.poll(0):
        kinds.add(type(decode(again.socket.recv())))
    assert Expect not in kinds


def test_without_a_controller_what_is_owed_expires_and_the_loop_sleeps(ipc):
    bench = Bench(ipc, ack_ms=50)
    arm = Peer(ipc)
    arm.send(encode(Hello(protocol=1, boot="one")))
    arm.answer(bench)
    bench.actuator.expect(1, 1, Action.REJECT, deadline(60))
    arm.close()
    bench.pump(400)
    turns, end = 0, CLOCK.now_ns() + 200 * NS_PER_MS
    while CLOCK.now_ns() < end:
        CLOCK.wait((bench.actuator.fileno(),), min(end, bench.actuator.due_ns()))
        bench.actuator.poll(CLOCK.now_ns())
        turns += 1
    assert turns < 100
    bench.actuator.close()


def test_acks_that_waited_while_the_station_stood_still_are_heard(ipc):
    bench = Bench(ipc, ack_ms=50)
    arm = Peer(ipc)
    arm.send(encode(Hello(protocol=1, boot="one")))
    arm.answer(bench)
    bench.actuator.expect(1, 1, Action.REJECT, deadline(60))
    arm.send(ack(bench, 1, "applied", counts={Action.REJECT: 1}))
    CLOCK.wait((), CLOCK.now_ns() + 300 * NS_PER_MS)
    assert bench.actuator.poll(CLOCK.now_ns()).part == 1
    arm.close()
    bench.actuator.close()


def test_nobody_takes_a_place_by_naming_its_boot_id_in_another_role(bench, peer):
    welcomed(bench, peer)
    thief = peer()
    thief.send(encode(Hello(protocol=1, boot="one", role="twin")))
    assert thief.answer(bench).reason == "this boot id is taken"
    assert bench.actuator.controller == "one"


def test_the_same_controller_on_another_connection_keeps_its_counts(bench, peer):
    arm = welcomed(bench, peer)
    bench.actuator.expect(1, 1, Action.REJECT, deadline())
    arm.send(ack(bench, 1, "applied", counts={Action.REJECT: 1}))
    assert bench.final(1).controller == "one"
    welcomed(bench, peer)
    assert bench.actuator.counts == {Action.REJECT: 1}
    bench.actuator._forget(next(iter(bench.actuator._peers.all())).identity, "test")
    welcomed(bench, peer)
    assert bench.actuator.counts is None  # not known until it says so


def test_each_role_is_held_by_one_controller_and_followers_are_told_everything(bench, peer):
    arm, lamp = welcomed(bench, peer), welcomed(bench, peer, "lamp", role="lamp")
    second = peer()
    second.send(encode(Hello(protocol=1, boot="other", role="lamp")))
    assert "the role lamp is taken" in second.answer(bench).reason
    bench.actuator.expect(1, 1, Action.REJECT, deadline())
    assert heard(bench, arm, Expect).part == heard(bench, lamp, Expect).part == 1
    lamp.send(ack(bench, 1, "applied", Action.ACCEPT, {Action.ACCEPT: 1}))
    assert bench.pump(50) == []
    assert not bench.actuator.counts


def test_a_nudge_brings_the_next_beat_forward_and_not_two_in_a_row(bench, peer):
    arm = welcomed(bench, peer)
    actuator, beat_ns = bench.actuator, 50 * NS_PER_MS
    due_ns = actuator._next_beat_ns = CLOCK.now_ns() + beat_ns // 2
    actuator.nudge()
    assert actuator._next_beat_ns < due_ns
    actuator.poll(CLOCK.now_ns())
    assert heard(bench, arm, Beat)
    due_ns = actuator._next_beat_ns = CLOCK.now_ns() + beat_ns
    actuator.nudge()
    assert actuator._next_beat_ns == due_ns


def test_a_line_to_be_held_is_said_at_once_and_in_every_beat(bench, peer):
    arm = welcomed(bench, peer)
    bench.actuator.hold(True)
    end = CLOCK.now_ns() + 2000 * NS_PER_MS
    while not heard(bench, arm, Beat).hold:
        assert CLOCK.now_ns() < end
    assert heard(bench, arm, Beat).hold


@pytest.mark.parametrize(
    ("left_as", "ok"), [(Action.REJECT, True), (Action.ACCEPT, False), (None, False)]
)
def test_a_reject_is_confirmed_or_counts_as_lost(ipc, left_as, ok):
    bench = Bench(ipc, confirm_ms=80)
    arm = Peer(ipc)
    arm.send(encode(Hello(protocol=1, boot="one", capabilities=("confirm",))))
    arm.answer(bench)
    bench.actuator.expect(1, 1, Action.REJECT, deadline())
    arm.send(ack(bench, 1, "applied", counts={Action.REJECT: 1}))
    if left_as:
        arm.send(encode(Confirm(session=bench.actuator.session, part=1, left_as=left_as)))
    words = bench.pump(1000, lambda acks: len(acks) == 2)
    assert isinstance(words[1], Outcome)
    assert (words[1].part, words[1].kind, words[1].ok) == (1, "confirm", ok)
    arm.close()
    bench.actuator.close()


def test_a_controller_that_cannot_do_what_the_station_will_ask_is_refused(ipc):
    bench = Bench(ipc)
    bench.actuator._peers._needs = ("pose",)
    arm = Peer(ipc)
    arm.send(encode(Hello(protocol=1, boot="one", capabilities=("rework",))))
    assert "needs the capability pose" in arm.answer(bench).reason
    arm.close()
    bench.actuator.close()
