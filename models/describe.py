"""A package in words, for the person who is about to trust it."""

from __future__ import annotations

from models import golden
from models.certificate import certificate_text
from models.manifest import PartFigures
from models.package import Package


def describe(package: Package) -> str:
    """What a package is, takes, promises, and was measured to do; one fact a line."""
    manifest, figures = package.manifest, package.manifest.figures
    limits, outputs = manifest.thresholds, manifest.outputs
    lines = [
        f"name            {manifest.name} {manifest.version}",
        f"file            {package.path} ({package.size:,} bytes)",
        f"file_sha256     {package.file_sha256}",
        f"content_sha256  {package.content_sha256}",
        f"precision       {manifest.precision}{', needs VNNI' if manifest.needs_vnni else ''}",
    ]
    for view in manifest.views:
        shape = " x ".join(map(str, view.shape))
        admitted = ", ".join(f"{w} x {h}" for h, w in view.fit.sizes) or "any size it can take"
        fit = "" if view.kind == "samples" else f", fit {view.fit.mode} of {admitted}"
        lines.append(f"view            {view.name}: {view.kind}, {view.dtype} {shape}{fit}")
    if manifest.tiling.batch != 1:
        lines.append(f"batch           {manifest.tiling.batch} tiles at once; judges nothing else")
    if outputs.map:
        lines.append(f"map             {outputs.map_shape} cells of {outputs.cell_px} px")
    if outputs.type_names:
        lines.append(f"types           {', '.join(outputs.type_names)}")
    lines += [
        f"golden set      {_golden(package)}",
        f"thresholds      PASS below {limits.pass_below:g}, FAIL from {limits.fail_from:g}",
        *(f"certificate     {line}" for line in certificate_text(package) or ["none"]),
        f"envelope        {len(manifest.envelope.bounds)} bounds",
        f"learned from    {len(manifest.pictures.digests())} files, "
        f"seeds {manifest.pictures.seeds or 'none'}",
    ]
    if figures.test_pictures:
        lines += [
            f"test            {figures.test_pictures} pictures: AUROC {figures.auroc_int8:.4f} "
            f"({figures.auroc_fp32:.4f} in FP32), detection {100 * figures.detection:.2f} %, "
            f"overkill {100 * figures.overkill:.2f} %, unfit {100 * figures.unfit:.2f} %",
            *_by_part(figures.by_part),
            f"session.run     {figures.int8_ms:.2f} ms, {figures.ratio:.2f} x faster than FP32, "
            f"{figures.threads} threads, {figures.machine}, {figures.library}",
        ]
    lines.append(f"terms           {manifest.terms or 'not stated'}")
    return "\n".join(lines)


def _by_part(parts: PartFigures | None) -> list[str]:
    if parts is None:
        return []
    return [
        f"by part         {parts.detected} of {parts.defective} defective ones detected in every "
        f"picture, {parts.overkill} of {parts.good} good ones not passed in some, "
        f"{parts.unfit} unfit"
    ]


def _golden(package: Package) -> str:
    """The parts a session is held against before it serves, and how closely."""
    held, gate = golden.load(package), package.manifest.gate
    if held is None:
        return "none: nothing to hold a provider against"
    kinds = [part.kind for part in held.parts]
    asked = len(kinds) - kinds.count("golden")
    return (
        f"{kinds.count('golden')} parts{f', {asked} limit and challenge samples' * bool(asked)}; "
        f"scores within {gate.max_score_delta:g} of FP32, no verdict flipped "
        f"(up to {gate.widest_score_delta:g} from FP32 on parts that were not chosen)"
    )
