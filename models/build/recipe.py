"""The recipe of a package: one strict TOML file, decoded before anything long is started.

A key that is not known is refused by name together with the keys that are, so that a typing
error costs a second and not a training.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Literal

import msgspec

from edge.core.errors import ConfigError


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of the recipe: frozen, unknown keys refused."""


class Data(_Table, frozen=True, kw_only=True):
    """Where the pictures come from and how they become views.

    source "folder" reads `root`: either a manifest.csv with splits, or good/ and defect/.
    root is relative to the recipe's file. source "synthetic" draws `parts_per_seed` parts of
    each seed in the closed ranges. size_px is (height, width) of every view.
    """

    source: Literal["folder", "synthetic"] = "folder"
    root: str = "."
    size_px: tuple[int, int]
    fit: Literal["exact", "pad", "crop", "resize"] = "exact"
    fill: int = 0
    reference: bool = False
    parts_per_seed: int = 1
    train_seeds: tuple[int, int] = (0, 999)
    calib_seeds: tuple[int, int] = (1000, 1099)
    test_seeds: tuple[int, int] = (10000, 10499)


class Network(_Table, frozen=True):
    """A plain stack: one 8x8 stride 4 convolution, then 3x3 ones; the first of them halves.

    Channel counts in multiples of 32 keep the INT8 kernels full (docs/models.md, the probe).
    """

    stem: int = 32
    channels: tuple[int, ...] = (64, 64, 64, 64, 64)


class Training(_Table, frozen=True):
    """How long and how hard. minutes caps the wall time: the schedule is cut, not broken off.

    shift_px moves the reference against the picture by up to so many pixels; gain and offset
    are the half widths of the random contrast (factor) and brightness (gray levels). paste is
    the share of good parts that get a drawn blemish, for sets with labels but no marks. start
    names an FP32 twin of the zoo whose weights training begins with; its terms then bind these
    too.
    """

    epochs: int = 30
    minutes: float = 25.0
    batch: int = 16
    learning_rate: float = 2e-3
    seed: int = 7
    rotate: bool = True
    flip: bool = True
    shift_px: int = 2
    gain: float = 0.12
    offset: float = 12.0
    paste: float = 0.0
    start: str = ""


class Limits(_Table, frozen=True):
    """What the calib pictures may lose: shares of defects passed and of good parts failed."""

    max_escape: float = 0.01
    max_overkill: float = 0.01
    map_threshold: float = 0.5


class GoldenSet(_Table, frozen=True):
    """Where the parts come from that a package carries to be checked with (models/golden.py).

    source "calib" takes pictures of the calib split: up to 16 of them then travel with the
    package, changed or not. "drawn" takes none of anyone's: boards where the package compares,
    else machined flanges, from `seed`. samples names a folder, relative to the recipe's file,
    of parts that a person judged: limit/ and challenge/, each with good/ and defect/.
    """

    source: Literal["calib", "drawn"] = "calib"
    seed: int = 0
    samples: str = ""


class Recipe(_Table, frozen=True, kw_only=True):
    """Everything a build needs; see models/zoo/*.toml for the shipped ones."""

    name: str
    version: str = "1"
    terms: str
    data: Data
    network: Network = Network()
    training: Training = Training()
    limits: Limits = Limits()
    golden: GoldenSet = GoldenSet()


def read(path: Path, data: str | Path | None = None) -> Recipe:
    """Decode a recipe; ConfigError names the key and the allowed ones.

    data: a folder in the place of the recipe's data.root.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from None
    _refuse_unknown(path, document, Recipe, "")
    try:
        recipe = msgspec.convert(document, Recipe)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{path}: {error}") from None
    _check(path, recipe)
    if data is None:
        return recipe
    there = msgspec.structs.replace(recipe.data, root=str(Path(data).resolve()))
    return msgspec.structs.replace(recipe, data=there)


def _refuse_unknown(path: Path, table: object, kind: type[_Table], where: str) -> None:
    if not isinstance(table, dict):
        raise ConfigError(f"{path}: {where.rstrip('.') or 'the file'} must be a table")
    fields = {field.name: field.type for field in msgspec.structs.fields(kind)}
    for key, value in table.items():
        if key not in fields:
            allowed = ", ".join(sorted(fields))
            raise ConfigError(f"{path}: unknown key {where}{key}; allowed: {allowed}")
        inner = fields[key]
        if isinstance(inner, type) and issubclass(inner, _Table):
            _refuse_unknown(path, value, inner, f"{where}{key}.")


def _check(path: Path, recipe: Recipe) -> None:
    name = recipe.name
    if not name or not all(c.isascii() and (c.islower() or c.isdigit() or c == "-") for c in name):
        raise ConfigError(f"{path}: name {name!r}: lower case letters, digits and dashes only")
    height, width = recipe.data.size_px
    if height % 8 or width % 8 or not (64 <= height <= 4096 and 64 <= width <= 4096):
        raise ConfigError(f"{path}: data.size_px {height}x{width}: multiples of 8 from 64 to 4096")
    if not recipe.network.channels or min(recipe.network.stem, *recipe.network.channels) < 1:
        raise ConfigError(f"{path}: network.channels: at least one, each at least 1")
    if recipe.training.epochs < 1 or recipe.training.batch < 2:
        raise ConfigError(f"{path}: training.epochs at least 1, training.batch at least 2")
    if not 0 <= recipe.golden.seed <= 800:
        raise ConfigError(f"{path}: golden.seed {recipe.golden.seed}: from 0 to 800")
    for key in ("max_escape", "max_overkill"):
        if not 0 <= getattr(recipe.limits, key) < 0.5:
            raise ConfigError(f"{path}: limits.{key} must be in 0..0.5")
