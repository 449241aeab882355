"""Ideas held against each other: cross-validation over groups within train, nothing else read.

A fold is trained on the other folds' groups and scores its own, by the FP32 graph that the build
would export. Groups are physical parts or designs, so no part is on both sides.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean

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
    """What one fold's pictures, held out, came to: shares are 0..1."""

    groups: int
    good: int
    defect: int
    auroc: float
    detection: float


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
        one = _scored(plan, module, split.of(held))
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
        f"{fold.good} good, {fold.defect} defect of {fold.groups} groups"
    )


def table(found: Sequence[Compared]) -> str:
    """Markdown: a row an idea, means over the folds, which are of like size, and the folds."""
    lines = [
        f"| idea | AUROC | detection at {OVERKILL:.0%} overkill | AUROC of the folds |",
        "|---|---|---|---|",
    ]
    for one in found:
        each = ", ".join(f"{fold.auroc:.3f}" for fold in one.folds)
        detection = mean(fold.detection for fold in one.folds)
        lines.append(
            f"| {one.name} | {mean(fold.auroc for fold in one.folds):.4f} "
            f"| {detection:.1%} | {each} |"
        )
    return "\n".join(lines)


def _scored(plan: Recipe, module: object, held: Split) -> Fold:
    from models.build.export import float_model
    from models.build.traced import traced

    names: Sequence[str] = [view.name for view in views_of(plan)]
    model = float_model(traced(module), names, plan.data.size_px, raw=True)
    scores = measure.scores(model.SerializeToString(), names, held.pictures)
    return Fold(
        groups=len(set(held.groups)),
        good=int((~held.defect).sum()),
        defect=int(held.defect.sum()),
        auroc=auroc(scores, held.defect) or 0.0,
        detection=detection_at(scores, held.defect, OVERKILL) or 0.0,
    )
