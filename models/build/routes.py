"""Circuit boards routed from a seed: pads on a grid, traces between them that do not meet.

Sparse as most boards are: rounded pads with a hole that is not quite in their middle, planes with
a curved or bevelled border, lone dots of copper that belong to the design. models/build/layouts.py
draws the dense ones.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

Picture = npt.NDArray[np.uint8]
Generator = np.random.Generator
Node = tuple[int, int]

# Eight headings, each the next by 45 degrees: (rows, columns).
_HEADINGS = ((0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1))
_FREE, _TAKEN = -1, -2
_EIGHTHS_PX = 8.0  # cv2's shift of 3 bits


class _Grid:
    """What is drawn so far, 255 on 0, and whose each node of the grid is."""

    def __init__(self, size_px: tuple[int, int], rng: Generator) -> None:
        self.copper: Picture = np.zeros(size_px, np.uint8)
        self.pitch = float(np.exp(rng.uniform(np.log(14), np.log(40))))
        rows, columns = (int(size // self.pitch) + 2 for size in size_px)
        self.owner = np.full((rows, columns), _FREE)
        self.pads: list[Node] = []
        self.trace_px = max(4, round(self.pitch * rng.uniform(0.28, 0.5)))

    def whose(self, row: int, column: int) -> int:
        """The pad that has the node, or _FREE, or _TAKEN by something else or outside."""
        rows, columns = self.owner.shape
        inside = 0 <= row < rows and 0 <= column < columns
        return int(self.owner[row, column]) if inside else _TAKEN

    def take(self, node: Node, reach: int, owner: int) -> None:
        """Take the free nodes up to `reach` away."""
        rows, columns = (slice(max(0, at - reach), at + reach + 1) for at in node)
        there = self.owner[rows, columns]
        there[there == _FREE] = owner

    def at(self, row: float, column: float) -> tuple[int, int]:
        """A node's x and y in eighths of a pixel."""
        return round(column * self.pitch * _EIGHTHS_PX), round(row * self.pitch * _EIGHTHS_PX)


def routed(rng: Generator, size_px: tuple[int, int]) -> Picture:
    """A design, copper 255 on 0 or the other way round, uint8 (H, W)."""
    grid = _Grid(size_px, rng)
    if rng.random() < 0.5:
        _planes(grid, rng)
    rows, columns = grid.owner.shape
    nodes = rows * columns
    kinds = rng.choice(5, int(rng.integers(1, 4)))  # a board has a few kinds of pads, not all
    sizes = rng.uniform(0.45, 1.3, len(kinds))
    for _ in range(max(1, int(nodes * rng.uniform(0.005, 0.035)))):
        row, column = int(rng.integers(rows)), int(rng.integers(columns))
        which = int(rng.integers(len(kinds)))
        for step in range(int(rng.integers(1, 5))):  # pads come in rows
            place = row, column + step * (2 + int(sizes[which] > 0.8))
            if grid.whose(*place) == _FREE:
                _pad(grid, place, int(kinds[which]), float(sizes[which]), rng)
    for _ in range(max(1, int(nodes * rng.uniform(0.0, 0.15)))):
        if grid.pads and rng.random() < 0.8:
            _trace(grid, grid.pads[int(rng.integers(len(grid.pads)))], rng)
        else:
            start = int(rng.integers(rows)), int(rng.integers(columns))
            if grid.whose(*start) == _FREE:
                _trace(grid, start, rng)
    _dots(grid, int(rng.integers(1, 12)) if rng.random() < 0.6 else 0, rng)
    round_px = float(rng.uniform(0.6, min(4.0, grid.trace_px / 3)))
    soft = cv2.GaussianBlur(grid.copper.astype(np.float32), (0, 0), round_px)
    out = np.where(soft > 127, np.uint8(255), np.uint8(0))
    return np.asarray(out if rng.random() < 0.3 else np.bitwise_not(out))


