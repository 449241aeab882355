"""The station's control socket: what `edge ctl` asks, brought to the deadline loop.

One thread talks to one client at a time, a JSON line each way; the loop polls, answers, and never
waits. Who may ask is the file's business: mode 0600, so the station's own user and root.
"""

from __future__ import annotations

import fcntl
import os
import pwd
import re
import socket
import stat
import struct
import threading
from collections import deque
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from edge.core.clock import NS_PER_S, SystemClock
from edge.core.config import Section, explain
from edge.core.errors import ConfigError, EdgeError

REQUEST_BYTES, ANSWER_BYTES, BACKLOG = 4096, 1 << 20, 16
CLIENT_NS = 2 * NS_PER_S  # for a client's whole request, and for taking its answer
LOOP_NS = NS_PER_S  # for the loop's answer
JOIN_S, ASK_S = 1.0, 6.0  # past a slow name service; past a slow client and a loop that stands
RUN_FOLDER, TMP_FOLDER = Path("/run/edge"), Path("/tmp")

Verb = Literal[
    "status", "reset", "hold", "resume", "single", "lot",
    "activate", "shadow", "promote", "rollback",
]  # fmt: skip


class _Line(Section, frozen=True, eq=False):
    verb: Verb
    reason: Annotated[str, msgspec.Meta(max_length=200)] = ""
    # For the last four: models.store.address of a package; shadow without one ends the shadow.
    package: Annotated[str, msgspec.Meta(max_length=3000)] = ""


class Request(_Line, frozen=True, eq=False, kw_only=True):
    """What someone at the control socket wants of the loop; `Desk.answer` is the way back."""

    who: str


class _RefusedError(Exception):
    """Ends a conversation with one line of complaint to the client."""


class NotRunningError(EdgeError):
    """Nobody listens at a station's control socket."""


