"""Trials of real packages in real processes, and of ones that die, hang or talk nonsense."""

from __future__ import annotations

import os
import signal
import sys

import msgspec
import numpy as np
import pytest

from edge.core.clock import NS_PER_S, now_ns
from models import golden, package
from models.build.retile import retiled
from models.manifest import Gate
from models.tryout import Trial, gently, tried

TIMEOUT_S = 30.0


def with_golden(path, wrong=0.0):
    """The tiny package with a golden set of four grays, whose reference is `wrong` too high."""
    bare = package.load(path)
    grays = (0, 60, 200, 255)
    parts = [
        golden.part_of(
            [np.full((16, 16), gray, np.uint8), np.zeros((12, 6), np.float32)],
            name=f"gray {gray}",
            fp32=gray / 255 + wrong,
            own=gray / 255,
        )
        for gray in grays
    ]
    manifest = msgspec.structs.replace(bare.manifest, gate=Gate(max_score_delta=0.001))
    graph = package.unsealed(bare.model_bytes())
    path.write_bytes(package.seal(graph, manifest, golden.encoded(parts)))
    return package.load(path)


def quiet(line):
    pass


def test_a_package_is_timed_and_held_against_its_golden_set(tiny_package):
    told = []
    rated = tried(
        with_golden(tiny_package), "cpu", 1,
        runs=600, budget_ms=1000.0, timeout_s=TIMEOUT_S, tell=told.append,
    )  # fmt: skip
    assert (rated.provider, rated.precision, rated.threads) == ("cpu", "float32", 1)
    assert rated.runs == 500  # enough: its tail was proven to be within the budget
    assert 0 < rated.p50_ms <= rated.p99_ms <= rated.p99_upper_ms < 1000.0
    assert (rated.flips, rated.refusal) == (0, "")
    assert rated.max_score_delta == pytest.approx(0.0, abs=1e-6)
    assert told == ["tiny on cpu, 1 thread: loading"]


def test_a_package_that_misjudges_its_golden_set_is_not_even_timed(tiny_package):
    model = with_golden(tiny_package, wrong=0.3)
    rated = tried(model, "cpu", 1, runs=600, timeout_s=TIMEOUT_S, tell=quiet)
    assert rated.runs == 0
    assert rated.flips == 1  # of 60: 0.24 passes, 0.54 is a reject
    assert rated.max_score_delta == pytest.approx(0.3, abs=1e-5)
    assert "golden set of" in rated.refusal


def test_a_package_that_takes_tiles_by_the_batch_is_tried_by_the_batch(tmp_path):
    path = tmp_path / "batch.onnx"
    path.write_bytes(retiled(package.find("synthetic-part"), batch=2))
    rated = tried(package.load(path), "cpu", 1, runs=25, timeout_s=TIMEOUT_S, tell=quiet)
    assert (rated.refusal, rated.flips, rated.runs) == ("", 0, 25)


def test_a_package_without_a_golden_set_is_timed_on_drawn_pictures(tiny_package):
    model = package.load(tiny_package)
    rated = tried(model, "cpu", 1, runs=40, timeout_s=TIMEOUT_S, tell=quiet)
    assert (rated.runs, rated.flips, rated.max_score_delta) == (40, None, None)
    assert (rated.p99_upper_ms, rated.refusal) == (None, "")
    hopeless = tried(model, "cpu", 1, runs=600, budget_ms=1e-6, timeout_s=TIMEOUT_S, tell=quiet)
    assert hopeless.runs == 25
    brief = tried(model, "cpu", 1, runs=1_000_000, most_s=0.05, timeout_s=TIMEOUT_S, tell=quiet)
    assert 0 < brief.runs < 1_000_000


def test_a_trial_beside_a_line_has_the_lowest_priority(tiny_package):
    model = package.load(tiny_package)
    with Trial(model, "cpu", 2, runs=10, turns=2, gently=True) as trial:
        assert trial.until_it_waits(TIMEOUT_S, quiet) is None
        for thread in os.listdir(f"/proc/{trial._process.pid}/task"):
            assert os.getpriority(os.PRIO_PROCESS, int(thread)) == 19
    assert gently(model, "cpu", 1, timeout_s=TIMEOUT_S, tell=quiet).refusal == ""


def test_trials_take_turns(tiny_package):
    model = package.load(tiny_package)
    with Trial(model, "cpu", 1, runs=30, turns=3) as trial:
        for _ in range(3):
            assert trial.until_it_waits(TIMEOUT_S, quiet) is None
            trial.go()
        rated = trial.until_it_waits(TIMEOUT_S, quiet)
    assert rated.runs == 30


@pytest.mark.parametrize(
    ("provider", "words"),
    [
        ("cuda", "provider cuda: not in this installation"),
        ("abacus", "provider abacus: unknown; allowed: cpu"),
    ],
)
def test_a_provider_that_is_not_here_is_refused_by_name(tiny_package, provider, words):
    rated = tried(package.load(tiny_package), provider, 1, timeout_s=TIMEOUT_S, tell=quiet)
    assert words in rated.refusal


def test_a_file_that_changed_since_is_not_tried(tiny_package):
    model = package.load(tiny_package)
    with_golden(tiny_package)
    rated = tried(model, "cpu", 1, timeout_s=TIMEOUT_S, tell=quiet)
    assert "changed since it was read" in rated.refusal


def test_a_trial_that_dies_or_is_killed_says_how(tiny_package, monkeypatch):
    model = package.load(tiny_package)
    with Trial(model, "cpu", 1, runs=10, turns=2) as trial:
        trial.until_it_waits(TIMEOUT_S, quiet)
        os.kill(trial._process.pid, signal.SIGSEGV)
        assert "its trial ended by signal 11" in trial.until_it_waits(TIMEOUT_S, quiet).refusal
        trial.go()  # nobody listens, and that is no error
    monkeypatch.setattr("sys.executable", "/bin/false")
    assert "ended by code 1: no word" in tried(
        model, "cpu", 1, timeout_s=TIMEOUT_S, tell=quiet
    ).refusal  # fmt: skip


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("print('hello')", "its trial said b'hello'"),
        ("import time; time.sleep(60)", "its trial was not done after 0.5 s"),
        ("import sys; sys.exit('no room for\\n the engine')", "code 1: the engine"),
    ],
)
def test_a_process_that_is_no_trial(tiny_package, tmp_path, monkeypatch, script, words):
    stand_in = tmp_path / "python"
    stand_in.write_text(f"#!{sys.executable}\n{script}\n")
    stand_in.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(stand_in))
    began_ns = now_ns()
    rated = tried(package.load(tiny_package), "cpu", 1, timeout_s=0.5, tell=quiet)
    assert words in rated.refusal
    assert now_ns() - began_ns < 20 * NS_PER_S


def test_whoever_waits_is_told_that_it_still_goes_on(tiny_package, monkeypatch):
    monkeypatch.setattr("models.tryout.TOLD_EVERY_S", 0.1)
    told = []
    with Trial(package.load(tiny_package), "cpu", 1, runs=10, turns=2) as trial:
        trial.until_it_waits(TIMEOUT_S, quiet)
        trial.until_it_waits(0.5, told.append)  # nobody let it go
    assert told[-1] == "tiny on cpu, 1 thread: 0 s so far"
