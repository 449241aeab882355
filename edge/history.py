"""The station's side of the historian: records and pictures on their way to another process.

Nothing here waits. A message is kept until the historian has it on disk, and told again to the next
historian should one die; pictures are lent to it only while enough slots stay free.
"""

from __future__ import annotations

import socket
import subprocess
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

import msgspec

from edge.core.clock import NS_PER_MS, NS_PER_S, SystemClock, now_ns
from edge.core.errors import RecordsError
from edge.core.history import (
    Changed,
    Checkpointed,
    Closed,
    Committed,
    Ended,
    Envelope,
    Heard,
    Noted,
    Opened,
    Picture,
    Refused,
    Started,
    Told,
    Trouble,
)
from edge.core.ledger import Balance
from edge.core.pool import FramePool, Holder
from edge.core.ports import Clock
from edge.core.types import Deadline, Decision, Frame, PartRecord, Trigger, Verdict

# What waits for a historian that is slow or being replaced: 40 MB, 8 minutes at 100 parts/s. Beyond
# that the oldest are given up and counted.
MOST_WAITING = 100_000
MOST_BYTES = 64 << 10  # of a message; 64 regions take 4 kB
LOOK_NS = 20 * NS_PER_MS  # between two looks at what the historian says
# A historian that commits nothing for so long is killed: a disk may well stand for seconds.
HANG_NS = 30 * NS_PER_S
# Before the next start after one that committed nothing.
FIRST_PAUSE_NS, LONGEST_PAUSE_NS = NS_PER_S // 5, 10 * NS_PER_S
START_S = 20.0
MOST_FAILURES = 4  # of historians without a commit between them, in a replay
CLOSE_S = 20.0  # for the last commit, with a footer to write

_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(Heard)
Truth = Callable[[int], tuple[str, str]]  # of a part: good, defect or "", and the defect's type
Launch = Callable[[bool], tuple["subprocess.Popen[bytes]", socket.socket]]


class Wants(NamedTuple):
    """Whose pictures the historian is lent."""

    every: bool  # for footage
    evidence: bool
    pass_every: int  # evidence of each so many-th part that passed; 0 for none


class _Running(NamedTuple):
    process: subprocess.Popen[bytes]
    link: socket.socket


