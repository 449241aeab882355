"""A station that asks for a certificate: not Ready without one, and no way around it later."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from edge.core.errors import EdgeError
from edge.core.process import python_module
from edge.desk import ask, socket_path
from models import certificate, package
from models.calibrate import Counts
from models.certificate import Certificate, Data, Promise
from models.relimited import relimited
from models.store import Store, address

ZOO = package.find("synthetic-part")
UNITS = Counts(units=3000, passed=0, held=0, failed=3000, unfit=0)
SEEN = Data(
    name="parts", split="calib", pictures=6000, left_out=0,
    pictures_sha256="a" * 64, labels_sha256="b" * 64,
)  # fmt: skip


def certified(path: Path, version: str, escape: float) -> package.Package:
    """The zoo's package under another version, certified for that rate of escapes."""
    limits = ZOO.manifest.thresholds
    data = relimited(ZOO, limits, version=version, seen=[]).data
    held = Certificate(
        content_sha256=package.content_of(data),
        pass_below=limits.pass_below,
        fail_from=limits.fail_from,
        confidence=0.95,
        unit="picture",
        escape=Promise(asked=escape, bound=escape),
        overkill=Promise(asked=0.02, bound=0.02),
        uncaught=escape,
        failed=0.02,
        defective=UNITS,
        good=msgspec.structs.replace(UNITS, passed=3000, failed=0),
        data=SEEN,
        provider="cpu",
        threads=2,
        library="",
        processor="",
        who="",
        at="",
    )
    path.write_bytes(package.append(data, certificate.KEY, certificate.encoded(held)))
    return package.load(path)


def station_file(folder: Path, model: str, name: str = "cell") -> Path:
    file = folder / "cell.toml"
    file.write_text(
        f'name = "{name}"\n'
        '[camera]\nsource = "synthetic"\nrate_hz = 20\n'
        f'[engine]\nmodel = "{model}"\nstore = "{folder / "store"}"\n'
        "[engine.certificate]\nescape = 0.002\noverkill = 0.02\nconfidence = 0.95\n"
        f'[controller]\nbind = "ipc://{folder}/cell.ipc"\n'
    )
    return file


@pytest.mark.parametrize(
    ("escape", "told"),
    [
        (None, "synthetic-part 1 .*: no certificate; engine.certificate asks for escape at"),
        (0.01, r"synthetic-part 9 .*: certified for escape at most 1 %, .*; engine.certificate"),
    ],
)
def test_a_station_that_asks_for_more_than_is_proven_does_not_start(
    tmp_path: Path, escape: float | None, told: str
) -> None:
    weak = certified(tmp_path / "weak.onnx", "9", escape).path if escape else ZOO.path
    done = subprocess.run(
        python_module("edge", "run", str(station_file(tmp_path, str(weak)))),
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert re.search(told, done.stderr)
    assert "escape at most 0.2 %, overkill at most 2 %, 95 % sure" in done.stderr


@pytest.fixture
def cell(tmp_path: Path) -> Iterator[str]:
    """A running station that began with a certified package: its name."""
    name = f"certified-{os.getpid()}-{time.monotonic_ns()}"
    enough = certified(tmp_path / "enough.onnx", "10", 0.002)
    Store(tmp_path / "store").install(enough)
    file = station_file(tmp_path, "synthetic-part", name)
    arm = subprocess.Popen(
        python_module("edge", "arm", "--connect", f"ipc://{tmp_path}/cell.ipc"),
        stdout=subprocess.DEVNULL,
    )
    station = subprocess.Popen(
        python_module("edge", "run", str(file)),
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        yield name
    finally:
        for process in (station, arm):
            process.kill()
            process.communicate()


def until(holds, within_s: float = 60.0):
    end = time.monotonic() + within_s
    while not (found := holds()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)
    return found


def models_of(name: str) -> dict | None:
    """What a station says of its packages, once it takes parts."""
    try:
        status = ask(socket_path(name), "status")
    except EdgeError:  # it starts
        return None
    return status["models"] if status.get("parts", 0) > 2 else None


def changed(name: str, loaded: package.Package) -> dict:
    """Ask for an activation and wait until it is done or refused: its task."""

    def begun() -> int | None:
        answer = ask(socket_path(name), "activate", package=address(loaded))
        return answer["task"] if answer["ok"] else None  # its loop was busy

    number = until(begun)

    def over() -> dict | None:
        task = (models_of(name) or {}).get("task")
        ended = task and task["number"] == number and task["stage"] in ("done", "refused")
        return task if ended else None

    return until(over)


def test_a_running_station_activates_only_what_is_certified(cell: str, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    assert until(lambda: models_of(cell))["active"]["version"] == "10"
    bare = tmp_path / "bare.onnx"
    bare.write_bytes(relimited(ZOO, ZOO.manifest.thresholds, version="11", seen=[]).data)
    for candidate, why in (
        (package.load(bare), "no certificate; engine.certificate asks for"),
        (certified(tmp_path / "weak.onnx", "12", 0.01), "certified for escape at most 1 %"),
    ):
        task = changed(cell, store.install(candidate))
        assert task["stage"] == "refused"
        assert why in task["detail"]
        assert until(lambda: models_of(cell))["active"]["version"] == "10"
    strong = certified(tmp_path / "strong.onnx", "13", 0.001)
    task = changed(cell, store.install(strong))
    assert task["stage"] == "done", task
    until(lambda: (models_of(cell) or {}).get("active", {}).get("version") == "13")
