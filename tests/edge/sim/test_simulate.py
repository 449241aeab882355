"""Whole simulated lines: real station, engine and arm processes on pictures of synthetic parts."""

from __future__ import annotations

import io
import shutil
from functools import cache

import msgspec
import pytest
from rich.console import Console

from edge.core.errors import EdgeError
from edge.core.types import Action
from edge.sim.line import Line
from edge.sim.result import Confirmation
from edge.sim.simulate import simulate
from edge.sim.view import Watch, belt_line, summary
from sensors.synthetic import FIRST_UNSEEN_SEED, PartGenerator
from sensors.synthetic_camera import write_footage

MODEL, PARTS = "synthetic-part", 24


@pytest.fixture(scope="module")
def footage(tmp_path_factory):
    generator = PartGenerator(FIRST_UNSEEN_SEED + 7, defect_share=0.4)
    return write_footage(generator, tmp_path_factory.mktemp("line"), PARTS)


@pytest.fixture(scope="module")
def on(footage):
    """Simulated lines of this footage; each one is run once."""

    @cache
    def run(line=None, **options):
        return simulate(footage, MODEL, line=line, **options)

    return run


def assert_conserved(result):
    assert result.good_bin + result.reject_bin + result.stopped == result.parts
    assert result.station.commands == result.station.acks == result.parts
    assert result.conservation_errors == 0


def test_a_line_with_time_enough_sorts_as_the_model_says(on):
    result = on(overhead_ms=2.0)
    assert_conserved(result)
    assert (result.parts, result.rate_hz, result.budget_ms) == (PARTS, 20.0, 50.0)
    assert (result.good + result.defect, result.stopped) == (PARTS, 0)
    assert result.misrouted == result.escapes_by_machine == result.overkill_by_machine == 0
    if not result.overruns:  # an engine that a busy machine holds up for 43 ms makes some
        assert result.physical_escapes == result.station.escapes
        assert result.physical_overkill == result.station.overkill + result.station.held_good
        assert result.latency_ms["p50"] >= result.session_ms["p50"] + 1.999
    assert result.overhead_ms["p50"] == 2.0
    assert result.overhead_parts == 0
    assert result.max_rate_parts == PARTS
    assert result.max_rate_bound_by in ("gate", "budget", "inference")


def test_the_same_line_decides_the_same_in_real_time(on):
    virtual, real = on(overhead_ms=2.0), on(pace="real")
    assert_conserved(real)
    assert real.overhead_parts > 0
    assert real.overhead_ms["p50"] > 0.0
    if not (real.overruns or virtual.overruns):  # a busy machine may make some
        assert real.station.decisions_sha256 == virtual.station.decisions_sha256
        assert (real.good_bin, real.late_at_gate) == (virtual.good_bin, 0)


def test_commands_that_come_too_late_escape_where_the_line_rests_at_pass(on):
    # 51 ms of overhead: each verdict misses 45 ms, and its default is at the gate at 96.
    late = on(Line(rest="pass"), overhead_ms=51.0)
    assert_conserved(late)
    assert (late.overruns, late.late_at_gate) == (PARTS, PARTS)
    assert late.physical_escapes == late.escapes_by_machine == late.defect > 0
    assert late.max_rate_hz < 20.0


def test_an_arm_that_is_busy_lets_defective_parts_by(on):
    slow = Line(machine="arm", rest="pass", cycle_ms=2000.0)
    result = on(slow, overhead_ms=2.0)
    assert_conserved(result)
    assert result.station.caught > result.reject_bin == 1
    assert result.misrouted == result.escapes_by_machine > 0
    assert result.late_at_gate == 0
    assert result.max_rate_bound_by == "gate"
    assert result.max_rate_hz < 1.0


def test_overhead_is_measured_in_real_time_and_the_rate_confirmed(on):
    result = on(parts=6, confirm=True)
    assert_conserved(result)
    assert 1 <= result.overhead_parts <= 6
    assert result.confirmation.parts == 6
    assert result.confirmation.rate_hz == pytest.approx(0.95 * result.max_rate_hz)


