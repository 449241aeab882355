"""Two runs compared: noise is no regression, and a regression is not taken for noise."""

from __future__ import annotations

import io
import math
from pathlib import Path

import msgspec
import numpy as np
import pytest
from rich.console import Console

from bench.latency.report.compare import Comparison, compare, describe, judge
from bench.latency.report.intervals import bounds, clumping, ratio_bounds, redraw
from bench.latency.result import Plan, Result, Series, save
from edge.core.errors import ConfigError

PAIRS = 200


@pytest.fixture
def saved(tmp_path):
    """Two results as two files."""

    def write(before: Result, after: Result) -> tuple[Path, Path]:
        paths = tmp_path / "[a].json", tmp_path / "b.json"
        for path, result in zip(paths, (before, after), strict=True):
            save(path, result)
        return paths

    return write


def verdicts(before: Result, after: Result, **options: float) -> dict[str, str]:
    return {figure.name: figure.verdict for figure in judge(before, after, **options)}


def text(comparison: Comparison) -> str:
    console = Console(width=100, file=io.StringIO())
    console.print(describe(comparison))
    return console.file.getvalue()


@pytest.mark.parametrize("parts", [200, 500])
def test_equal_runs_are_seldom_called_worse(make_result, parts):
    worse = 0
    for seed in range(PAIRS):
        runs = [make_result(parts=parts, seed=2 * seed + which) for which in (0, 1)]
        worse += "worse" in verdicts(*runs).values()
    assert worse <= 0.05 * PAIRS


def test_a_run_15_percent_slower_is_found_in_500_parts(make_result):
    found = 0
    for seed in range(PAIRS):
        before = make_result(parts=500, seed=2 * seed)
        after = make_result(parts=500, seed=2 * seed + 1, slower=1.15)
        found += verdicts(before, after)["latency p50"] == "worse"
    assert found >= 0.95 * PAIRS


def test_a_change_within_the_tolerance_is_the_same(make_result):
    before, after = make_result(seed=1), make_result(seed=2, slower=1.03)
    assert verdicts(before, after)["latency p50"] == "same"
    assert verdicts(before, after, tolerance=0.0)["latency p50"] == "worse"


def test_a_tail_three_times_as_long_is_found_though_the_median_is_the_same(make_result):
    before, after = make_result(parts=5000, seed=1), make_result(parts=5000, seed=2)
    latency = np.asarray(after.series.latency_ms)
    latency[::50] += 12.0
    series = msgspec.structs.replace(after.series, latency_ms=latency.tolist())
    found = verdicts(before, msgspec.structs.replace(after, series=series))
    assert found["latency p99"] == "worse"
    assert found["overhead p99"] == "worse"
    assert found["latency p50"] == "same"


def test_a_quicker_run_is_better_and_no_regression(make_result, saved):
    comparison = compare(*saved(make_result(seed=1), make_result(seed=2, slower=0.85)))
    assert not comparison.regressed
    assert {f.name: f.verdict for f in comparison.figures}["latency p50"] == "better"
    assert "no regression beyond 5 % shown; better: latency p50" in text(comparison)


def test_what_the_box_itself_lost_is_not_held_against_the_run(make_result):
    before, after = make_result(seed=1), make_result(seed=2, slower=1.15)
    bare = msgspec.structs.replace(after.bare_session_ms, p50=3.92 * 1.15, p99=4.61 * 1.15)
    slow = msgspec.structs.replace(after, bare_session_ms=bare)
    assert verdicts(before, slow)["latency p50"] == "same"
    # A slower library is no slower box.
    host = msgspec.structs.replace(after.host, libraries={"onnxruntime": "1.32.0"})
    assert verdicts(before, msgspec.structs.replace(slow, host=host))["latency p50"] == "worse"
    # Nor does a slower session excuse the overhead; a slower noise floor does.
    assert verdicts(before, slow)["overhead p50"] == "worse"
    host = msgspec.structs.replace(after.host, timer_jitter_p50_ms=0.271)
    assert verdicts(before, msgspec.structs.replace(slow, host=host))["overhead p50"] == "same"


def test_a_box_that_changed_is_a_warning(make_result, saved):
    after = make_result(seed=2)
    host = msgspec.structs.replace(after.host, timer_jitter_p50_ms=0.471)
    paths = saved(make_result(seed=1), msgspec.structs.replace(after, host=host))
    warnings = compare(*paths).warnings
    assert [w for w in warnings if w.startswith("the box itself changed: overhead p50 by +4")]


