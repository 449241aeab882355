"""What an archive's results come to: read back from their files, in the words of a replay."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from edge.archive import table
from edge.core.errors import RecordsError
from edge.core.figures import auroc
from edge.core.types import PartRecord
from edge.replay import UNLABELLED, Fared, action, by_action, fared, outcome
from edge.stats import DecisionDigest

_CHUNK = 65_536  # scores kept as Python's own before they are packed


class Summary(Fared, frozen=True, kw_only=True):
    """What came of an archive; parts and every count of them are of the items done and reused.

    items = done + reused + failed. failed: item -> reason. stale: results in the folder that are
    of no finished item. ignored: files that are no footage. judged: parts of this run, in
    `seconds`, from when workers could be given the first; parts_per_s is of these, None where
    none was. notes: item -> what to know of it, such as a recording that was cut short.
    processors: the kinds that took part; with two, scores may differ in the last bits.

    A part without a label counts in parts, scored, actions (edge.replay.Report's) and faults alone.
    decisions_sha256 is
    edge.stats.DecisionDigest over the items in order (edge.archive.items.order), its sequence
    counting 1, 2, 3 .. through all of them: what one process comes to that takes the whole
    archive as one footage. So an archive of one footage has the digest of its `edge replay`.
    """

    package: str
    content_sha256: str
    provider: str
    threads: int
    items: int
    done: int
    reused: int
    failed: dict[str, str]
    stale: tuple[str, ...]
    ignored: int
    judged: int
    seconds: float
    parts_per_s: float | None
    parts: int
    scored: int
    actions: dict[str, int]
    faults: dict[str, int]
    notes: dict[str, str]
    processors: tuple[str, ...]
    decisions_sha256: str


class _Scores:
    """Scores of labelled parts, packed: 5 bytes a part."""

    def __init__(self) -> None:
        self._packed: list[tuple[Any, Any]] = []
        self._scores: list[float] = []
        self._bad: list[bool] = []

    def add(self, score: float, bad: bool) -> None:
        self._scores.append(score)
        self._bad.append(bad)
        if len(self._scores) == _CHUNK:
            self._pack()

    def _pack(self) -> None:
        self._packed.append((np.asarray(self._scores, np.float32), np.asarray(self._bad, bool)))
        self._scores, self._bad = [], []

    def auroc(self) -> float | None:
        self._pack()
        scores, bad = zip(*self._packed, strict=True)
        return auroc(np.concatenate(scores), np.concatenate(bad))


def count(files: Iterable[Path]) -> dict[str, Any]:
    """The fields of a Summary that follow from the parts, read in the archive's order.

    RecordsError for a file that is gone or damaged.
    """
    digest, scores = DecisionDigest(), _Scores()
    outcomes: Counter[tuple[str, bool]] = Counter()
    faults: Counter[str] = Counter()
    actions: Counter[str] = Counter()
    processors: set[str] = set()
    notes: dict[str, str] = {}
    parts = scored = 0
    for file in files:
        about = table.about(file)
        if about is None:
            raise RecordsError(f"{file}: written in this run, and not readable now")
        processors.add(about.processor)
        if about.note:
            notes[about.identity.item] = about.note
        for record, truth in table.parts(file):
            parts += 1
            decision = record.decision
            digest.add(_numbered(record, parts))
            actions[action(record)] += 1
            if truth:
                outcomes[outcome(record), truth == "defect"] += 1
            if decision.fault is not None:
                faults[decision.fault] += 1
            if decision.score is not None:
                scored += 1
                if truth:
                    scores.add(decision.score, truth == "defect")
    return {
        "parts": parts,
        "scored": scored,
        "actions": by_action(actions),
        **(fared(outcomes, scores.auroc()) if outcomes else UNLABELLED),
        "faults": dict(sorted(faults.items())),
        "notes": notes,
        "processors": tuple(sorted(processors)),
        "decisions_sha256": digest.hexdigest(),
    }


def _numbered(record: PartRecord, number: int) -> PartRecord:
    """The record as one process would count it that took the whole archive as one footage."""
    return msgspec.structs.replace(record, number=number)
