"""A run in the terminal, and the words it shares with the page."""

from __future__ import annotations

import io

import msgspec
import numpy as np
import pytest
from rich.console import Console

from bench.latency.report import words
from bench.latency.report.summary import summary
from bench.latency.result import Plan, Result, Series


def text(result: Result) -> str:
    console = Console(width=100, file=io.StringIO())
    console.print(summary(result))
    return console.file.getvalue()


def flat(result: Result) -> str:
    return " ".join(text(result).split())


def test_every_figure_is_there_within_100_columns(make_result):
    result = make_result(overruns=(5, 10))
    shown = text(result)
    assert max(map(len, shown.splitlines())) <= 100
    said = " ".join(shown.split())
    for spread in (result.latency_ms, result.session_ms, result.overhead_ms):
        assert " ".join(f"{value:.2f}" for value in spread.values()) in said
    for stage, spread in result.stages_ms.items():
        assert f"{stage} {spread['p50']:.3f} {spread['p99']:.3f} {words.STAGE_ENDS[stage]}" in said
    facts = ("AMD EPYC 9B14", "6.12.0", "performance", "onnxruntime 1.31.1", "0a1b2c3d4e5f+")
    for fact in (*facts, "5b1dabababab", "cpu, 2 threads", "int8", *result.notes):
        assert fact in said
    assert "bare session.run 3.92 4.61" in said
    assert "noise floor: end of a 1 ms sleep 0.07 0.21" in said
    assert "part 10 0.45 no command deadline; session 58.1 ms" in said
    assert all(f"{name} {value}" in said for name, value in words.accounts(result))


def test_what_no_overrun_proves(make_result):
    said = flat(make_result(parts=20_000))
    assert "0 overruns of 20,000 parts: 0.00 %, at most 0.0150 %" in said
    assert "fewer than 1 part in 6,676 is late, one in 5.6 min at 20 parts/s" in said
    assert "Showing 1 in 10,000 takes 29,956 parts without an overrun." in said


def test_what_some_overruns_prove(make_result):
    single = make_result(parts=5000, overruns=tuple(range(200, 5000, 240)))
    said = words.proof(single)
    assert "1 part in 250 was late (deadline 20)." in said
    assert f"fewer than 1 part in {int(1 / single.overrun_rate_upper_95)} is late" in said
    assert "Showing" not in said
    assert "several in a row" not in said
    assert "several in a row" in words.proof(make_result(parts=5000, overruns=tuple(range(1, 21))))


def test_every_part_late_proves_nothing(make_result):
    late = make_result(parts=50, overruns=tuple(range(1, 51)), latency_ms=None, ratio_p50=None)
    assert "50 overruns of 50 parts: 100.00 %, at most 100.00 %" in flat(late)
    assert "proves nothing" in flat(late)


def test_a_partial_run_says_so_first_and_last(make_result):
    plan = Plan(scenario="constant", rate_hz=20, parts=9000)
    cut = make_result(parts=300, complete=False, ended_by="interrupted", plan=plan)
    lines = [line for line in text(cut).splitlines() if line.strip()]
    assert lines[1].startswith("PARTIAL: interrupted; all of this is of the 300 of 9,000 parts")
    assert lines[-1] == lines[1]
    assert "PARTIAL" not in text(make_result(parts=300))


def test_a_percentile_with_too_few_parts_beyond_it_is_named(make_result):
    assert "p99.9 of 300 parts: close to their maximum" in flat(make_result(parts=300))
    assert "close to their maximum" not in flat(make_result(parts=1000))


def test_a_long_soak_shows_its_first_last_and_worst_minutes(make_result):
    result = make_result(parts=24_000, minutes=20, overruns=(9700, 9800, 14_500))
    assert "the first, the last and the worst of 20 minutes" in text(result)
    table = text(result).split("minute, ms")[1].split("the first, the last")[0]
    shown = [line.split() for line in table.splitlines() if line.strip()[:1].isdigit()]
    minutes = [int(row[0]) for row in shown]
    assert len(minutes) == 12
    assert minutes == sorted(minutes)
    assert {0, 8, 12, 19} <= set(minutes)
    assert [row[2] for row in shown if row[0] == "8"] == ["2"]
    assert "minute, ms" not in text(make_result(minutes=1))


def test_the_first_parts_after_an_idle_gap_stand_alone(make_result):
    gaps, second, latency = (1.0, 10.0), [], []
    at = 0.0
    for part in range(200):
        first = part % 20 == 0 and part > 0
        gap = gaps[(part // 20 - 1) % 2]
        at += gap if first else 0.05 if part else 0.0
        second.append(round(at, 3))
        latency.append(5.0 + gap if first else 5.0)
    plan = Plan(scenario="constant", rate_hz=20, parts=200, gaps_s=gaps)
    series = Series(step=1, second=second, latency_ms=latency, session_ms=[4.0] * 200)
    result = make_result(parts=200, plan=plan, series=series)
    found = {
        name: (len(values), float(np.median(values))) for name, values in words.after_gaps(result)
    }
    assert found == {
        "after 1 s idle": (5, 6.0),
        "after 10 s idle": (4, 15.0),
        "all others": (191, 5.0),
    }
    assert "after 10 s idle 4 15.00 15.00 15.00" in flat(result)
    assert "after idling" not in text(make_result())


def test_a_run_without_a_part_has_a_summary_too(make_result):
    empty = Series(step=1, second=[], latency_ms=[], session_ms=[])
    nothing = {"parts": 0, "overruns": 0, "verdicts": 0, "overrun_rate_upper_95": 1.0}
    run = make_result(**{"parts": 100}, series=empty, latency_ms=None, session_ms=None)
    run = msgspec.structs.replace(run, **nothing, overhead_ms=None, ratio_p50=None, stages_ms={})
    assert "no part was timed" in flat(run)


def test_words_of_a_result_are_no_markup(make_result):
    result = make_result(notes=["[bold]not[/bold] [/] markup"], ended_by="[red]")
    assert "[bold]not[/bold] [/] markup" in text(result)
    assert "[red]" in text(result)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(5, "5.0 s"), (119, "119.0 s"), (150, "2.5 min"), (9000, "2.5 h"), (216_000, "2.5 days")],
)
def test_spans_of_time(seconds, said):
    assert words.span(seconds) == said