class Desk:
    """A control socket and the thread that serves it, from the constructor until `close`."""

    def __init__(self, path: Path, *, client_ns: int = CLIENT_NS, loop_ns: int = LOOP_NS) -> None:
        self.refused = 0  # clients that made no sense, or asked too much or too slowly
        self._path, self._client_ns, self._loop_ns = path, client_ns, loop_ns
        self._clock = SystemClock()
        self._requests: deque[Request] = deque()  # never more than one: clients wait in line
        self._answers: deque[tuple[Request, dict[str, Any]]] = deque()
        self._woken, self._heard, self._closed = 0, 0, False
        self._lock, self._listener = _open(path)
        flags = os.EFD_CLOEXEC | os.EFD_NONBLOCK
        self._news_fd, self._answer_fd, self._stop_fd = (os.eventfd(0, flags) for _ in range(3))
        self._thread = threading.Thread(target=self._run, name="edge-desk", daemon=True)
        self._thread.start()

    # ---- in the loop's thread ----

    def fileno(self) -> int:
        """Readable when `poll` may have a request."""
        return self._news_fd

    def poll(self) -> Request | None:
        """The waiting request, or None; free of system calls when there is none."""
        if self._woken == self._heard:
            return None
        self._heard = self._woken
        with suppress(BlockingIOError):  # an earlier look has read this ring already
            os.eventfd_read(self._news_fd)
        with suppress(IndexError):  # taken then, or withdrawn because the loop came too late
            return self._requests.popleft()
        return None

    def answer(self, request: Request, answer: dict[str, Any]) -> None:
        """Answer a request, with a dict that is left alone afterwards; dropped when too late."""
        self._answers.append((request, answer))
        os.eventfd_write(self._answer_fd, 1)

    def close(self) -> None:
        """Remove the socket, let the client who waits know, and join the thread; twice is fine."""
        if self._closed:
            return
        self._closed = True
        self._path.unlink(missing_ok=True)
        os.eventfd_write(self._stop_fd, 1)
        self._thread.join(JOIN_S)
        _lock_file(self._path).unlink(missing_ok=True)  # while it is held: see _locked
        os.close(self._lock)
        if not self._thread.is_alive():  # a thread stuck in a name service still uses them
            self._listener.close()
            for fd in (self._news_fd, self._answer_fd, self._stop_fd):
                os.close(fd)

    # ---- in the desk's thread ----

    def _run(self) -> None:
        while self._ready(self._listener.fileno(), None):
            try:
                with self._listener.accept()[0] as client:
                    self._serve(client)
            except Exception:  # the thread's boundary: no client may end it
                self.refused += 1
                # Out of descriptors, the client stays and would be tried again without end.
                self._clock.wait((self._stop_fd,), self._clock.now_ns() + NS_PER_S // 10)

    def _serve(self, client: socket.socket) -> None:
        client.setblocking(False)
        try:
            if not (line := self._read(client)):
                return
            answer = self._ask_loop(_request(line, client))
        except _RefusedError as why:
            self.refused += 1
            answer = {"ok": False, "error": str(why)}
        data = msgspec.json.encode(answer) + b"\n"
        client.settimeout(self._client_ns / NS_PER_S)  # of the sendall as a whole
        with suppress(OSError):  # gone, or not reading: its own loss
            client.sendall(data)

    def _read(self, client: socket.socket) -> bytes:
        """The first line; empty from a client that only looked whether someone is there."""
        data, until_ns = b"", self._clock.now_ns() + self._client_ns
        while b"\n" not in data:
            if len(data) == REQUEST_BYTES:
                raise _RefusedError(f"a request has at most {REQUEST_BYTES} bytes")
            if not self._ready(client.fileno(), until_ns):
                raise _RefusedError(f"no request line within {self._client_ns / NS_PER_S:g} s")
            chunk = client.recv(REQUEST_BYTES - len(data))
            if not chunk:  # half a JSON object is none, so nothing half-sent comes into force
                return data
            data += chunk
        return data.partition(b"\n")[0] or b"\n"

    def _ask_loop(self, request: Request) -> dict[str, Any]:
        until_ns = self._clock.now_ns() + self._loop_ns
        self._requests.append(request)
        os.eventfd_write(self._news_fd, 1)
        self._woken += 1  # after the write, so that a reader never reads an empty eventfd
        while self._ready(self._answer_fd, until_ns):
            os.eventfd_read(self._answer_fd)
            while self._answers:  # one of them may be for a client who was sent away
                whose, answer = self._answers.popleft()
                if whose is request:
                    return answer
        # Taken back: what its sender hears has failed must not come into force later.
        with suppress(ValueError):  # the loop has taken it, and was too slow
            self._requests.remove(request)
        why = "is ending" if self._closed else "does not answer: its loop stands still"
        return {"ok": False, "error": f"the station {why}"}

    def _ready(self, fd: int, until_ns: int | None) -> bool:
        """Wait until the fd is readable; False when time is up, or the station ends meanwhile."""
        return self._clock.wait((fd, self._stop_fd), until_ns) == [fd]


def socket_path(name: str) -> Path:
    """Where a station of that name has its socket: /run/edge where we may write, else /tmp."""
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,60}", name):
        raise ConfigError(f"name {name[:80]!r}: allowed: 1 to 60 of A-Z a-z 0-9 _ . -")
    if RUN_FOLDER.is_dir() and os.access(RUN_FOLDER, os.W_OK | os.X_OK):
        return RUN_FOLDER / f"{name}.sock"
    folder = TMP_FOLDER / f"edge-{os.geteuid()}"
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise EdgeError(f"{folder}: must be a folder of our own with mode 0700; remove it")
    return folder / f"{name}.sock"