def test_a_picture_that_cannot_be_judged_says_nothing_of_the_rate(footage, tmp_path):
    for number, picture in enumerate(sorted((footage / "images").iterdir())[:6]):
        shutil.copy(picture, tmp_path / f"{number}.png")
    (tmp_path / "3.png").write_bytes(b"torn")
    result = simulate(tmp_path, MODEL, overhead_ms=2.0, confirm=True)
    assert_conserved(result)
    assert (result.picture_overruns, result.confirmation.picture_overruns) == (1, 1)
    assert "had a picture that could not be judged" in shown(summary(result))
    if result.confirmation.overruns == 1:  # a busy machine may make more
        assert result.confirmation.late_at_gate == 0


@pytest.mark.parametrize(
    ("counts", "holds"),
    [
        ({}, True),
        ({"overruns": 2, "picture_overruns": 2}, True),
        ({"overruns": 3, "picture_overruns": 2}, False),
        ({"late_at_gate": 1}, False),
        ({"misrouted": 1}, False),
    ],
)
def test_a_line_holds_where_nothing_was_late(counts, holds):
    none = {"late_at_gate": 0, "misrouted": 0, "overruns": 0, "picture_overruns": 0}
    assert Confirmation(rate_hz=20.0, parts=100, **(none | counts)).holds is holds


def test_footage_that_names_no_package_needs_one(footage):
    with pytest.raises(EdgeError, match="--model: missing; footage that is no recording"):
        simulate(footage, "")


def test_parts_without_truth_are_parts_only_and_no_terminal_shows_no_line(footage, tmp_path):
    for picture in sorted((footage / "images").iterdir())[:4]:
        shutil.copy(picture, tmp_path)
    console = Console(file=io.StringIO())
    result = simulate(tmp_path, MODEL, overhead_ms=2.0, console=console)
    assert_conserved(result)
    assert console.file.getvalue() == ""
    assert (result.parts, result.good, result.physical_escapes) == (4, None, None)
    assert "escapes" not in shown(summary(result))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"line": Line(camera_to_gate_mm=30.0)}, "line: a part is at the gate after 30.0 ms"),
        ({"line": Line(speed_mm_s=1e-4)}, "line: a budget of .* allowed: up to 1000000"),
        ({"threads": 0}, "threads 0: allowed: 1 to 64"),
        ({"parts": 0}, "parts 0: allowed"),
        ({"margin_ms": 0.0}, "margin_ms 0: allowed"),
        ({"overhead_ms": -1.0}, "overhead_ms -1: allowed"),
        ({"overhead_ms": 1.0, "pace": "real"}, "overhead_ms: .*pace virtual"),
        ({"split": "dawn"}, "no rows of split 'dawn'"),
        ({"provider": "abacus", "overhead_ms": 1.0}, "abacus"),
    ],
)
def test_what_cannot_be_run_is_said_in_one_line(footage, options, named):
    with pytest.raises(EdgeError, match=named) as refused:
        simulate(footage, MODEL, **options)
    assert "\n" not in str(refused.value)


def test_the_result_is_json_with_its_line(on):
    told = msgspec.json.decode(msgspec.json.encode(on(overhead_ms=2.0)))
    assert told["line"]["speed_mm_s"] == 1000.0
    assert told["parts"] == told["station"]["parts"] == PARTS


def shown(renderable):
    console = Console(file=io.StringIO(), width=120)
    console.print(renderable)
    return console.file.getvalue()


def test_the_summary_says_where_the_parts_are_and_what_binds(on):
    text = shown(summary(on(overhead_ms=2.0)))
    assert "in the good bin, " in text
    assert "defective parts; 0 by the machine" in text
    assert "rests on 24 parts" in text
    confirmed = shown(summary(on(parts=6, confirm=True)))
    assert "parts/s in real time" in confirmed


def test_the_belt_is_drawn_with_its_parts_between_camera_and_machine():
    ms = 1_000_000
    parts = [(20 * ms, Action.REJECT), (60 * ms, Action.ACCEPT), (99 * ms, Action.HOLD)]
    drawn = belt_line(Line(), parts, 100 * ms)
    assert drawn == "[x" + "-" * 23 + "-o" + "-" * 24 + "|x" + "-" * 6
    assert belt_line(Line(), parts, 500 * ms).count("-") == len(drawn) - 2


def test_a_terminal_shows_the_line():
    terminal = Console(file=io.StringIO(), force_terminal=True, width=100)
    with Watch(terminal, Line(), 2, "a line", real=True) as watch:
        watch.draw(1)
    assert "1000 mm/s, 20 parts/s" in terminal.file.getvalue()
