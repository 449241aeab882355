"""The report's words and numbers, the decision digest, and percentiles."""

from __future__ import annotations

import io

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from edge.core.figures import auroc
from edge.core.ledger import Balance
from edge.core.types import (
    Action,
    Cause,
    Deadline,
    Decision,
    Fault,
    PartRecord,
    Region,
    Stamps,
    Verdict,
)
from edge.panel import summary
from edge.replay import Journal, Report, late_commands, none_judged, report
from edge.stats import DecisionDigest, percentiles

MS = 1_000_000
ACTIONS = {
    Verdict.PASS: Action.ACCEPT,
    Verdict.FAIL: Action.REJECT,
    Verdict.INDETERMINATE: Action.HOLD,
}


def record(
    part, verdict=None, *, score=None, fault=None, applied=None, latency_ms=8.0, registration_ms=0.0
):
    cause = Cause.VERDICT if verdict else Cause.FAULT
    action = ACTIONS[verdict] if verdict else Action.REJECT
    trigger = part * 50 * MS
    return PartRecord(
        part=part,
        number=part,
        deadline=Deadline(trigger, trigger + 45 * MS, trigger + 50 * MS),
        decision=Decision(part, action, cause, verdict, fault, score),
        frame_ns=trigger + MS,
        stamps=Stamps(trigger, trigger + 2 * MS, trigger + 7 * MS, trigger + 7 * MS),
        command_id=part,
        received_ns=trigger + round(latency_ms * MS),
        acked_ns=trigger + 9 * MS,
        applied=applied or action,
        registration_ns=round(registration_ms * MS),
    )


def scored(records, labels, tmp_path, *, real_time=True, log=b""):
    path = tmp_path / "arm.jsonl"
    path.write_bytes(log)
    count = len(records)
    return report(
        records,
        dict(enumerate(labels, start=1)).get,
        balance=Balance(count, count, count, 0, 0),
        arm_log=path,
        real_time=real_time,
        provider="cpu",
        model_sha256="m",
    )


def test_a_picture_that_cannot_be_judged_is_told_apart_from_a_part_that_was_late(tmp_path):
    records = [
        record(1, Verdict.PASS, score=0.1),
        record(2, fault=Fault.UNFIT_IMAGE),
        record(3, fault=Fault.DEADLINE),
        record(4, fault=Fault.BAD_FRAME),
        record(5, fault=Fault.NO_IMAGE, latency_ms=51.0),
    ]
    result = scored(records, [None] * 5, tmp_path)
    assert (result.overruns, result.deadline_misses, result.picture_overruns) == (4, 4, 2)
    assert result.actions == {"accept": 1, "reject": 0, "rework": 0, "hold": 0, "default": 4}
    text = shown(summary(result))
    assert "4 overruns, of which 2 had a picture that could not be judged" in text
    assert "accept 1, reject 0, rework 0, hold 0, default 4" in text


@pytest.mark.parametrize(
    ("faults", "none"),
    [
        ({"bad_frame": 3}, True),
        ({"bad_frame": 2, "unfit_image": 1}, True),
        ({"bad_frame": 2}, False),
        ({"bad_frame": 2, "deadline": 1}, False),
    ],
)
def test_no_picture_at_all_could_be_judged(faults, none):
    assert none_judged(3, faults) is none


def test_the_same_warning_is_told_three_times_and_then_counted():
    told: list[str] = []
    journal = Journal(told.append)
    for part in range(1, 161):
        size = "640x480" if part < 160 else "32x32"
        journal.event("bad_frame", part, f"/mine/{part}.png: {size} px, takes exactly 256x256 px")
    journal.event("worker_lost", 0, "exit code 9")
    assert len(told) == 4
    journal.finish()
    assert told[-2:] == [
        "and 156 more bad_frame: 640x480 px, takes exactly 256x256 px",
        "and 1 more bad_frame: 32x32 px, takes exactly 256x256 px",
    ]
    journal.finish()
    assert len(told) == 6


def shown(renderable) -> str:
    console = Console(file=io.StringIO(), width=120)
    console.print(renderable)
    return console.file.getvalue()


