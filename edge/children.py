"""The processes a replay or a demonstration starts beside itself, and ends, and reaps."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec

from edge.core.history import HistorianPlan
from edge.core.process import python_module

HISTORIAN = "edge.historian.process"
SOCKET_BYTES = 4 << 20  # as far as net.core.wmem_max allows


@contextmanager
def arm_process(
    connect: str, log: Path, *, simulated: bool = False, options: tuple[str, ...] = ()
) -> Iterator[subprocess.Popen[bytes]]:
    """The reference arm as its own process; told to end on the way out, and reaped.

    options: further ones of `edge arm`.
    """
    arguments = ["arm", "--connect", connect, "--log", str(log), "--parent", str(os.getpid())]
    arguments += options
    if simulated:
        arguments.append("--simulated")
    with _child(python_module("edge", *arguments)) as process:
        yield process


def historian_process(
    plan: HistorianPlan, *, gently: bool
) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """A historian, and our end of its socket; it ends when that is closed.

    plan: without its socket and its parent, which are set here.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    # Room for a commit's worth of messages: the kernel counts a kilobyte for each of 300 bytes.
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BYTES)
    with ExitStack() as failed, theirs:
        failed.callback(ours.close)
        whole = msgspec.structs.replace(plan, socket_fd=theirs.fileno(), parent_pid=os.getpid())
        modules = ("models.gentle", HISTORIAN) if gently else (HISTORIAN,)
        process = subprocess.Popen(
            python_module(*modules, msgspec.json.encode(whole).decode()),
            stdin=subprocess.DEVNULL,
            pass_fds=(theirs.fileno(), plan.pool_fd),
            process_group=0,  # Ctrl-C is for the station, which finishes its parts first
        )
        failed.pop_all()
    return process, ours


@contextmanager
def station_process(station_file: Path) -> Iterator[tuple[subprocess.Popen[bytes], socket.socket]]:
    """`edge run` as its own process, with the reading end of its feed."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    fd = theirs.fileno()
    children = ["--feed", str(fd), "--parent", str(os.getpid())]
    command = python_module("edge", "run", str(station_file), *children)
    with ours, theirs, _child(command, fd) as process:
        theirs.close()  # so that the feed ends when the station does
        yield process, ours


@contextmanager
def _child(command: list[str], *fds: int) -> Iterator[subprocess.Popen[bytes]]:
    """A child in a process group of its own: Ctrl-C is for us, and we end it, and reap it."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        pass_fds=fds,
        process_group=0,
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=10.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
