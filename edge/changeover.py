"""Changeover: other packages into a running station, without a gap, and back again.

A request is checked and prepared in a thread of its own; fresh workers are started and hold
themselves against the package's golden set; then the engine swaps between two parts. Whatever goes
wrong before that leaves everything as it was. Afterwards the new package is on probation, and is
rolled back by itself when it breaks its limits.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import msgspec

from edge.core.clock import utc_ns
from edge.core.config import ProbationOptions
from edge.core.errors import EdgeError
from edge.core.types import Answer, Decision, Fault, PartRecord, Prediction
from edge.desk import Request
from models.agreement import Agreement
from models.crew import Crew
from models.engine import WorkerEngine
from models.package import Package
from models.probation import Counts, Probation, Recent
from models.station_state import StationState, Step, ref_of
from models.store import address
from models.store_files import utc_text

Verb = Literal["activate", "shadow", "promote", "rollback"]
Stage = Literal["queued", "starting", "gating", "swapping", "done", "refused"]
_Jobs = queue.SimpleQueue[Callable[[], None] | None]
ITSELF = "the station"  # who asks, when nobody did
CLOSE_S = 10.0


class _Task(msgspec.Struct):
    """One change that was asked for, and how far it is."""

    number: int
    verb: Verb
    who: str
    reason: str
    package: str  # as it was asked for; then by name
    stage: Stage = "queued"
    detail: str = ""

    @property
    def over(self) -> bool:
        return self.stage in ("done", "refused")


class _Prepared(NamedTuple):
    task: _Task
    package: Package
    chain: tuple[Crew, ...]
    left_out: Mapping[str, str]


class RolledBack(msgspec.Struct, frozen=True):
    """What served until it broke its limits on probation; package as the store names it."""

    package: str
    reason: str
    at_utc: str


class Ways(NamedTuple):
    """What a changeover needs of the station around it.

    find: a package by its address, checked for this station. crews: its chain of crews, or that of
    a candidate, and why other providers are left out; both may take seconds, and raise EdgeError.
    write: keep a step for the next start, and a line to tell, or ""; in a thread too. decide: the
    policy. changed: tell the records. is_held: the line is.
    """

    find: Callable[[str], Package]
    crews: Callable[[Package, bool], tuple[tuple[Crew, ...], Mapping[str, str]]]
    write: Callable[[Step, str, Package, Package | None, str, Counts | None], str]
    decide: Callable[[Answer], Decision]
    changed: Callable[[str, str, str, str, str], None]
    event: Callable[[str, int, str], None]
    is_held: Callable[[], bool]


class Changeover:
    """Which package is active, which one is compared with it, and what is being changed.

    Everything but preparing and writing happens in the loop's turns. Also a recorder: it sees each
    part's decision.
    """

    def __init__(
        self,
        engine: WorkerEngine,
        active: Package,
        options: ProbationOptions,
        ways: Ways,
        *,
        previous: Package | None = None,
        probation: Counts | None = None,
        rolled_back: RolledBack | None = None,
    ) -> None:
        """previous: where a rollback leads. probation: what active, on probation already, is held
        against. rolled_back: in whose place active serves.
        """
        self._engine, self._options, self._ways = engine, options, ways
        self._active, self._previous, self._rolled_back = active, previous, rolled_back
        self._candidate: Package | None = None
        self._agreement: Agreement | None = None
        self._recent = Recent()
        self._probation = Probation(probation, options) if probation else None
        self._baseline = probation or Counts()  # what one on probation is held against
        self._provider = engine.serving.provider
        self._task: _Task | None = None
        self._count = 0
        self._prepared: deque[_Prepared | _Task] = deque()  # a task alone was refused
        self._lines: deque[str] = deque()  # for the loop's thread to tell, which alone may
        # Two threads, for what is being prepared may take minutes, and ends with the station.
        self._jobs: _Jobs = queue.SimpleQueue()
        self._writes: _Jobs = queue.SimpleQueue()
        self._writer = threading.Thread(
            target=_work, args=(self._writes,), name="edge-changes", daemon=True
        )
        self._writer.start()
        threading.Thread(
            target=_work, args=(self._jobs,), name="edge-changeover", daemon=True
        ).start()

    # ---- in the loop's thread ----

    def ask(self, request: Request) -> dict[str, Any]:
        """Begin what a person asks for: {"ok", "task"}, or why not; `status` tells how it goes."""
        assert request.verb in ("activate", "shadow", "promote", "rollback")
        if self._task and not self._task.over:
            return _no(f"{self._task.verb} of {self._task.package} is under way")
        package = request.package
        if request.verb == "shadow" and not package:
            return self._end_shadow(request)
        if request.verb == "promote" and not package:
            if self._candidate is None:
                return _no("promote: no candidate runs as shadow; name a package")
            return self._begin("promote", request.who, request.reason, self._candidate)
        if request.verb == "rollback":
            if package:
                return _no("rollback: to the package before alone; activate names one")
            if self._previous is None:
                return _no("rollback: no package to go back to")
            return self._begin("rollback", request.who, request.reason, self._previous)
        if not package:
            return _no(f"{request.verb}: which package?")
        return self._begin(request.verb, request.who, request.reason, package)

    def turn(self) -> None:
        """Go on with what has been prepared; a few microseconds when there is nothing."""
        while self._lines:
            self._ways.event("store", 0, self._lines.popleft())
        if self._prepared:
            self._go_on(self._prepared.popleft())
        if self._probation and self._probation.reason and not self._is_busy():
            self._roll_back(self._probation.reason)
        if self._engine.serving.provider != self._provider:
            old, self._provider = self._provider, self._engine.serving.provider
            why = self._engine.degraded or "one answered too slowly, or is quick again"
            self._ways.changed("provider", ITSELF, old, self._provider, why)

    def part(self, record: PartRecord) -> None:
        """One finished part: what it says of the package that judged it."""
        serving, active = record.serving, self._active
        ours = serving is not None and serving.content_sha256 == active.content_sha256
        # Refused because the line is held: none of the package's doing.
        held = record.decision.fault is Fault.NOT_ADMITTED and self._ways.is_held()
        if not ours or held:
            return
        self._recent.part(record.decision)
        if self._probation:
            self._probation.part(record.decision)
            if self._probation.over and not self._probation.reason:
                counts = self._probation.counts
                self._probation = None
                self._ways.event(
                    "probation", record.part, f"{named(active)} has passed: {counts.parts} parts"
                )
                self._write("keep", ITSELF, active, active, "probation is over")

    def event(self, kind: str, part: int, detail: str) -> None:
        """Nothing that concerns it."""

    @property
    def degraded(self) -> str:
        """Why the preferred provider does not serve; "" while it does."""
        return self._engine.degraded

    def status(self) -> dict[str, Any]:
        """What serves, what is compared, and what is being changed."""
        serving, task, probation = self._engine.serving, self._task, self._probation
        shadow = self._agreement.summary() if self._agreement else None
        if shadow is not None:
            shadow["missed"] = self._engine.shadow.missed
        return {
            "active": {
                "package": serving.package,
                "version": serving.version,
                "content_sha256": serving.content_sha256,
                "provider": serving.provider,
            },
            "previous": named(self._previous) if self._previous else None,
            "shadow": shadow,
            "probation": probation.status() if probation else None,
            "rolled_back": self._rolled_back and msgspec.structs.asdict(self._rolled_back),
            "degraded": bool(self._engine.degraded),
            "degraded_reason": self._engine.degraded,
            "golden_rounds": self._engine.golden.rounds,
            "task": task and {
                "number": task.number,
                "verb": task.verb,
                "package": task.package,
                "stage": task.stage,
                "detail": task.detail,
            },
        }  # fmt: skip

    def close(self) -> None:
        """Finish what is to be written down; what is being prepared is left."""
        self._jobs.put(None)
        self._writes.put(None)
        self._writer.join(CLOSE_S)
        while self._lines:
            self._ways.event("store", 0, self._lines.popleft())

    def _is_busy(self) -> bool:
        return self._task is not None and not self._task.over

    def _begin(self, verb: Verb, who: str, reason: str, what: str | Package) -> dict[str, Any]:
        self._count += 1
        asked = what if isinstance(what, str) else named(what)
        task = self._task = _Task(self._count, verb, who, reason, asked)
        self._jobs.put(lambda: self._prepare(task, what))
        return {"ok": True, "task": task.number}

    def _roll_back(self, why: str) -> None:
        """Away from a package that broke its limits; once, whatever comes of it."""
        self._probation = None
        self._ways.event("probation", 0, f"{named(self._active)}: {why}")
        if self._previous is None:
            self._ways.event("rollback", 0, "no package to go back to")
            return
        self._begin("rollback", ITSELF, why, self._previous)

    def _go_on(self, ready: _Prepared | _Task) -> None:
        if isinstance(ready, _Task):
            self._refuse(ready, ready.detail)
            return
        task = ready.task
        task.stage, task.package = "gating", named(ready.package)
        if task.verb == "shadow":
            self._begin_shadow(ready)
        else:
            self._engine.swap(
                ready.chain, lambda why: self._swapped(ready, why), left_out=ready.left_out
            )

    def _swapped(self, ready: _Prepared, why: str) -> None:
        """The engine has swapped, or has not and says why."""
        task, old, new = ready.task, self._active, ready.package
        if why:
            self._refuse(task, why)
            return
        self._active, task.stage = new, "done"
        self._provider = self._engine.serving.provider
        is_back = task.verb == "rollback"
        broke_limits = is_back and task.who == ITSELF
        self._rolled_back = (
            RolledBack(str(ref_of(old)), task.reason, utc_text(utc_ns())) if broke_limits else None
        )
        # One that has not passed its probation is no way back, and nothing to be held against.
        has_passed = self._probation is None or self._previous is None
        if is_back:
            self._previous = None
        elif old.content_sha256 != new.content_sha256 and has_passed:
            self._previous = old
        if has_passed:
            self._baseline = self._recent.counts
        counts, self._recent = self._baseline, Recent()
        on_probation = not is_back and self._options.parts > 0
        self._probation = Probation(counts, self._options) if on_probation else None
        if self._candidate:
            same = self._candidate.content_sha256 == new.content_sha256
            if task.verb == "promote" or same:
                self._drop_shadow()
            elif self._agreement:
                self._agreement = Agreement(self._engine.serving, self._agreement.shadow)
        self._tell(task, "package", named(old), named(new))
        self._write(task.verb, task.who, old, new, task.reason, counts if on_probation else None)

    def _begin_shadow(self, ready: _Prepared) -> None:
        task, package, crew = ready.task, ready.package, ready.chain[0]

        def ended(why: str) -> None:
            if why:
                self._candidate = self._agreement = None
                if not task.over:
                    self._refuse(task, why)
                    return
                self._ways.changed("shadow", ITSELF, named(package), "", why.splitlines()[0])
                self._write("shadow", ITSELF, self._active, None, why.splitlines()[0])
                return
            task.stage, self._candidate = "done", package
            self._agreement = Agreement(self._engine.serving, crew.serving)
            self._tell(task, "shadow", "", named(package))
            self._write("shadow", task.who, self._active, package, task.reason)

        self._candidate = self._agreement = None  # of the one before
        self._engine.shadow.begin(crew, self._compare, ended)

    def _compare(self, active: Answer, candidate: Answer) -> None:
        if self._agreement is None:
            return
        decide = self._ways.decide
        self._agreement.part(
            decide(active),
            decide(candidate),
            active_ms=_session_ms(active),
            shadow_ms=_session_ms(candidate),
        )

    def _end_shadow(self, request: Request) -> dict[str, Any]:
        if self._candidate is None:
            return _no("shadow: none runs; name a package to begin with")
        old = self._candidate
        self._drop_shadow()
        self._ways.event("shadow", 0, f"{request.who}: {named(old)} -> none")
        self._ways.changed("shadow", request.who, named(old), "", request.reason)
        self._write("shadow", request.who, self._active, None, request.reason)
        return {"ok": True, "task": self._count}

    def _drop_shadow(self) -> None:
        self._engine.shadow.end()
        self._candidate = self._agreement = None

    def _refuse(self, task: _Task, why: str) -> None:
        task.stage, task.detail = "refused", why
        line = why.splitlines()[0] if why else "refused"
        self._ways.event("refused", 0, f"{task.verb} of {task.package}, {task.who}: {line}")

    def _tell(self, task: _Task, what: str, old: str, new: str) -> None:
        self._ways.event(what, 0, f"{task.verb}, {task.who}: {old or 'none'} -> {new}")
        self._ways.changed(what, task.who, old, new, task.reason or task.verb)

    def _write(
        self,
        step: Step,
        who: str,
        old: Package,
        new: Package | None,
        reason: str,
        counts: Counts | None = None,
    ) -> None:
        """For the next start; a disk that refuses is told, and changes nothing of what serves."""

        self.later(lambda: self._ways.write(step, who, old, new, reason, counts))

    def later(self, write: Callable[[], str]) -> None:
        """Have something written down in a thread; what it returns, or its EdgeError, is told."""

        def job() -> None:
            try:
                line = write()
            except EdgeError as error:
                line = str(error)
            if line:
                self._lines.append(line)

        self._writes.put(job)

    # ---- in the changeover's thread ----

    def _prepare(self, task: _Task, what: str | Package) -> None:
        task.stage = "starting"
        try:
            # Read and checked again, whatever it was when it served last: its file, the station's
            # pin and signatures, and the views that the slots hold now.
            package = self._ways.find(what if isinstance(what, str) else address(what))
            chain, left_out = self._ways.crews(package, task.verb == "shadow")
        except EdgeError as error:
            task.detail = str(error)
            self._prepared.append(task)
        except Exception as error:  # the thread's boundary: no request may end it
            task.detail = f"{type(error).__name__}: {error}"
            self._prepared.append(task)
        else:
            self._prepared.append(_Prepared(task, package, chain, left_out))


def rolled_back(state: StationState) -> RolledBack | None:
    """What the station itself replaced by the package that is active now; None if it did not."""
    changes = (one for one in reversed(state.history) if one.verb not in ("shadow", "keep"))
    last = next(changes, None)
    if last is None or last.verb != "rollback" or last.who != ITSELF:
        return None
    return RolledBack(last.old, last.reason, last.at_utc)


def _work(jobs: _Jobs) -> None:
    while job := jobs.get():
        job()


def named(package: Package) -> str:
    """A package in an event: name, version and the beginning of its digest."""
    manifest = package.manifest
    return f"{manifest.name} {manifest.version} ({package.content_sha256[:12]})"


def _session_ms(answer: Answer) -> float:
    stamps = answer.stamps
    ran = isinstance(answer.outcome, Prediction) and stamps.started_ns
    return (stamps.ended_ns - stamps.started_ns) / 1e6 if ran else 0.0


def _no(why: str) -> dict[str, Any]:
    return {"ok": False, "error": why}