def test_every_part_is_in_exactly_one_pile(tmp_path):
    records = [
        record(1, Verdict.PASS, score=0.1),
        record(2, Verdict.FAIL, score=0.8),
        record(3, Verdict.INDETERMINATE, score=0.5),
        record(4, fault=Fault.DEADLINE),
        record(5, Verdict.PASS, score=0.2),
        record(6, Verdict.FAIL, score=0.9),
        record(7, Verdict.INDETERMINATE, score=0.5),
        record(8, fault=Fault.NO_IMAGE),
        record(9, Verdict.PASS, score=0.3, applied=Action.REJECT),
    ]
    result = scored(records, ["good"] * 4 + ["defect"] * 5, tmp_path)
    assert (result.overkill, result.held_good, result.defaulted_good) == (1, 1, 1)
    assert (result.caught, result.escapes, result.held_defect, result.defaulted_defect) == (
        *(1, 1, 1),
        2,
    )
    assert result.defect == 5
    assert result.detection == pytest.approx(1 / 5)
    assert result.overkill_rate == pytest.approx(2 / 4)
    assert result.faults == {"deadline": 1, "no_image": 1}
    assert (result.scored, result.deadline_misses, result.overruns) == (7, 2, 2)
    assert result.latency_ms["p50"] == pytest.approx(8.0)
    assert result.frame_to_command_ms["p50"] == pytest.approx(7.0)
    assert result.session_ms["p50"] == pytest.approx(5.0)
    assert result.overhead_ms["p50"] == pytest.approx(3.0)


def test_registration_is_no_overhead(tmp_path):
    """Each part's own is taken off its latency; a part without counts 0."""
    one = record(1, Verdict.PASS, score=0.1, latency_ms=10.0, registration_ms=2.0)
    two = record(2, Verdict.FAIL, score=0.9, latency_ms=9.0, registration_ms=2.5)
    three = record(3, Verdict.PASS, score=0.2)
    late = record(4, fault=Fault.DEADLINE, registration_ms=4.0)
    result = scored([one, two, three, late], [None] * 4, tmp_path)
    assert result.overhead_ms["p50"] == pytest.approx(3.0)  # of 3.0, 1.5 and 3.0
    assert result.overhead_ms["max"] == pytest.approx(3.0)
    assert result.registration_ms["p50"] == pytest.approx(2.25)
    assert result.registration_ms["max"] == pytest.approx(4.0)  # its session ran, too late
    virtual = scored([one, two, three, late], [None] * 4, tmp_path, real_time=False)
    assert (virtual.registration_ms, virtual.overhead_ms) == (result.registration_ms, None)
    assert "registration" in shown(summary(result))


def test_a_package_that_registers_nothing_says_0_and_shows_no_row(tmp_path):
    result = scored([record(1, Verdict.PASS, score=0.1)], [None], tmp_path)
    assert set(result.registration_ms.values()) == {0.0}
    assert result.overhead_ms["p50"] == pytest.approx(3.0)
    assert "registration" not in shown(summary(result))
    barred = msgspec.structs.replace(record(1, fault=Fault.NOT_ADMITTED), stamps=Stamps())
    assert scored([barred], [None], tmp_path).registration_ms is None


def test_the_digest_and_older_records_know_no_registration():
    """What a run decided does not depend on its times, and what was written before is read."""
    digests = []
    for part in (
        record(1, Verdict.PASS, score=0.1),
        record(1, Verdict.PASS, score=0.1, registration_ms=2),
    ):
        digest = DecisionDigest()
        digest.add(part)
        digests.append(digest.hexdigest())
    assert len(set(digests)) == 1
    older = msgspec.to_builtins(record(1, Verdict.PASS, score=0.1))
    del older["registration_ns"]
    assert msgspec.convert(older, PartRecord) == record(1, Verdict.PASS, score=0.1)


def test_a_command_received_after_act_by_is_an_overrun_but_no_deadline_miss(tmp_path):
    result = scored([record(1, Verdict.PASS, score=0.1, latency_ms=51)], ["good"], tmp_path)
    assert (result.overruns, result.deadline_misses) == (1, 0)


