"""A short run of the real thing: every kind of fault once, in real time, judged from the logs."""

from __future__ import annotations

import subprocess

import msgspec

from bench.chaos.judge import ChaosReport
from bench.chaos.plan import KINDS
from edge.core.process import python_module


def test_everything_broken_once_and_no_promise_of_safety_with_it(tmp_path):
    result = tmp_path / "chaos.json"
    options = ("--parts", "320", "--rate", "max", "--seed", "5", "--json", str(result))
    run = subprocess.run(
        python_module("edge", "chaos", *options), capture_output=True, text=True, check=False
    )
    assert run.returncode in (0, 1), run.stderr
    report = msgspec.json.decode(result.read_bytes(), type=ChaosReport)
    assert report.parts == 320
    # A machine that is busy may be slow with a verdict; it may not be wrong about one.
    slow = {
        *(
            "availability is at least 0.99",
            "untouched parts are acted on once, as decided or by default",
        ),
        *("untouched parts are acked", "every kind of fault happened"),
    }
    assert set(report.broken) <= slow
    assert set(report.planned) == set(KINDS)
    assert len(report.injected) >= len(KINDS) - 3
    assert sum(report.defaults.values()) + report.verdicts == 320


def test_a_kind_that_does_not_exist_and_a_rate_of_nothing_are_one_line():
    for options, words in (
        (("--only", "earthquake"), "--only earthquake: allowed: worker_kill |"),
        (("--rate", "0"), "--rate 0: allowed: max | 0.1 to 10000"),
    ):
        run = subprocess.run(
            python_module("edge", "chaos", *options), capture_output=True, text=True, check=False
        )
        assert run.returncode == 2
        assert words in run.stderr
        assert len(run.stderr.strip().splitlines()) == 1
