"""The last step of a build: golden set, seal, files, index. It can be taken again by itself."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec

from edge.core.errors import ConfigError
from models.build import datasets, measure, recipe
from models.build.datasets import Split
from models.build.golden import Chosen, choose, of_twin
from models.build.recipe import Recipe
from models.build.series import drawn, from_split, samples
from models.golden import encoded
from models.manifest import Manifest
from models.package import ZOO, load, seal, unsealed


class Pair(NamedTuple):
    """A package and its FP32 twin: manifests, and models without them."""

    manifest: Manifest
    int8: bytes
    twin: Manifest
    fp32: bytes


def chosen_set(plan: Recipe, pair: Pair, folder: Path, calib: Split | None = None) -> Chosen:
    """The golden set that a recipe asks for; calib is read here where it is needed and absent.

    NoGoldenSetError where none can be made, ConfigError for samples that cannot be used.
    """
    if plan.golden.source == "calib":
        calib = calib or datasets.load(plan.data, folder, "calib")
        series = from_split(calib, plan.golden.seed)
    else:
        series = drawn(plan.golden.source, pair.manifest, plan.golden.seed)
    names = [view.name for view in pair.manifest.views]
    asked = samples(folder / plan.golden.samples, plan.data) if plan.golden.samples else ()
    return choose(
        series,
        measure.score_of(pair.fp32, names),
        measure.score_of(pair.int8, names),
        pair.manifest.thresholds,
        asked,
    )


def written(pair: Pair, golden: Chosen | None, folder: Path) -> Path:
    """Seal both into `folder`, with the golden set where there is one; the path of NAME.onnx."""
    manifest, twin, held, of_fp32 = pair.manifest, pair.twin, "", ""
    if golden is not None:
        manifest = msgspec.structs.replace(manifest, gate=golden.gate)
        twin = msgspec.structs.replace(twin, gate=golden.gate)
        held, of_fp32 = encoded(golden.parts), encoded(of_twin(golden.parts))
    target = folder / f"{manifest.name}.onnx"
    _write(target, seal(pair.int8, manifest, held))
    _write(folder / "twins" / f"{twin.name}.onnx", seal(pair.fp32, twin, of_fp32))
    return target


def recipe_of(text: str) -> Path:
    """A recipe by path (ends in .toml), or by its name in the zoo; ConfigError names those."""
    if text.endswith(".toml"):
        return Path(text)
    names = sorted(
        path.stem for path in ZOO.glob("*.toml") if (ZOO / f"{path.stem}.onnx").is_file()
    )
    if text not in names:
        raise ConfigError(f"no recipe named {text!r}; a .toml file, or {' | '.join(names)}")
    return ZOO / f"{text}.toml"


def remade(
    recipe_path: str | Path,
    *,
    data: str | Path | None = None,
    report: Callable[[str], object] = print,
) -> Path:
    """Choose the golden set of a built package anew; graphs, thresholds and figures stay.

    NAME.onnx and twins/NAME-fp32.onnx beside the recipe are sealed again, and the index is
    pinned; what was appended behind the old seals goes with them. ConfigError or PackageError
    where the recipe or one of the two cannot be used.
    """
    path = Path(recipe_path)
    plan, folder = recipe.read(path, data), path.parent
    package = load(folder / f"{plan.name}.onnx")
    twin = load(folder / "twins" / f"{plan.name}-fp32.onnx")
    models = [unsealed(one.model_bytes()) for one in (package, twin)]
    pair = Pair(package.manifest, models[0], twin.manifest, models[1])
    chosen = chosen_set(plan, pair, folder)
    target = written(pair, chosen, folder)
    pin(folder, report)
    report(chosen.told)
    for one in (package, twin):
        for key in one.appended:
            report(f"{one.path.name}: {key} is gone with the old seal; make it again")
    return target


def _write(path: Path, data: bytes) -> None:
    """Write beside and rename, so that a reader sees the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".part")
    beside.write_bytes(data)
    beside.replace(path)


def pin(folder: Path, report: Callable[[str], object]) -> None:
    """Rewrite the folder's index.toml, where it has one, from the packages that lie there."""
    index = folder / "index.toml"
    if not index.is_file():
        return
    head = re.split(r"^\[", index.read_text(encoding="utf-8"), maxsplit=1, flags=re.MULTILINE)[0]
    rows = []
    for file in sorted([*folder.glob("*.onnx"), *folder.glob("twins/*.onnx")]):
        package = load(file)
        rows.append(
            f"[{package.manifest.name}]\n"
            f'file = "{file.relative_to(folder).as_posix()}"\n'
            f'content_sha256 = "{package.content_sha256}"\n'
        )
    index.write_text(head + "\n".join(rows), encoding="utf-8")
    report(f"{index.name}: {len(rows)} packages pinned")
