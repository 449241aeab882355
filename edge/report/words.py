"""What the report says in sentences."""

from __future__ import annotations

from collections.abc import Sequence

from edge.page.words import count, percent
from edge.report.figures import (
    FEW_GROUPS,
    WANTED_OVERKILL,
    Fates,
    Figures,
    Ran,
    Share,
    Shown,
    Study,
)
from edge.report.judge import Judged

GROUPS = (
    "What became of the pictures of each group, those with the most escapes first. In the rates by "
    "group a group counts once, by the picture that speaks most against it: one escape, and it "
    "escaped."
)
FP32 = (
    "The same pictures, judged by the network before it was quantised, with the package's limits. "
    "A flip is a picture that gets another verdict, to and from INDETERMINATE included."
)
REPEATS = (
    "A repeat is another picture of the same group with the same label; the same file twice is "
    "none, since the same pixels always get the same score. A judgement is accepted (PASS) or not "
    "accepted (FAIL or INDETERMINATE). So this is a study of camera and model together, and only "
    "where a group is one physical part."
)
MISSES = (
    "Defective pictures that did not fail: those accepted first, the lowest score first. Left the "
    "picture with its known defect in a box, right what the model saw."
)
REJECTS = (
    "Good pictures that did not pass: those that failed first, the highest score first. Left the "
    "picture, right what the model saw."
)
FATES = {"accepted": "accepted", "fail": "failed", "held": "held", "defaulted": "no verdict"}


def summary(fates: Fates) -> list[str]:
    """One sentence on the defective pictures, one on the good ones."""
    lines = []
    if fates.escape_rate:
        lines.append(
            f"Of {fates.defect:,} pictures of defective parts {fates.caught:,} were caught, "
            f"{fates.escapes:,} passed, {fates.held_defect:,} held"
            f"{_undecided(fates.defaulted_defect)}: escape rate {rate(fates.escape_rate)}."
        )
    if fates.overkill_rate:
        lines.append(
            f"Of {fates.good:,} pictures of good parts {fates.passed:,} passed, "
            f"{fates.overkill:,} failed, {fates.held_good:,} held"
            f"{_undecided(fates.defaulted_good)}: overkill rate {rate(fates.overkill_rate)}."
        )
    return lines


def in_short(figures: Figures) -> str:
    """The other figures that are asked for first, for a terminal."""
    fates, curve, fp32 = figures.pictures, figures.curve, figures.fp32
    parts = [f"detection {rate(fates.detection)}"] if fates.detection else []
    if fates.held:
        parts.append(f"held {percent(fates.held.share)}")
    if curve.auroc is not None:
        parts.append(f"AUROC {curve.auroc:.4f}")
    if curve.at_overkill:
        wanted = f"{100 * WANTED_OVERKILL:g} %"
        parts.append(
            f"{percent(curve.at_overkill.share)} detection at {wanted} overkill on this data's own "
            "curve (for diagnosis)"
        )
    if fp32:
        parts.append(f"{count(fp32.flips, 'verdict')} of {fp32.pictures:,} not as in FP32")
    return "; ".join(parts)


def _undecided(pictures: int) -> str:
    return f", {pictures:,} had no verdict" if pictures else ""


def rate(share: Share) -> str:
    """A share with its interval."""
    return f"{percent(share.share)} (95 % interval {interval(share)})"


def interval(share: Share) -> str:
    """Both ends, with the sign once."""
    return f"{percent(share.low).removesuffix(' %')} to {percent(share.high)}"


def learned_from(figures: Figures) -> str:
    """The warning of figures that prove nothing; "" where the package has seen none of these."""
    if not figures.learned_from:
        return ""
    of = figures.pictures.defect + figures.pictures.good
    return (
        f"WARNING: the package has learned from {figures.learned_from:,} of these {of:,} pictures "
        "(weights or limits). These figures do not say how it will judge new parts."
    )


def notes(figures: Figures) -> list[str]:
    """What a reader must know before the figures are believed."""
    lines = [*_about_groups(figures)]
    if figures.repeated:
        lines.append(
            f"Left out, since a picture counts once: {count(figures.repeated, 'row')} with the "
            "very picture of an earlier row."
        )
    if figures.unlabelled:
        lines.append(f"Left out: {count(figures.unlabelled, 'row')} without a label.")
    if not figures.pictures.defect:
        lines.append("There is no defective picture: nothing is known of escapes.")
    if not figures.pictures.good:
        lines.append("There is no good picture: nothing is known of overkill.")
    return lines


def _about_groups(figures: Figures) -> list[str]:
    groups, every = figures.groups, len(figures.by_group)
    if not every:
        return [
            "No groups are given. Where several pictures show one part, the intervals are too "
            "narrow."
        ]
    lines = []
    both = sum(bool(one.defect and one.good) for one in figures.by_group)
    few = f"With fewer than {FEW_GROUPS} groups the intervals by picture are too narrow"
    if groups is None:
        lines.append(
            f"{both:,} of {count(every, 'group')} hold good and defective pictures: a group here "
            "is a design or a lot, not a physical part, and the picture is the unit."
        )
        if every < FEW_GROUPS:
            lines.append(f"{few}: nobody knows how much other designs or lots differ.")
        return lines
    if min(n for n in (groups.defect, groups.good) if n) < FEW_GROUPS:
        lines.append(
            f"There are {count(groups.defect, 'group')} with defective pictures and "
            f"{groups.good:,} with good ones. {few}, since pictures of one group are alike: go "
            "by those by group."
        )
    if both:
        lines.append(
            f"{count(both, 'group')} with pictures of both kinds: by group they are defective, and "
            "their good pictures count by picture alone."
        )
    if figures.ungrouped:
        lines.append(f"{count(figures.ungrouped, 'picture')} without a group: by picture alone.")
    return lines


def study(found: Study) -> str:
    """What went into the study, and what did not."""
    return (
        f"{count(found.groups, 'group')} ({found.defect:,} defective, {found.good:,} good) with "
        f"{found.judgements:,} judgements, {found.held:,} of them INDETERMINATE. Left out: "
        f"{count(found.of_both_labels, 'group')} with both labels, {found.single:,} with fewer "
        f"than two judgements, and {count(found.without_verdict, 'picture')} without a verdict."
    )


def shown(one: Shown) -> str:
    """The line below a picture."""
    parts = [one.name, one.group and f"group {one.group}", one.type]
    parts += [FATES[one.fate], f"score {one.score:.4f}"]
    return ", ".join(part for part in parts if part)


def working_points(found: Sequence[Judged], ran: Ran) -> list[tuple[str, float, float]]:
    """Where the package's limits lie on the curve: (name, share of good, of defective)."""
    limits = [("FAIL from", ran.fail_from)]
    if ran.pass_below != ran.fail_from:
        limits.append(("PASS below", ran.pass_below))
    points = []
    for name, limit in limits:
        at = [
            [one.score >= limit for one in found if one.score is not None and one.defect is defect]
            for defect in (False, True)
        ]
        good, defect = (sum(side) / len(side) for side in at)
        points.append((f"{name} {limit:.4g}", good, defect))
    return points
