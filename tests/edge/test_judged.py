"""Which parts of a recording a replay can be compared with, where several judged them."""

from __future__ import annotations

import msgspec
import pytest

from edge.core.history import Session, named
from edge.core.types import (
    Action,
    Cause,
    Deadline,
    Decision,
    Fault,
    PartRecord,
    Serving,
    Verdict,
)
from edge.judged import Comparison, judges, was_judged

OLD = Serving("board", "1", "aa" * 32, "cpu", 2, "int8", 0.4, 0.6)
FALLBACK = msgspec.structs.replace(OLD, provider="openvino")
NEW = Serving("board", "2", "bb" * 32, "cpu", 1, "int8", 0.3, 0.5)
SESSION = Session(
    session=1,
    station="cell",
    started_ns=0,
    started_utc_ns=0,
    who="kai",
    package="board",
    version="1",
    content_sha256="aa" * 32,
    file_sha256="",
    views=(),
    provider="cpu",
    threads=2,
    precision="int8",
    pass_below=0.4,
    fail_from=0.6,
    cpu="",
)
WORDS = {"A": OLD, "F": FALLBACK, "N": NEW, "-": None}


def a_part(part: int, serving: Serving | None, fault: Fault | None = None) -> PartRecord:
    if fault is None:
        decision = Decision(part, Action.ACCEPT, Cause.VERDICT, Verdict.PASS, score=0.1)
    else:
        decision = Decision(part, Action.REJECT, Cause.FAULT, fault=fault)
    answered_ns = 0 if fault is Fault.DEADLINE else 9
    return PartRecord(
        part, part, Deadline(1, 2, 3), decision, answered_ns=answered_ns, serving=serving
    )


def run(word: str) -> list[PartRecord]:
    """A letter a part; small: it met its deadline instead."""
    return [
        a_part(number, WORDS[letter.upper()], Fault.DEADLINE if letter.islower() else None)
        for number, letter in enumerate(word, start=1)
    ]


# A run, what it is replayed with; then the parts that are compared, and those that are not.
CASES = [
    ("AAAA", OLD, "1234", {}),
    ("----", OLD, "1234", {}),  # before parts named theirs
    ("AAAA", NEW, "1234", {}),  # one judge alone: it was asked for
    ("AANN", OLD, "12", {NEW: 2}),
    ("AANN", NEW, "34", {OLD: 2}),
    ("--NN", OLD, "12", {NEW: 2}),
    ("AAFF", OLD, "12", {FALLBACK: 2}),
    ("AAFF", FALLBACK, "34", {OLD: 2}),
    ("AFNA", OLD, "14", {FALLBACK: 1, NEW: 1}),
    ("AnNa", OLD, "124", {NEW: 1}),  # a deadline met is met with any package
    ("AAnn", OLD, "1234", {}),  # the new one judged none in time
    ("FFNN", OLD, "", {FALLBACK: 2, NEW: 2}),
]


@pytest.mark.parametrize(("word", "here", "compared", "others"), CASES)
def test_parts_of_others_are_left_out_and_counted(word, here, compared, others):
    found = Comparison(
        run(word), SESSION, content_sha256=here.content_sha256, provider=here.provider
    )
    assert [place + 1 for place in found.places] == [int(number) for number in compared]
    assert found.others == {named(one): parts for one, parts in others.items()}
    assert len(found.left_out()) == len(others)


def test_what_is_left_out_is_said_by_name():
    found = Comparison(run("AANNNF"), SESSION, content_sha256="aa" * 32, provider="cpu")
    assert found.left_out() == [
        f"3 parts judged by board 2 ({'bb' * 6}) on cpu: not compared",
        f"1 part judged by board 1 ({'aa' * 6}) on openvino: not compared",
    ]
    assert found.judges == [OLD]


def test_the_judge_of_most_parts_comes_first():
    assert judges(run("ANNFN"), SESSION) == [NEW, OLD, FALLBACK]
    assert judges(run("NN"), SESSION) == [NEW]
    assert judges(run("nn"), SESSION) == [OLD]


def test_only_an_answer_in_time_is_a_judgement():
    assert was_judged(a_part(1, OLD))
    assert was_judged(a_part(1, OLD, Fault.UNFIT_IMAGE))
    assert not was_judged(a_part(1, OLD, Fault.DEADLINE))
    assert not was_judged(a_part(1, OLD, Fault.BAD_OUTPUT))
