"""The recipe of a package: one strict TOML file, decoded before anything long is started.

A key that is not known is refused by name together with the keys that are, so that a typing
error costs a second and not a training.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Literal

import msgspec

from edge.core.errors import ConfigError


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of the recipe: frozen, unknown keys refused."""


class Data(_Table, frozen=True, kw_only=True):
    """Where the pictures come from and how they become views.

    source "folder" reads `root`: either a manifest.csv with splits, or good/ and defect/.
    root is relative to the recipe's file. source "synthetic" draws `parts_per_seed` parts of
    each seed in the closed ranges. size_px is (height, width) of every view. align "affine" moves
    each reference to where the picture has it (sensors/align.py), here as on the line; train
    pictures where that fails are not used. leave_out: words of the manifest's notes; train
    pictures with one are not used. drawn_boards, routed_boards: so many good boards
    are drawn beside the train pictures, dense ones and sparse ones (models/build/layouts.py,
    routes.py).
    """

    source: Literal["folder", "synthetic"] = "folder"
    root: str = "."
    size_px: tuple[int, int]
    fit: Literal["exact", "pad", "crop", "resize"] = "exact"
    fill: int = 0
    reference: bool = False
    align: Literal["none", "affine"] = "none"
    leave_out: tuple[str, ...] = ()
    drawn_boards: int = 0
    routed_boards: int = 0
    parts_per_seed: int = 1
    train_seeds: tuple[int, int] = (0, 999)
    calib_seeds: tuple[int, int] = (1000, 1099)
    test_seeds: tuple[int, int] = (10000, 10499)


class Network(_Table, frozen=True):
    """What judges: see models/build/layers.py.

    plain: one 8x8 stride 4 convolution of `stem` channels, then 3x3 ones; the first halves.
    context: those of `channels` at 8 px a cell, of `context` at 16, of `wide` at 32, joined; then
    `tail` more at 8 px. encoder: EfficientNet-Lite0 with its ImageNet weights; the last of
    `channels` is the width of what joins its maps. student: that encoder as it came, and a plain
    stack of `stem` and `channels` that learns what it says of good parts. picture adds a logit of
    the picture as a whole, for what no cell shows; types tells the data's types of defects apart.
    Channel counts in multiples of 32 keep the INT8 kernels full (docs/models.md, the probe).
    """

    kind: Literal["plain", "context", "encoder", "student"] = "plain"
    stem: int = 32
    channels: tuple[int, ...] = (64, 64, 64, 64, 64)
    context: tuple[int, ...] = (128, 128, 128, 128)
    wide: tuple[int, ...] = ()
    tail: int = 2
    picture: bool = False
    types: bool = False


def _coarsest(network: Network) -> int:
    """How many 8 px cells a side the network's coarsest map joins to one."""
    joins = {"encoder": 2, "context": 4 if network.wide else 2}
    return joins.get(network.kind, 1)


PRETRAINED = ("encoder", "student")  # kinds that begin with ImageNet weights


class Training(_Table, frozen=True):
    """How long and how hard. minutes caps the wall time: the schedule is cut, not broken off.

    balance "type" deals every type of defect and the good parts alike, whatever their numbers, and
    of each physical part by the root of how many pictures it has. encoder_rate is the share of the
    learning rate for weights that begin pretrained. start names an FP32 twin of the zoo whose
    weights a plain network begins with; its terms then bind these too.
    """

    epochs: int = 30
    minutes: float = 25.0
    batch: int = 16
    learning_rate: float = 2e-3
    encoder_rate: float = 0.4
    balance: Literal["picture", "type"] = "picture"
    seed: int = 7
    start: str = ""


Flaw = Literal["blemish", "crack", "pit", "implant", "board", "bridge"]


