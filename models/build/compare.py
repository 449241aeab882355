"""Ideas held against each other: cross-validation over groups within train, nothing else read.

A fold is trained on the other folds' groups and scores its own, by the FP32 graph that the build
would export; the INT8 graph gives time and size. Groups are physical parts or designs, so no part
is on both sides.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean, median

import msgspec
import numpy as np

from edge.core.errors import ConfigError
from edge.core.figures import auroc, detection_at
from models.build import datasets, measure, recipe
from models.build.build import RUNS, require_tools, views_of
from models.build.datasets import Array, Split
from models.build.recipe import Recipe
from models.build.tested import OVERKILL


class Fold(msgspec.Struct, frozen=True):
    """What one fold's pictures, held out, came to: shares are 0..1.

    int8_ms is the median of session.run on two threads, size the bytes of the INT8 graph.
    """

    groups: int
    good: int
    defect: int
    auroc: float
    detection: float
    int8_ms: float
    size: int


class Compared(msgspec.Struct, frozen=True):
    """One idea and its folds."""

    name: str
    folds: tuple[Fold, ...]


def compare(
    path: Path,
    *,
    data: str | Path | None = None,
    folds: int = 3,
    only: Sequence[int] = (),
    resume: bool = False,
    report: Callable[[str], object] = print,
) -> Compared:
    """Cross-validate one recipe; checkpoints in runs/NAME/fold-N of the working folder.

    only: these folds alone. ConfigError for fewer groups with good, or with defective, pictures
    than folds.
    """
    plan = recipe.read(path, data)
    require_tools()
    from models.build.train import train

    split = datasets.load(plan.data, path.parent, "train")
    place = dealt(split, folds)
    found = []
    for fold in only or range(folds):
        held = np.flatnonzero(place == fold)
        rest = datasets.with_drawn(split.of(np.flatnonzero(place != fold)), plan.data)
        run = RUNS / plan.name / f"fold-{fold}"
        module = train(plan, rest, run / "checkpoint.pt", resume=resume, report=report)
        one = _scored(plan, module, rest, split.of(held))
        report(f"{plan.name} fold {fold}: {told(one)}")
        found.append(one)
    return Compared(plan.name, tuple(found))


def dealt(split: Split, folds: int) -> Array:
    """The fold of each part (n,): groups dealt whole, the largest first, each where least is yet.

    Least of the class that the group adds to most, so that good and bad parts are spread alike.
    """
    names = sorted(set(split.groups))
    place = {name: number for number, name in enumerate(names)}
    counts = np.zeros((len(names), 2))
    for group, bad in zip(split.groups, split.defect, strict=True):
        counts[place[group], int(bad)] += 1
    if min((counts > 0).sum(0)) < folds:
        raise ConfigError(
            f"{folds} folds need {folds} groups with good and with defective pictures"
        )
    share = counts / counts.sum(0)
    filled, fold = np.zeros((folds, 2)), np.zeros(len(names), int)
    for number in np.argsort(-share.sum(1), kind="stable"):
        after = filled + share[number]
        fold[number] = int(np.argmin(after.max(1) + after.sum(1)))
        filled[fold[number]] += share[number]
    return np.array([fold[place[group]] for group in split.groups])


def told(fold: Fold) -> str:
    """A fold in one line."""
    return (
        f"AUROC {fold.auroc:.4f}, detection {fold.detection:.1%} at {OVERKILL:.0%} overkill; "
        f"{fold.good} good, {fold.defect} defect of {fold.groups} groups; "
        f"INT8 {fold.int8_ms:.1f} ms, {fold.size / 2**20:.2f} MiB"
    )


def table(found: Sequence[Compared]) -> str:
    """Markdown: a row an idea, means over the folds, which are of like size, and the folds."""
    lines = [
        f"| idea | AUROC | detection at {OVERKILL:.0%} overkill | INT8 | size "
        "| AUROC of the folds |",
        "|---|---|---|---|---|---|",
    ]
    for one in found:
        each = ", ".join(f"{fold.auroc:.3f}" for fold in one.folds)
        detection = mean(fold.detection for fold in one.folds)
        lines.append(
            f"| {one.name} | {mean(fold.auroc for fold in one.folds):.4f} "
            f"| {detection:.1%} | {median(fold.int8_ms for fold in one.folds):.1f} ms "
            f"| {one.folds[0].size / 2**20:.2f} MiB | {each} |"
        )
    return "\n".join(lines)


def _scored(plan: Recipe, module: object, rest: Split, held: Split) -> Fold:
    from models.build.export import float_model
    from models.build.quantize import int8_model, ranges_of
    from models.build.traced import traced

    names: Sequence[str] = [view.name for view in views_of(plan)]
    size, network = plan.data.size_px, traced(module)
    model = float_model(network, names, size, raw=True)
    scores = measure.scores(model.SerializeToString(), names, held.pictures)
    ranges = ranges_of(rest.pictures, plan.training.seed)
    int8 = int8_model(float_model(network, names, size, raw=False), network, ranges, names)
    file = int8.SerializeToString()
    return Fold(
        groups=len(set(held.groups)),
        good=int((~held.defect).sum()),
        defect=int(held.defect.sum()),
        auroc=auroc(scores, held.defect) or 0.0,
        detection=detection_at(scores, held.defect, OVERKILL) or 0.0,
        int8_ms=measure.run_ms([file], names, held.pictures[0], measure.THREADS)[0],
        size=len(file),
    )
