"""What a peer's command comes to: a turn, or one line that says why not."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import get_type_hints

import msgspec
import pytest

from bench.latency import result
from bench.peers.turn import (
    Turn,
    UnavailableError,
    last_words,
    of_station,
    run,
    taken,
    understood,
)

GOOD = Turn(timed="a call", versions={"x": "1"}, samples_ms=[1.0, 2.0], parts_per_s=600.0)


def says(text: str, code: int = 0, stream: str = "stdout") -> list[str]:
    return [
        sys.executable,
        "-c",
        f"import sys; print({text!r}, file=sys.{stream}); sys.exit({code})",
    ]


def test_the_last_line_counts_whatever_libraries_said_before_it(tmp_path):
    text = "[ INFO ] loading\n{}\n" + msgspec.json.encode(GOOD).decode()
    assert taken(says(text), tmp_path) == GOOD


@pytest.mark.parametrize(
    ("stdout", "why"),
    [
        ("", "its last line is no result"),
        ("done", "its last line is no result"),
        ('{"timed": "a call"}', "its last line is no result"),
        ('{"timed": "", "versions": {}, "samples_ms": [], "parts_per_s": 1.0}', "timed no part"),
        ('{"timed": "", "versions": {}, "samples_ms": [1.0], "parts_per_s": 0.0}', "no part"),
    ],
)
def test_anything_else_is_no_result(stdout, why):
    with pytest.raises(UnavailableError, match=why):
        understood(stdout)


def test_a_command_that_fails_hangs_or_is_not_there_is_one_line(tmp_path):
    trace = "Traceback (most recent call last):\n  File x\nTypeError: unexpected 'score'\n"
    for command, timeout_s, why in (
        (says(trace, 1, "stderr"), 60.0, "TypeError: unexpected 'score'"),
        (says("said on stdout", 3), 60.0, "said on stdout"),
        ([sys.executable, "-c", "import time; time.sleep(60)"], 0.2, "not done within 0 s"),
        (["/nowhere/python"], 60.0, "/nowhere/python: No such file or directory"),
    ):
        with pytest.raises(UnavailableError) as caught:
            run(command, tmp_path, timeout_s)
        assert str(caught.value) == why


def test_last_words_of_one_that_says_nothing():
    assert last_words(" \n", "\n", 137) == "exit code 137, without a word"


def station_run(tmp_path, *, latency_ms: list[float]) -> Path:
    """What `edge bench --json` writes, where this package looks at it; the rest is filler."""
    spread = {"p50": 2.5, "p99": 3.0} if latency_ms else None
    filler = {str: "x", int: 0, float: 0.0, bool: False, list[str]: []}

    def filled(struct: type[msgspec.Struct], **known: object) -> dict[str, object]:
        wanted = [field for field in msgspec.structs.fields(struct) if field.required]
        hints = get_type_hints(struct)
        return {
            field.name: known[field.name] if field.name in known else filler[hints[field.name]]
            for field in wanted
        } | known

    run = filled(
        result.Result,
        scenario="single",
        parts=len(latency_ms),
        throughput_hz=250.0,
        ratio_p50=None,
        overruns=1,
        **dict.fromkeys(("latency_ms", "session_ms", "overhead_ms"), spread),
        bare_session_ms=filled(result.Bare),
        stages_ms={},
        host=filled(result.Host, libraries={"onnxruntime": "1.2", "numpy": "3"}, commit="ab12"),
        plan={"scenario": "single"},
        faults={},
        counters=filled(result.Counters),
        timeline=[],
        minutes=[],
        series={"step": 1, "second": [], "latency_ms": latency_ms, "session_ms": []},
    )
    path = tmp_path / "station.json"
    path.write_bytes(msgspec.json.encode(run))
    return path


def test_a_station_is_timed_by_its_parts_and_one_without_verdicts_is_not_measured(tmp_path):
    turn = of_station(station_run(tmp_path, latency_ms=[3.0, 4.0]))
    assert turn.samples_ms == [3.0, 4.0]
    assert turn.parts_per_s == 250.0
    assert turn.versions == {"edge": "ab12", "onnxruntime": "1.2"}
    assert turn.remark == "of it session.run p50 2.50 ms; 1 overruns in 2 parts (its last turn)"
    with pytest.raises(UnavailableError, match="no part had a verdict"):
        of_station(station_run(tmp_path, latency_ms=[]))
