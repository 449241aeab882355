"""Agreement of repeated judgements, with each other and with the label (AIAG attribute MSA).

A repeat here is another picture of the same group with the same label. A group with pictures of
both labels is no single physical part, and is left out. The same file twice is no repeat either:
the same pixels always get the same score.

Kappas: Cohen (1960) for judgement against label; Fleiss (1971) for the judgements of one group, in
the form that admits groups of different size (Fleiss and Cuzick 1979, here for any categories).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from edge.report.figures import Study, share
from edge.report.judge import Judged

WITHOUT_REPEATS = (
    "there are no repeats: no group has two pictures, all of one label and with a verdict"
)


def study(found: Sequence[Judged]) -> Study | None:
    """The agreement of all groups with repeats; None where there is none."""
    groups: dict[str, list[Judged]] = {}
    for one in found:
        if one.group:
            groups.setdefault(one.group, []).append(one)
    of_one = {name: held for name, held in groups.items() if len({one.defect for one in held}) == 1}
    verdicts = {name: [one for one in held if not one.fault] for name, held in of_one.items()}
    repeated = [held for held in verdicts.values() if len(held) > 1]
    if not repeated:
        return None
    right = [sum(_agrees(one) for one in held) for held in repeated]
    alike = [count in (0, len(held)) for count, held in zip(right, repeated, strict=True)]
    defect = [held for held in repeated if held[0].defect]
    good = [held for held in repeated if not held[0].defect]
    judgements = [one for held in repeated for one in held]
    crossed = Counter((one.fate == "accepted", one.defect) for one in judgements)
    table = [[crossed[kind, False], crossed[kind, True]] for kind in (True, False)]
    return Study(
        groups=len(repeated),
        judgements=len(judgements),
        defect=len(defect),
        good=len(good),
        effectiveness=share(
            sum(count == len(held) for count, held in zip(right, repeated, strict=True)),
            len(repeated),
        ),
        repeatability=share(sum(alike), len(repeated)),
        miss=share(crossed[True, True], crossed[True, True] + crossed[False, True]),
        false_alarm=share(crossed[False, False], crossed[True, False] + crossed[False, False]),
        kappa_repeats=fleiss([_accepted(held) for held in repeated]),
        kappa_label=cohen(table) if defect and good else None,
        held=sum(one.fate == "held" for one in judgements),
        of_both_labels=len(groups) - len(of_one),
        single=len(of_one) - len(repeated),
        without_verdict=sum(len(held) - len(verdicts[name]) for name, held in of_one.items()),
    )


def _agrees(one: Judged) -> bool:
    return (one.fate == "accepted") is not one.defect


def _accepted(held: Sequence[Judged]) -> tuple[int, int]:
    accepted = sum(one.fate == "accepted" for one in held)
    return accepted, len(held) - accepted


def cohen(table: Sequence[Sequence[int]]) -> float | None:
    """Cohen's kappa of a square table: rows are one judge's categories, columns the other's.

    None where chance alone would make them agree, since all are of one category.
    """
    total = sum(map(sum, table))
    rows = [sum(row) for row in table]
    columns = [sum(column) for column in zip(*table, strict=True)]
    expected = sum(row * column for row, column in zip(rows, columns, strict=True))
    chance: float = expected / (total * total)
    if chance >= 1.0:
        return None
    seen: float = sum(row[place] for place, row in enumerate(table)) / total
    return (seen - chance) / (1.0 - chance)


def fleiss(subjects: Sequence[Sequence[int]]) -> float | None:
    """Fleiss' kappa. subjects: how many judgements of each fell into each category, 2 or more.

    None where all judgements are of one category.
    """
    sizes = [sum(counts) for counts in subjects]
    total = sum(sizes)
    shares: list[float] = [sum(category) / total for category in zip(*subjects, strict=True)]
    chance = sum(one * one for one in shares)
    if max(shares) == 1.0:
        return None
    differing = sum(
        size - sum(count * count for count in counts) / size
        for counts, size in zip(subjects, sizes, strict=True)
    )
    return 1.0 - differing / ((total - len(subjects)) * (1.0 - chance))
