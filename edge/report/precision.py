"""The package beside its FP32 twin: what quantisation changed, on every picture."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from edge.core.errors import PackageError
from edge.core.figures import auroc
from edge.report.figures import Fp32
from edge.report.judge import Judged
from models import package as packages
from models.manifest import Thresholds
from models.package import Package


def twin_of(package: Package, named: Path | None) -> Package | str:
    """The FP32 twin that is named, or lies in twins/ beside the package; else why there is none.

    PackageError for one that judges other views.
    """
    if named is None:
        if package.manifest.precision == "fp32":
            return f"{package.manifest.name} is FP32 itself"
        named = package.path.parent / "twins" / f"{package.manifest.name}-fp32.onnx"
        if not named.is_file():
            return f"no FP32 twin at twins/{named.name} beside the package, and none named (--fp32)"
    twin = packages.load(named)
    if twin.manifest.views != package.manifest.views or twin.manifest.precision != "fp32":
        raise PackageError(f"{named}: no FP32 twin of {package.manifest.name}: other views or INT8")
    return twin


def compared(
    found: Sequence[Judged], of_twin: Sequence[Judged], limits: Thresholds, twin: Package
) -> Fp32:
    """Both by the same limits: those of the package."""
    flips: Counter[str] = Counter()
    largest, where = None, ""
    for one, other in zip(found, of_twin, strict=True):
        verdicts = [_verdict(each, limits) for each in (one, other)]
        if verdicts[0] != verdicts[1]:
            flips["/".join(verdicts)] += 1
        if one.score is not None and other.score is not None:
            delta = abs(one.score - other.score)
            if largest is None or delta > largest:
                largest, where = delta, one.name
    return Fp32(
        twin=twin.manifest.name,
        twin_content_sha256=twin.content_sha256,
        pictures=len(found),
        auroc=_auroc(found),
        auroc_fp32=_auroc(of_twin),
        max_score_delta=largest,
        max_score_delta_of=where,
        flips=flips.total(),
        verdicts=dict(flips.most_common()),
    )


def _verdict(one: Judged, limits: Thresholds) -> str:
    return one.fault if one.score is None else str(limits.verdict(one.score))


def _auroc(found: Sequence[Judged]) -> float | None:
    scored = [(one.score, one.defect) for one in found if one.score is not None]
    return auroc([score for score, _ in scored], [bad for _, bad in scored])
