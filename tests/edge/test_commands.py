"""The commands that other tools rely on: their files, their exit codes, their one line."""

from __future__ import annotations

import json
import sqlite3
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.core.process import python_module
from sensors.synthetic import PartGenerator
from sensors.synthetic_camera import write_footage

PARTS = 60


def edge(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = python_module("edge", *map(str, arguments))
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def kept(tmp_path_factory) -> Path:
    """A folder with footage, and the recording and records of its replay."""
    folder = tmp_path_factory.mktemp("kept")
    write_footage(PartGenerator(11), folder / "footage", PARTS)
    done = edge(
        "replay", folder / "footage", "--model", "synthetic-part",
        "--record", folder / "out.mcap", "--records", folder / "r.db",
        "--json", folder / "replay.json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


def test_a_recording_verifies_and_an_altered_one_does_not(kept, tmp_path):
    done = edge("replay", kept / "out.mcap", "--verify", "--json", tmp_path / "v.json")
    assert done.returncode == 0, done.stderr
    told = json.loads((kept / "replay.json").read_text())
    found = json.loads((tmp_path / "v.json").read_text())
    assert found["replayed_sha256"] == told["decisions_sha256"]
    twin = Path(__file__).parents[2] / "models" / "zoo" / "twins" / "synthetic-part-fp32.onnx"
    other = edge("replay", kept / "out.mcap", "--verify", "--model", twin)
    assert other.returncode == 1
    assert "differs: part 1: score was" in other.stdout
    assert other.stderr.endswith("parts were decided otherwise\n")


def test_the_gate_for_a_new_model_has_a_limit_and_a_page(kept, tmp_path):
    twin = Path(__file__).parents[2] / "models" / "zoo" / "twins" / "synthetic-part-fp32.onnx"
    done = edge(
        "replay", kept / "footage", "--model", "synthetic-part", "--against", twin,
        "--max-flips", "0", "--html", tmp_path / "flips.html", "--json", tmp_path / "flips.json",
    )  # fmt: skip
    flips = json.loads((tmp_path / "flips.json").read_text())
    assert done.returncode == (1 if flips else 0)
    assert "<html" in (tmp_path / "flips.html").read_text()


def test_records_verify_says_by_its_exit_code_whether_they_were_altered(kept, tmp_path):
    sound = edge("records", "verify", kept / "r.db")
    assert sound.returncode == 0
    assert "nothing was altered" in sound.stdout
    key, head = (_after(name, sound.stdout) for name in ("public key ", "head "))
    again = edge("records", "verify", kept / "r.db", "--public-key", key, "--head", head)
    assert again.returncode == 0
    altered = tmp_path / "altered.db"
    altered.write_bytes((kept / "r.db").read_bytes())
    with sqlite3.connect(altered) as connection:
        connection.execute("UPDATE parts SET verdict = 'indeterminate' WHERE part = 3")
    connection.close()
    done = edge("records", "verify", altered)
    assert done.returncode == 1
    assert "part 3" in done.stdout
    assert "nothing was altered" not in done.stdout
    assert done.stderr.endswith(": 1 problem\n")
    cut = edge("records", "verify", kept / "r.db", "--head", "0" * 64)
    assert cut.returncode == 1
    assert "tail" in cut.stdout


def _after(name: str, text: str) -> str:
    return next(line.removeprefix(name) for line in text.splitlines() if line.startswith(name))


def test_the_list_of_parts_has_a_header_and_no_latency_on_a_virtual_clock(kept):
    listed = edge("records", "query", kept / "r.db")
    header, first, *_ = listed.stdout.splitlines()
    assert header.split()[:5] == ["trigger,", "UTC", "part", "verdict,", "fault"]
    assert "latency, ms" in header
    assert first[: header.index("latency, ms") + len("latency, ms")].endswith(" -")
    assert listed.stderr == ""
    typo = edge("records", "query", kept / "r.db", "--type", "scrtch")
    assert typo.stdout == "0 parts\n"
    assert typo.stderr.startswith("edge: type 'scrtch': no part on record has it; there are: ")


def test_records_are_asked_shown_and_handed_over(kept, tmp_path):
    table = edge("records", "query", kept / "r.db", "--verdict", "fail", "--csv")
    rows = table.stdout.splitlines()
    assert len(rows) > 1
    assert all(",fail," in row for row in rows[1:])
    shown = edge("records", "show", kept / "r.db", "3", "--html", tmp_path / "part.html")
    assert shown.returncode == 0
    assert "decision" in shown.stdout
    assert "session.run took" in (tmp_path / "part.html").read_text()
    done = edge("records", "export", kept / "r.db", tmp_path / "out")
    assert done.returncode == 0
    there = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert there == ["events.jsonl", "evidence", "parts.csv", "verified.json"]
    assert list((tmp_path / "out" / "evidence").iterdir())


def test_the_shift_report_is_a_page(kept, tmp_path):
    done = edge(
        "report", kept / "r.db", "--html", tmp_path / "r.html", "--json", tmp_path / "r.json"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{PARTS} parts: {tmp_path / 'r.html'}\n"
    assert "synthetic-part" in (tmp_path / "r.html").read_text()
    assert json.loads((tmp_path / "r.json").read_text())


def test_a_simulated_line_writes_what_became_of_its_parts(kept, tmp_path):
    done = edge("sim", kept / "out.mcap", "--json", tmp_path / "sim.json")
    assert done.returncode == 0, done.stderr
    told = json.loads((tmp_path / "sim.json").read_text())
    assert told["parts"] == PARTS
    for name in ("physical_escapes", "physical_overkill", "late_at_gate", "max_rate_hz"):
        assert name in told


def test_a_cut_recording_is_recovered(kept, tmp_path):
    data = (kept / "out.mcap").read_bytes()
    (tmp_path / "cut.mcap").write_bytes(data[: len(data) * 3 // 4])
    done = edge("recover", tmp_path / "cut.mcap", tmp_path / "whole.mcap")
    assert done.returncode == 0, done.stderr
    assert edge("replay", tmp_path / "whole.mcap", "--verify").stderr == ""


def test_footage_of_another_size_is_told_once_and_fails(kept, tmp_path):
    for number in range(8):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((48, 64), 150, np.uint8))
    done = edge("replay", tmp_path, "--model", "synthetic-part")
    assert done.returncode == 1
    *warnings, more, last = done.stderr.splitlines()
    assert len(warnings) == 3
    assert more.startswith("edge: warning: and 5 more bad_frame: 64x48 px, ")
    assert last == "edge: no picture of the 8 parts could be judged"


MISTAKES = [
    (("records", "verify", "gone.db"), "gone.db"),
    (("records", "query", "r.db", "--since", "yesterday"), "yesterday"),
    (("records", "show", "r.db", "999"), "part 999"),
    (("records", "export", "r.db", "."), "exists"),
    (("report", "footage/footage.csv", "--html", "x.html"), "footage.csv"),
    (("replay", "out.mcap", "--part", "3", "--from", "2"), "--part and --from"),
    (("replay", "out.mcap", "--max-flips", "3"), "belong to --against"),
    (("replay", "footage", "--ray"), "--out"),
    (("replay", "out.mcap", "--verify", "--part", "77"), "77"),
    (("sim", "footage", "--model", "synthetic-part", "--line", "gone.toml"), "gone.toml"),
    (("sim", "footage"), "--model: missing"),
    (("replay", "out.mcap", "--verify", "--pace", "recorded"), "--verify does not go with --pace"),
    (("replay", "footage", "--out", "o", "--record", "x.mcap"), "--out does not go with --record"),
    (("replay", "out.mcap", "--from", "20", "--to", "10"), "--from 20: allowed: up to --to 10"),
    (("replay", "."), "a folder with 1 recording (.mcap): give one file"),
    (("replay", ".", "--model", "synthetic-part"), "with 1 recording (.mcap): give one file"),
    (("recover", "footage/footage.csv", "x.mcap"), "footage.csv"),
]


@pytest.mark.parametrize(("arguments", "words"), MISTAKES)
def test_a_mistake_is_one_line_and_exit_2(kept, monkeypatch, arguments, words):
    monkeypatch.chdir(kept)
    done = edge(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("edge: ")
    assert done.stderr.count("\n") == 1
    assert words in done.stderr