def test_unlabelled_footage_has_no_labelled_figures(tmp_path):
    result = scored([record(1, Verdict.PASS, score=0.1)], [None], tmp_path)
    names = Report.__struct_fields__
    labelled = names[names.index("good") : names.index("auroc") + 1]
    assert len(labelled) == 12
    assert all(getattr(result, name) is None for name in labelled)


def test_at_maximum_pace_no_latency_means_anything(tmp_path):
    result = scored([record(1, Verdict.PASS, score=0.1)], ["good"], tmp_path, real_time=False)
    assert (result.latency_ms, result.frame_to_command_ms, result.overhead_ms) == (None,) * 3
    assert result.session_ms["p50"] == pytest.approx(5.0)


def test_late_commands_come_from_the_controllers_own_log(tmp_path):
    entries = [
        {"event": "session", "session": 1},
        {"event": "applied", "action": "accept", "applied_ns": 10, "act_by_ns": 9},
        {"event": "applied", "action": "accept", "applied_ns": 9, "act_by_ns": 9},
        {"event": "applied", "action": "reject", "applied_ns": 99, "act_by_ns": 9},
        {"event": "applied", "action": "rework", "applied_ns": 99, "act_by_ns": 9},
    ]
    path = tmp_path / "log"
    path.write_bytes(b"".join(msgspec.json.encode(e) + b"\n" for e in entries))
    assert late_commands(path) == 2


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.booleans()), max_size=30))
def test_auroc_is_the_share_of_pairs_in_the_right_order(pairs):
    bad = [s for s, b in pairs if b]
    good = [s for s, b in pairs if not b]
    found = auroc([s for s, _ in pairs], [b for _, b in pairs])
    if not bad or not good:
        assert found is None
        return
    won = sum((b > g) + 0.5 * (b == g) for b in bad for g in good)
    assert found == pytest.approx(won / (len(bad) * len(good)))


BASE = record(1, Verdict.FAIL, score=0.75)
REGION = Region(1, 2, 3, 4, 5, 0.9)


@pytest.mark.parametrize(
    ("change", "differs"),
    [
        ({"number": 2}, True),
        ({"decision": Decision(1, Action.REWORK, Cause.VERDICT, Verdict.FAIL, None, 0.75)}, True),
        ({"decision": Decision(1, Action.REJECT, Cause.VERDICT, Verdict.PASS, None, 0.75)}, True),
        ({"decision": Decision(1, Action.REJECT, Cause.VERDICT, Verdict.FAIL, None, 0.7501)}, True),
        (
            {
                "decision": Decision(
                    1, Action.REJECT, Cause.VERDICT, Verdict.FAIL, None, 0.75, (REGION,)
                )
            },
            True,
        ),
        ({"decision": Decision(1, Action.REJECT, Cause.FAULT, None, Fault.DEADLINE)}, True),
        ({"received_ns": 1, "acked_ns": 2, "command_id": 77, "stamps": Stamps()}, False),
    ],
)
def test_the_digest_sees_decisions_and_nothing_else(change, differs):
    digests = []
    for one in (BASE, msgspec.structs.replace(BASE, **change)):
        digest = DecisionDigest()
        digest.add(one)
        digests.append(digest.hexdigest())
    assert (digests[0] != digests[1]) is differs


def test_percentiles_of_nothing_and_of_one():
    assert percentiles([]) is None
    assert percentiles([3.0]) == {"p50": 3.0, "p90": 3.0, "p99": 3.0, "p99_9": 3.0, "max": 3.0}


def test_what_the_controller_did_decides_what_became_of_a_part(tmp_path):
    swapped = record(1, Verdict.FAIL, score=0.9, applied=Action.ACCEPT)
    unheard = msgspec.structs.replace(record(2, Verdict.FAIL, score=0.9), applied=None)
    unsent = msgspec.structs.replace(
        record(3, Verdict.FAIL, score=0.9), applied=None, command_id=0, received_ns=0
    )
    result = scored([swapped, unheard, unsent], ["defect"] * 3, tmp_path)
    assert (result.caught, result.escapes, result.defaulted_defect) == (0, 1, 2)
    assert result.overruns == 1