class History:
    """A recorder and a witness that tell a historian everything.

    patient: in lock-step, where time stands still meanwhile, wait for room instead of losing
    anything. spare: slots that lending leaves free.
    """

    def __init__(
        self,
        launch: Launch,
        wants: Wants,
        pool: FramePool,
        clock: Clock,
        *,
        lot: str | None = None,
        patient: bool = False,
        tell: Callable[[str, int, str], None] = lambda kind, part, detail: None,
    ) -> None:
        """launch: starts a historian and returns it with our end of its socket; gently beside a
        line that runs. tell: hears of the historian's own troubles.
        """
        self._launch, self._wants, self._pool, self._clock = launch, wants, pool, clock
        self._patient, self._tell = patient, tell
        self._spare = max(2, pool.slots // 2 - 1)
        self.truth: Truth = lambda part: ("", "")
        self.lot = lot  # None: no records are kept that it could be in
        self._waiting: deque[tuple[int, bytes]] = deque()  # not committed yet
        self._unsent: deque[tuple[int, bytes]] = deque()  # of these, not sent to this historian
        self._number = 0
        self._held: dict[int, tuple[int, int]] = {}  # part -> (slot, generation) until it closes
        self._lent: list[tuple[int, int]] = []  # (slot, generation) that the historian reads
        self._look_ns = 0
        self._heard_ns = now_ns()
        self._failures = 0  # historians since one last committed anything
        self.lost_pictures = self.lost_records = self.restarts = self.troubles = 0
        self.committed = 0
        self._running: _Running | None = _Running(*launch(False))
        self._trouble = ""  # why a historian last could not go on
        self._born: deque[_Running] = deque()
        self._wake = threading.Event()
        self._dead: deque[_Running] = deque()
        self._closing = False
        self._keeper = threading.Thread(target=self._keep, name="edge-history", daemon=True)
        self._keeper.start()

    def await_start(self) -> None:
        """Block until the first historian has its files open; RecordsError where it cannot."""
        running, clock = self._running, SystemClock()
        assert running is not None
        clock.wait((running.link.fileno(),), clock.now_ns() + round(START_S * NS_PER_S))
        try:
            data = running.link.recv(1 << 16, socket.MSG_DONTWAIT)
            said = _decoder.decode(data) if data else Refused("the historian did not start")
        except (OSError, msgspec.MsgspecError) as error:
            said = Refused(f"the historian did not start: {error}")
        if not isinstance(said, Started):
            raise RecordsError(said.error if isinstance(said, Refused) else "not a historian")

    # ---- what the loop tells ----

    def opened(self, trigger: Trigger, deadline: Deadline) -> None:
        truth, defect_type = self.truth(trigger.part)
        self._say(
            Opened(trigger.part, trigger.number, trigger.encoder, deadline, truth, defect_type)
        )

    def decided(self, frame: Frame, decision: Decision) -> None:
        """Hold a wanted picture's slot on, if enough others are free."""
        pool = self._pool
        if not self._is_wanted(decision):
            return
        self._reclaim()
        while self._patient and pool.free <= self._spare and self._lent:
            self._await()
        if pool.free <= self._spare:
            self.lost_pictures += 1
            self._held[frame.part] = (-1, 0)
            return
        pool.hold(frame.slot, Holder.HISTORY)
        self._held[frame.part] = (frame.slot, frame.generation)

    def part(self, record: PartRecord) -> None:
        slot, generation = self._held.pop(record.part, (-1, -1))
        picture: Picture = "none" if generation < 0 else "lost" if slot < 0 else "kept"
        told = self._say(Closed(record, picture, slot, max(0, generation)))
        if slot >= 0 and told:
            self._lent.append((slot, generation))
        elif slot >= 0:
            self._pool.release(slot, Holder.HISTORY)

    def event(self, kind: str, part: int, detail: str) -> None:
        self._say(Noted(kind, part, detail, self._clock.now_ns()))

    def changed(self, what: str, who: str, old: str, new: str, reason: str) -> None:
        """A person changed something that decides about parts."""
        self._say(Changed(what, who, old, new, reason, self._clock.now_ns()))

    def turn(self, at_ns: int) -> None:
        """Hear what the historian says, and send what waits; called from the loop's turns."""
        if at_ns < self._look_ns:
            return
        self._look_ns = at_ns + LOOK_NS
        self._hear()
        self._reclaim()
        self._send()

    def status(self) -> dict[str, int]:
        """What statistics say of the historian."""
        return {
            "records_waiting": len(self._waiting),
            "records_committed": self.committed,
            "records_lost": self.lost_records,
            "pictures_lost": self.lost_pictures,
            "historian_restarts": self.restarts,
        }

    def end(self, balance: Balance) -> None:
        """Close the books: the loop is over, and this waits until all of it is on disk."""
        self._say(Ended(self._clock.now_ns(), balance.triggers, balance.decided, balance.errors))
        until_ns = now_ns() + round(CLOSE_S * NS_PER_S)
        while self._waiting and now_ns() < until_ns:
            self._await()
        self.lost_records += len(self._waiting)
        self._waiting.clear()
        if self.lost_records:
            self._tell("records_lost", 0, f"{self.lost_records} messages are on no record")

    def close(self) -> None:
        """End the historian, which writes its footers, and the thread."""
        self._closing = True
        if self._running:
            _finish(self._running)
        # Only now: a historian that the thread has started dies with it.
        self._wake.set()
        self._keeper.join()
        for running in (*self._dead, *self._born):
            _finish(running)
        self._running = None

    # ---- pictures ----

    def _is_wanted(self, decision: Decision) -> bool:
        wants = self._wants
        if wants.every:
            return True
        if not wants.evidence:
            return False
        if decision.verdict is not Verdict.PASS:
            return True
        return wants.pass_every > 0 and decision.part % wants.pass_every == 0

    def _reclaim(self) -> None:
        """Take back what the historian has copied."""
        pool = self._pool
        if not self._lent:
            return
        kept = []
        for slot, generation in self._lent:
            if self._running is None or pool.is_seen(slot, generation):
                pool.release(slot, Holder.HISTORY)
            else:
                kept.append((slot, generation))
        self._lent = kept

    # ---- the socket ----

    def _say(self, told: Told) -> bool:
        """Queue a message; False for one that can never be sent."""
        try:
            data = _encode(Envelope(self._number + 1, told))
        except (ValueError, OverflowError):  # text that is no UTF-8, a number of no kind
            data = b""
        if not 0 < len(data) <= MOST_BYTES:  # larger ones no socket takes: it would stay the next
            self.lost_records += 1
            return False
        if not self._waiting:  # only from now on is its silence any
            self._heard_ns = now_ns()
        self._number += 1
        message = (self._number, data)
        self._waiting.append(message)
        self._unsent.append(message)
        if len(self._waiting) > MOST_WAITING:
            oldest = self._waiting.popleft()
            self.lost_records += 1
            if self._unsent and self._unsent[0][0] == oldest[0]:
                self._unsent.popleft()
        self._send()
        while self._patient and len(self._unsent) > 64:
            self._await()
        return True

    def _send(self) -> None:
        if self._running is None:
            return
        while self._unsent:
            try:
                self._running.link.send(self._unsent[0][1], socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except OSError:  # gone: noticed again, and told, where it is heard
                return
            self._unsent.popleft()

    def _hear(self) -> None:
        if self._running is None:
            self._take_over()
            return
        while True:
            try:
                data = self._running.link.recv(1 << 16, socket.MSG_DONTWAIT)
            except BlockingIOError:
                break
            except OSError:
                data = b""
            if not data:
                self._bury("ended")
                return
            try:
                heard = _decoder.decode(data)
            except (msgspec.MsgspecError, UnicodeDecodeError):
                self._bury("makes no sense")
                return
            self._heed(heard)
        if self._waiting and now_ns() - self._heard_ns > HANG_NS:
            self._bury(f"hangs: nothing committed for {HANG_NS // NS_PER_S} s")

    def _heed(self, heard: Heard) -> None:
        self._heard_ns = now_ns()
        match heard:
            case Started(number) | Committed(number):
                if isinstance(heard, Committed) and number > self.committed:
                    self._failures = 0
                self.committed = number
                while self._waiting and self._waiting[0][0] <= number:
                    self._waiting.popleft()
            case Checkpointed():
                self._tell("checkpoint", 0, f"event {heard.event}: {heard.hash}")
            case Trouble(kind, detail):
                self.troubles += 1
                self._tell(kind, 0, detail)
            case Refused(error):  # it ends; the next one is tried after a pause
                self._trouble = error
                self._tell("historian", 0, error)

    def _bury(self, why: str) -> None:
        """The historian is no good any more: the next one is told everything not committed."""
        running = self._running
        assert running is not None
        self._running = None
        self.restarts += 1
        self._failures += 1
        running.process.kill()
        self._dead.append(running)
        self._wake.set()
        self._tell("historian", 0, f"pid {running.process.pid} {why}; another one is started")

    def _take_over(self) -> None:
        if not self._born:
            return
        self._reclaim()  # of the dead one, which reads nothing any more
        self._running = self._born.popleft()
        self._heard_ns = now_ns()
        self._unsent = deque(self._waiting)
        self._send()

    def _await(self) -> None:
        """Let the historian get on; only where nothing is late for it.

        RecordsError where one after the other cannot: a replay would wait for ever.
        """
        if self._patient and self._failures > MOST_FAILURES:
            raise RecordsError(self._trouble or "one historian after the other ends")
        clock = SystemClock()
        fds = (self._running.link.fileno(),) if self._running else ()
        clock.wait(fds, clock.now_ns() + 2 * NS_PER_MS, look_ns=0)
        self._hear()
        self._reclaim()
        self._send()

    # ---- the keeper's thread: starting and reaping take milliseconds ----

    def _keep(self) -> None:
        while not self._closing:
            self._wake.wait()
            self._wake.clear()
            while self._dead and not self._closing:
                doublings = self._failures - 2
                if doublings >= 0:
                    pause_ns = min(FIRST_PAUSE_NS << min(doublings, 10), LONGEST_PAUSE_NS)
                    self._wake.wait(pause_ns / NS_PER_S)
                if self._closing:
                    return
                try:
                    self._replace(self._dead[0])
                except OSError:  # no memory, no processes: tried again after a pause
                    self._failures += 1

    def _replace(self, dead: _Running) -> None:
        dead.link.close()
        with suppress(subprocess.TimeoutExpired):  # stuck in the kernel: its lock may be held
            dead.process.wait(timeout=5.0)
        self._born.append(_Running(*self._launch(True)))
        self._dead.popleft()


def _finish(running: _Running) -> None:
    """Close its socket, which ends it, and reap it."""
    running.link.close()
    with suppress(subprocess.TimeoutExpired):
        running.process.wait(timeout=CLOSE_S)
    running.process.kill()
    running.process.wait()
