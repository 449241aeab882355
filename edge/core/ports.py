"""The roles around the loop. The loop knows these and nothing behind them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from edge.core.types import (
    Ack,
    Action,
    Answer,
    Cause,
    Deadline,
    Decision,
    Fault,
    Frame,
    NoFrame,
    Outcome,
    PartRecord,
    Prediction,
    Serving,
    Trigger,
)


class Clock(Protocol):
    """The only source of instants, and the only place to wait."""

    def now_ns(self) -> int:
        """Nanoseconds on the station's clock; counts on while the machine is suspended."""

    def wait(
        self, fds: Sequence[int], until_ns: int | None, *, busy: bool, look_ns: int = 0
    ) -> list[int]:
        """Wait until an fd is readable or the instant comes; the readable fds, maybe none.

        busy: work outside is outstanding. A virtual clock then lets real time pass before
        it jumps to `until_ns`; a real clock takes no notice.
        look_ns: a real clock looks instead of sleeping for so long before `until_ns`.
        """


class Camera(Protocol):
    """Turns triggers into frames in slots, and counts its triggers by itself."""

    @property
    def triggers(self) -> int:
        """How many parts the source itself has counted, independent of the station."""

    @property
    def exhausted(self) -> bool:
        """True when no further trigger can come: the footage is over, or the camera stopped."""

    def fileno(self) -> int:
        """Readable when `poll` may have something."""

    def due_ns(self, open_parts: int) -> int | None:
        """When the next scheduled part arrives; None for a live camera.

        Lock-step footage holds the next part back while one is open.
        """

    def poll(self, now_ns: int, open_parts: int) -> Trigger | Frame | NoFrame | None:
        """The next event, or None. A part's Trigger always comes before its Frame or NoFrame."""

    def start(self, now_ns: int) -> None:
        """Triggers may come from now on."""

    def stop(self) -> None:
        """Take no further trigger; the events of those already taken still come."""

    def close(self) -> None:
        """Stop the grabber thread and let the device go."""


class Engine(Protocol):
    """Judges frames in another process; may hang, die or lie without harming the caller."""

    @property
    def ready(self) -> bool:
        """True while a warm worker is there."""

    @property
    def trouble(self) -> str:
        """Why no worker is warm; "" while one is."""

    @property
    def serving(self) -> Serving | None:
        """What judges a part now, or would if a worker were warm."""

    def refusal(self, now_ns: int, decide_by_ns: int) -> tuple[Fault, str] | None:
        """Why a frame that came now would not be answered in time; None to admit it."""

    def filenos(self) -> Sequence[int]:
        """Readable when `poll` may have an answer or a change of workers."""

    def alert_ns(self) -> int | None:
        """How long before a part is due `alert` is of use; None for never."""

    def alert(self, now_ns: int, due_ns: int) -> None:
        """A part is due then: be awake for it."""

    def submit(self, frame: Frame, decide_by_ns: int) -> None:
        """Queue a frame. Its slot stays held until no worker can read it.

        One that can no longer be answered by decide_by_ns when its turn comes is not given to a
        worker: its answer is NOT_ADMITTED.
        """

    def abandon(self, part: int) -> None:
        """The part was decided without its answer; a queued frame is dropped."""

    def poll(self, now_ns: int) -> Answer | None:
        """The next answer, late and faulty ones included, or None."""

    def due_ns(self) -> int | None:
        """When `poll` must be called even if nothing became readable."""

    def close(self) -> None:
        """Stop the workers and reap them."""


class Policy(Protocol):
    """Pure: what a prediction, or a fault, means for the part."""

    @property
    def default(self) -> Action:
        """The action of a part without an on-time verdict; never ACCEPT."""

    def decide(
        self,
        part: int,
        outcome: Prediction | Fault,
        cause: Cause | None = None,
        serving: Serving | None = None,
    ) -> Decision:
        """The decision of one part. A Fault never becomes ACCEPT; cause names another than its
        own, such as the operator; serving, whose limits hold for the prediction."""


class Interlock(Protocol):
    """What the station as a whole may do; told of everything that went wrong."""

    @property
    def hold_line(self) -> bool:
        """Whether the machine should feed no further part."""

    def bar(self) -> Cause | None:
        """Called once a trigger: why this part is not inspected; None if it is."""

    def part(self, record: PartRecord) -> None:
        """One finished part."""

    def outcome(self, outcome: Outcome) -> None:
        """What became of a part after its ack."""

    def conservation(self, rule: str) -> None:
        """The counts disagree."""

    def engine(self, trouble: str) -> None:
        """Why there is no engine; "" when there is one."""


class Actuator(Protocol):
    """Carries expectations and commands to the controllers and brings back their acks."""

    @property
    def controller(self) -> str:
        """The boot id of the controller with the role `disposition`; "" while none is heard."""

    @property
    def counts(self) -> dict[Action, int] | None:
        """That controller's cumulative actions, as last heard; None without one."""

    @property
    def backlog(self) -> bool:
        """Whether `poll` has left something unread."""

    def fileno(self) -> int:
        """Readable when `poll` may have something."""

    def expect(self, part: int, number: int, default: Action, deadline: Deadline) -> str:
        """Arm the default at the controller; its boot id, "" when none could be told."""

    def command(self, decision: Decision, deadline: Deadline) -> int:
        """Send the part's one command; its sequence number, 0 when nobody was there to hear."""

    def nudge(self) -> None:
        """A part is due at once: let the way to the controllers be warm."""

    def hold(self, on: bool) -> None:
        """Tell the controllers to feed no further part, or to go on."""

    def poll(self, now_ns: int) -> Ack | Outcome | None:
        """The next ack or outcome, or None."""

    def due_ns(self) -> int | None:
        """When `poll` must be called to keep the beat, or to send again."""

    def close(self) -> None:
        """Say Bye and close the socket."""


class Recorder(Protocol):
    """Is told everything and can refuse nothing; must return at once."""

    def part(self, record: PartRecord) -> None:
        """One finished part."""

    def event(self, kind: str, part: int, detail: str) -> None:
        """Anything else worth a line: a fault, a dropped answer, a replaced worker."""


class Witness(Protocol):
    """Sees each part twice before it is finished; a recorder sees it after. Must return at once."""

    def opened(self, trigger: Trigger, deadline: Deadline) -> None:
        """A part's default is armed, and its frame, if it has come, is with the engine."""

    def decided(self, frame: Frame, decision: Decision) -> None:
        """A part's command is out, and its slot about to be let go: time to hold it on."""
