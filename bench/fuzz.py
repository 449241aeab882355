"""`python -m bench.fuzz [MESSAGES [WHAT ...]]`: hostile bytes against all that reads foreign bytes.

A million altered, cut, forged and random messages each: into the decoder, into the command socket
of a running station that goes on inspecting parts, and into a running arm from a station that
lies. Nothing may crash, nothing may be accepted, and memory may not grow. And a fiftieth as many
packages with a model that somebody has been at (bench/hostile.py).
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import zmq
from rich.console import Console
from rich.table import Table

from bench import hostile
from control.wire import (
    PROTOCOL,
    Ack,
    AnyMessage,
    Beat,
    Bye,
    Command,
    Confirm,
    Done,
    Expect,
    Hello,
    State,
    Tick,
    Unexpected,
    Welcome,
    decode,
    encode,
)
from edge.children import arm_process, station_process
from edge.core.clock import NS_PER_S, SystemClock, now_ns
from edge.core.errors import WireError
from edge.core.types import Action, Pose
from edge.feed import FedEnd, FedPart, read

MESSAGES = 1_000_000
WARM = 0.2  # of the messages, after which memory has found its size
SEED = 3
_SESSION = 5


def _honest(session: int, action: Action) -> list[bytes]:
    """One of every type, with every field set."""
    pose = Pose("belt", 1.0, 2.0, 3.0, 0.0, 0.0, 90.0)
    counts = {Action.ACCEPT: 3, Action.REJECT: 4}
    each: list[AnyMessage] = [
        Hello(protocol=PROTOCOL + 1, boot="fuzz", host="h", capabilities=("done", "confirm")),
        Welcome(boot="fuzz", protocol=1, beat_ns=1, lost_ns=1, echo_stamp_ns=1, echo_received_ns=1),
        Expect(session=session, part=1, trigger_no=1, default=Action.REJECT, ttl_ns=1 << 40),
        Command(
            session=session, part=1, action=action, ttl_ns=1 << 40, reason="verdict", pose=pose,
            regions=((1, 2, 3, 4, 5),), region_types=("short",),
        ),
        Ack(session=session, part=1, state="applied", action=action, counts=counts),
        Done(session=session, part=1, ok=True),
        Confirm(session=session, part=1, left_as=action),
        Unexpected(session=session, own_part_count=3),
        State(session=session, pose=pose, gripper="open", part=3),
        Beat(session=session, counts=counts, echo_stamp_ns=1, echo_received_ns=2),
        Bye(session=session, reason="fuzz"),
        Tick(session=session, now_ns=1 << 60),
    ]  # fmt: skip
    return [encode(message) for message in each]


def fuzzed(
    dice: random.Random, count: int, session: int = 1, action: Action = Action.ACCEPT
) -> Iterator[bytes]:
    """Messages with bits turned, bytes set, pieces cut out, doubled or swapped; and noise."""
    honest = _honest(session, action)
    for _ in range(count):
        data = bytearray(dice.choice(honest))
        for _ in range(dice.choice((1, 1, 1, 2, 4))):
            place = dice.randrange(len(data)) if data else 0
            match dice.randrange(7):
                case 0 if data:
                    data[place] ^= 1 << dice.randrange(8)
                case 1 if data:
                    data[place] = dice.choice((0x00, 0x7F, 0x80, 0xC1, 0xCF, 0xD3, 0xDF, 0xFF))
                case 2:
                    del data[place:]
                case 3:
                    del data[place : place + dice.randrange(1, 9)]
                case 4:
                    data[place:place] = data[place : place + dice.randrange(1, 30)]
                case 5:
                    data += dice.choice(honest)[: dice.randrange(40)]
                case _:
                    data[place:place] = dice.randbytes(dice.randrange(1, 12))
        yield bytes(data) if dice.randrange(20) else dice.randbytes(dice.randrange(200))


def decoder(count: int) -> dict[str, float]:
    """Into the decoder: a message, or WireError, and nothing else."""
    outcomes: Counter[str] = Counter()
    before = grown = 0
    for number, data in enumerate(fuzzed(random.Random(SEED), count)):
        if number == int(count * WARM):
            before = _resident(os.getpid())
        try:
            decode(data)
            outcomes["decoded"] += 1
        except WireError:
            outcomes["refused"] += 1
    grown = _resident(os.getpid()) - before
    return {"messages": count, "decoded": outcomes["decoded"], "grown_kib": grown / 1024}


def station(count: int) -> dict[str, float]:
    """Into the command socket of a running station, which goes on inspecting 20 parts a second."""
    with tempfile.TemporaryDirectory(prefix="edge-fuzz-") as name:
        folder = Path(name)
        bind, log = f"ipc://{folder}/s.ipc", folder / "arm.jsonl"
        log.touch()
        file = folder / "station.toml"
        file.write_text(
            f'name = "fuzz-{os.getpid()}"\n[camera]\nsource = "synthetic"\nrate_hz = 20\n'
            f'[engine]\nmodel = "synthetic-part"\n[controller]\nbind = "{bind}"\n'
        )
        with arm_process(bind, log), station_process(file) as (process, link):
            _wait_for(log, b'"event":"applied"')
            memory = _flood(bind, count, process.pid)
            process.terminate()
            records, end = [], None
            while message := read(link):
                if isinstance(message, FedPart):
                    records.append(message.record)
                elif isinstance(message, FedEnd):
                    end = message
            crashed = process.wait() != 0 or end is None
        applied = [msgspec.json.decode(line) for line in log.read_bytes().splitlines()]
        accepted = {e["part"] for e in applied if e.get("action") == "accept"}
        passed = {record.part for record in records if record.decision.verdict == "pass"}
    errors = end.balance.errors if end else 0
    return {
        "messages": count,
        "crashes": crashed,
        "accepted": len(accepted - passed) if end and not end.lost else 0,
        "conservation_errors": errors,
        "parts": end.balance.triggers if end else 0,
        "unacked": end.balance.unacked if end else 0,
        "overruns": sum(record.decision.verdict is None for record in records),
        **memory,
    }


def _flood(bind: str, count: int, pid: int) -> dict[str, float]:
    """Send everything over connections that change now and then; the process's growth in KiB."""
    dice, clock = random.Random(SEED), SystemClock()
    before, sent = 0, 0
    with zmq.Context() as context:
        for start in range(0, count, 20_000):
            with context.socket(zmq.DEALER) as peer:
                peer.linger = 2000
                peer.connect(bind)
                for data in fuzzed(dice, min(20_000, count - start)):
                    peer.send(data)
                    sent += 1
            if before == 0 and sent >= count * WARM:
                before = _resident(pid)
    clock.wait((), now_ns() + NS_PER_S)
    return {"grown_kib": (_resident(pid) - before) / 1024}


