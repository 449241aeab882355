"""What is broken, and at which part: drawn from a seed, known to every injector beforehand."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Literal

import msgspec

from edge.core.clock import NS_PER_MS

Kind = Literal[
    "worker_kill", "worker_stop", "garbage", "stale_answer", "slow_inference",
    "camera_freeze", "lost_frame", "unfit_picture", "burst",
    "controller_restart", "controller_stop", "lost_ack",
    "network_stall", "hostile_bytes", "station_stall",
    "historian_kill", "disk_full",
]  # fmt: skip
KINDS: tuple[Kind, ...] = Kind.__args__  # type: ignore[attr-defined]
# Broken by whom: the engine's worker, the camera, or the process that drives the run.
WORKER_KINDS = frozenset[Kind](
    {"worker_kill", "worker_stop", "garbage", "stale_answer", "slow_inference"}
)
DRIVER_KINDS = frozenset[Kind](
    {
        *("controller_restart", "controller_stop", "network_stall", "hostile_bytes"),
        *("station_stall", "historian_kill", "disk_full"),
    }
)
# Nobody on the line may notice these.
UNSEEN = frozenset[Kind]({"lost_ack", "hostile_bytes", "camera_freeze", "unfit_picture"}) | {
    *("historian_kill", "disk_full"),
}
# Of a part broken so, no honest verdict can exist: an ACCEPT of it is an accept on a fault.
NO_VERDICT = frozenset[Kind](
    {
        *("worker_kill", "worker_stop", "garbage", "stale_answer"),
        *("camera_freeze", "lost_frame", "unfit_picture"),
    }
)
# These cost a worker, whose successor takes most of a second to warm up: the next such kind
# waits for it, because two dead workers at once are a fault of the run and not of the station.
# A historian's start, beside it, takes as long.
_COSTS_A_START = (WORKER_KINDS - {"slow_inference"}) | {"historian_kill", "disk_full"}
_RESPAWN_NS = 900 * NS_PER_MS
# How long the parts after an injection are spread out, so that it is over before the next one.
_SPREAD_NS: dict[Kind, int] = {
    "controller_stop": 1_400 * NS_PER_MS,
    "controller_restart": 500 * NS_PER_MS,
    "network_stall": 500 * NS_PER_MS,
    "station_stall": 350 * NS_PER_MS,
    "slow_inference": 120 * NS_PER_MS,
    "burst": 100 * NS_PER_MS,
    "disk_full": 300 * NS_PER_MS,
}
_A_PART_NS = 4 * NS_PER_MS  # about what a part takes at maximum pace
AMONG_20_000 = 56  # of each kind; some come to nothing, and 50 are promised
BURST = 12  # parts at one instant: more than there are slots


class Injection(msgspec.Struct, frozen=True):
    """A kind, the part at which it happens, and a number of its own for whoever does it."""

    kind: Kind
    part: int
    dice: int


class Plan(msgspec.Struct, frozen=True):
    """One run: parts, pace (0: the next part as soon as one may come), injections, pauses.

    pauses_ns: by part, how long after the one before it comes at the earliest. pictures: the
    generator's parts that are shown in turn, all of them fit to judge.
    """

    parts: int
    seed: int
    rate_hz: float
    injections: tuple[Injection, ...]
    pauses_ns: dict[int, int]
    folder: str
    pictures: tuple[int, ...]

    def picture(self, part: int) -> int:
        """Which picture a part shows; two parts in a row never show the same."""
        return self.pictures[part % len(self.pictures)]

    def write(self, path: Path) -> None:
        path.write_bytes(msgspec.json.encode(self))

    @classmethod
    def read(cls, path: str | Path) -> Plan:
        return msgspec.json.decode(Path(path).read_bytes(), type=cls)


def draw(
    parts: int,
    rate_hz: float,
    seed: int,
    folder: str,
    pictures: tuple[int, ...],
    kinds: tuple[Kind, ...] = KINDS,
) -> Plan:
    """Every kind equally often, in random order, evenly over the run; of fewer kinds, more."""
    dice = random.Random(seed)
    each = max(1, round(parts * AMONG_20_000 / 20_000 * len(KINDS) / len(kinds)))
    order: list[Kind] = []
    for _ in range(each):
        order += dice.sample(kinds, len(kinds))
    length = max(2, (parts - 20) // len(order))
    injections, pauses = [], {}
    now_ns = worker_ready_ns = 0
    for number, kind in enumerate(order):
        first = 15 + number * length
        if first + length > parts:
            break
        spread_ns = _SPREAD_NS.get(kind, 0)
        if kind in _COSTS_A_START:
            if worker_ready_ns > now_ns:  # the parts since the last injection waited too little
                pauses[first] = worker_ready_ns - now_ns
                now_ns = worker_ready_ns
            worker_ready_ns = now_ns + _RESPAWN_NS
        injections.append(Injection(kind, first, dice.randrange(1 << 30)))
        after = range(first + 1 + (BURST if kind == "burst" else 0), first + length)
        for part in after:
            if spread_ns:
                pauses[part] = spread_ns // max(1, len(after))
        now_ns += spread_ns + length * _A_PART_NS
    return Plan(parts, seed, rate_hz, tuple(injections), pauses, folder, pictures)
