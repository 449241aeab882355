"""The roles around the loop. The loop knows these and nothing behind them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from edge.core.types import (
    Ack,
    Action,
    Answer,
    Deadline,
    Decision,
    Fault,
    Frame,
    NoFrame,
    PartRecord,
    Prediction,
    Trigger,
)


class Clock(Protocol):
    """The only source of instants, and the only place to wait."""

    def now_ns(self) -> int:
        """Nanoseconds on the station's clock; counts on while the machine is suspended."""

    def wait(self, fds: Sequence[int], until_ns: int | None, *, busy: bool) -> list[int]:
        """Wait until an fd is readable or the instant comes; the readable fds, maybe none.

        busy: work outside is outstanding. A virtual clock then lets real time pass before
        it jumps to `until_ns`; a real clock takes no notice.
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

    def filenos(self) -> Sequence[int]:
        """Readable when `poll` may have an answer or a change of workers."""

    def submit(self, frame: Frame) -> None:
        """Queue a frame. Its slot stays held until no worker can read it."""

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

    def decide(self, part: int, outcome: Prediction | Fault) -> Decision:
        """The decision of one part. A Fault never becomes ACCEPT."""


class Actuator(Protocol):
    """Carries expectations and commands to the controllers and brings back their acks."""

    @property
    def connected(self) -> bool:
        """True while a controller with the role `disposition` is heard."""

    def fileno(self) -> int:
        """Readable when `poll` may have an ack."""

    def expect(self, part: int, number: int, default: Action, deadline: Deadline) -> bool:
        """Arm the default at the controller; False when none could be told."""

    @property
    def counts(self) -> dict[Action, int] | None:
        """The disposition controller's cumulative actions, as last heard; None without one."""

    def command(self, decision: Decision, deadline: Deadline) -> int:
        """Send the part's one command; its sequence number, 0 when nobody was there to hear."""

    def poll(self, now_ns: int) -> Ack | None:
        """The next ack, or None."""

    def due_ns(self) -> int | None:
        """When `poll` must be called to keep the beat."""

    def close(self) -> None:
        """Say Bye and close the socket."""


class Recorder(Protocol):
    """Is told everything and can refuse nothing; must return at once."""

    def part(self, record: PartRecord) -> None:
        """One finished part."""

    def event(self, kind: str, part: int, detail: str) -> None:
        """Anything else worth a line: a fault, a dropped answer, a replaced worker."""
