"""The keeper thread: starts engine workers and reaps them, away from the deadline loop.

It lives as long as the engine, because a worker's parent-death signal is tied to the thread
that started it. News reach the loop through a queue and an eventfd.
"""

from __future__ import annotations

import os
import queue
import socket
import subprocess
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import NamedTuple

from edge.core.clock import NS_PER_S, SystemClock
from models.crew import Crew
from models.exchange import FAILED, MOST_WORDS, READY, Head, Result, said

START_TIMEOUT_S = 60.0
FREE_TRIES = 2  # a worker or two may be lost at once; from the third on, pauses grow
# Activations in pages of 2 MiB: session.run of `deeppcb` is 6 % quicker (medians of 3 pairs), and
# what follows it 40 %, since the processor still knows where its code is. Elsewhere without effect.
HUGE_PAGES = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
PEACE_NS = 2 * NS_PER_S
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 30.0


class WorkerProcess(NamedTuple):
    """A worker and the station's end of its socket."""

    process: subprocess.Popen[bytes]
    link: socket.socket


class Ready(NamedTuple):
    """A worker is warm; head is its first word, with what its golden set showed."""

    worker: WorkerProcess
    crew: Crew
    head: Head


class Lost(NamedTuple):
    """A worker did not get as far as being ready, in its own words: a line, and all of them.

    final: no other one is tried.
    """

    detail: str
    crew: Crew
    whole: str = ""
    final: bool = False


class Reaped(NamedTuple):
    """A killed worker is gone for good; the slot it could have read, if any."""

    slot: int | None


class _Bury(NamedTuple):
    worker: WorkerProcess
    slot: int | None
    since_ns: int = 0


class _Spawn(NamedTuple):
    crew: Crew
    failures: int
    gently: bool
    once: bool


class _Withdraw(NamedTuple):
    crew: Crew


class _Failed(NamedTuple):
    detail: str
    whole: str = ""


News = Ready | Lost | Reaped


def pause_s(failures: int) -> float:
    """How long to wait before the next start, after so many failures without a success."""
    doublings = failures - FREE_TRIES - 1
    if doublings < 0:
        return 0.0
    return min(FIRST_PAUSE_S * 2.0 ** min(doublings, 20), LONGEST_PAUSE_S)


