"""The vocabulary: what passes between the camera, the engine, the policy and the machine.

Frame -> Prediction -> Decision -> Command -> Ack, all frozen. Instants are integers in
nanoseconds on the station's clock (edge/core/clock.py) and end in `_ns`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

import msgspec
from msgspec import Meta


class Verdict(StrEnum):
    """What the policy says of a part."""

    PASS = "pass"
    FAIL = "fail"
    INDETERMINATE = "indeterminate"


class Action(StrEnum):
    """What the machine does with a part. HOLD sets the part aside; it does not stop the line."""

    ACCEPT = "accept"
    REJECT = "reject"
    REWORK = "rework"
    HOLD = "hold"


class Fault(StrEnum):
    """Why a part has no prediction. Never convertible into one."""

    NO_IMAGE = "no_image"
    MISSED_TRIGGER = "missed_trigger"
    STALE_FRAME = "stale_frame"
    BAD_FRAME = "bad_frame"
    UNFIT_IMAGE = "unfit_image"
    NOT_ADMITTED = "not_admitted"
    DEADLINE = "deadline"
    ENGINE_DOWN = "engine_down"
    BAD_OUTPUT = "bad_output"
    STALL = "stall"
    NO_CONTROLLER = "no_controller"


class State(StrEnum):
    """What the station as a whole is doing, in the names of OPC 40100-1.

    The last four are the substates of Operational.
    """

    PREOPERATIONAL = "preoperational"
    HALTED = "halted"
    ERROR = "error"
    INITIALIZED = "initialized"
    READY = "ready"
    SINGLE_EXECUTION = "single_execution"
    CONTINUOUS_EXECUTION = "continuous_execution"


class Cause(StrEnum):
    """What made a decision: a verdict in time, the deadline, a fault, or a person."""

    VERDICT = "verdict"
    DEADLINE = "deadline"
    FAULT = "fault"
    OPERATOR = "operator"


class Record(msgspec.Struct, frozen=True, gc=False):
    """A frozen value of plain fields; never part of a reference cycle, so not tracked."""


ALIGN_SIDE_PX = 128  # the least side of a reference that can be registered


class Fit(Record, frozen=True):
    """How a picture becomes a view: applied by `sensors` while it writes the slot.

    mode: exact refuses another size; pad and crop keep the scale and centre the picture;
    resize scales it. fill is the gray level of padding. sizes lists the admitted source
    sizes as (height, width) in pixels; empty admits every size the mode can take.
    """

    mode: Literal["exact", "pad", "crop", "resize"] = "exact"
    fill: int = 0
    sizes: tuple[tuple[int, int], ...] = ()


class ViewSpec(Record, frozen=True):
    """One typed array of a part: a picture, a reference picture, or a window of samples.

    shape is (H, W) for gray and (H, W, 3) for BGR pictures, dtype uint8; samples are
    float32 of (n, channels). align "affine": a reference that `sensors` moves to where the first
    picture has it, after both were fitted; gray, of the picture's shape.
    """

    name: str
    kind: Literal["picture", "reference", "samples"]
    dtype: Literal["uint8", "float32"]
    shape: tuple[int, ...]
    fit: Fit = Fit()
    align: Literal["none", "affine"] = "none"


class Region(Record, frozen=True, omit_defaults=True):
    """One connected area of a defect map, in pixels of the first picture view.

    type: one of the package's names; "" where it knows none, or not which.
    """

    x: int
    y: int
    width: int
    height: int
    area_px: int
    peak: float
    type: str = ""


class Deadline(Record, frozen=True):
    """A part's three instants: trigger, decide_by (the station), act_by (the controller)."""

    trigger_ns: int
    decide_by_ns: int
    act_by_ns: int


class Trigger(Record, frozen=True):
    """A part is in front of the camera now. `number` is the source's own count of it.

    encoder is the belt's position at that instant, in counts; None without one.
    """

    part: int
    number: int
    trigger_ns: int
    encoder: int | None = None


class Frame(Record, frozen=True):
    """A part's views are whole in a slot of the pool, under this generation of its lease.

    registration_ns: how long its references took to register; 0 where none was.
    """

    part: int
    slot: int
    generation: int
    ready_ns: int
    registration_ns: int = 0


class NoFrame(Record, frozen=True):
    """A part whose views did not come, and why."""

    part: int
    fault: Fault
    detail: str


class Prediction(Record, frozen=True):
    """A finite score (higher is worse) and the regions of the defect map, at most 64."""

    score: float
    regions: tuple[Region, ...] = ()
    overflow: bool = False


class Stamps(Record, frozen=True):
    """The engine's instants for one part, in its worker process, on the station's clock."""

    received_ns: int = 0
    started_ns: int = 0
    ended_ns: int = 0
    sent_ns: int = 0


class Serving(Record, frozen=True):
    """What judges parts: one package, on one provider, by one pair of limits.

    PASS below pass_below, FAIL from fail_from on. map_threshold: of the cells that make up regions;
    None where nothing says. type_names: of the defects that the package tells apart.
    """

    package: str
    version: str
    content_sha256: str
    provider: str
    threads: int
    precision: str
    pass_below: float
    fail_from: float
    map_threshold: float | None = None
    type_names: tuple[str, ...] = ()


class Answer(Record, frozen=True):
    """What the engine says of one part: a prediction or a fault, never anything between.

    serving: what judged it, or was to.
    """

    part: int
    slot: int
    generation: int
    outcome: Prediction | Fault
    stamps: Stamps = Stamps()
    detail: str = ""
    serving: Serving | None = None


class Pose(Record, frozen=True):
    """A pose in a named frame: millimetres, and degrees about x, y, z."""

    frame: Annotated[str, Meta(max_length=200)]
    x_mm: float
    y_mm: float
    z_mm: float
    rx_deg: float
    ry_deg: float
    rz_deg: float


class Decision(Record, frozen=True):
    """What stands for a part at its deadline. verdict is None exactly where fault is set."""

    part: int
    action: Action
    cause: Cause
    verdict: Verdict | None = None
    fault: Fault | None = None
    score: float | None = None
    regions: tuple[Region, ...] = ()
    detail: str = ""
    pose: Pose | None = None


class Ack(Record, frozen=True):
    """The controller's word on one part: what it did, when it heard, how many it has done.

    received_ns is on the station's clock. counts are the controller's cumulative actions
    in this session, this one included; controller is its boot id, new with every restart.
    """

    part: int
    state: Literal["applied", "refused", "late", "armed"]
    action: Action
    received_ns: int
    counts: dict[Action, int]
    controller: str = ""


class Outcome(Record, frozen=True):
    """What the controller says of a part after its ack: its movement ended, or it was seen.

    ok is False where the movement failed, or the part left another way than it was sent.
    """

    part: int
    kind: Literal["done", "confirm"]
    ok: bool
    left_as: Action | None = None


class PartRecord(Record, frozen=True):
    """Everything known of a finished part; one a part, in trigger order of closing.

    serving: what judged it, or would have when it was decided without; None where nothing says.
    """

    part: int
    number: int
    deadline: Deadline
    decision: Decision
    frame_ns: int = 0
    stamps: Stamps = Stamps()
    answered_ns: int = 0
    decided_ns: int = 0
    sent_ns: int = 0  # the command is with ZeroMQ
    command_id: int = 0
    received_ns: int = 0
    acked_ns: int = 0
    applied: Action | None = None
    late_score: float | None = None
    encoder: int | None = None
    serving: Serving | None = None
    registration_ns: int = 0  # how long its references took to register, before frame_ns
