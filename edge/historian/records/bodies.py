"""The bodies of events: JSON with sorted keys, defaults left out, floats by their shortest digits.

kind         part  at_ns            body
key          0     0                Key: the first event, whose checkpoints are whose
session      0     its start        a Session (edge/core/history.py)
trigger      yes   the trigger      Triggered
decision     yes   decided          Decided; what is known of the part but its command and ack
command      yes   sent             Commanded
ack          yes   heard            Acked
done         yes   told             Detail: ok | failed
confirm      yes   told             Detail: the action by which the part was seen to leave
evidence     yes   0                Kept: the name of the picture's file
footage      yes   told             Detail: the name of the file in which its views are on disk
change       0     the change       Changed (edge/core/history.py) without its instant
lost         yes   0                Lost: the station ended and left the part open
lost         0     0                Left: the station ended without a word
end          0     the end          Left: the station ended, with its own counts
checkpoint   0     0                {}: signed, in the table `checkpoints`
stray        any   0                a message that fits no open part, as it was told
any other    any   told             Detail
A decision, its command and its ack follow one another; nothing comes between. An instant of 0 is
not known on the station's clock.
"""

from __future__ import annotations

from typing import Any

import msgspec

from edge.core.history import Swapped
from edge.core.types import Action, Cause, Fault, Record, Verdict

KEY, SESSION, TRIGGER, DECISION = "key", "session", "trigger", "decision"
COMMAND, ACK, DONE, CONFIRM, FOOTAGE = "command", "ack", "done", "confirm", "footage"
EVIDENCE, CHANGE, LOST, END = "evidence", "change", "lost", "end"
CHECKPOINT, STRAY = "checkpoint", "stray"
# What the station's own notes may not be called, since rows follow from events of these kinds.
OURS = frozenset(
    {KEY, SESSION, TRIGGER, DECISION, COMMAND, ACK, EVIDENCE, CHANGE, LOST, END, CHECKPOINT, STRAY}
)
LATE_KINDS = frozenset({DONE, CONFIRM, EVIDENCE, FOOTAGE})

encode = msgspec.json.Encoder(order="sorted").encode


class Key(Record, frozen=True):
    """The public half of the key that signs, in hex."""

    public_key: str


class Triggered(Record, frozen=True, omit_defaults=True, kw_only=True):
    """A part's trigger; lot is the one in force."""

    number: int
    encoder: int | None = None
    lot: str = ""
    trigger_ns: int
    decide_by_ns: int
    act_by_ns: int
    truth: str = ""
    defect_type: str = ""


class Lost(Record, frozen=True, omit_defaults=True, kw_only=True):
    """A part that was left open: its trigger, and what was told of it since.

    served: as that of the last part decided before it.
    """

    number: int
    encoder: int | None = None
    lot: str = ""
    trigger_ns: int
    decide_by_ns: int
    act_by_ns: int
    truth: str = ""
    defect_type: str = ""
    done: bool | None = None
    confirmed: Action | None = None
    evidence: str | None = None
    footage: str | None = None
    served: Swapped | None = None


class Decided(Record, frozen=True, omit_defaults=True, kw_only=True):
    """Everything of a decided part but its command and ack.

    It repeats the trigger, so that a row follows from it alone once retention has removed that.
    done to footage: what had been told of the part before it was closed. served: what judged it,
    or would have, as far as that is not what the session began with.
    """

    number: int
    encoder: int | None = None
    lot: str = ""
    trigger_ns: int
    decide_by_ns: int
    act_by_ns: int
    truth: str = ""
    defect_type: str = ""
    action: Action
    cause: Cause
    verdict: Verdict | None = None
    fault: Fault | None = None
    score: float | None = None
    regions: Any = ()  # of edge.core.regions.SizedRegion, as told
    detail: str = ""
    pose: Any = None  # of edge.core.types.Pose
    frame_ns: int = 0
    worker_ns: int = 0
    began_ns: int = 0
    ended_ns: int = 0
    worker_sent_ns: int = 0
    answered_ns: int = 0
    late_score: float | None = None
    picture: str = "none"
    done: bool | None = None
    confirmed: Action | None = None
    evidence: str | None = None
    footage: str | None = None
    served: Swapped | None = None


class Commanded(Record, frozen=True):
    """The command that left; command_id 0 where nobody could be told."""

    action: Action
    command_id: int


class Acked(Record, frozen=True, omit_defaults=True):
    """What the controller says it did, and when it received the command."""

    applied: Action | None = None
    received_ns: int = 0


class Kept(Record, frozen=True):
    """The name of a picture's file in the folder of evidence."""

    file: str


class Detail(Record, frozen=True):
    """One line."""

    detail: str


class Change(Record, frozen=True):
    """Who changed what, from which value to which, and why."""

    what: str
    who: str
    old: str
    new: str
    reason: str


class Left(Record, frozen=True):
    """The end of a session: parts left open; the station's counts, None where it told none."""

    open: int
    triggers: int | None = None
    decided: int | None = None
    errors: int | None = None


_ACTIONS = {action.value: action for action in Action}


class Words(msgspec.Struct):
    """What was told of a part besides its closing; the first word on each stands."""

    done: bool | None = None
    confirmed: Action | None = None
    evidence: str | None = None
    footage: str | None = None

    def hear(self, kind: str, text: str) -> None:
        column, value = word(kind, text)
        if getattr(self, column) is None:
            setattr(self, column, value)


def word(kind: str, text: str) -> tuple[str, bool | Action | str | None]:
    """The column and the value that an event of LATE_KINDS tells; None: it says nothing.

    text: of its body, the detail or the file.
    """
    if kind in (EVIDENCE, FOOTAGE):
        return kind, text
    if kind == CONFIRM:
        return "confirmed", _ACTIONS.get(text)
    return "done", {"failed": False, "ok": True}.get(text)
