"""Changing a station's package, for real: the command, a control socket, the store."""

from __future__ import annotations

import json
import os
import select
import subprocess
import threading

import msgspec
import onnx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge import activation
from edge import desk as desks
from edge.activation import change
from edge.core.errors import EdgeError
from edge.core.process import python_module
from edge.desk import Desk, ask
from edge.signing import Signer
from models.package import load, seal
from models.signature import sign
from models.store import Store, address

DONE = ["queued", "starting", "gating", "swapping", "done"]


class Station:
    """The other side of the socket: takes requests, and gets on by one stage a status."""

    def __init__(self, path, stages, detail="", *, moody=False) -> None:
        self.requests, self._stages, self._detail = [], list(stages), detail
        self._desk, self._stop = Desk(path), threading.Event()
        self._moody = moody
        self._task = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            select.select([self._desk.fileno()], [], [], 0.02)
            if request := self._desk.poll():
                self._desk.answer(request, self._answer(request))

    def _answer(self, request):
        self.requests.append(request)
        if request.verb != "status":
            if self._stages == ["no"]:
                return {"ok": False, "error": "activate of tiny 1 is under way"}
            self._task = {"number": 7, "verb": request.verb, "package": "tiny 2"}
            return {"ok": True, "task": 7}
        if self._moody and not self._stages[0].startswith("#"):
            self._stages[0] = f"#{self._stages[0]}"
            return {"ok": False, "error": "the station does not answer: its loop stands still"}
        if self._task:
            stage = self._stages.pop(0) if len(self._stages) > 1 else self._stages[0]
            self._task |= {"stage": stage.lstrip("#"), "detail": self._detail}
        return {"ok": True, "models": {"active": {}, "task": self._task}}

    def end(self) -> None:
        self._stop.set()
        self._thread.join()
        self._desk.close()


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.setattr(activation, "socket_path", lambda name: tmp_path / f"{name}.sock")
    monkeypatch.setattr(activation, "LOOK_NS", 1_000_000)
    return tmp_path / "cell-1.sock"


@pytest.fixture
def running(path):
    stations = []

    def run(stages, detail="", **more):
        stations.append(Station(path, stages, detail, **more))
        return stations[-1]

    yield run
    for station in stations:
        station.end()


@pytest.fixture
def store(tiny_package, tmp_path):
    made = Store(tmp_path / "store")
    model = onnx.load(tiny_package)
    del model.metadata_props[:]
    for version in "12":
        manifest = msgspec.structs.replace(load(tiny_package).manifest, version=version)
        file = tmp_path / f"{version}.onnx"
        file.write_bytes(seal(model.SerializeToString(), manifest))
        made.install(file)
    return made


def changed(store, verb, package=None, **more):
    said = []
    refusal = change(store, "cell-1", verb, package, say=said.append, **more)
    return refusal, said


def test_a_running_station_is_asked_and_followed(store, running):
    station, package = running(DONE), store.find("tiny")
    refusal, said = changed(store, "activate", package, reason="new lamp")
    assert refusal == ""
    assert said == [f"{stage}: tiny 2" for stage in DONE]
    request = station.requests[0]
    assert (request.verb, request.reason) == ("activate", "new lamp")
    assert request.package == address(package)
    assert request.who.endswith(f"({os.getuid()}), pid {os.getpid()}")
    assert store.state("cell-1") is None  # the station itself writes it down


def test_the_end_of_a_shadow_is_no_task(store, running):
    station = running(["refused"], "of an earlier request")
    assert changed(store, "shadow") == ("", ["done"])
    assert [(one.verb, one.package) for one in station.requests] == [("shadow", "")]


@pytest.mark.parametrize("verb", ["promote", "rollback"])
def test_what_is_in_question_needs_no_name(verb, store, running):
    station = running(["done"])
    assert changed(store, verb)[0] == ""
    assert station.requests[0].package == ""


def test_a_refusal_comes_with_its_table(store, running):
    table = "2 flips\npart  score  fp32\n   3   0.61  0.48"
    running(["gating", "refused"], table)
    assert changed(store, "activate", store.find("tiny")) == (table, ["gating: tiny 2"])


def test_a_request_that_is_not_taken_is_told(store, running):
    running(["no"])
    refusal, said = changed(store, "activate", store.find("tiny"))
    assert refusal == "activate of tiny 1 is under way"
    assert said == []


def test_a_loop_that_is_busy_for_a_moment_is_asked_again(store, running):
    running(DONE, moody=True)
    assert changed(store, "activate", store.find("tiny"))[0] == ""


def test_patience_has_an_end_and_the_station_goes_on(store, running):
    running(["gating"])
    with pytest.raises(EdgeError, match=r"not done after 0.05 s \(gating: tiny 2\); it goes on"):
        changed(store, "activate", store.find("tiny"), wait_s=0.05)
    refusal, said = changed(store, "activate", store.find("tiny"), wait_s=0)
    assert refusal == ""
    assert said == ["begun as task 7: edge ctl status --station cell-1"]