class Keeper:
    """Starts a worker for every `spawn`; retries with growing pauses."""

    def __init__(self, pool_fd: int) -> None:
        self._pool_fd = pool_fd
        self._jobs: queue.SimpleQueue[_Bury | _Spawn | _Withdraw | None] = queue.SimpleQueue()
        self._news: deque[News] = deque()
        self._news_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._stop_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._woken, self._heard = 0, 0
        self._stopping = False
        self._corpses: list[_Bury] = []
        self._tries: list[tuple[int, _Spawn]] = []  # workers to start, and not before when
        self._clock = SystemClock()
        self._thread = threading.Thread(target=self._run, name="edge-keeper", daemon=True)
        self._thread.start()

    def fileno(self) -> int:
        return self._news_fd

    def spawn(self, crew: Crew, failures: int = 0, *, gently: bool, once: bool = False) -> None:
        """Ask for one more worker, after a pause that grows with the failures so far.

        Ready follows when it is warm, Lost for each failed try. gently: parts are coming. once: a
        start that fails is not tried again.
        """
        self._jobs.put(_Spawn(crew, failures, gently, once))

    def withdraw(self, crew: Crew) -> None:
        """Start no more workers of a crew; one that is starting still becomes Ready or Lost."""
        self._jobs.put(_Withdraw(crew))

    def bury(self, worker: WorkerProcess, slot: int | None) -> None:
        """Ask for a killed or closed worker to be reaped; Reaped follows."""
        self._jobs.put(_Bury(worker, slot, self._clock.now_ns()))

    def next_start(self, timeout_s: float) -> Ready | Lost | None:
        """Block until a worker is warm or could not be started; None where neither comes in time.

        For the start of the station.
        """
        until_ns = self._clock.now_ns() + round(timeout_s * NS_PER_S)
        while (now_ns := self._clock.now_ns()) < until_ns:
            for news in self.news():
                if isinstance(news, Ready | Lost):
                    return news
            self._clock.wait((self._news_fd,), min(until_ns, now_ns + NS_PER_S))
        return None

    def news(self) -> Iterator[News]:
        """What happened since the last call."""
        if self._woken != self._heard:  # else spare the loop a system call a turn
            self._heard = self._woken
            with suppress(BlockingIOError):  # two posts may have been read as one
                os.eventfd_read(self._news_fd)
        while self._news:
            yield self._news.popleft()

    def close(self) -> None:
        """End the thread and every worker it still knows of."""
        self._stopping = True
        os.eventfd_write(self._stop_fd, 1)
        self._jobs.put(None)
        self._thread.join()
        for news in self._news:
            if isinstance(news, Ready):
                _end(news.worker)
        while not self._jobs.empty():
            if isinstance(job := self._jobs.get(), _Bury):
                self._corpses.append(job)
        for corpse in self._corpses:
            _end(corpse.worker)
        os.close(self._news_fd)
        os.close(self._stop_fd)

    def _post(self, news: News) -> None:
        self._news.append(news)
        os.eventfd_write(self._news_fd, 1)
        self._woken += 1  # after the write, so that a reader never reads an empty eventfd

    def _run(self) -> None:
        while not self._stopping:
            try:
                job = self._jobs.get(timeout=self._patience_s())
            except queue.Empty:
                job = None
            match job:
                case _Bury() as corpse:
                    self._corpses.append(corpse)
                case _Spawn() as spawn:
                    self._try_later(spawn)
                case _Withdraw(crew):
                    self._tries = [one for one in self._tries if one[1].crew != crew]
                case None:
                    pass
            self._reap()
            now_ns = self._clock.now_ns()
            # Corpses first: the jobs queued behind this one free slots that parts are waiting for.
            if self._jobs.empty() and self._tries and self._tries[0][0] <= now_ns:
                spawn = self._tries.pop(0)[1]
                try:
                    self._start(spawn)
                except Exception as error:  # the thread's boundary: without it, no engine for good
                    self._fail(spawn, f"the engine worker cannot be started: {error!r}")

    def _patience_s(self) -> float | None:
        if self._corpses:
            return 0.02
        if not self._tries:
            return None
        return max(0.0, (self._tries[0][0] - self._clock.now_ns()) / NS_PER_S)

    def _try_later(self, spawn: _Spawn) -> None:
        pause_ns = round(pause_s(spawn.failures) * NS_PER_S)
        self._tries.append((self._clock.now_ns() + pause_ns, spawn))
        self._tries.sort(key=lambda one: one[0])

    def _reap(self) -> None:
        """See which killed workers are gone; one stuck in the kernel is looked at again later."""
        for corpse in list(self._corpses):
            try:
                corpse.worker.process.wait(timeout=0.02)
            except subprocess.TimeoutExpired:
                # One that was to end by itself, and does not hear that its socket is closed.
                if self._clock.now_ns() - corpse.since_ns > PEACE_NS:
                    corpse.worker.process.kill()
                continue
            self._corpses.remove(corpse)
            self._post(Reaped(corpse.slot))

    def _start(self, spawn: _Spawn) -> None:
        try:
            worker = self._launch(spawn)
        except (OSError, ValueError) as error:  # no memory, no processes, no such command
            word: Head | _Failed = _Failed(f"the engine worker cannot be started: {error}")
        else:
            word = self._first_word(worker)
            if isinstance(word, Head):
                self._post(Ready(worker, spawn.crew, word))
                return
            worker.link.close()
            worker.process.kill()
            self._corpses.append(_Bury(worker, None))
        self._fail(spawn, *word)

    def _fail(self, spawn: _Spawn, detail: str, whole: str = "") -> None:
        self._post(Lost(detail, spawn.crew, whole, spawn.once))
        if not spawn.once:
            self._try_later(spawn._replace(failures=max(spawn.failures, FREE_TRIES) + 1))

    def _launch(self, spawn: _Spawn) -> WorkerProcess:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ExitStack() as failed, theirs:
            failed.callback(ours.close)
            fds = (theirs.fileno(), self._pool_fd)
            process = subprocess.Popen(
                spawn.crew.command(theirs.fileno(), spawn.gently),
                pass_fds=fds,
                stdin=subprocess.DEVNULL,
                process_group=0,  # Ctrl-C is for the station, which finishes its parts first
                env=HUGE_PAGES | os.environ,
            )
            failed.pop_all()
        return WorkerProcess(process, ours)

    def _first_word(self, worker: WorkerProcess) -> Head | _Failed:
        """What a worker says when it is ready, or why it is not."""
        until_ns = self._clock.now_ns() + round(START_TIMEOUT_S * NS_PER_S)
        ready = self._clock.wait((worker.link.fileno(), self._stop_fd), until_ns)
        if worker.link.fileno() not in ready:
            return _Failed(f"the engine worker was not ready within {START_TIMEOUT_S:g} s")
        word = Result()
        try:
            size = worker.link.recv_into(word.data)
        except OSError:
            size = 0
        head = word.read()
        if size != len(word.data) or head.kind not in (READY, FAILED):
            return _Failed("the engine worker ended before it was ready")
        if head.kind == READY:
            return head
        return _Failed(said(head.detail) or "failed without a word", self._more(worker))

    def _more(self, worker: WorkerProcess) -> str:
        """All that a worker has to say about its failure, a table of its golden set perhaps."""
        with suppress(OSError):
            self._clock.wait((worker.link.fileno(),), self._clock.now_ns() + NS_PER_S)
            return worker.link.recv(MOST_WORDS, socket.MSG_DONTWAIT).decode(errors="replace")
        return ""


def _end(worker: WorkerProcess) -> None:
    worker.link.close()
    worker.process.kill()
    with suppress(subprocess.TimeoutExpired):  # stuck in the kernel: it goes when it can
        worker.process.wait(timeout=2.0)
