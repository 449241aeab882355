"""A package with other limits: what stays, what goes, and that it still serves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge.core.errors import PackageError
from edge.core.pool import FramePool
from edge.core.types import Verdict
from models import golden, package
from models.manifest import Figures, Thresholds
from models.relimited import relimited
from models.session import BoundSession

ZOO = package.find("synthetic-part")
DELTA = ZOO.manifest.gate.max_score_delta


def written(path: Path, data: bytes) -> package.Package:
    path.write_bytes(data)
    return package.load(path)


def near(score: float) -> Thresholds:
    """Limits with this score between them, closer to both than the gate's delta."""
    return Thresholds(pass_below=score - DELTA / 4, fail_from=score + DELTA / 4)


def test_the_graph_stays_and_what_belongs_to_the_old_limits_goes(tmp_path: Path) -> None:
    limits = Thresholds(pass_below=0.125, fail_from=0.75)
    made = relimited(ZOO, limits, version="9", seen=[b"a" * 32, b"b" * 32])
    found = written(tmp_path / "new.onnx", made.data)
    assert package.unsealed(made.data) == package.unsealed(ZOO.model_bytes())
    manifest = found.manifest
    assert (manifest.thresholds, manifest.version, manifest.figures) == (limits, "9", Figures())
    assert manifest.pictures.digests() == ZOO.manifest.pictures.digests() | {b"a" * 32, b"b" * 32}
    assert manifest.pictures.seeds == ZOO.manifest.pictures.seeds
    assert ZOO.content_sha256 in manifest.extra["made_of"]
    assert (manifest.envelope, manifest.gate) == (ZOO.manifest.envelope, ZOO.manifest.gate)
    assert found.content_sha256 == package.content_of(made.data) != ZOO.content_sha256
    assert found.appended == {}


def test_golden_parts_that_rounding_could_flip_go_and_the_others_are_the_same(
    tmp_path: Path,
) -> None:
    held = golden.load(ZOO)
    assert held
    # A limit on the first whole picture's score: all that are differences from it need another.
    key = next(
        part for part, after in zip(held.parts, held.parts[1:], strict=False)
        if not part.keyed and after.keyed
    )  # fmt: skip
    limits = near(key.fp32)
    made = relimited(ZOO, limits, version="9", seen=[])
    found = written(tmp_path / "new.onnx", made.data)
    kept = golden.load(found)
    assert kept
    pictures = {
        part.name: (part, arrays) for part, arrays in zip(held.parts, held.pictures(), strict=True)
    }
    gone = pictures.keys() - {part.name for part in kept.parts}
    assert key.name in gone
    assert (made.kept, made.had) == (len(kept.parts), len(held.parts))
    ends = limits.pass_below, limits.fail_from
    for name, (part, _) in pictures.items():
        assert (name in gone) == (min(abs(part.fp32 - end) for end in ends) <= DELTA)
    for part, arrays in zip(kept.parts, kept.pictures(), strict=True):
        old, views = pictures[part.name]
        assert (part.fp32, part.own, part.kind) == (old.fp32, old.own, old.kind)
        for name, array in arrays.items():
            assert np.array_equal(array, views[name])
    session = BoundSession(
        found.model_bytes(), found.manifest.views, FramePool.create(found.manifest.views, 1),
        "cpu", 2,
    )  # fmt: skip
    parity = golden.examine(found, session.judge)
    assert parity
    assert parity.refusal == ""


@pytest.mark.parametrize("kind", ["limit", "challenge"])
def test_what_a_person_expects_of_a_sample_must_hold_at_the_new_limits(
    tmp_path: Path, kind: golden.Kind
) -> None:
    held = golden.load(ZOO)
    assert held
    number, bad = next((n, part) for n, part in enumerate(held.parts) if part.own > 0.9)
    sample = golden.part_of(
        list(held.picture(number).values()), name="the borderline", fp32=bad.fp32, own=bad.own,
        kind=kind, expected=Verdict.FAIL,
    )  # fmt: skip
    model = package.unsealed(ZOO.model_bytes())
    data = package.seal(model, ZOO.manifest, golden.encoded([sample]))
    asks = written(tmp_path / "asks.onnx", data)
    held_still = Thresholds(pass_below=0.1, fail_from=bad.own)
    assert relimited(asks, held_still, version="9", seen=[]).kept == 1
    above = Thresholds(pass_below=0.1, fail_from=bad.own + 0.001)
    with pytest.raises(PackageError, match=r"the borderline scores .*indeterminate at PASS below"):
        relimited(asks, above, version="9", seen=[])


def test_a_package_without_a_golden_set_stays_without(tmp_path: Path) -> None:
    bare = written(
        tmp_path / "bare.onnx", package.seal(package.unsealed(ZOO.model_bytes()), ZOO.manifest)
    )
    made = relimited(bare, near(0.5), version="9", seen=[])
    assert (made.kept, made.had) == (0, 0)
    assert written(tmp_path / "new.onnx", made.data).golden_bytes() is None