def _planes(grid: _Grid, rng: Generator) -> None:
    """One to three large fields of copper, some with clearances, their nodes taken."""
    height, width = grid.copper.shape
    fields = np.zeros_like(grid.copper)
    for _ in range(int(rng.integers(1, 4))):
        x, y = int(rng.integers(width)), int(rng.integers(height))
        reach = float(rng.uniform(0.1, 0.6)) * max(height, width)
        if rng.random() < 0.4:
            cv2.circle(fields, (x, y), int(reach), 255, -1)
            continue
        half = reach * rng.uniform(0.2, 1.0, 2)
        cut = float(min(half) * rng.uniform(0.0, 0.9))
        corners = []
        for sign_x, sign_y, first in ((-1, -1, 1), (1, -1, 0), (1, 1, 1), (-1, 1, 0)):
            two = [
                (sign_x * half[0], sign_y * (half[1] - cut)),
                (sign_x * (half[0] - cut), sign_y * half[1]),
            ]
            corners += two if first else two[::-1]
        turn = np.deg2rad(float(rng.choice((0, 45))))
        matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        outline = np.array(corners) @ matrix.T + (x, y)
        cv2.fillPoly(fields, [outline.astype(np.int32)], 255)
    kept_off = cv2.dilate(fields, np.ones((3, 3), np.uint8), iterations=max(3, grid.trace_px // 2))
    for row, column in np.ndindex(*grid.owner.shape):
        y, x = min(int(row * grid.pitch), height - 1), min(int(column * grid.pitch), width - 1)
        if kept_off[y, x]:
            grid.owner[row, column] = _TAKEN
    grid.copper |= fields
    inside = np.argwhere(cv2.erode(fields, np.ones((25, 25), np.uint8)) > 0)
    for _ in range(int(rng.integers(0, 7))):
        if len(inside):
            y, x = (int(v) for v in inside[int(rng.integers(len(inside)))])
            cv2.circle(grid.copper, (x, y), int(rng.integers(3, 14)), 0, -1, cv2.LINE_AA)


def _pad(grid: _Grid, node: Node, kind: int, size: float, rng: Generator) -> None:
    """A pad of half-width `size` pitches: round, oblong or oval, some drilled."""
    x, y = grid.at(*node)
    radius = size * grid.pitch * rng.uniform(0.95, 1.05)
    grid.take(node, 1 if size > 0.6 else 0, len(grid.pads))
    grid.pads.append(node)
    if kind == 1:
        along = rng.random() < 0.5
        half = np.array([1.0, 0.6] if along else [0.6, 1.0]) * radius * _EIGHTHS_PX
        low, high = (np.array([x, y]) + sign * half for sign in (-1, 1))
        corner = tuple(int(v) for v in low), tuple(int(v) for v in high)
        cv2.rectangle(grid.copper, *corner, 255, -1, cv2.LINE_AA, 3)
    elif kind == 2:
        axes = tuple(int(v * radius * _EIGHTHS_PX) for v in rng.uniform(0.6, 1.0, 2))
        cv2.ellipse(grid.copper, (x, y), axes, 0, 0, 360, 255, -1, cv2.LINE_AA, 3)
    else:
        cv2.circle(grid.copper, (x, y), int(radius * _EIGHTHS_PX), 255, -1, cv2.LINE_AA, 3)
    if kind in (3, 4) and radius > 8:  # drilled, and the drill wanders
        hole = radius * float(rng.uniform(0.3, 0.75))
        off = rng.uniform(-1, 1, 2) * (radius - hole) * (1.0 if kind == 4 else 0.3)
        middle = round(x + off[0] * _EIGHTHS_PX), round(y + off[1] * _EIGHTHS_PX)
        cv2.circle(grid.copper, middle, int(hole * _EIGHTHS_PX), 0, -1, cv2.LINE_AA, 3)


def _trace(grid: _Grid, start: Node, rng: Generator) -> None:
    """From a node along the grid, mostly straight, to another pad or to what is in its way."""
    heading, own = int(rng.integers(8)), grid.whose(*start)
    (row, column), path, met = start, [start], False
    for _ in range(int(rng.integers(3, 30))):
        if rng.random() < 0.2:
            heading = (heading + int(rng.choice((-1, 1)))) % 8
        down, along = _HEADINGS[heading]
        # A diagonal step passes between two nodes: one that is taken may be a trace that it meets.
        passed = [(row + down, column + along)]
        passed += [(row + down, column), (row, column + along)] if down and along else []
        whose = [grid.whose(*node) for node in passed]
        to = whose[0] if whose[0] >= 0 else own
        if any(one == _TAKEN or one not in (_FREE, own, to) for one in whose):
            break
        if to != own:
            path.append(grid.pads[to])
            met = True
            break
        row, column = passed[0]
        path.append((row, column))
    if len(path) < 3:
        return
    for node in path:
        grid.take(node, 0, _TAKEN)
    points = np.array([grid.at(*node) for node in path], np.int32)
    cv2.polylines(grid.copper, [points], False, 255, grid.trace_px, cv2.LINE_AA, 3)
    if not met and rng.random() < 0.85:
        _pad(grid, path[-1], int(rng.choice((0, 3, 4))), float(rng.uniform(0.3, 0.6)), rng)


def _dots(grid: _Grid, count: int, rng: Generator) -> None:
    """Lone dots of the design, as near to round as etching leaves them."""
    free = np.argwhere(grid.owner == _FREE)
    radius = float(rng.uniform(4, 11))
    rough = float(rng.uniform(0.0, 0.12))
    angles = np.arange(12) * np.pi / 6
    for _ in range(count if len(free) else 0):
        middle = grid.at(*(free[int(rng.integers(len(free)))] + rng.uniform(-0.2, 0.2, 2)))
        rim = np.stack([np.cos(angles), np.sin(angles)], 1) * radius * rng.uniform(0.7, 1.15, 2)
        rim *= 1 + rng.normal(0, rough, (12, 1))
        outline = (middle + rim * _EIGHTHS_PX).astype(np.int32)
        dot = np.zeros_like(grid.copper)
        cv2.fillPoly(dot, [outline], 255, cv2.LINE_AA, 3)
        # One that touched a trace would look like a spur, in a good part.
        if not grid.copper[cv2.dilate(dot, np.ones((9, 9), np.uint8)) > 0].any():
            grid.copper |= dot
