"""Every figure of a quality report, as `--json` has it and the page shows it.

The words are ARCHITECTURE's: caught, escape, held, defaulted, overkill, detection. A share's low
and high are the exact two-sided 95 % interval (edge/core/binomial.py).
"""

from __future__ import annotations

from typing import Literal

import msgspec

from edge.core.binomial import interval

CONFIDENCE = 0.95
FEW_GROUPS = 30  # under so many, intervals that count pictures are too narrow
WANTED_OVERKILL = 0.02  # where the data's own curve is read for diagnosis


class Share(msgspec.Struct, frozen=True):
    """A count among others, and between which rates the truth lies."""

    count: int
    of: int
    share: float
    low: float
    high: float


def share(count: int, of: int) -> Share | None:
    """None where there are no others."""
    if of == 0:
        return None
    return Share(count, of, count / of, *interval(count, of, CONFIDENCE))


class Fates(msgspec.Struct, frozen=True, kw_only=True):
    """What became of all pictures, or of all groups of them.

    defect = caught + escapes + held_defect + defaulted_defect, good alike. A group counts once, by
    the picture that speaks most against it; one with any defective picture is defective, and its
    good pictures are not counted. held and defaulted are of all.
    """

    unit: Literal["picture", "group"]
    defect: int
    caught: int
    escapes: int
    held_defect: int
    defaulted_defect: int
    good: int
    passed: int
    overkill: int
    held_good: int
    defaulted_good: int
    detection: Share | None
    escape_rate: Share | None
    overkill_rate: Share | None
    held: Share | None
    defaulted: Share | None


class OfType(msgspec.Struct, frozen=True, kw_only=True):
    """The defective pictures of one type."""

    type: str
    defect: int
    caught: int
    escapes: int
    held: int
    defaulted: int
    detection: Share | None


class OfGroup(msgspec.Struct, frozen=True, kw_only=True):
    """The pictures of one group, by what became of them."""

    group: str
    defect: int
    caught: int
    escapes: int
    held_defect: int
    defaulted_defect: int
    good: int
    passed: int
    overkill: int
    held_good: int
    defaulted_good: int


class OfFault(msgspec.Struct, frozen=True):
    """Pictures without a verdict, by why; reason is that of the first one."""

    fault: str
    defect: int
    good: int
    reason: str


class Point(msgspec.Struct, frozen=True):
    """Failing every score from `limit` on (None: none): the shares of both kinds that fail."""

    limit: float | None
    good: float
    defect: float


class Curve(msgspec.Struct, frozen=True, kw_only=True):
    """The ROC curve of the pictures that have a score.

    points are its corners, from the highest limit to the lowest. at_overkill: caught by the lowest
    limit at which at most WANTED_OVERKILL of the good ones fail, and that limit: for diagnosis,
    since nobody knows it before the data is labelled.
    """

    scored: int
    auroc: float | None
    at_overkill: Share | None
    at_overkill_limit: float | None
    points: tuple[Point, ...]


class Fp32(msgspec.Struct, frozen=True, kw_only=True):
    """The package beside its FP32 twin, on every picture; both by the package's own limits.

    flips: pictures that get another verdict, the band between the limits included, or that only
    one of the two judges. verdicts: "package/twin" -> pictures, where they differ.
    """

    twin: str
    twin_content_sha256: str
    pictures: int
    auroc: float | None
    auroc_fp32: float | None
    max_score_delta: float | None
    max_score_delta_of: str
    flips: int
    verdicts: dict[str, int]


class Study(msgspec.Struct, frozen=True, kw_only=True):
    """Attribute agreement (AIAG MSA) over the groups that were judged several times.

    A judgement is "accepted" or "not accepted" (failed or held). effectiveness: groups of which
    every judgement agrees with the label; repeatability: of which all agree with each other. miss
    and false_alarm count judgements: of defective groups accepted, of good ones not accepted.
    kappa_repeats is Fleiss', between the judgements of a group; kappa_label is Cohen's, between
    judgement and label; None where all are alike, or of one label. held: judgements that were
    INDETERMINATE. Left out: groups of_both_labels, those with a single judgement, judgements
    without_verdict.
    """

    groups: int
    judgements: int
    defect: int
    good: int
    effectiveness: Share | None
    repeatability: Share | None
    miss: Share | None
    false_alarm: Share | None
    kappa_repeats: float | None
    kappa_label: float | None
    held: int
    of_both_labels: int
    single: int
    without_verdict: int


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """A picture worth looking at."""

    name: str
    group: str
    type: str
    fate: str
    score: float


class Ran(msgspec.Struct, frozen=True, kw_only=True):
    """What judged what: enough to come to the same figures again.

    data_sha256 is over the sorted digests of the judged picture files. processor: the instruction
    sets by which a model's kernels are chosen.
    """

    package: str
    version: str
    content_sha256: str
    file_sha256: str
    precision: str
    provider: str
    threads: int
    pass_below: float
    fail_from: float
    libraries: dict[str, str]
    processor: tuple[str, ...]
    footage: str
    split: str
    data_sha256: str
    written_utc: str


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """All of a report. learned_from: judged pictures that the package has seen before.

    unlabelled and repeated: rows that are not counted, without a label or with the very picture of
    an earlier row. groups is None where no picture has one, or most groups hold both labels and so
    are no physical parts; fp32 where there is no twin; study without repeats. no_fp32 and no_study
    say why.
    """

    ran: Ran
    certificate: tuple[str, ...]
    learned_from: int
    unlabelled: int
    repeated: int
    ungrouped: int
    pictures: Fates
    groups: Fates | None
    by_group: tuple[OfGroup, ...]
    by_type: tuple[OfType, ...]
    faults: tuple[OfFault, ...]
    curve: Curve
    fp32: Fp32 | None
    no_fp32: str
    study: Study | None
    no_study: str
    misses: tuple[Shown, ...]
    false_rejects: tuple[Shown, ...]
