"""A worker that is ready and then misbehaves, as a real child process: rogue_worker.py MODE FD."""

import os
import signal
import socket
import sys
import time

from models.exchange import ANSWER, READY, REHEARSED, REQUEST, Head, Result


def hang():
    time.sleep(3600)


def die():
    os.kill(os.getpid(), signal.SIGKILL)


BEFORE = {"hangs": hang, "dies": die, "exits": sys.exit, "slow": lambda: time.sleep(0.12)}
CHANGED = {
    "nan": {},
    "other_part": {"part": 999, "score": 0.0},
    "other_generation": {"generation": 999, "score": 0.0},
    "too_many_regions": {"regions": 65, "score": 0.0},
    "unknown_fault": {"fault": 99},
    "rehearsed": {"kind": REHEARSED},  # which nobody asked for
}


def main() -> None:
    mode, link = sys.argv[1], socket.socket(fileno=int(sys.argv[2]))
    word = Result()
    late_ns = 10**12 if mode == "slow_golden" else 0
    word.write(Head(READY, 0, 0, 0, ended_ns=late_ns))
    if mode == "dies_at_birth":
        die()
    link.send(word.data)
    while len(request := link.recv(REQUEST.size)) == REQUEST.size:
        head = Head(ANSWER, *REQUEST.unpack(request))
        BEFORE.get(mode, lambda: None)()
        word.write(head._replace(**CHANGED.get(mode, {"score": 0.0})))
        match mode:
            case "short":
                link.send(word.data[:-1])
            case "noise":
                link.send(os.urandom(len(word.data)))
            case _:
                link.send(word.data)


main()
