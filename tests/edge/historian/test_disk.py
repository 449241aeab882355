"""What is given up when a disk fills, in which order, and what comes back."""

from __future__ import annotations

import os

import pytest

from edge.core.clock import NS_PER_S
from edge.historian import disk
from edge.historian.disk import Disk, Given, thin

MIN_FREE = 1000
# Free bytes at each look, and what is given up after it.
STEPS = [
    (5000, Given.NOTHING),
    (999, Given.FOOTAGE),
    (1020, Given.FOOTAGE),  # not yet: it would flutter
    (499, Given.EVIDENCE),
    (99, Given.RECORDS),
    (104, Given.RECORDS),
    (300, Given.EVIDENCE),
    (600, Given.FOOTAGE),
    (1100, Given.NOTHING),
]


def test_footage_goes_first_and_records_last_and_each_step_is_told_once(tmp_path, monkeypatch):
    watched, before = Disk(tmp_path, MIN_FREE), Given.NOTHING
    for look, (free, given) in enumerate(STEPS):
        monkeypatch.setattr(disk, "free_bytes", lambda folder, free=free: free)
        told = watched.look((look + 1) * 2 * NS_PER_S)
        assert watched.given is given, f"look {look}"
        assert bool(told) is (given is not before)
        before = given


def test_a_write_that_fails_for_space_counts_whatever_is_said_to_be_free(tmp_path):
    watched = Disk(tmp_path, 0)
    now_ns = 100 * NS_PER_S
    assert "no footage" in watched.full(Given.FOOTAGE, now_ns)
    assert watched.full(Given.FOOTAGE, now_ns) == ""
    assert watched.look(now_ns + NS_PER_S) == ""  # not taken up again at once
    assert "everything is kept again" in watched.look(now_ns + 10 * NS_PER_S)
    assert watched.given is Given.NOTHING


@pytest.mark.parametrize(
    ("most", "oldest_s", "left"),
    [
        (0, 0, "abcd"),
        (25, 0, "cd"),
        (0, 2, "cd"),
        (1, 0, ""),
        (35, 3, "d"),
    ],
)
def test_the_oldest_files_go(tmp_path, most, oldest_s, left):
    files = []
    for age, name in enumerate("abcd"):
        file = tmp_path / name
        file.write_bytes(b"x" * 10)
        os.utime(file, ns=(age * NS_PER_S, age * NS_PER_S))
        files.append(file)
    gone = thin([*files, tmp_path / "never there"], most_bytes=most, oldest_ns=oldest_s * NS_PER_S)
    assert [file.name for file in files if file.exists()] == list(left)
    assert [file.name for file in gone] == [name for name in "abcd" if name not in left]
