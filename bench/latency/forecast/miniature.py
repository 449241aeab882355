"""A station in miniature: what a part costs beside its session, and a pause the session.

    python -m bench.latency.forecast.miniature TASK    (worker or controller, of `measure`)

Three processes as on a line: one copies a picture and hands it over, one runs a known small graph
and looks at a map, one takes the command from ZeroMQ. No package is involved; between two parts
everybody sleeps, because after a sleep the same code takes several times as long.
"""

from __future__ import annotations

import math
import os
import socket
import struct
import subprocess
import sys
import time
from contextlib import ExitStack
from typing import Any

import msgspec
import numpy as np
import zmq

from bench.latency.forecast import probes
from bench.latency.forecast.calibrate import options, session
from edge import realtime
from edge.core.clock import NS_PER_MS, NS_PER_S, now_ns
from edge.core.config import RealtimeOptions
from edge.core.errors import EngineError
from edge.core.process import die_with_parent, python_module

PAUSE_S = 0.025
PACED_SHARE = 0.8  # of the time; the rest is back to back
START_S = 30.0
_ANSWER = struct.Struct("<3q1400x")  # as large as a worker's answer
_STAMP = struct.Struct("<q")
_LEAST = 5


class Miniature(msgspec.Struct, frozen=True):
    """Milliseconds; overhead is trigger to command without the session, at a pace.

    pause: what a session takes longer after a pause than back to back; much the same for sessions
    of 0.6 and of 10 ms (0.36 and 0.44 at 1 thread), and so added, not a factor. turn: what a part
    costs beside its session where the next one is waiting.
    """

    overhead_p50: float
    overhead_p99: float
    turn_p50: float
    pause: float
    parts: int


class _Task(msgspec.Struct, frozen=True):
    """All that a child is told. fd is the worker's, address the controller's."""

    parent_pid: int
    threads: int = 1
    cells: int = 0
    fd: int = -1
    address: str = ""


def measure(threads: int, view_bytes: int, cells: int, seconds: float) -> Miniature:
    """Inspect for so long, the start of two processes included; EngineError if they fail."""
    began = time.perf_counter()
    with ExitStack() as stack:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        stack.enter_context(ours)
        command = stack.enter_context(zmq.Context()).socket(zmq.PAIR)
        stack.callback(command.close, 0)
        port = command.bind_to_random_port("tcp://127.0.0.1")
        command.rcvtimeo = round(START_S * 1e3)
        fd = theirs.fileno()
        with theirs:
            me = os.getpid()
            _child(stack, _Task(me, threads, max(1, cells), fd=fd), fd)
            _child(stack, _Task(me, address=f"tcp://127.0.0.1:{port}"))
        ours.settimeout(START_S)
        try:
            came = ours.recv(1) and command.recv()
        except (OSError, zmq.Again):
            came = b""
        if not came:
            raise EngineError("calibration: its worker or controller did not start")
        ours.settimeout(None)
        line = _Line(ours, command, view_bytes)
        left = max(0.0, seconds - (time.perf_counter() - began))
        with realtime.tuned(RealtimeOptions()):
            paced = line.parts(left * PACED_SHARE, PAUSE_S)
            packed = line.parts(left * (1 - PACED_SHARE), 0.0)
    pause_ns = float(np.median(paced[:, 2]) - np.median(packed[:, 2]))
    overhead = np.percentile(paced[:, 0], (50, 99)) / NS_PER_MS
    return Miniature(
        overhead_p50=round(float(overhead[0]), 3),
        overhead_p99=round(float(overhead[1]), 3),
        turn_p50=round(float(np.median(packed[:, 1])) / NS_PER_MS, 3),
        pause=round(max(0.0, pause_ns) / NS_PER_MS, 3),
        parts=len(paced),
    )


class _Line:
    """The loop's side."""

    def __init__(self, link: socket.socket, command: Any, view_bytes: int) -> None:
        self._link, self._command = link, command
        self._picture = np.ones(max(1, view_bytes), np.uint8)
        self._slot = np.zeros_like(self._picture)
        self._answer = bytearray(_ANSWER.size)

    def parts(self, seconds: float, pause_s: float) -> Any:
        """Rows of (overhead, turn, session) ns."""
        found: list[tuple[int, int, int]] = []
        until_ns = now_ns() + round(seconds * NS_PER_S)
        while now_ns() < until_ns or len(found) < _LEAST:
            if pause_s:
                time.sleep(pause_s)
            try:
                found.append(self._part())
            except (OSError, zmq.Again):
                raise EngineError("calibration: its worker or controller is gone") from None
        return np.array(found[1:])

    def _part(self) -> tuple[int, int, int]:
        trigger_ns = now_ns()
        np.copyto(self._slot, self._picture)
        self._link.send(b"go")
        if not self._link.recv_into(self._answer):
            raise ConnectionResetError
        read_ns = now_ns()
        started_ns, ended_ns, _ = _ANSWER.unpack(self._answer)
        self._command.send(self._answer[:200])
        (received_ns,) = _STAMP.unpack(self._command.recv())
        session_ns = ended_ns - started_ns
        return (
            received_ns - trigger_ns - session_ns,
            read_ns - trigger_ns - session_ns,
            session_ns,
        )


def _child(stack: ExitStack, task: _Task, *fds: int) -> None:
    child = subprocess.Popen(
        python_module("bench.latency.forecast.miniature", msgspec.json.encode(task).decode()),
        stdin=subprocess.DEVNULL,
        pass_fds=fds,
        process_group=0,
    )
    stack.callback(child.wait)
    stack.callback(child.kill)


def _judge(task: _Task) -> None:
    link = socket.socket(fileno=task.fd)
    network = session(probes.network(), options(task.threads))
    feed = probes.inputs("int8")
    cells = np.zeros(task.cells, np.float32)
    for _ in range(3):
        network.run(None, feed)
    if cpus := realtime.engine_cpus(RealtimeOptions(), 1).judging:
        os.sched_setaffinity(0, cpus)
    link.send(b"1")
    request, answer = bytearray(8), bytearray(_ANSWER.size)
    while link.recv_into(request):
        started_ns = now_ns()
        network.run(None, feed)
        ended_ns = now_ns()
        peak = float(np.maximum.reduce(cells))
        _ANSWER.pack_into(answer, 0, started_ns, ended_ns, math.isfinite(peak))
        link.send(answer)


def _control(task: _Task) -> None:
    with zmq.Context() as context, context.socket(zmq.PAIR) as link:
        link.connect(task.address)
        link.send(b"1")
        while True:
            link.recv()
            link.send(_STAMP.pack(now_ns()))


def main(argument: str) -> None:
    """Be the worker or the controller, until the parent ends it."""
    task = msgspec.json.decode(argument, type=_Task)
    die_with_parent(task.parent_pid)
    if task.address:
        _control(task)
    else:
        _judge(task)


if __name__ == "__main__":
    main(sys.argv[1])
