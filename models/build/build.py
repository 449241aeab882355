"""One recipe in, one sealed package out: data, training, INT8, thresholds, envelope, figures."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from edge.core.errors import ConfigError
from edge.core.types import ViewSpec
from models.build import datasets, measure, recipe, tested
from models.build.datasets import CELL_PX, Split
from models.build.golden import Chosen, NoGoldenSetError
from models.build.recipe import PRETRAINED, Recipe
from models.build.sealing import Pair, chosen_set, pin, written
from models.envelope import learn
from models.manifest import Figures, Manifest, Outputs, Pictures
from models.package import find

RUNS = Path("runs")


def build(
    recipe_path: str | Path,
    *,
    data: str | Path | None = None,
    resume: bool = False,
    report: Callable[[str], object] = print,
) -> Path:
    """Build the recipe's package beside the recipe; returns the path of NAME.onnx.

    The FP32 twin goes to twins/NAME-fp32.onnx, checkpoints to runs/NAME of the working
    folder. `data` replaces the recipe's data.root. ConfigError for a recipe or data that
    cannot be used, before anything long is started.
    """
    path = Path(recipe_path)
    plan = recipe.read(path, data)
    require_tools()
    from models.build.train import train

    splits = {name: datasets.load(plan.data, path.parent, name) for name in _SPLITS}
    for name, split in splits.items():
        bad = int(split.defect.sum())
        report(f"{name}: {len(split.defect) - bad} good, {bad} defect")
    checkpoint = RUNS / plan.name / "checkpoint.pt"
    module = train(
        plan,
        datasets.with_drawn(splits["train"], plan.data),
        checkpoint,
        resume=resume,
        report=report,
    )
    return packed(plan, module, splits, path.parent, report=report)


_SPLITS = ("train", "calib", "test")


def packed(
    plan: Recipe,
    module: Any,
    splits: dict[str, Split],
    folder: Path,
    *,
    report: Callable[[str], object],
) -> Path:
    """Export, quantise, measure and seal a trained module into `folder`."""
    from models.build.export import float_model
    from models.build.quantize import int8_model, ranges_of
    from models.build.traced import traced

    views = views_of(plan)
    names = [view.name for view in views]
    train, calib, test = (splits[name] for name in _SPLITS)
    ranges = ranges_of(train.pictures, plan.training.seed)
    size, network = plan.data.size_px, traced(module)
    fp32 = float_model(network, names, size, raw=True).SerializeToString(deterministic=True)
    int8 = int8_model(float_model(network, names, size, raw=False), network, ranges, names)
    int8 = int8.SerializeToString(deterministic=True)
    values = measure.scores(int8, names, calib.pictures)
    fit = ~np.array(calib.unfit or (False,) * len(values), bool)
    manifest = Manifest(
        name=plan.name,
        version=plan.version,
        views=views,
        outputs=Outputs(
            map_shape=(size[0] // CELL_PX, size[1] // CELL_PX),
            cell_px=CELL_PX,
            map_threshold=plan.limits.map_threshold,
            types=None if network.types is None else "types",
            type_names=() if network.types is None else train.type_names(),
        ),
        thresholds=measure.thresholds_of(values[fit], calib.defect[fit], plan.limits),
        envelope=learn(views, train.pictures),
        pictures=_seen(plan, train, calib),
        terms=_terms(plan),
    )
    figures = tested.figures_of(manifest, fp32, int8, test)
    manifest = msgspec.structs.replace(manifest, figures=figures)
    twin = msgspec.structs.replace(manifest, name=f"{plan.name}-fp32", precision="fp32")
    pair = Pair(manifest, int8, twin, fp32)
    try:
        golden: Chosen | None = chosen_set(plan, pair, folder, calib)
    except NoGoldenSetError as error:
        golden = None
        report(f"{error}; sealed without one: no provider can be held against it")
    target = written(pair, golden, folder)
    pin(folder, report)
    report(told(figures))
    report(row(plan.name, figures, target))
    if golden is not None:
        report(golden.told)
    return target


def views_of(plan: Recipe) -> tuple[ViewSpec, ...]:
    """The manifest's views of a recipe."""
    names = ("image", "reference") if plan.data.reference else ("image",)
    return tuple(datasets.view_of(plan.data, name) for name in names)


