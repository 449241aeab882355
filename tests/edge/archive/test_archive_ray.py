"""Archives on Ray: the digest of one process, whatever dies on the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from edge.archive.cluster import connected
from edge.archive.score import Finished, score
from edge.core.errors import EngineError, WireError

pytest.importorskip("ray", reason="Ray (extra `archive`) is not installed")
pytest.importorskip("pyarrow", reason="pyarrow (extra `archive`) is not installed")


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """Two workers on this machine, shared by the tests: a start takes seconds."""
    with connected("local", workers=2, threads=1):
        yield


def killed_after(archive: Path, model: Path, out: Path, items: int) -> None:
    """A run on a cluster of its own that is killed once so many items are finished."""
    script = f"""
import os, signal
from pathlib import Path
from edge.archive.score import score

seen = []

def killed(finished):
    seen.append(finished)
    if len(seen) == {items}:
        os.kill(os.getpid(), signal.SIGKILL)

score(Path({str(archive)!r}), {str(model)!r}, Path({str(out)!r}), ray="local", workers=2,
      rows_per_item=1, progress=killed)
"""
    command = [sys.executable, "-Werror", "-c", script]
    run = subprocess.Popen(command, process_group=0)
    code = run.wait(timeout=60)
    with suppress(ProcessLookupError):  # its Ray takes a minute to notice
        os.killpg(run.pid, signal.SIGKILL)
    assert code == -signal.SIGKILL


def stamps_of(out: Path) -> dict[str, int]:
    return {str(file): file.stat().st_mtime_ns for file in out.rglob("*.parquet")}


def test_killed_in_the_middle_it_goes_on_and_comes_to_the_same(archive, bright, tmp_path, cluster):
    one_process = score(archive, str(bright), tmp_path / "one", rows_per_item=1)
    out = tmp_path / "out"
    killed_after(archive, bright, out, 5)
    there = stamps_of(out)
    assert 4 <= len(there) < one_process.done
    found = score(archive, str(bright), out, rows_per_item=1, ray="local")
    assert (found.reused, found.done) == (len(there), one_process.done - len(there))
    assert {name: at for name, at in stamps_of(out).items() if name in there} == there
    assert found.decisions_sha256 == one_process.decisions_sha256
    assert list(found.failed) == ["line/torn.mp4"] == list(one_process.failed)
    for field in ("parts", "scored", "good", "caught", "escapes", "auroc", "faults", "ignored"):
        assert getattr(found, field) == getattr(one_process, field), field


def parent(pid: int) -> int:
    """Of a process; 0 where it is gone."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def ray_workers() -> list[int]:
    """Worker processes of the cluster that this process started: its node's, which is our child."""
    pids = [int(folder.name) for folder in Path("/proc").iterdir() if folder.name.isdigit()]
    ours = [pid for pid in pids if parent(parent(pid)) == os.getpid()]
    titles = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in ours}
    return [pid for pid, title in titles.items() if title.startswith((b"ray::_task", b"ray::IDLE"))]


def test_a_worker_that_dies_is_replaced(archive, bright, tmp_path, cluster):
    one_process = score(archive, str(bright), tmp_path / "one", rows_per_item=1)
    killed = []

    def kill(finished: Finished) -> None:
        if not killed:
            killed.extend(ray_workers())
            for pid in killed:
                os.kill(pid, signal.SIGKILL)

    options = {"rows_per_item": 1, "ray": "local"}
    found = score(archive, str(bright), tmp_path / "out", **options, progress=kill)
    assert killed
    assert found.done == one_process.done
    assert found.decisions_sha256 == one_process.decisions_sha256


def test_a_machine_that_cannot_run_the_package_is_one_line(archive, bright, tmp_path, cluster):
    with pytest.raises(EngineError, match="provider tensorrt: not in this installation"):
        score(archive, str(bright), tmp_path / "out", provider="tensorrt", ray="local")


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("127.0.0.1:1", "nobody answers"),
        ("nonsense", "allowed: local | auto | HOST:PORT"),
        ("host:none", "allowed: local | auto | HOST:PORT"),
        ("ray://127.0.0.1:1", "allowed: local | auto | HOST:PORT"),
    ],
)
def test_an_address_without_a_cluster_is_one_line(archive, bright, tmp_path, address, said):
    with pytest.raises(WireError) as told:
        score(archive, str(bright), tmp_path / "out", ray=address)
    assert said in str(told.value)
    assert "\n" not in str(told.value)