def test_parts_without_a_verdict_count_as_overruns_and_not_as_latencies(make_result):
    before, after = make_result(seed=1), make_result(seed=2)
    defaults = np.asarray(after.series.session_ms)
    defaults[: len(defaults) // 10] = 0.0
    latency = np.asarray(after.series.latency_ms)
    latency[: len(latency) // 10] = 45.0
    series = Series(
        step=1,
        second=after.series.second,
        latency_ms=latency.tolist(),
        session_ms=defaults.tolist(),
    )
    found = judge(before, msgspec.structs.replace(after, series=series))
    assert {figure.name: figure.after for figure in found}["latency p99"] < 10


def test_offline_is_compared_by_the_time_a_part_takes(make_result):
    def run(seed: int, part_ms: float) -> Result:
        made = make_result(seed=seed, scenario="offline", plan=Plan(scenario="offline"))
        taken = np.cumsum(np.random.default_rng(seed).normal(part_ms, 0.3, 2000))
        series = msgspec.structs.replace(
            made.series, second=[0.0] * 2000, latency_ms=taken.tolist()
        )
        return msgspec.structs.replace(made, series=series)

    before, after = run(1, 4.0), run(2, 4.6)
    same, worse = judge(before, run(3, 4.0)), judge(before, after)
    assert [figure.name for figure in worse] == ["time a part mean", "overruns"]
    assert worse[0].after == pytest.approx(4.6, rel=0.01)
    assert (same[0].verdict, worse[0].verdict) == ("same", "worse")


def test_single_overruns_are_a_regression_and_one_burst_is_a_doubt(make_result, saved):
    spread = tuple(range(100, 2000, 100))
    paths = saved(make_result(seed=1), make_result(seed=2, overruns=spread))
    comparison = compare(*paths)
    assert comparison.figures[-1].verdict == "worse"
    assert comparison.regressed
    assert "REGRESSED by more than 5 %" in text(comparison)
    paths = saved(make_result(seed=1), make_result(seed=2, overruns=tuple(range(500, 519))))
    comparison = compare(*paths)
    assert comparison.figures[-1].verdict == "same"
    assert "0 overruns of 2,000 parts before, 19 of 2,000 after" in comparison.warnings[-1]


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"model_sha256": "77" * 32}, "package: 5b1dabababab before, 777777777777 after"),
        ({"provider": "openvino"}, "provider: cpu before, openvino after"),
        ({"scenario": "single"}, "scenario: constant before, single after"),
        ({"frame_px": "640 x 480"}, "frame: 512 x 512 before, 640 x 480 after"),
        ({"plan": Plan(scenario="constant", rate_hz=60)}, "rate: 20 parts/s before, 60 parts/s"),
        ({"plan": Plan(scenario="constant", rate_hz=20, burst=4)}, "burst: 1 before, 4 after"),
        ({"complete": False, "ended_by": "Ctrl-C"}, "b.json is partial (Ctrl-C)"),
    ],
)
def test_what_cannot_be_compared_is_refused_unless_forced(make_result, saved, change, line):
    paths = saved(make_result(seed=1), make_result(seed=2, **change))
    with pytest.raises(ConfigError) as refusal:
        compare(*paths)
    assert line in str(refusal.value)
    assert "\n" not in str(refusal.value)
    warnings = compare(*paths, force=True).warnings
    assert any(warning.startswith("not comparable: ") and line in warning for warning in warnings)


@pytest.mark.parametrize(("field", "value"), [("machine", "x"), ("cpu", "Xeon"), ("cores", 8)])
def test_another_box_is_refused(make_result, saved, field, value):
    after = make_result(seed=2)
    host = msgspec.structs.replace(after.host, **{field: value})
    with pytest.raises(ConfigError, match=f"{field}: .* after"):
        compare(*saved(make_result(seed=1), msgspec.structs.replace(after, host=host)))


def test_other_circumstances_are_warnings(make_result, saved):
    after = make_result(seed=2, threads=1)
    host = msgspec.structs.replace(
        after.host,
        governor="powersave",
        kernel="6.13.1",
        libraries=after.host.libraries | {"onnxruntime": "1.32.0"},
    )
    paths = saved(make_result(seed=1), msgspec.structs.replace(after, host=host))
    assert compare(*paths).warnings[:4] == [
        "kernel: 6.12.0 before, 6.13.1 after",
        "governor: performance before, powersave after",
        "threads: 2 before, 1 after",
        "library onnxruntime: 1.31.1 before, 1.32.0 after",
    ]