def told(figures: Figures) -> str:
    """The figures in a few lines."""
    part = figures.by_part
    of_parts = part and (
        f"by part: {part.detected} of {part.defective} defective ones detected in every picture, "
        f"{part.overkill} of {part.good} good ones not passed in some, {part.unfit} of all unfit; "
        f"AUROC {part.auroc:.4f}\n"
    )
    return (
        f"test, {figures.test_pictures} pictures: AUROC {figures.auroc_int8:.4f} "
        f"(FP32 {figures.auroc_fp32:.4f}, {figures.flips} other verdicts), "
        f"detection {figures.detection:.2%}, overkill {figures.overkill:.2%}, "
        f"escape {figures.escape:.2%}, held {figures.held:.2%}, unfit {figures.unfit:.2%}\n"
        f"{of_parts or ''}"
        f"for diagnosis: detection {figures.detection_at_2:.2%} at exactly 2 % overkill; AUROC of "
        f"brightness alone {_or_none(figures.brightness_auroc)}, blind "
        f"{_or_none(figures.blind_auroc)} ({figures.blind_defects} defects filled); "
        f"mean average precision {_or_none(figures.average_precision)}\n"
        f"session.run: INT8 {figures.int8_ms:.2f} ms, FP32 {figures.fp32_ms:.2f} ms, "
        f"{figures.ratio:.2f} x ({figures.threads} threads); "
        f"{figures.int8_1_thread_ms:.2f}, {figures.fp32_1_thread_ms:.2f} ms, "
        f"{figures.ratio_1_thread:.2f} x (1 thread)"
    )


def row(name: str, figures: Figures, file: Path) -> str:
    """The package as a row of Markdown, to be kept beside those of other candidates.

    AUROC, detection at overkill, detection at exactly 2 % overkill, session.run, the file's size.
    """
    return (
        f"| {name} | {figures.auroc_int8:.4f} | {figures.detection:.1%} at "
        f"{figures.overkill:.1%} | {figures.detection_at_2:.1%} | {figures.int8_ms:.1f} ms "
        f"| {file.stat().st_size / 2**20:.2f} MiB |"
    )


def _or_none(value: float | None) -> str:
    return "not known" if value is None else f"{value:.3f}"


def _seen(plan: Recipe, train: Split, calib: Split) -> Pictures:
    """Everything the weights and thresholds have seen, the weights they began with included."""
    digests, seeds = {*train.digests, *calib.digests}, set[tuple[int, int]]()
    if plan.data.source == "synthetic":
        seeds |= {plan.data.train_seeds, plan.data.calib_seeds}
    for name in _starts(plan):
        before = find(name).manifest.pictures
        digests |= before.digests()
        seeds |= set(before.seeds)
    joined = b"".join(sorted(digests))
    return Pictures(sha256=base64.b64encode(joined).decode(), seeds=tuple(sorted(seeds)))


def _terms(plan: Recipe) -> str:
    """The recipe's terms and those of all that the weights began with, a teacher's included."""
    told = [plan.terms]
    if any(one.network.kind in PRETRAINED for one in _taught(plan)):
        told.append("Begun with ImageNet weights of EfficientNet-Lite0 (Apache-2.0).")
    for name in _starts(plan):
        before = find(name).manifest
        told.append(f"Begun with the weights of {before.name}: {before.terms}")
    return " ".join(told)


def _taught(plan: Recipe) -> list[Recipe]:
    return [plan] if plan.teacher is None else [plan, plan.teacher]


def _starts(plan: Recipe) -> list[str]:
    return [one.training.start for one in _taught(plan) if one.training.start]


def require_tools() -> None:
    """ConfigError where what building needs is not installed."""
    missing = []
    for name in ("torch", "onnx", "onnxruntime"):
        try:
            __import__(name)
        except ImportError:
            missing.append(name)
    if missing:
        raise ConfigError(
            f"building needs {', '.join(missing)}: make venv-train, then .venv-train/bin/edge"
        )
