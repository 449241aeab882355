"""The systemd unit: says what the station does, and asks for no more than it uses."""

from __future__ import annotations

import configparser
import subprocess
import sys
from pathlib import Path

import pytest

from edge import loop
from edge.core.clock import NS_PER_S
from edge.notify import FEEDS_A_WATCHDOG

UNIT = Path(__file__).parents[2] / "deploy" / "edge@.service"


@pytest.fixture(scope="module")
def unit() -> configparser.ConfigParser:
    """The last of each key: systemd allows a key more than once, and %i is its own."""
    parser = configparser.ConfigParser(strict=False, interpolation=None, comment_prefixes=("#",))
    parser.optionxform = str
    parser.read(UNIT)
    return parser


def test_the_command_is_one_that_edge_has(unit):
    program, verb, station = unit["Service"]["ExecStart"].split()
    assert Path(program).name == "edge"
    assert station == "/etc/edge/%i.toml"
    shown = subprocess.run(
        [sys.executable, "-P", "-m", "edge", verb, "--help"], capture_output=True, text=True
    )
    assert shown.returncode == 0, shown.stderr
    assert "STATION.toml" in shown.stdout


def test_the_watchdog_leaves_an_idle_loop_time_for_every_feed(unit):
    watchdog_ns = float(unit["Service"]["WatchdogSec"]) * NS_PER_S
    assert unit["Service"]["Type"] == "notify"
    assert loop.IDLE_NS + watchdog_ns / FEEDS_A_WATCHDOG < watchdog_ns / 2


def test_a_mistake_is_given_up_and_an_absent_controller_is_not(unit):
    """Tries a minute: at once for a mistake, after wait_s for a controller that does not come."""
    span_s = float(unit["Unit"]["StartLimitIntervalSec"])
    burst, pause_s = int(unit["Unit"]["StartLimitBurst"]), float(unit["Service"]["RestartSec"])
    assert burst * (pause_s + 2) < span_s
    assert burst * (pause_s + 10) > span_s


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("Restart", "always"),
        ("KillMode", "mixed"),
        ("RuntimeDirectory", "edge"),
        ("RuntimeDirectoryPreserve", "yes"),
        ("NoNewPrivileges", "yes"),
        ("ProtectSystem", "strict"),
        ("LimitRTPRIO", "90"),
        ("LimitMEMLOCK", "infinity"),
        ("AmbientCapabilities", ""),
        ("Environment", "ORT_DISABLE_TELEMETRY=1"),
    ],
)
def test_settings_that_code_or_safety_count_on(key, value, unit):
    assert unit["Service"][key] == value


@pytest.mark.parametrize("key", ["MemoryDenyWriteExecute", "RestrictRealtime"])
def test_settings_that_would_break_it(key, unit):
    assert key not in unit["Service"]