def test_a_run_too_short_or_a_tolerance_out_of_range_is_refused(make_result, saved):
    with pytest.raises(ConfigError, match=r"b\.json: 60 parts; a comparison needs at least 100"):
        compare(*saved(make_result(), make_result(parts=60)), force=True)
    with pytest.raises(ConfigError, match="tolerance -1: allowed: 0 to below 1"):
        compare(*saved(make_result(), make_result()), tolerance=-1)


def test_a_percentile_too_noisy_to_judge_is_named(make_result, saved):
    few = compare(*saved(make_result(parts=500, seed=1), make_result(parts=500, seed=2)))
    (warning,) = few.warnings
    assert warning == "too noisy to judge, longer runs are needed: latency p99, overhead p99"


def test_a_run_without_verdicts_is_still_compared_by_its_overruns(make_result, saved):
    empty = Series(step=1, second=[], latency_ms=[], session_ms=[])
    after = make_result(parts=500, overruns=tuple(range(1, 501)), series=empty, latency_ms=None)
    comparison = compare(*saved(make_result(parts=500), after))
    assert [figure.name for figure in comparison.figures] == ["overruns"]
    assert comparison.regressed
    assert "only overruns compared" in comparison.warnings[0]


def test_the_same_files_give_the_same_figures_and_a_table_of_100_columns(make_result, saved):
    paths = saved(make_result(seed=1), make_result(seed=2, overruns=(5, 900)))
    comparison = compare(*paths)
    assert compare(*paths) == comparison
    shown = text(comparison)
    assert "[a].json" in shown.replace("\n", "")
    assert max(map(len, shown.splitlines())) <= 100
    assert all(figure.name in shown for figure in comparison.figures)


def test_exact_bounds_of_a_ratio():
    low, high = ratio_bounds(0, 1000, 5, 1000)
    share = 0.025 ** (1 / 5)  # at which five of five come up in 1 of 40
    assert low == pytest.approx(share / (1 - share))
    assert high == math.inf
    low, high = ratio_bounds(7, 1000, 3, 2000)
    assert low == pytest.approx(0.066739 / (1 - 0.066739) / 2, rel=1e-4)  # 3 of 10, from tables
    assert high == pytest.approx(0.652453 / (1 - 0.652453) / 2, rel=1e-4)
    assert ratio_bounds(0, 1000, 0, 1000) == (0.0, math.inf)
    low, high = ratio_bounds(40_000, 100_000, 40_000, 100_000)
    assert low == pytest.approx(1 / high)
    assert 0.98 < low < 1 < high < 1.02


def test_overruns_in_a_row_count_as_fewer():
    rng = np.random.default_rng(1)
    single = rng.choice(10_000, 200, replace=False) + 51
    assert clumping(single.tolist(), 10_000) < 1.6
    rows = [int(first) + n for first in rng.choice(9_000, 40, replace=False) for n in range(5)]
    assert 3 < clumping(rows, 10_000) < 8
    assert clumping([], 10_000) == clumping([3], 10_000) == 1.0


def test_redrawn_blocks_widen_the_interval_of_parts_that_resemble_their_neighbours():
    rng = np.random.default_rng(1)
    walk = np.empty(2000)
    walk[0] = 0.0
    for place in range(1, 2000):
        walk[place] = 0.9 * walk[place - 1] + rng.standard_normal()
    wide, narrow = (
        np.subtract(*bounds(redraw(values, (50,), np.random.default_rng(2))[0]))
        for values in (walk, rng.permutation(walk))
    )
    assert abs(wide) > 2.5 * abs(narrow)


def test_redrawing_keeps_the_percentiles_of_the_run_itself():
    values = np.random.default_rng(1).lognormal(1.5, 0.2, 3000)
    redrawn = redraw(values, (50, 99), np.random.default_rng(2))
    for row, percentile in enumerate((50, 99)):
        low, high = bounds(redrawn[row])
        assert low < np.percentile(values, percentile) < high
    assert redrawn[-1].mean() == pytest.approx(values.mean(), rel=0.01)