def ask(path: Path, verb: str, reason: str = "", *, package: str = "") -> dict[str, Any]:
    """Put one request to a running station and bring back its answer.

    NotRunningError where there is none, EdgeError where it does not answer.
    """
    reason = reason.encode(errors="replace").decode()  # a terminal may hand us any bytes
    request = {"verb": verb, "reason": reason} | ({"package": package} if package else {})
    station, line = path.stem, msgspec.json.encode(request) + b"\n"
    try:
        with socket.socket(socket.AF_UNIX) as link, link.makefile("rb") as answers:
            link.settimeout(ASK_S)
            link.connect(os.fspath(path))
            with suppress(BrokenPipeError, ConnectionResetError):  # it may have said why first
                link.sendall(line)
            return msgspec.json.decode(answers.readline(ANSWER_BYTES), type=dict[str, Any])
    except (FileNotFoundError, ConnectionRefusedError):
        there = ", ".join(running(path.parent)) or "none"
        raise NotRunningError(
            f"no station named {station!r} is running; running in {path.parent}: {there}"
        ) from None
    except (OSError, msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise EdgeError(f"station {station} does not answer ({path}): {error}") from None


def running(folder: Path) -> list[str]:
    """The names of the stations that listen in a folder of sockets, of those that we may ask."""
    found = []
    for path in sorted(folder.glob("*.sock")):
        with suppress(OSError):
            if _is_heard(path):
                found.append(path.stem)
    return found


def _open(path: Path) -> tuple[int, socket.socket]:
    """Take the place of a dead station, but of no living one; the lock is held until it ends."""
    with ExitStack() as failed:
        try:
            # Else two stations that start at once could each take the other's socket for stale.
            lock = _locked(_lock_file(path))
            failed.callback(os.close, lock)
            failed.callback(_lock_file(path).unlink, missing_ok=True)
            _clear(path)
            listener = failed.enter_context(socket.socket(socket.AF_UNIX))
            os.fchmod(listener.fileno(), 0o600)  # Linux gives the file this mode as it appears
            listener.bind(os.fspath(path))
            listener.listen(BACKLOG)
        except BlockingIOError:
            raise EdgeError(f"station {path.stem} is already running: {path}") from None
        except OSError as error:
            raise EdgeError(f"{path}: {error.strerror or error}") from None
        failed.pop_all()
        return lock, listener


def _lock_file(path: Path) -> Path:
    return path.with_suffix(".lock")


def _locked(path: Path) -> int:
    """The descriptor of a lock file that is ours; BlockingIOError where somebody holds it.

    Who ends removes the file while its lock is still held. So whoever gets the lock of a file that
    has no name any more, opened just before, begins again: else a third could make the file anew
    and hold it, too. Nobody but the holder of a file that has its name removes it.
    """
    while True:
        lock = os.open(path, os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(lock), path.lstat()):
                    return lock
        except BaseException:
            os.close(lock)
            raise
        os.close(lock)


def _clear(path: Path) -> None:
    """Remove a socket nobody listens on; BlockingIOError where somebody does."""
    with suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise EdgeError(f"{path}: not a socket; remove it, or give the station another name")
        if _is_heard(path):
            raise BlockingIOError
        path.unlink()


def _is_heard(path: Path) -> bool:
    """Whether somebody listens at a socket."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            return False
        except BlockingIOError:  # its backlog is full
            return True
        return True


def _request(line: bytes, client: socket.socket) -> Request:
    tree: object = None
    try:
        tree = msgspec.json.decode(line)
        wanted = msgspec.convert(tree, _Line)
    except msgspec.ValidationError as error:
        raise _RefusedError(explain(str(error), _Line, tree)) from None
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise _RefusedError("a request is a JSON object on a line") from None
    who = _peer(client)
    return Request(verb=wanted.verb, reason=wanted.reason, package=wanted.package, who=who)


def _peer(client: socket.socket) -> str:
    """Who is at the other end, by the kernel's word: user name (uid), pid."""
    pid, uid, _ = struct.unpack("3i", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    name = "?"
    with suppress(KeyError, OverflowError):  # a user of another namespace, or none any more
        name = pwd.getpwuid(uid).pw_name
    return f"{name} ({uid}), pid {pid}"