def arm(count: int) -> dict[str, float]:
    """Into a running arm, from a station that welcomes it and then sends it anything but ACCEPT."""
    with tempfile.TemporaryDirectory(prefix="edge-fuzz-") as name:
        bind, log = f"ipc://{name}/s.ipc", Path(name) / "arm.jsonl"
        log.touch()
        with zmq.Context() as context, context.socket(zmq.ROUTER) as liar:
            liar.linger, liar.router_mandatory, liar.sndhwm = 0, 1, 0
            liar.bind(bind)
            with arm_process(bind, log) as process:
                identity = _welcome(liar)
                before, alive = 0, True
                lies = fuzzed(random.Random(SEED), count, _SESSION, Action.REJECT)
                for number, data in enumerate(lies):
                    liar.send_multipart((identity, data))
                    if number % 2000 == 0:
                        alive = _beat(liar, identity) and process.poll() is None
                        if not alive:
                            break
                    if before == 0 and number >= count * WARM:
                        before = _resident(process.pid)
                grown = _resident(process.pid) - before if alive else 0
        entries = [msgspec.json.decode(line) for line in log.read_bytes().splitlines()]
        accepted = sum(entry.get("action") == "accept" for entry in entries)
    return {
        "messages": count,
        "crashes": not alive,
        "accepted": accepted,
        "grown_kib": grown / 1024,
    }


def _welcome(liar: zmq.Socket[bytes]) -> bytes:
    """Wait for the arm's Hello and enter it into the session."""
    while True:
        identity, data = liar.recv_multipart()
        hello = decode(data)
        if isinstance(hello, Hello):
            _enter(liar, identity, hello)
            return identity


def _enter(liar: zmq.Socket[bytes], identity: bytes, hello: Hello) -> None:
    stamp_ns = now_ns()
    welcome = Welcome(
        session=_SESSION, stamp_ns=stamp_ns, boot=hello.boot, protocol=PROTOCOL,
        beat_ns=50_000_000, lost_ns=60 * NS_PER_S, echo_stamp_ns=hello.stamp_ns,
        echo_received_ns=stamp_ns,
    )  # fmt: skip
    liar.send_multipart((identity, encode(welcome)))


def _beat(liar: zmq.Socket[bytes], identity: bytes) -> bool:
    """Whether the arm still answers: everything sent before has been read then."""
    stamp_ns = now_ns()
    liar.send_multipart((identity, encode(Beat(session=_SESSION, stamp_ns=stamp_ns))))
    until_ns = stamp_ns + 10 * NS_PER_S
    while now_ns() < until_ns:
        if not liar.poll(100):
            continue
        message = decode(liar.recv_multipart()[1])
        if isinstance(message, Hello):
            _enter(liar, identity, message)  # it believed a forged Bye, as it should
            return True
        if isinstance(message, Beat) and message.echo_stamp_ns == stamp_ns:
            return True
    return False


def _wait_for(log: Path, word: bytes) -> None:
    clock = SystemClock()
    until_ns = now_ns() + 30 * NS_PER_S
    while word not in log.read_bytes() and now_ns() < until_ns:
        clock.wait((), now_ns() + NS_PER_S // 20)


def _resident(pid: int) -> int:
    """Bytes of a process that are in memory."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


_ATTACKS: dict[str, Callable[[int], dict[str, float]]] = {
    "decoder": decoder,
    "station": station,
    "arm": arm,
    "packages": lambda count: hostile.packages(max(count // 50, 1)),
}


def main(arguments: list[str]) -> int:
    """Exit code 1 if anything crashed, was accepted, or grew by over 4 MiB; 2 for no such WHAT."""
    count = int(arguments[0]) if arguments else MESSAGES
    if unknown := [name for name in arguments[1:] if name not in _ATTACKS]:
        print(f"fuzz: {unknown[0]}: unknown; allowed: {', '.join(_ATTACKS)}", file=sys.stderr)
        return 2
    table, bad = Table("against", "figure", "value"), False
    for name in arguments[1:] or _ATTACKS:
        figures = _ATTACKS[name](count)
        bad |= bool(figures.get("crashes") or figures.get("accepted"))
        bad |= bool(figures.get("conservation_errors")) or figures.get("grown_kib", 0) > 4096
        for figure, value in figures.items():
            table.add_row(name, figure, f"{value:g}")
    Console(width=80).print(table)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
