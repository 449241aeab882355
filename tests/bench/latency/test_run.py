"""Short runs of the real thing: real worker, real controller, real sockets; and what is refused."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import pytest
from rich.console import Console

from bench.latency import arrivals, frames
from bench.latency.drive import Driven, drive, late_commands
from bench.latency.progress import Progress
from bench.latency.result import Bare, Plan, load
from bench.latency.run import Asked, check_rate, planned, station_of
from bench.latency.station import ROWS, StationPlan
from edge.core.errors import ConfigError, EdgeError
from edge.core.process import python_module
from edge.replay import late_commands as late_commands_in_memory
from models import package

MODEL, WARM_UP = "synthetic-part", 10


def _drive(
    folder: Path,
    plan: Plan,
    *,
    allocations: bool = False,
    provider: str = "cpu",
    budget_ms: float = 50.0,
) -> Driven:
    asked = Asked(model=MODEL, plan=plan, provider=provider)
    shown = frames.frames(package.find(MODEL))
    frames.save(folder, shown)
    length = arrivals.length(plan)
    station = StationPlan(
        folder=str(folder),
        station=msgspec.structs.replace(
            station_of(asked, folder, len(shown.parts)), budget_ms=budget_ms
        ),
        plan=plan,
        parts=length.parts,
        warm_up=WARM_UP,
        allocations=allocations,
        fd=-1,
        parent_pid=os.getpid(),
    )
    with Progress(Console(quiet=True), warm_up=WARM_UP, of=length.parts) as say:
        return drive(station, length, say)


def test_one_at_a_time_every_part_has_a_verdict_and_every_instant(tmp_path):
    driven = _drive(tmp_path, Plan(scenario="single", parts=150, standby=False))
    rows = driven.rows
    assert rows["part"].tolist() == list(range(1, 161))
    assert driven.ending.balance.errors == 0
    assert driven.ending.balance.acks == 160
    assert driven.complete
    assert driven.ended_by == "all 150 parts of the plan have come"
    judged = rows[rows["verdict"] == 1]
    assert len(judged) > 100
    # The controller may have the command before the loop goes on from sending it.
    order = [judged[name] for name in rows.dtype.names[1:10]]
    assert all((first <= then).all() for first, then in pairwise(order))
    assert (rows["trigger_ns"][1:] >= rows["acked_ns"][:-1]).all()  # the one before was closed
    assert driven.counted["cpu_ms_a_part"].keys() == {"loop", "worker", "controller"}
    assert driven.counted["worker_resident_mib_last"] > 10
    assert driven.late_commands == late_commands_in_memory(tmp_path / "arm.jsonl")


def test_an_open_loop_counts_from_the_scheduled_arrival(tmp_path):
    plan = Plan(scenario="constant", rate_hz=50.0, burst=3, parts=20, standby=False)
    rows = _drive(tmp_path, plan).rows
    offsets = (rows["trigger_ns"] - rows["trigger_ns"][0]).tolist()
    assert offsets == [row // 3 * 60_000_000 for row in range(30)]


def test_offline_keeps_several_open_and_none_of_them_pays_for_the_pause_before_it(tmp_path):
    rows = _drive(tmp_path, Plan(scenario="offline", parts=100, standby=False)).rows
    assert len(rows) == 110
    assert rows["verdict"].sum() > 80
    assert (np.diff(rows["trigger_ns"]) >= 0).all()
    assert (rows["trigger_ns"][1:] < rows["acked_ns"][:-1]).sum() > 30  # beside the one before
    open_before = arrivals.OPEN
    assert (rows["trigger_ns"][open_before:] >= rows["acked_ns"][:-open_before]).all()


def test_an_interrupted_run_finishes_its_open_parts_and_says_so(tmp_path):
    def interrupt() -> None:
        file = tmp_path / ROWS
        while not (file.exists() and file.stat().st_size):
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=interrupt)
    thread.start()
    driven = _drive(tmp_path, Plan(scenario="constant", rate_hz=50.0, minutes=5, standby=False))
    thread.join()
    assert signal.getsignal(signal.SIGINT) is before
    assert not driven.complete
    assert driven.ended_by == "interrupted by SIGINT"
    assert 0 < len(driven.rows) < 1000
    assert driven.ending.balance.triggers == driven.ending.balance.decided == len(driven.rows)
    assert driven.ending.balance.errors == 0


def test_a_stream_that_cannot_be_held_is_given_up(tmp_path):
    # 64 parts at one instant, several times what fits into 10 ms of this model's sessions
    plan = Plan(scenario="constant", rate_hz=200.0, burst=64, minutes=10, standby=False)
    driven = _drive(tmp_path, plan, budget_ms=15.0)
    assert driven.ended_by.startswith("stopped early:")
    assert driven.complete
    assert driven.ending.balance.errors == 0
    assert len(driven.rows) < 10_000


def test_memory_is_traced_in_a_run_of_its_own(tmp_path):
    plan = Plan(scenario="single", parts=60, standby=False)
    driven = _drive(tmp_path, plan, allocations=True)
    assert driven.ending.allocated is not None
    assert driven.ending.allocated.frame_sized_blocks == 0
    assert driven.counted == {}


def test_a_station_that_cannot_start_is_one_line(tmp_path):
    with pytest.raises(EdgeError, match="provider abacus: unknown; allowed: cpu"):
        _drive(tmp_path, Plan(scenario="single", parts=5, standby=False), provider="abacus")


def test_late_commands_are_counted_line_by_line(tmp_path):
    log = tmp_path / "arm.jsonl"
    log.write_text(
        '{"event":"session","session":"s"}\n'
        '{"event":"applied","action":"accept","applied_ns":11,"act_by_ns":10}\n'
        '{"event":"applied","action":"reject","applied_ns":11,"act_by_ns":10}\n'
        '{"event":"applied","action":"rework","applied_ns":10,"act_by_ns":10}\n'
    )
    assert late_commands(log) == late_commands_in_memory(log) == 1


@pytest.mark.parametrize(
    ("scenario", "options", "words"),
    [
        ("single", {"rate_hz": 5.0}, "--rate: single has none, the station sets its pace"),
        ("offline", {"rate_hz": 5.0}, "allowed with: constant | server"),
        ("constant", {"parts": 5, "minutes": 1.0}, "--parts and --minutes are two answers"),
        ("server", {"burst": 2}, "--burst: allowed with: constant; not with server"),
        ("constant", {"gaps": "1,2", "burst": 2}, "--gaps and --burst: give one of them"),
        ("constant", {"gaps": "1,-2"}, "--gaps 1,-2: allowed: seconds above 0"),
        ("constant", {"arrivals": Path("a"), "rate_hz": 2.0}, "--rate: the recorded arrivals"),
    ],
)
def test_options_that_contradict_each_other_are_refused(scenario, options, words):
    with pytest.raises(ConfigError, match=words.replace("|", r"\|")):
        planned(scenario, **options)


def test_a_rate_above_what_the_box_can_do_is_refused_with_the_highest():
    bare = Bare(p50=5.0, p99=6.0, threads=2, spinning=False, runs=100)
    check_rate(planned("constant", rate_hz=200.0), bare)
    with pytest.raises(ConfigError, match=r"--rate 201: above .* takes 5.00 ms, so at most 200 p"):
        check_rate(planned("server", rate_hz=201.0), bare)
    check_rate(planned("single"), bare)


def test_the_default_rate_is_twenty():
    assert planned("constant").rate_hz == 20.0
    assert planned("single").rate_hz is None
    assert planned("constant", arrivals=Path("a")).rate_hz is None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "edge: --model: missing; a package file, or one of: deeppcb, "),
        (("--model", "abacus"), "edge: no package named 'abacus'; there are: "),
        (("--model", MODEL, "--json", "/nowhere/at/all"), "--json /nowhere/at/all: not a file"),
        (("--model", MODEL, "--html", "/nowhere/at/all"), "--html /nowhere/at/all: not a file"),
        (("--scenario", "rush", "--model", MODEL), "'rush' is not one of"),
        (("--model", MODEL, "--scenario", "offline", "--rate", "3"), "--rate: offline has none"),
        (("compare", "/nowhere/a.json", "/nowhere/b.json"), "/nowhere/a.json: cannot be read"),
        (("predict", "abacus"), "edge: no package named 'abacus'"),
    ],
)
def test_the_command_refuses_in_one_line(options, words):
    run = subprocess.run(
        python_module("edge", "bench", *options), capture_output=True, text=True, check=False
    )
    assert run.returncode == 2
    assert words in run.stderr
    assert len(run.stderr.strip().splitlines()) == 1


def test_the_command_writes_a_whole_result_and_a_page(tmp_path):
    json, page = tmp_path / "r.json", tmp_path / "r.html"
    options = ("--scenario", "single", "--model", MODEL, "--parts", "120", "--no-standby")
    run = subprocess.run(
        python_module("edge", "bench", *options, "--json", str(json), "--html", str(page)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    result = load(json)
    assert (result.parts, result.commands, result.acks) == (120, 120, 120)
    assert result.conservation_errors == 0
    assert result.counters.pointers_checked == 64
    assert result.counters.bytes_copied_a_part == 0
    assert result.counters.kept_blocks is None  # too short a run for a second one
    assert result.verdicts + sum(result.faults.values()) == 120
    assert len(result.series.latency_ms) == 120
    assert result.plan == Plan(scenario="single", parts=120, standby=False)
    assert "<html" in page.read_text().lower()
