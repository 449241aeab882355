"""Rows of `edge model bench`, from real trials of the smallest package and its twin."""

from __future__ import annotations

import subprocess

import msgspec
import pytest
from rich.console import Console

from bench.latency.box.matrix import Chosen, Matrix, best, describe, family, matrix
from edge.core.errors import ConfigError, EngineError
from edge.core.process import python_module
from models import package
from models.rated import Rated


@pytest.fixture(scope="module")
def found():
    told = []
    model = package.find("synthetic-part")
    one = matrix(model, providers=["cpu"], threads=(1, 2), runs=50, tell=told.append)
    assert told[-1] == "turn 5 of 5"
    return one


def test_every_precision_and_thread_count_is_a_row(found):
    assert [(row.precision, row.provider, row.threads) for row in found.rows] == [
        ("int8", "cpu", 1),
        ("int8", "cpu", 2),
        ("fp32", "cpu", 1),
        ("fp32", "cpu", 2),
    ]
    for row in found.rows:
        assert (row.runs, row.flips, row.refusal) == (50, 0, "")
        assert 0 < row.p50_ms <= row.p99_ms
    int8, fp32 = found.rows[0], found.rows[2]
    assert fp32.max_score_delta < int8.max_score_delta < 0.1  # the set holds FP32's own scores


def test_the_package_s_own_row_with_the_shortest_tail_is_chosen(found):
    own = found.rows[:2]
    assert found.chosen == Chosen(
        "cpu", "int8", min(own, key=lambda row: row.p99_ms).threads
    )  # fmt: skip
    model = package.find("synthetic-part")
    rows = [
        Rated(provider="cuda", precision="int8", p99_ms=1.0, refusal="3 verdicts flipped"),
        Rated(provider="openvino", precision="int8", p99_ms=2.0),
        Rated(provider="cpu", precision="fp32", p99_ms=0.5),
    ]
    assert best(model, rows) == Chosen("openvino", "int8", 1)
    assert best(model, rows[:1]) is None


def test_rows_are_a_table_for_a_person(found):
    refused = Rated(provider="cuda", precision="int8", refusal="its trial ended by signal 11")
    shown = msgspec.structs.replace(found, rows=[*found.rows, refused])
    console = Console(width=80)
    with console.capture() as captured:
        console.print(describe(shown))
    for row in found.rows:
        assert f"{row.p50_ms:.3f}" in captured.get()
    assert captured.get().count("fp32") == 2
    assert "int8 on cuda: its trial ended by signal 11" in captured.get()


def test_a_package_is_followed_by_its_twin():
    for name in package.zoo_index():
        names = [one.manifest.name for one in family(package.find(name))]
        assert names == ([name] if name.endswith("-fp32") else [name, f"{name}-fp32"])


def test_a_provider_or_thread_count_that_cannot_be_is_one_line():
    model = package.find("synthetic-part")
    with pytest.raises(EngineError, match=r"provider abacus: unknown; allowed: cpu \|"):
        matrix(model, providers=["abacus"], tell=print)
    with pytest.raises(ConfigError, match="threads 1, 0: 1 or more"):
        matrix(model, threads=(1, 0), tell=print)


def edge(*arguments):
    return subprocess.run(
        python_module("edge", "model", *arguments), capture_output=True, text=True, check=False
    )


def test_the_command_writes_what_it_shows(tmp_path):
    path = tmp_path / "bench.json"
    run = edge(
        "bench", "--model", "synthetic-part", "--threads", "1", "--runs", "25",
        "--provider", "cpu", "--json", str(path),
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    read = msgspec.json.decode(path.read_bytes(), type=Matrix)
    assert [row.precision for row in read.rows] == ["int8", "fp32"]
    assert read.chosen == Chosen("cpu", "int8", 1)
    assert "synthetic-part: session.run alone" in run.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("bench", "--model", "abacus"), "edge: no package named 'abacus'; installed in "),
        (("bench", "--model", "deeppcb", "--threads", "2,0"), "--threads 2,0: allowed: 1 to 64"),
        (("bench", "--model", "deeppcb", "--json", "/nowhere/at/all"), "--json /nowhere/at/all"),
        (("prepare", "abacus"), "edge: no package named 'abacus'; installed in "),
        (("prepare", "deeppcb", "--provider", "cuda"), "edge: provider cuda: not in this"),
    ],
)
def test_the_commands_refuse_in_one_line(arguments, words):
    run = edge(*arguments)
    assert run.returncode == 2
    assert words in run.stderr


def test_preparing_says_what_is_ready(tmp_path):
    run = edge(
        "prepare", "synthetic-part", "--provider", "cpu", "--cache", str(tmp_path / "cache")
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("cpu: ready, loaded in ")
    assert "0 verdicts flipped" in run.stdout
