"""The figures of a package on its test split: what its manifest says was measured."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnxruntime as ort

from edge.core.figures import auroc, detection_at
from models import calibrate
from models.build.blind import blinded
from models.build.datasets import Array, Split
from models.build.measure import THREADS, processor, run_ms, scores, session
from models.build.precision import Box, mean_average_precision
from models.decode import MAX_REGIONS, REGION, Decoder
from models.envelope import Gauge
from models.manifest import Figures, Manifest, PartFigures, Thresholds

OVERKILL = 0.02  # at which the test split's own detection is told


def figures_of(manifest: Manifest, fp32: bytes, int8: bytes, test: Split) -> Figures:
    """Accuracy on the test split, with thresholds and envelope applied, and session times."""
    views = [view.name for view in manifest.views]
    defect, limits = test.defect, manifest.thresholds
    values, twin = scores(int8, views, test.pictures), scores(fp32, views, test.pictures)
    gauge = Gauge(manifest.views, manifest.envelope)
    parts = (dict(zip(views, part, strict=True)) for part in test.pictures)
    unfit = np.array([bool(gauge.unfit(part)) for part in parts])
    unfit |= np.array(test.unfit, bool) if test.unfit else False
    failed = (values >= limits.fail_from) & ~unfit
    passed = (values < limits.pass_below) & ~unfit
    verdicts, others = ([limits.verdict(float(v)) for v in each] for each in (values, twin))
    fp32_ms, int8_ms = run_ms([fp32, int8], views, test.pictures[0], THREADS)
    fp32_1_ms, int8_1_ms = run_ms([fp32, int8], views, test.pictures[0], 1)
    fit = manifest.picture().fit
    blind = blinded(test, fit.fill if fit.mode == "pad" else None)
    return Figures(
        test_pictures=len(defect),
        auroc_fp32=auroc(twin, defect) or 0.0,
        auroc_int8=auroc(values, defect) or 0.0,
        detection=float(failed[defect].mean()),
        detection_at_2=detection_at(values, defect, OVERKILL) or 0.0,
        flips=sum(one != other for one, other in zip(verdicts, others, strict=True)),
        blind_auroc=auroc(scores(int8, views, blind.pictures), blind.defect),
        blind_defects=int(blind.defect.sum()),
        brightness_auroc=auroc(test.pictures[:, 0].mean((1, 2)), defect),
        average_precision=_precision(manifest, int8, test),
        by_part=by_part(test, values, unfit, limits),
        escape=float(passed[defect].mean()),
        overkill=float((~passed & ~unfit)[~defect].mean()),
        held=float((~passed & ~failed & ~unfit).mean()),
        unfit=float(unfit[~defect].mean()),
        fp32_ms=fp32_ms,
        int8_ms=int8_ms,
        ratio=fp32_ms / int8_ms,
        fp32_1_thread_ms=fp32_1_ms,
        int8_1_thread_ms=int8_1_ms,
        ratio_1_thread=fp32_1_ms / int8_1_ms,
        threads=THREADS,
        machine=processor(),
        library=f"onnxruntime {ort.__version__}",
    )


def by_part(test: Split, values: Array, unfit: Array, limits: Thresholds) -> PartFigures | None:
    """The figures by physical part; None where each picture is its own, or groups are designs."""
    if len(set(test.groups)) == len(test.groups):
        return None
    units = calibrate.parts_of(
        [
            calibrate.Judged(group, bool(bad), None if out else float(value))
            for group, bad, value, out in zip(test.groups, test.defect, values, unfit, strict=True)
        ]
    )
    if units is None:
        return None
    bad, fine = (calibrate.fared(scores, limits) for scores in (units.defective, units.good))
    both = np.concatenate([units.defective, units.good])
    judged = np.isfinite(both)
    return PartFigures(
        defective=bad.units,
        detected=bad.failed,
        good=fine.units,
        overkill=fine.failed + fine.held,
        unfit=bad.unfit + fine.unfit,
        auroc=auroc(both[judged], (np.arange(len(both)) < bad.units)[judged]) or 0.0,
    )


def _precision(manifest: Manifest, int8: bytes, test: Split) -> float | None:
    """The regions' mean average precision; None where boxes or types are not known."""
    outputs = manifest.outputs
    if outputs.types is None or outputs.map is None or not test.boxes:
        return None
    running, decoder = session(int8, THREADS), Decoder(manifest)
    views = [view.name for view in manifest.views]
    found: list[list[Box]] = []
    for part in test.pictures:
        feed = {name: picture[None, None] for name, picture in zip(views, part, strict=True)}
        cells, types = running.run([outputs.map, outputs.types], feed)
        found.append(_regions(decoder, cells, types, outputs.type_names))
    return mean_average_precision(found, test.boxes)["mean"]


def _regions(decoder: Decoder, cells: Array, types: Array, names: Sequence[str]) -> list[Box]:
    out = np.zeros(MAX_REGIONS, REGION)
    _, count, _ = decoder.regions(cells, out, types)
    return [
        Box(
            float(region["x"]),
            float(region["y"]),
            float(region["x"]) + float(region["width"]),
            float(region["y"]) + float(region["height"]),
            names[region["type"] - 1] if region["type"] else "",
            float(region["peak"]),
        )
        for region in out[:count]
    ]
