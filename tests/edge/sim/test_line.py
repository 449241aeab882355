"""A line's description: its defaults, its geometry, and what it refuses."""

from __future__ import annotations

import pytest

from edge.core import config
from edge.core.errors import ConfigError
from edge.sim.line import Line, line_of


def test_the_defaults_are_twenty_parts_a_second_and_a_budget_of_fifty_ms():
    line = Line()
    assert (line.rate_hz, line.budget_ms) == (20.0, 50.0)
    line.check(5.0)


def test_a_toml_table_and_a_dict_give_the_same_line(tmp_path):
    file = tmp_path / "line.toml"
    file.write_text('speed_mm_s = 500\nmachine = "arm"\nrest = "pass"\ncycle_ms = 250.0\n')
    line = config.load(file, Line)
    assert line == line_of({"speed_mm_s": 500, "machine": "arm", "rest": "pass", "cycle_ms": 250})
    assert line.gate.moves_for("reject")
    assert line.at_rate(20.0) == Line(machine="arm", rest="pass", cycle_ms=250.0)


@pytest.mark.parametrize(
    ("table", "named"),
    [
        ({"speed": 1}, "speed: unknown key; allowed: speed_mm_s, "),
        ({"rest": "left"}, "rest: .*allowed: reject | pass"),
        ({"machine": "robot"}, "machine: .*allowed: diverter | arm"),
        ({"speed_mm_s": 0}, "speed_mm_s: "),
        ({"reaction_ms": -1}, "reaction_ms: "),
        ({"part_mm": 50}, "part_mm 50: allowed: below spacing_mm 50"),
        ({"speed_mm_s": 600_000}, "speed_mm_s 600000: allowed: up to 500000"),
    ],
)
def test_what_is_not_a_line_is_refused_by_name(table, named):
    with pytest.raises(ConfigError, match=named) as refused:
        line_of(table)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("table", "enough"),
    [
        ({"camera_to_gate_mm": 20.0}, {"camera_to_gate_mm": 36.0}),
        ({"speed_mm_s": 5000.0}, {"speed_mm_s": 2280.0}),
        ({"camera_to_gate_mm": 35.0}, {"camera_to_gate_mm": 35.1}),
    ],
)
def test_a_geometry_without_time_for_the_station_is_refused_with_what_would_do(table, enough):
    with pytest.raises(ConfigError, match=r"line: a part is at the gate after .* take 35 ms; "):
        line_of(table).check(5.0)
    line_of(table | enough).check(5.0)
