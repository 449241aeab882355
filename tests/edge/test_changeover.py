"""Packages into a running station and out again: a real station, `edge ctl`'s socket, an arm."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest

from edge.changeover import RolledBack, rolled_back
from edge.core.errors import EdgeError
from edge.core.process import python_module
from edge.desk import ask, socket_path
from edge.historian.records.query import query
from models import package
from models.package import seal
from models.station_state import Change, StationState
from models.store import Store, address

ZOO = package.find("synthetic-part")


class Cell:
    """A station with a store and records, an arm, and people who ask things of it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.name = folder, f"cell-{os.getpid()}-{time.monotonic_ns()}"
        self.store = Store(folder / "store")
        bind = f"ipc://{folder}/cell.ipc"
        self.file = folder / "cell.toml"
        self.file.write_text(
            f'name = "{self.name}"\n'
            '[camera]\nsource = "synthetic"\nrate_hz = 20\n'
            f'[engine]\nmodel = "synthetic-part"\nstore = "{self.store.folder}"\n'
            "[engine.probation]\nparts = 40\n"
            f'[controller]\nbind = "{bind}"\n'
            f'[records]\npath = "{folder}/cell.db"\nevidence = false\n'
        )
        self.arm_command = python_module("edge", "arm", "--connect", bind)
        self.start()

    def start(self) -> None:
        self.arm = subprocess.Popen(self.arm_command, stdout=subprocess.DEVNULL)
        self.station = subprocess.Popen(
            python_module("edge", "run", str(self.file)),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def started(self) -> Cell:
        until(self._is_ready, within_s=30.0)
        return self

    def _is_ready(self) -> bool:
        try:
            return self.ask("status")["parts"] > 2
        except (EdgeError, KeyError):  # it starts
            assert self.station.poll() is None, self.station.communicate()[1]
            return False

    def ask(self, verb: str, **what: str) -> dict:
        return ask(socket_path(self.name), verb, what.get("reason", ""),
                   package=what.get("package", ""))  # fmt: skip

    def models(self) -> dict:
        """What it says of its packages, once its loop has the time: of a busy machine."""
        return until(lambda: self.ask("status").get("models"))

    def change(self, verb: str, **what: str) -> dict:
        """Ask for a change and wait until it is done or refused: its task."""
        answer = self.ask(verb, **what)
        assert answer["ok"], answer
        return until(lambda: self._over(answer["task"]), within_s=30.0)

    def _over(self, number: int) -> dict | None:
        task = self.models()["task"]
        return task if task["number"] == number and task["stage"] in ("done", "refused") else None

    def end(self) -> str:
        self.station.terminate()
        _, told = self.station.communicate(timeout=30)
        self.arm.kill()
        self.arm.wait()
        return told

    def version(self, version: str, **changes) -> str:
        """Another version of the zoo's package in the store, and its address."""
        path = self.folder / f"{version}.onnx"
        path.write_bytes(resealed(version, **changes))
        return address(self.store.install(path))


def resealed(version: str, *, gain: float = 1.0, **changes) -> bytes:
    """The zoo's synthetic-part with something else in its manifest; gain: of its pixels."""
    model = onnx.load(str(ZOO.path))
    del model.metadata_props[:]
    for weight in model.graph.initializer:
        if weight.name == "pixel.scale":
            value = onnx.numpy_helper.to_array(weight) * np.float32(gain)
            weight.CopyFrom(onnx.numpy_helper.from_array(value, weight.name))
    manifest = msgspec.structs.replace(ZOO.manifest, version=version, **changes)
    golden = (ZOO.golden_bytes() or b"").decode()
    return seal(model.SerializeToString(), manifest, golden=golden)


def until(holds, within_s: float = 15.0):
    end = time.monotonic() + within_s
    while not (found := holds()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)
    return found


@pytest.fixture
def cell(tmp_path):
    made = Cell(tmp_path)
    try:
        yield made.started()
    finally:
        for process in (made.station, made.arm):
            if process.poll() is None:
                process.kill()
            process.communicate()


def test_a_package_comes_in_is_compared_promoted_and_rolled_back(cell):
    second = cell.version("2")
    assert cell.change("shadow", package=second)["stage"] == "done"
    shadow = until(lambda: (s := cell.models()["shadow"]) and s["parts"] > 5 and s)
    assert shadow["agree"] == shadow["parts"]
    assert shadow["shadow"]["version"] == "2"

    assert cell.change("promote", reason="agrees")["stage"] == "done"
    models = cell.models()
    assert models["active"]["version"] == "2"
    assert models["shadow"] is None
    assert models["probation"]["of"] == 40
    until(lambda: cell.models()["probation"] is None)  # it has passed

    assert cell.change("rollback", reason="we like the old one")["stage"] == "done"
    assert cell.models()["active"]["version"] == ZOO.manifest.version
    assert not cell.ask("rollback")["ok"]  # there is nowhere to go back to
    until(lambda: len(served(cell)) == 3)  # a part has been judged by the first one again
    status = cell.ask("status")
    cell.end()
    assert status["conservation_errors"] == 0
    faults = {row.fault for row in query(cell.folder / "cell.db")}
    assert not faults & {"engine_down", "bad_output", "stale_frame"}
    assert len(served(cell)) == 3  # and by no other
    history = cell.store.state(cell.name).history  # the station has ended: all is written
    assert [change.verb for change in history] == ["shadow", "promote", "keep", "rollback"]


def served(cell: Cell) -> list[str]:
    """The packages that judged the parts on record, one entry a run of parts."""
    found: list[str] = []
    for row in query(cell.folder / "cell.db"):
        if not found or found[-1] != row.content_sha256:
            found.append(row.content_sha256)
    return found


def test_a_package_that_does_not_fit_or_keep_to_its_golden_set_is_refused(cell):
    task = cell.change("activate", package=cell.version("3", gain=0.5))
    assert task["stage"] == "refused"
    assert "golden set" in task["detail"].splitlines()[0]
    outputs = msgspec.structs.replace(ZOO.manifest.outputs, cell_px=4)
    task = cell.change("activate", package=cell.version("4", outputs=outputs))
    assert "its views or its map are not those of" in task["detail"]
    assert not cell.ask("promote")["ok"]
    assert not cell.ask("activate")["ok"]
    assert cell.models()["active"]["version"] == ZOO.manifest.version


def test_a_way_back_is_held_against_the_station_as_any_other_package(cell):
    first, second = cell.version("6"), cell.version("7")
    assert cell.change("activate", package=first)["stage"] == "done"
    until(lambda: cell.models()["probation"] is None)  # else it is no way back
    assert cell.change("activate", package=second)["stage"] == "done"
    path = first.rpartition("#")[0]
    os.chmod(path, 0o644)
    Path(path).write_bytes(resealed("6", terms="altered since"))
    task = cell.change("rollback")
    assert task["stage"] == "refused"
    assert "another file than was asked for" in task["detail"]
    assert cell.models()["active"]["version"] == "7"


def test_a_package_that_breaks_its_limits_is_rolled_back_by_itself(cell):
    until(lambda: cell.ask("status")["parts"] > 80)
    # Everything is unfit for it: parts default, which is no verdict.
    bounds = tuple(
        msgspec.structs.replace(bound, low=1e6, high=2e6) for bound in ZOO.manifest.envelope.bounds
    )
    envelope = msgspec.structs.replace(ZOO.manifest.envelope, bounds=bounds)
    task = cell.change("activate", package=cell.version("5", envelope=envelope))
    assert task["stage"] == "done"
    until(lambda: cell.models()["active"]["version"] == ZOO.manifest.version, within_s=30.0)
    last = until(lambda: (h := cell.store.state(cell.name).history[-1]).verb == "rollback" and h)
    assert last.who == "the station"
    assert "faults in its first" in last.reason

    left = {"package": last.old, "reason": last.reason, "at_utc": last.at_utc}
    shown = cell.models()["rolled_back"]
    assert shown | {"at_utc": ""} == left | {"at_utc": ""}  # told a moment before it is written
    assert shown["package"].startswith("synthetic-part@5 ")
    assert "T" in shown["at_utc"]
    cell.end()
    cell.start()  # as well by the store's word
    assert cell.started().models()["rolled_back"] == left
    assert cell.change("activate", package=cell.version("8"))["stage"] == "done"
    assert cell.models()["rolled_back"] is None


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([], None),
        ([("activate", "a person")], None),
        ([("rollback", "a person")], None),
        ([("rollback", "the station")], "2"),
        ([("rollback", "the station"), ("shadow", "a person"), ("keep", "the station")], "2"),
        ([("rollback", "the station"), ("activate", "a person")], None),
        ([("rollback", "the station"), ("start", "the station")], None),
    ],
)
def test_a_rollback_is_shown_until_another_package_is_active(steps, expected):
    history = [
        Change(at_utc=f"{n}", who=who, verb=verb, old="2", new="1", reason="why")
        for n, (verb, who) in enumerate(steps)
    ]
    state = StationState(station="cell", model="part", history=tuple(history))
    assert rolled_back(state) == (expected and RolledBack(expected, "why", "0"))
