"""A worker's start beside a running line: imported at the lowest priority, run at the usual one."""

import subprocess
import sys
import textwrap

from edge.core.process import python_module
from models.keeper import FIRST_PAUSE_S, LONGEST_PAUSE_S, pause_s


def test_the_import_is_gentle_and_what_follows_is_not(tmp_path):
    (tmp_path / "guest.py").write_text(
        textwrap.dedent(
            """
            import os
            imported_under = os.sched_getscheduler(0)

            def main(*arguments):
                print(imported_under, os.sched_getscheduler(0), *arguments)
            """
        )
    )
    command = python_module("models.gentle", "guest", "one", "two")
    run = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": f"{tmp_path}:{':'.join(p for p in sys.path if p)}"},
    )
    idle, usual = 5, 0  # SCHED_IDLE, SCHED_OTHER
    assert run.stdout.split() == [str(idle), str(usual), "one", "two"]


def test_a_module_that_cannot_be_imported_is_told_as_it_would_be_anyway():
    run = subprocess.run(
        python_module("models.gentle", "no.such.module"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1
    assert "No module named" in run.stderr


def test_two_workers_may_be_lost_at_once_and_then_the_pauses_grow_to_a_limit():
    assert [pause_s(failures) for failures in (0, 1, 2, 3, 4, 5)] == [
        *(0.0, 0.0, 0.0, FIRST_PAUSE_S, 2 * FIRST_PAUSE_S, 4 * FIRST_PAUSE_S),
    ]
    assert pause_s(1_000_000) == LONGEST_PAUSE_S
