"""The manifest: what a package says of itself, as JSON inside the file.

Frozen, unknown fields refused: a runtime never guesses at what a newer package meant.
"""

from __future__ import annotations

import base64
import binascii
import math
import re

import msgspec

from edge.core.types import ALIGN_SIDE_PX, Verdict, ViewSpec
from models.protobuf import FormatError

FORMAT = 1
# What an envelope can bound (models/envelope.py); a bound on anything else would bound nothing.
FEATURES = frozenset(("brightness", "contrast", "coarse", "edge", "grain", "midtones", "presence"))
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_TYPE_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9 _./-]{0,38}[A-Za-z0-9])?")
_MAX_TYPES = 255
_MAX_SIDE_PX = 16384
_MAX_BATCH = 256
_DIGEST_BYTES = 32


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A part of the manifest."""


class Outputs(_Part, frozen=True, kw_only=True):
    """The graph's outputs: a float32 score [1], higher is worse, perhaps a map, perhaps types.

    map_shape is (rows, columns) of cells, each cell_px picture pixels wide and high; cells
    at or above map_threshold make up regions. types is uint8 of the same shape: for each cell what
    it shows, 0 nothing, k the k-th of type_names.
    """

    score: str = "score"
    map: str | None = "map"
    map_shape: tuple[int, int] | None = None
    cell_px: int = 8
    map_threshold: float = 0.5
    types: str | None = None
    type_names: tuple[str, ...] = ()


class Thresholds(_Part, frozen=True, kw_only=True):
    """PASS below pass_below, FAIL from fail_from on, INDETERMINATE between."""

    pass_below: float
    fail_from: float

    def verdict(self, score: float) -> Verdict:
        """The verdict on a score; one that is not finite is INDETERMINATE, never PASS."""
        if score >= self.fail_from:
            return Verdict.FAIL
        return Verdict.PASS if score < self.pass_below else Verdict.INDETERMINATE


class Gate(_Part, frozen=True, kw_only=True):
    """What a session must keep to on the golden set before it serves (models/golden.py).

    max_score_delta is the largest admitted |score - FP32 score|: what the package itself needs
    on these parts, with room for a provider that rounds in another order. widest_score_delta is
    the largest that the build saw between the two on any part it looked at.
    """

    max_score_delta: float = 0.0
    widest_score_delta: float = 0.0


class Tiling(_Part, frozen=True, kw_only=True):
    """How the package may be laid over frames larger than its input (models/tiles.py).

    min_overlap_px: what neighbouring tiles share at least; 0 leaves it to the runtime. batch: tiles
    that the graph takes at once, its inputs being (batch, 1, H, W) and its outputs one score and
    one map a tile. envelope_px: rows, columns of the pictures that the envelope was learned on,
    where they are smaller than a tile. A package with either judges nothing but tiles. allow_skip:
    a first pass at low resolution may leave out tiles that span fewer than skip_below gray levels.
    """

    min_overlap_px: int = 0
    batch: int = 1
    envelope_px: tuple[int, int] | None = None
    allow_skip: bool = False
    skip_below: float = 0.0

    @property
    def tiles_only(self) -> bool:
        return self.batch != 1 or self.envelope_px is not None


class Bound(_Part, frozen=True, kw_only=True):
    """One feature of one view and the closed range that fit pictures keep to."""

    view: str
    feature: str
    low: float
    high: float


class Envelope(_Part, frozen=True, kw_only=True):
    """The measured envelope of fit pictures: features by view (models/envelope.py).

    thumbnail is the mean training thumbnail, base64 of THUMB_PX x THUMB_PX uint8, for
    packages without a reference view. margin is the share of the training range that every
    bound was moved outward by.
    """

    bounds: tuple[Bound, ...] = ()
    thumbnail: str = ""
    margin: float = 0.0


class Pictures(_Part, frozen=True, kw_only=True):
    """Every picture the weights or thresholds have seen.

    sha256 is base64 of the sorted 32-byte digests of the training and calib files. seeds are
    closed ranges of synthetic part seeds.
    """

    sha256: str = ""
    seeds: tuple[tuple[int, int], ...] = ()

    def digests(self) -> frozenset[bytes]:
        """The digests as 32-byte values."""
        raw = base64.b64decode(self.sha256)
        return frozenset(raw[i : i + _DIGEST_BYTES] for i in range(0, len(raw), _DIGEST_BYTES))

    def holds_seed(self, seed: int) -> bool:
        """Whether a synthetic seed was trained or calibrated on."""
        return any(first <= seed <= last for first, last in self.seeds)


class PartFigures(_Part, frozen=True, kw_only=True):
    """Physical parts of the test split, each counted once, whatever the number of its pictures.

    A defective part counts by its lowest score, a good one by its highest (models/calibrate.py):
    detected are those all of whose judged pictures fail, overkill those of which any is judged and
    does not pass. unfit: no picture of them could be judged; auroc is of the others.
    """

    defective: int
    detected: int
    good: int
    overkill: int
    unfit: int
    auroc: float


class Figures(_Part, frozen=True, kw_only=True, omit_defaults=True):
    """Measured by the build, on the test split and on the machine named in `machine`.

    Shares are 0..1. *_ms are medians of session.run alone, by thread count; ratio is FP32 by
    INT8 time. held is the share of INDETERMINATE; unfit the share of good test pictures
    that the envelope refuses. detection_at_2 is what these pictures' own curve has at 2 % overkill;
    flips the pictures on which INT8 and FP32 differ in verdict. Of pictures whose defects are
    filled with good surface blind_auroc is of the blind_defects that could be, against the good
    ones; brightness_auroc is of the mean gray alone. average_precision is the mean over types, at
    an overlap of 0.33. by_part is where groups are parts. Each is None where the data give none.
    """

    test_pictures: int = 0
    auroc_fp32: float = 0.0
    auroc_int8: float = 0.0
    detection: float = 0.0
    detection_at_2: float = 0.0
    flips: int = 0
    blind_auroc: float | None = None
    blind_defects: int = 0
    brightness_auroc: float | None = None
    average_precision: float | None = None
    by_part: PartFigures | None = None
    overkill: float = 0.0
    escape: float = 0.0
    held: float = 0.0
    unfit: float = 0.0
    fp32_ms: float = 0.0
    int8_ms: float = 0.0
    ratio: float = 0.0
    fp32_1_thread_ms: float = 0.0
    int8_1_thread_ms: float = 0.0
    ratio_1_thread: float = 0.0
    threads: int = 0
    machine: str = ""
    library: str = ""


class Manifest(_Part, frozen=True, kw_only=True):
    """Everything a station needs to know of a package; see the parts.

    The graph input of a view has the view's name; a picture of (H, W) uint8 is bound as
    (1, 1, H, W) without a copy. precision is that of the weights and activations. A package
    that needs_vnni may saturate, and so err, on processors without it.
    """

    format: int = FORMAT
    name: str
    version: str
    views: tuple[ViewSpec, ...]
    outputs: Outputs
    thresholds: Thresholds
    gate: Gate = Gate()
    tiling: Tiling = Tiling()
    envelope: Envelope = Envelope()
    pictures: Pictures = Pictures()
    figures: Figures = Figures()
    terms: str = ""
    precision: str = "int8"
    needs_vnni: bool = False
    extra: dict[str, str] = {}

    def picture(self) -> ViewSpec:
        """The first picture view: scores, maps and regions are of it."""
        return next(view for view in self.views if view.kind == "picture")

    def reference(self) -> ViewSpec | None:
        """The reference view, if the package compares."""
        return next((view for view in self.views if view.kind == "reference"), None)


def checked(manifest_json: bytes) -> Manifest:
    """Decode a manifest; FormatError with one reason if it is malformed or contradicts itself."""
    try:
        manifest = msgspec.json.decode(manifest_json, type=Manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise FormatError(f"manifest: {error}") from None
    for reason in _faults(manifest):
        raise FormatError(f"manifest: {reason}")
    return manifest


def _faults(manifest: Manifest) -> list[str]:
    faults = []
    if manifest.format != FORMAT:
        faults.append(f"format {manifest.format}, this runtime reads {FORMAT}")
    if not _NAME.fullmatch(manifest.name) or len(manifest.name) > 80:
        faults.append(f"name {manifest.name!r}: lower case words joined by dashes")
    names = [view.name for view in manifest.views]
    if not 1 <= len(names) <= 8 or len(set(names)) != len(names) or "" in names:
        faults.append("views: 1 to 8, each with its own name")
    if not any(view.kind == "picture" for view in manifest.views):
        faults.append("views: at least one picture")
    for view in manifest.views:
        faults.extend(_view_faults(view) + _align_faults(view, manifest.views))
    limits = manifest.thresholds
    if not (_finite(limits.pass_below, limits.fail_from) and limits.pass_below <= limits.fail_from):
        faults.append("thresholds: finite, pass_below at most fail_from")
    gate = (manifest.gate.max_score_delta, manifest.gate.widest_score_delta)
    if not (_finite(*gate) and min(gate) >= 0):
        faults.append("gate: score deltas finite, at least 0")
    faults.extend(_tiling_faults(manifest.tiling))
    if not faults:
        faults.extend(_output_faults(manifest) + _envelope_px_faults(manifest))
    for bound in manifest.envelope.bounds:
        known = _is_measured(bound, manifest)
        if not (known and _finite(bound.low, bound.high) and bound.low <= bound.high):
            faults.append(f"envelope: {bound.feature} of {bound.view}: {bound.low}..{bound.high}")
    try:
        size = len(base64.b64decode(manifest.pictures.sha256, validate=True))
        base64.b64decode(manifest.envelope.thumbnail, validate=True)
    except (binascii.Error, ValueError):
        return [*faults, "pictures and thumbnail: not base64"]
    return faults if size % _DIGEST_BYTES == 0 else [*faults, "pictures: not 32-byte digests"]


def _tiling_faults(tiling: Tiling) -> list[str]:
    sane = 0 <= tiling.min_overlap_px <= _MAX_SIDE_PX and 1 <= tiling.batch <= _MAX_BATCH
    skips = _finite(tiling.skip_below) and tiling.skip_below >= 0
    if tiling.allow_skip and not tiling.skip_below > 0:
        return ["tiling: allow_skip needs skip_below, the gray levels that an empty tile spans"]
    return [] if sane and skips else [f"tiling: overlap, batch 1 to {_MAX_BATCH}, skip_below"]


def _envelope_px_faults(manifest: Manifest) -> list[str]:
    """Windows of the envelope lie on whole cells inside a tile."""
    window, cell = manifest.tiling.envelope_px, manifest.outputs.cell_px
    tile = manifest.picture().shape[:2]
    if window is None or all(
        cell <= size <= most and size % cell == 0 for size, most in zip(window, tile, strict=True)
    ):
        return []
    return [f"tiling: envelope_px {window} of {cell} px cells in {tile}"]


def _is_measured(bound: Bound, manifest: Manifest) -> bool:
    """Whether the gauge measures what a bound is on; else every part would be unfit."""
    kind = {view.name: view.kind for view in manifest.views}.get(bound.view, "samples")
    if bound.feature == "presence":
        like = manifest.reference() is not None or manifest.envelope.thumbnail != ""
        return kind == "picture" and like
    return kind != "samples" and bound.feature in FEATURES


def _view_faults(view: ViewSpec) -> list[str]:
    sides_ok = all(1 <= side <= _MAX_SIDE_PX for side in view.shape)
    if view.kind == "samples":
        ok = view.dtype == "float32" and len(view.shape) == 2
    else:
        ok = view.dtype == "uint8" and (len(view.shape) == 2 or view.shape[2:] == (3,))
    sides_ok = sides_ok and 0 <= view.fit.fill <= 255
    return [] if ok and sides_ok else [f"view {view.name}: {view.dtype} of {view.shape}"]


def _align_faults(view: ViewSpec, views: tuple[ViewSpec, ...]) -> list[str]:
    if view.align == "none":
        return []
    picture = next((one for one in views if one.kind == "picture"), view)
    gray = view.kind == "reference" and len(view.shape) == 2 and view.shape == picture.shape
    if gray and min(view.shape) >= ALIGN_SIDE_PX:
        return []
    what = f"a gray reference of the picture's shape, sides of at least {ALIGN_SIDE_PX} px"
    return [f"view {view.name}: align {view.align} takes {what}"]


def _output_faults(manifest: Manifest) -> list[str]:
    outputs = manifest.outputs
    if not outputs.score or outputs.score == outputs.map:
        return ["outputs: score needs a name of its own"]
    if faults := _type_faults(outputs):
        return faults
    if outputs.map is None:
        return []
    if not outputs.map or outputs.map_shape is None or not _finite(outputs.map_threshold):
        return ["outputs: a map needs a name, map_shape and a finite map_threshold"]
    picture = manifest.picture().shape[:2]
    if not 1 <= outputs.cell_px <= _MAX_SIDE_PX:
        return [f"outputs: cell_px {outputs.cell_px}"]
    if any(
        rows < 1 or rows * outputs.cell_px > side
        for rows, side in zip(outputs.map_shape, picture, strict=True)
    ):
        return [f"outputs: map {outputs.map_shape} of {outputs.cell_px} px cells on {picture}"]
    return []


def _type_faults(outputs: Outputs) -> list[str]:
    names = outputs.type_names
    if outputs.types is None:
        return ["outputs: type_names need types, the output that says them"] if names else []
    if not outputs.types or outputs.types in (outputs.score, outputs.map) or outputs.map is None:
        return ["outputs: types need a name of their own, beside a map"]
    if not 1 <= len(names) <= _MAX_TYPES or len(set(names)) != len(names):
        return [f"outputs: type_names: 1 to {_MAX_TYPES}, each once"]
    wrong = [name for name in names if not _TYPE_NAME.fullmatch(name)]
    allowed = "1 to 40 letters, digits, and between them space _ . / -"
    return [f"outputs: type {wrong[0]!r}: allowed: {allowed}"] if wrong else []


def _finite(*values: float) -> bool:
    return all(math.isfinite(value) for value in values)