def test_a_station_that_ends_meanwhile_is_told(store, running):
    station = running(["gating"])
    threading.Timer(0.1, station.end).start()
    with pytest.raises(
        EdgeError, match=r"ended before activate was done|does not answer|is ending"
    ):
        changed(store, "activate", store.find("tiny"), wait_s=3)


def test_a_station_without_tasks_is_not_waited_for(store, path):
    desk = Desk(path)
    stop = threading.Event()

    def serve():
        while not stop.is_set():
            if request := desk.poll():
                desk.answer(request, {"ok": True})

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with pytest.raises(EdgeError, match="another version"):
            changed(store, "activate", store.find("tiny"))
    finally:
        stop.set()
        thread.join()
        desk.close()


def test_without_a_station_the_store_is_written(store, path):
    one, two = store.find("tiny@1"), store.find("tiny@2")
    with pytest.raises(EdgeError, match="a shadow judges only beside its parts"):
        changed(store, "shadow", one)
    assert store.state("cell-1") is None
    changed(store, "activate", one)
    refusal, (line,) = changed(store, "activate", two, reason="trial was good")
    assert refusal == ""
    assert "is not running; written down: tiny@1" in line
    assert "where its file has engine.model 'tiny'" in line
    state = store.state("cell-1")
    assert (state.active.version, state.previous.version) == ("2", "1")
    assert state.history[-1].who.endswith(f"({os.getuid()}), pid {os.getpid()}")
    assert state.history[-1].reason == "trial was good"
    changed(store, "rollback")
    assert store.state("cell-1").active.version == "1"
    with pytest.raises(EdgeError, match="no package to go back to"):
        changed(store, "rollback")
    with pytest.raises(EdgeError, match="to the package before alone"):
        changed(store, "rollback", one)
    with pytest.raises(EdgeError, match="at most 200 are kept"):
        changed(store, "activate", one, reason="x" * 201)


def test_a_desk_takes_a_package_and_bounds_it(path):
    desk = Desk(path)
    try:
        for package, told in [("x" * 3001, "package"), (7, "package")]:
            answer = ask(path, "activate", package=package)
            assert answer["ok"] is False
            assert told in answer["error"]
        with pytest.raises(desks.NotRunningError):
            ask(path.with_name("nobody.sock"), "activate", package="/a.onnx#0")
    finally:
        desk.close()


# ---- the commands ----


def edge(store, *arguments):
    command = python_module("edge", "model", *map(str, arguments))
    variables = os.environ | {"EDGE_STORE": str(store.folder)}
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=variables)


def test_the_commands_end_to_end(tmp_path, tiny_package):
    store, name = Store(tmp_path / "shelf"), f"no-such-{os.getpid()}"
    done = edge(store, "install", tiny_package)
    assert done.returncode == 0, done.stderr
    assert str(store.folder) in done.stdout
    done = edge(store, "activate", "tiny", "--station", name, "--reason", "first")
    assert done.returncode == 0, done.stderr
    assert store.state(name).history[0].reason == "first"
    done = edge(store, "list", "--json", tmp_path / "list.json")
    assert done.returncode == 0, done.stderr
    assert f"active at {name}" in done.stdout
    listed = json.loads((tmp_path / "list.json").read_text())
    assert [row["used"] for row in listed if row["name"] == "tiny"] == [[f"active at {name}"]]
    (path,) = store.folder.glob("packages/tiny/*.onnx")
    data = path.read_bytes()
    path.unlink()  # it is read-only
    path.write_bytes(data[:-1])
    state = store.folder / "stations" / "cell-0.json"
    state.write_bytes(b"{")
    done = edge(store, "list")
    assert done.returncode == 1
    assert f"TROUBLE {path}" in done.stdout
    assert f"TROUBLE {state}" in done.stdout
    assert f"active at {name}" in done.stdout


def test_an_installation_can_ask_for_a_signature(tmp_path, tiny_package):
    store, signer = Store(tmp_path / "shelf"), Signer(Ed25519PrivateKey.generate())
    trusted = ("--trusted", signer.public.hex())
    done = edge(store, "install", tiny_package, *trusted)
    assert done.returncode == 2
    assert "not signed" in done.stderr
    assert store.installed() == []
    tiny_package.write_bytes(sign(load(tiny_package), signer, utc_ns=0))
    assert edge(store, "install", tiny_package, *trusted).returncode == 0
    assert [one.name for one in store.installed()] == ["tiny"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("install", "nowhere.onnx"), "nowhere.onnx: no such file"),
        (("install", "synthetic-part"), "the zoo's are installed when they are activated"),
        (("activate", "nothing"), "no package named 'nothing'"),
        (("activate", "tiny.onnx"), "edge model install tiny.onnx"),
        (("remove", "nothing"), "no package 'nothing'"),
        (("shadow",), "--off"),
        (("shadow", "part@7", "--off"), "one of the two"),
        (("rollback", "part@5"), "part@5"),
        (("promote", "--station", "a b"), "allowed: 1 to 60"),
    ],
)
def test_a_mistake_is_one_line(arguments, told, tmp_path):
    done = edge(Store(tmp_path), *arguments)
    assert done.returncode == 2
    assert told in done.stderr
    assert done.stderr.count("\n") == 1
