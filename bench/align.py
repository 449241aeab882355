"""What registration promises: how near the truth, how long, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

import cv2
import numpy as np
import numpy.typing as npt

from bench.measures import Figures, data
from edge.core.clock import NS_PER_MS, now_ns
from edge.core.types import ViewSpec
from models.build.boards import board, taken
from sensors.align import Aligner, Registration
from sensors.footage import Footage, open_footage

Gray = npt.NDArray[np.uint8]
Matrix = npt.NDArray[np.float64]
SIDE_PX = 512
VIEWS = (
    ViewSpec("image", "picture", "uint8", (SIDE_PX, SIDE_PX)),
    ViewSpec("reference", "reference", "uint8", (SIDE_PX, SIDE_PX)),
)
TRUE_PAIRS = 500
HELD_PX = 2.0  # Registration.loose_px up to which the corners are said to be held
NEAR_PX = 0.3
SIDES_PX = (128, 256, 512, 1024, 2048, 4096)
_EDGE = 60.0  # of the reference's Sobel slope


def align() -> Figures:
    """References of deeppcb's train split under known transforms; and its pictures as they are."""
    cv2.setNumThreads(1)
    footage = open_footage(data("deeppcb"), split="train", views=VIEWS)
    assert isinstance(footage, Footage)
    aligner, out = Aligner((SIDE_PX, SIDE_PX)), np.empty((SIDE_PX, SIDE_PX), np.uint8)
    figures = _truth(aligner, footage, out)
    found, times_ms = [], []
    for picture, reference in _read(footage, range(len(footage))):
        started_ns = now_ns()
        found.append(aligner.registered(reference, picture, out))
        times_ms.append((now_ns() - started_ns) / NS_PER_MS)
    wrong = 0
    rows = range(0, len(footage), 5)
    for (picture, _), (_, reference) in pairwise(_read(footage, rows)):
        wrong += aligner.registered(reference, picture, out).ok
    return (
        figures
        | {
            "p50_ms": float(np.median(times_ms)),
            "p99_ms": float(np.quantile(times_ms, 0.99)),
            "refused_share": 1.0 - float(np.mean([one.ok for one in found])),
            "wrong_reference_accepted": wrong,
            "wrong_references": len(rows) - 1,
            "pictures": len(found),
            "residual_p50_px": float(np.median([one.residual_px for one in found])),
            "correlation_p1": float(np.quantile([c for c in map(_size, found) if c], 0.01)),
        }
        | {f"drawn_{side}_px_ms": _drawn_ms(side) for side in SIDES_PX}
    )


def _truth(aligner: Aligner, footage: Footage, out: Gray) -> Figures:
    """Errors in pixels: at the corners and the centre, and across the reference's own edges."""
    dice = np.random.default_rng(7)
    held, loose, across, refused = [], 0, [], 0
    rows = dice.permutation(len(footage))[:TRUE_PAIRS].tolist()
    for _, reference in _read(footage, rows):
        true = similarity(dice)
        found = aligner.registered(reference, photographed(reference, true, dice), out)
        refused += not found.ok
        if not found.ok or not found.correlation:
            continue
        got = np.array(found.matrix).reshape(2, 3)
        across.append(_across(reference, true, got))
        if found.loose_px <= HELD_PX:
            held.append(_at_corners(true, got))
        else:
            loose += 1
    return {
        "true_refused_share": refused / TRUE_PAIRS,
        "held_within_0_3_px_share": float(np.mean(np.array(held) <= NEAR_PX)),
        "edges_within_0_3_px_share": float(np.mean(np.array(across) <= NEAR_PX)),
        "held": len(held),
        "not_held": loose,
        "blank": TRUE_PAIRS - refused - len(across),
        "held_error_p50_px": float(np.median(held)),
        "held_error_p99_px": float(np.quantile(held, 0.99)),
        "edges_error_p99_px": float(np.quantile(across, 0.99)),
    }


def _drawn_ms(side: int) -> float:
    """Median time for a drawn board of so many pixels along each side."""
    made = board(np.random.default_rng(4), (side, side), "short")
    assert made is not None
    reference, picture, _ = made
    aligner, out, times_ms = Aligner((side, side)), np.empty_like(reference), []
    for _ in range(15):
        started_ns = now_ns()
        assert aligner.registered(reference, picture, out).ok
        times_ms.append((now_ns() - started_ns) / NS_PER_MS)
    return float(np.median(times_ms))


def similarity(dice: np.random.Generator) -> Matrix:
    """What the camera of the set may do: 4 px, 0.5 degrees, 0.5 %, about the centre."""
    turn, centre = np.deg2rad(dice.uniform(-0.5, 0.5)), np.full(2, (SIDE_PX - 1) / 2)
    scale = 1 + dice.uniform(-0.005, 0.005)
    cos, sin = scale * np.cos(turn), scale * np.sin(turn)
    linear = np.array([[cos, -sin], [sin, cos]])
    return np.column_stack([linear, centre - linear @ centre + dice.uniform(-4, 4, 2)])


def photographed(reference: Gray, move: Matrix, dice: np.random.Generator) -> Gray:
    """A reference as a camera takes it: one print in five inverted; noise; JPEG."""
    design = np.bitwise_not(reference) if dice.random() < 0.2 else reference
    levels = dice.uniform(20, 70), dice.uniform(140, 230)
    blur = float(dice.uniform(0.6, 1.5))
    clean = taken(design, move.astype(np.float32), levels, dice.uniform(-12, 12, 2), blur)
    noisy = clean + dice.normal(0, dice.uniform(1, 5), clean.shape)
    gray = np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
    packed = cv2.imencode(".jpg", gray, [cv2.IMWRITE_JPEG_QUALITY, 90])[1]
    return np.asarray(cv2.imdecode(packed, cv2.IMREAD_GRAYSCALE), np.uint8)


def _read(footage: Footage, rows: range | list[int]) -> Iterator[tuple[Gray, Gray]]:
    """(picture, reference) of the rows, in rising order, each in arrays of its own."""
    reader = footage.reader()
    for row in sorted(rows):
        arrays = {view.name: np.empty(view.shape, np.uint8) for view in VIEWS}
        reader.fill(row, arrays)
        yield arrays["image"], arrays["reference"]
    reader.close()


def _size(found: Registration) -> float:
    return abs(found.correlation)


def _moved(points: Matrix, true: Matrix, got: Matrix) -> Matrix:
    apart = true - got
    return np.asarray(apart[:, :2] @ points + apart[:, 2:])


def _at_corners(true: Matrix, got: Matrix) -> float:
    last = SIDE_PX - 1.0
    points = np.array([[0, last, 0, last, last / 2], [0, 0, last, last, last / 2]])
    return float(np.sqrt((_moved(points, true, got) ** 2).sum(0).mean()))


def _across(reference: Gray, true: Matrix, got: Matrix) -> float:
    """RMS over the reference's edge pixels of the error across the edge."""
    soft = cv2.GaussianBlur(reference.astype(np.float32), (0, 0), 1.5)
    dx, dy = (cv2.Sobel(soft, cv2.CV_32F, *way) for way in ((1, 0), (0, 1)))
    slope = np.hypot(dx, dy)
    y, x = np.nonzero(slope > _EDGE)
    apart = _moved(np.stack([x, y]).astype(np.float64), true, got)
    error = (apart[0] * dx[y, x] + apart[1] * dy[y, x]) / slope[y, x]
    return float(np.sqrt(np.mean(error**2)))


GROUPS: dict[str, Callable[[], Figures]] = {"align": align}