class Augment(_Table, frozen=True):
    """What a picture may also have looked like; drawn anew each time it is shown.

    Pose, of all views alike: rotate by quarter turns (by half turns where sides differ), turn_deg
    by up to so many degrees, flip, zoom and stretch by up to e to that power, crop_px to a square
    of that side (0: whole pictures). shift_px moves the reference against the picture.
    Light, of the camera's picture: gamma, gain (both up to e to that power; gain about its "mean"
    or "zero" gray), offset and noise in gray levels, slope across the picture as a share, blur_px.
    tone is the share of parts that get the gray levels of another, good or bad by equal chance:
    where good parts were lit otherwise than bad ones, the light then tells less, at 1 nothing.
    invert is the share of parts that are shown as their negative: where both materials can be
    flawed, another design. seams is the share of parts with patches set off by some pixels, which
    is no defect. pen is the share of good parts that get a stroke which is no defect;
    paste the share that get a flaw, of a kind drawn from `flaw`, where one named twice comes twice
    as often (models/build/flaws.py).
    """

    rotate: bool = True
    flip: bool = True
    turn_deg: float = 0.0
    zoom: float = 0.0
    stretch: float = 0.0
    crop_px: int = 0
    shift_px: float = 2.0
    gamma: float = 0.0
    gain: float = 0.12
    about: Literal["zero", "mean"] = "zero"
    offset: float = 12.0
    slope: float = 0.0
    blur_px: float = 0.0
    noise: float = 0.0
    tone: float = 0.0
    invert: float = 0.0
    seams: float = 0.0
    pen: float = 0.0
    paste: float = 0.0
    flaw: tuple[Flaw, ...] = ("blemish",)


_SHARES = ("tone", "invert", "seams", "pen", "paste")


class Limits(_Table, frozen=True):
    """What the calib pictures may lose: shares of defects passed and of good parts not passed.

    max_held: the share of all that may be INDETERMINATE where the classes overlap; 0 puts PASS and
    FAIL limit together, where max_overkill of the good parts are not passed.
    """

    max_escape: float = 0.01
    max_overkill: float = 0.01
    max_held: float = 1.0
    map_threshold: float = 0.5


Drawn = Literal["flanges", "boards", "surfaces"]


class GoldenSet(_Table, frozen=True):
    """Where the parts come from that a package carries to be checked with (models/golden.py).

    source "calib" takes pictures of the calib split: up to 16 of them then travel with the
    package, changed or not. The others take none of anyone's: parts drawn from `seed`, machined
    flanges, circuit boards or ground surfaces. samples names a folder, relative to the recipe's
    file, of parts that a person judged: limit/ and challenge/, each with good/ and defect/.
    """

    source: Literal["calib"] | Drawn = "calib"
    seed: int = 0
    samples: str = ""


class Recipe(_Table, frozen=True, kw_only=True):
    """Everything a build needs; see models/zoo/*.toml for the shipped ones.

    teacher, in the file the name of another recipe, is trained first, on the same parts and views;
    this one then learns its map too, and is alone what ships (Hinton, Vinyals, Dean, 2015). "" is
    none, where `like` has one.
    """

    name: str
    version: str = "1"
    terms: str
    data: Data
    network: Network = Network()
    training: Training = Training()
    augment: Augment = Augment()
    limits: Limits = Limits()
    golden: GoldenSet = GoldenSet()
    teacher: Recipe | None = None


def read(path: Path, data: str | Path | None = None) -> Recipe:
    """Decode a recipe; ConfigError names the key and the allowed ones.

    `like = "OTHER.toml"` at the top takes from another recipe what this one leaves out.
    data: a folder in the place of the recipe's data.root.
    """
    recipe, named = _own(path, data)
    if named in (None, ""):
        return recipe
    if not isinstance(named, str) or not named.endswith(".toml"):
        raise ConfigError(f"{path}: teacher {named!r}: the name of a recipe's file, or nothing")
    teacher, above = _own(path.parent / named, data)
    if above:
        raise ConfigError(f"{path}: teacher {named}: has a teacher itself; one is the most")
    if teacher.network.picture:
        raise ConfigError(f"{path}: teacher {named}: network.picture: only its map is taught")
    # The same parts, seen as the pupil sees them, but not dealt in the same batches.
    training = msgspec.structs.replace(teacher.training, seed=recipe.training.seed + 1)
    teacher = msgspec.structs.replace(teacher, data=recipe.data, training=training)
    _check(path.parent / named, teacher)
    largest = msgspec.structs.replace(recipe, network=teacher.network)
    _check(path, largest)
    return msgspec.structs.replace(recipe, teacher=teacher)


