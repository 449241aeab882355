"""From a folder of labelled pictures and a package to the report: judge, count, draw, write."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from edge.core import box
from edge.core.clock import utc_ns
from edge.historian.records.when import utc_text
from edge.page.whole import write_whole
from edge.report import agreement, charts, count, judge, page, precision, worst
from edge.report.curve import curve
from edge.report.figures import Figures, Ran, Shown
from edge.report.judge import Judged, Known
from models import package as packages
from models import tiles
from models.certificate import certificate_text
from models.manifest import Thresholds
from models.package import Package

Tell = Callable[[str], None]
_TOLD_EVERY = 100  # pictures


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What to report on. fp32: the twin; None looks for it beside the package."""

    footage: Path
    model: str
    split: str = "test"
    fp32: Path | None = None
    provider: str = "cpu"
    threads: int = 2


def write(html: Path, asked: Asked, tell: Tell = lambda line: None) -> Figures:
    """Write the page, whole or not at all; the figures that are on it.

    An EdgeError names what is in the way: the folder, its labels, the package, its twin, a page
    that cannot be written, or matplotlib.
    """
    charts.need_matplotlib()
    package = tiles.shown(packages.find(asked.model), None)
    twin = precision.twin_of(package, asked.fp32)
    known = judge.open_known(asked.footage, package, asked.split)
    with judge.inspector(package, asked.provider, asked.threads) as by:
        found = judge.judged(known, by, _telling(tell, package.manifest.name))
        limits = by.limits
        misses, rejects = worst.misses(found), worst.false_rejects(found)
        looks = worst.looks(known, by, package.manifest, [*misses, *rejects])
    fp32 = None
    if isinstance(twin, Package):
        with judge.inspector(twin, asked.provider, asked.threads) as by:
            of_twin = judge.judged(known, by, _telling(tell, twin.manifest.name))
        fp32 = precision.compared(found, of_twin, limits, twin)
    figures = Figures(
        ran=_ran(asked, package, limits, known),
        certificate=tuple(certificate_text(package)),
        learned_from=judge.learned_from(known, package),
        unlabelled=known.unlabelled,
        repeated=known.repeated,
        **_counted(found, limits),
        fp32=fp32,
        no_fp32=twin if isinstance(twin, str) else "",
        misses=tuple(map(_shown, misses)),
        false_rejects=tuple(map(_shown, rejects)),
    )
    write_whole(html, page.page(figures, found, looks))
    return figures


def _telling(tell: Tell, name: str) -> judge.Tell:
    def told(done: int, of: int) -> None:
        if done % _TOLD_EVERY == 0 or done == of:
            tell(f"{name}: {done} of {of} pictures")

    return told


def _counted(found: list[Judged], limits: Thresholds) -> dict[str, Any]:
    """The fields that follow from what became of each picture alone."""
    study = agreement.study(found)
    return {
        "ungrouped": sum(not one.group for one in found),
        "pictures": count.by_picture(found),
        "groups": count.by_group(found, limits),
        "by_group": count.of_groups(found),
        "by_type": count.of_types(found),
        "faults": count.of_faults(found),
        "curve": curve(found),
        "study": study,
        "no_study": "" if study else agreement.WITHOUT_REPEATS,
    }


def _shown(one: Judged) -> Shown:
    return Shown(
        name=one.name, group=one.group, type=one.type, fate=one.fate, score=one.score or 0.0
    )


def _ran(asked: Asked, package: Package, limits: Thresholds, known: Known) -> Ran:
    manifest = package.manifest
    has_splits = (asked.footage / "manifest.csv").is_file()
    return Ran(
        package=manifest.name,
        version=manifest.version,
        content_sha256=package.content_sha256,
        file_sha256=package.file_sha256,
        precision=manifest.precision,
        provider=asked.provider,
        threads=asked.threads,
        pass_below=limits.pass_below,
        fail_from=limits.fail_from,
        libraries=box.libraries(),
        processor=box.instruction_sets(),
        footage=str(asked.footage),
        split=asked.split if has_splits else "",
        data_sha256=judge.data_sha256(known.sha256),
        written_utc=utc_text(utc_ns()),
    )
