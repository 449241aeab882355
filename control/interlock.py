"""The interlock: what the station as a whole may do, in OPC 40100's states, and what stops it.

Pure rules: told what happened to parts, it says whether the next one may be inspected and
whether the line should stand. It never touches a part that is under way.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Literal

from edge.core.config import Effect, Limit, LimitOptions
from edge.core.types import Action, Cause, Outcome, PartRecord, State

Event = Callable[[str, int, str], None]
Step = Literal[
    "initialize", "prepare", "start", "start_single", "stop", "fail", "recover", "reset", "halt"
]

_EXECUTING = (State.SINGLE_EXECUTION, State.CONTINUOUS_EXECUTION)
_OPERATIONAL = (State.INITIALIZED, State.READY, *_EXECUTING)

# What is not listed is refused. OPC 40100-1, 8.2: the automatic mode's state machine.
TRANSITIONS: dict[tuple[State, Step], State] = {
    (State.PREOPERATIONAL, "initialize"): State.INITIALIZED,
    (State.INITIALIZED, "prepare"): State.READY,
    (State.READY, "start"): State.CONTINUOUS_EXECUTION,
    (State.READY, "start_single"): State.SINGLE_EXECUTION,
    **{(state, "stop"): State.READY for state in _EXECUTING},
    (State.READY, "stop"): State.READY,
    **{(state, "fail"): State.ERROR for state in (State.PREOPERATIONAL, *_OPERATIONAL)},
    (State.ERROR, "fail"): State.ERROR,
    (State.ERROR, "recover"): State.READY,  # the cause is gone by itself
    (State.ERROR, "reset"): State.READY,
    (State.READY, "reset"): State.READY,
    **{(state, "reset"): state for state in _EXECUTING},
    **{(state, "halt"): State.HALTED for state in State if state is not State.HALTED},
}


class Interlock:
    """The station's state, and the limits that change it; `event` is told of every change."""

    def __init__(self, limits: LimitOptions, event: Event) -> None:
        self._limits, self._event = limits, event
        self.state = State.PREOPERATIONAL
        self._error = self._held = ""  # why it is in Error, why the line is held
        self._held_by: Cause | None = None
        self._engine_trouble = ""
        self._only_engine = False  # the Error is the engine's alone, and ends with it
        self.counts = {"faults": 0, "rejects": 0, "missed_acks": 0, "unconfirmed": 0, "broken": 0}
        self._window: deque[bool] = deque(maxlen=limits.reject_rate.parts)
        self._rejected = 0  # in the window
        self._rate_told = False
        self._single_open = False

    @property
    def reason(self) -> str:
        """Why it is in Error, or held; "" otherwise."""
        return self._error if self.state is State.ERROR else self._held

    @property
    def hold_line(self) -> bool:
        """Whether the machine should feed no further part."""
        return self._held_by is not None or self.state in (State.ERROR, State.HALTED)

    def bar(self) -> Cause | None:
        """At each trigger: why the part is not inspected, a person or a fault; None if it is."""
        if self.state is State.CONTINUOUS_EXECUTION:
            return None
        if self.state is State.SINGLE_EXECUTION:
            first, self._single_open = not self._single_open, True
            return None if first else Cause.OPERATOR
        if self.state is State.ERROR and self._only_engine and self._held_by is None:
            return None  # the engine itself says so of each part
        return self._held_by or Cause.FAULT

    def step(self, step: Step, why: str = "") -> bool:
        """Take a step of the table; False, and nothing changed, where it is not allowed."""
        after = TRANSITIONS.get((self.state, step))
        if after is None:
            return False
        if after is not self.state:
            detail = f"{self.state} -> {after}" + (f": {why}" if why else "")
            self.state = after
            self._event("state", 0, detail)
        return True

    # ---- what happens to parts ----

    def part(self, record: PartRecord) -> None:
        """One finished part."""
        decision = record.decision
        faulty = decision.fault is not None and decision.cause is not Cause.OPERATOR
        self._run("faults", faulty, "consecutive_faults", record.part)
        rejected = (record.applied or decision.action) is Action.REJECT
        judged = rejected and decision.fault is None
        self._run("rejects", judged, "consecutive_rejects", record.part)
        self._rate(judged, record.part)
        missed = record.acked_ns == 0 and record.command_id > 0
        self._run("missed_acks", missed, "missed_acks", record.part)
        if self._single_open and decision.cause is not Cause.OPERATOR:
            self._single_open = False
            self._hold(Cause.OPERATOR, self._held or "held: one part inspected")

    def outcome(self, outcome: Outcome) -> None:
        """What became of a part after its ack; only what went wrong counts."""
        if not outcome.ok:
            self._count("unconfirmed", "unconfirmed_rejects", outcome.part)

    def conservation(self, rule: str) -> None:
        """The counts disagree."""
        self._count("broken", "conservation_errors", 0)

    def engine(self, trouble: str) -> None:
        """Why there is no engine, "" when there is one again; the station follows by itself."""
        if trouble == self._engine_trouble:
            return
        self._engine_trouble = trouble
        if trouble and (self._only_engine or self.state is not State.ERROR):
            self._fail(f"engine: {trouble}")
            self._only_engine = True
        elif not trouble and self._only_engine:
            self._only_engine = False
            self.step("recover", "the engine is back")
            if self._held_by is None:
                self.step("start")

    # ---- what a person does ----

    def hold(self, who: str, reason: str) -> str:
        """Stop the line; parts that still come get their default. "" or why it cannot be."""
        if self.state not in (*_EXECUTING, State.READY):
            return f"hold: the station is in {self.state}; reset comes first"
        self._hold(Cause.OPERATOR, f"held by {who}" + (f": {reason}" if reason else ""))
        self._event("operator", 0, f"hold by {who}: {reason}")
        return ""

    def resume(self, who: str, reason: str, *, single: bool = False) -> str:
        """Let parts be inspected again; single: one, and the line stands again."""
        if self.state is not State.READY:
            return f"resume: the station is in {self.state}; nothing is held"
        self._event("operator", 0, f"resume by {who}: {reason}")
        self._held_by, self._held = None, ""
        self._forget()
        self.step("start_single" if single else "start", f"resumed by {who}")
        return ""

    def reset(self, who: str, reason: str) -> str:
        """Clear the Error or the hold of a limit and its counts; a hold by a person stays."""
        if not self.step("reset", f"reset by {who}"):
            return f"reset: the station is in {self.state}"
        self._event("operator", 0, f"reset by {who}: {reason}")
        self._forget()
        self._only_engine = False
        if self._held_by is not Cause.OPERATOR:
            self._held_by, self._held = None, ""
        if self._engine_trouble:
            trouble, self._engine_trouble = self._engine_trouble, ""
            self.engine(trouble)
        elif self._held_by is None:
            self.step("start")
        return ""

    # ---- limits ----

    def _run(self, name: str, happened: bool, limit: str, part: int) -> None:
        """Count how often something happened in a row."""
        if happened:
            self._count(name, limit, part)
        else:
            self.counts[name] = 0

    def _count(self, name: str, limit: str, part: int) -> None:
        self.counts[name] += 1
        rule: Limit = getattr(self._limits, limit)
        if self.counts[name] == rule.limit:
            self._reach(limit, rule.effect, f"{limit}: {rule.limit} reached", part)

    def _rate(self, rejected: bool, part: int) -> None:
        rule, window = self._limits.reject_rate, self._window
        full = len(window) == window.maxlen
        self._rejected += rejected - (window[0] if full else 0)
        window.append(rejected)
        over = len(window) == window.maxlen and self._rejected > rule.limit * rule.parts
        if over and not self._rate_told:
            share = 100 * self._rejected / rule.parts
            self._reach("reject_rate", rule.effect, f"reject_rate: {share:.0f} % of parts", part)
        self._rate_told = over

    def _reach(self, limit: str, effect: Effect, detail: str, part: int) -> None:
        self._event("limit", part, f"{detail}: {effect}")
        match effect:
            case "warn":
                pass
            case "hold_line":
                self._hold(self._held_by or Cause.FAULT, self._held or detail)
            case "error":
                self._only_engine = False
                self._fail(detail)

    def _fail(self, reason: str) -> None:
        if self.state is State.SINGLE_EXECUTION:  # else one part would become all of them
            self._held_by, self._held = Cause.OPERATOR, "held: one part at a time"
        self._single_open, self._error = False, reason
        self.step("fail", reason)

    def _hold(self, by: Cause, reason: str) -> None:
        self._held_by, self._held = by, reason
        self.step("stop", reason)

    def _forget(self) -> None:
        self.counts = dict.fromkeys(self.counts, 0)
        self._window.clear()
        self._rejected, self._rate_told = 0, False