def _own(path: Path, data: str | Path | None) -> tuple[Recipe, object]:
    """The recipe without its teacher, and what the file names as that."""
    document = _document(path)
    teacher = document.pop("teacher", None)
    _refuse_unknown(path, document, Recipe, "")
    try:
        recipe = msgspec.convert(document, Recipe)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{path}: {error}") from None
    _check(path, recipe)
    if data is not None:
        there = msgspec.structs.replace(recipe.data, root=str(Path(data).resolve()))
        recipe = msgspec.structs.replace(recipe, data=there)
    return recipe, teacher


def _document(path: Path, deep: int = 0) -> dict[str, Any]:
    """The file's tables, laid over those of the recipe that its `like` names, if it does."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from None
    like = document.pop("like", None)
    if like is None:
        return document
    if not isinstance(like, str) or deep >= _MOST_LIKE:
        raise ConfigError(f"{path}: like: the name of a recipe, at most {_MOST_LIKE} deep")
    below = _document(path.parent / like, deep + 1)
    for key, value in document.items():
        both = isinstance(value, dict) and isinstance(below.get(key), dict)
        below[key] = below[key] | value if both else value
    if below.get("teacher") and "teacher" not in document:
        below["teacher"] = str(Path(like).parent / str(below["teacher"]))
    root = Path(below.get("data", {}).get("root", "."))
    if "root" not in document.get("data", {}) and not root.is_absolute():
        below.setdefault("data", {})["root"] = str(Path(like).parent / root)
    return below


_MOST_LIKE = 4


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


_MOST_BOARDS = 10_000  # of 512 x 512: 5 GB


def _check(path: Path, recipe: Recipe) -> None:
    name = recipe.name
    if not name or not all(c.isascii() and (c.islower() or c.isdigit() or c == "-") for c in name):
        raise ConfigError(f"{path}: name {name!r}: lower case letters, digits and dashes only")
    height, width = recipe.data.size_px
    if height % 8 or width % 8 or not (64 <= height <= 4096 and 64 <= width <= 4096):
        raise ConfigError(f"{path}: data.size_px {height}x{width}: multiples of 8 from 64 to 4096")
    cells = 8 * _coarsest(recipe.network)
    if height % cells or width % cells:
        raise ConfigError(
            f"{path}: data.size_px {height}x{width}: multiples of {cells} for this network"
        )
    if recipe.data.align != "none" and not recipe.data.reference:
        raise ConfigError(f"{path}: data.align needs data.reference: there is nothing to move")
    if not recipe.network.channels or min(recipe.network.stem, *recipe.network.channels) < 1:
        raise ConfigError(f"{path}: network.channels: at least one, each at least 1")
    if recipe.training.epochs < 1 or recipe.training.batch < 2:
        raise ConfigError(f"{path}: training.epochs at least 1, training.batch at least 2")
    if not 0 <= recipe.golden.seed <= 800:
        raise ConfigError(f"{path}: golden.seed {recipe.golden.seed}: from 0 to 800")
    boards = 0 if recipe.data.source == "synthetic" else _MOST_BOARDS
    for key in ("drawn_boards", "routed_boards"):
        if not 0 <= getattr(recipe.data, key) <= boards:
            raise ConfigError(f"{path}: data.{key} must be in 0..{boards} for this source")
    for key, most in (("max_escape", 0.5), ("max_overkill", 0.5), ("max_held", 1.0)):
        if not 0 <= getattr(recipe.limits, key) <= most:
            raise ConfigError(f"{path}: limits.{key} must be in 0..{most}")
    _check_augment(path, recipe, cells)


def _check_augment(path: Path, recipe: Recipe, cells: int) -> None:
    crop = recipe.augment.crop_px
    if crop % cells or not 0 <= crop <= min(recipe.data.size_px):
        raise ConfigError(
            f"{path}: augment.crop_px {crop}: a multiple of {cells}, at most data.size_px; 0: none"
        )
    for key in _SHARES:
        if not 0 <= getattr(recipe.augment, key) <= 1:
            raise ConfigError(f"{path}: augment.{key} must be in 0..1")
    if recipe.augment.tone and recipe.data.reference:
        raise ConfigError(f"{path}: augment.tone: the reference would keep its own gray levels")
    if not recipe.augment.flaw:
        raise ConfigError(f"{path}: augment.flaw: at least one kind")
