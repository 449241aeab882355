"""What a box can do, asked on this one and on recorded ones."""

from __future__ import annotations

import subprocess

import msgspec
import pytest
from rich.console import Console

from edge import doctor
from edge.core.errors import EngineError
from edge.core.process import python_module
from models.found import LIBRARIES, Found
from models.providers import PROVIDERS

PC = Found(
    onnxruntime=("TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"),
    flavour="onnxruntime-gpu 1.31.1",
    devices=("/dev/nvidia0",),
    card="NVIDIA RTX A2000",
    driver="570.86.10",
    libraries=LIBRARIES,
)


@pytest.fixture(scope="module")
def found():
    return doctor.examine(lambda: PC)


def test_each_provider_is_named_with_what_it_runs_on_or_lacks(found):
    assert list(found)[:4] == list(PROVIDERS)
    assert {name: found[name].available for name in PROVIDERS} == {
        "cpu": True, "openvino": False, "cuda": True, "tensorrt": True,
    }  # fmt: skip
    assert found["cuda"].reason == "onnxruntime-gpu 1.31.1, NVIDIA RTX A2000"
    assert "extra `openvino` brings it" in found["openvino"].reason


def test_the_other_capabilities_have_the_same_shape(found):
    assert list(found)[4:] == [
        "vnni", "two processors", "compiled helper", "real-time priority", "locked memory",
        "short time slices", "records", "footage", "cameras", "archive", "training", "cache",
    ]  # fmt: skip
    for name, can in found.items():
        assert len(can.reason.splitlines()) == 1, name
    assert found["records"].available
    assert found["footage"].available


@pytest.mark.parametrize(
    ("setting", "value", "name", "words"),
    [
        ("edge.doctor.box.instruction_sets", lambda: ("avx2",), "vnni", "multiplies no bytes"),
        ("edge.doctor.os.sched_getaffinity", lambda pid: {0}, "two processors", "one: the loop"),
        ("edge.doctor.native.helper", None, "compiled helper", "install a C compiler"),
        ("edge.doctor.glob", lambda pattern: [], "cameras", "no /dev/video*"),
        ("edge.doctor.glob", lambda pattern: ["/nowhere/video0"], "cameras", "the group video"),
        ("edge.doctor.find_spec", lambda name: None, "archive", "ray, pyarrow not installed"),
    ],
)
def test_what_is_missing_is_said_with_how_to_get_it(monkeypatch, setting, value, name, words):
    monkeypatch.setattr(setting, value)
    can = doctor.examine(lambda: PC)[name]
    assert not can.available
    assert words in can.reason


def test_a_box_without_onnx_runtime_still_has_an_answer():
    def lost() -> Found:
        raise EngineError("ONNX Runtime cannot be asked for its providers: no word")

    found = doctor.examine(lost)
    for name in PROVIDERS:
        assert found[name] == doctor.Can(
            False, "ONNX Runtime cannot be asked for its providers: no word"
        )


def test_a_cache_that_cannot_be_written_is_said_and_none_is_left_behind(tmp_path, monkeypatch):
    monkeypatch.setenv("CACHE_DIRECTORY", str(tmp_path / "a" / "b"))
    assert doctor.examine(lambda: PC)["cache"].available
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "a").write_text("")
    can = doctor.examine(lambda: PC)["cache"]
    assert not can.available
    assert "engine.cache names another folder" in can.reason


def test_the_command(tmp_path):
    path = tmp_path / "doctor.json"
    run = subprocess.run(
        python_module("edge", "doctor", "--json", str(path)),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    read = msgspec.json.decode(path.read_bytes(), type=dict[str, doctor.Can])
    assert read["cpu"].available
    assert read["cpu"].reason.startswith("onnxruntime")
    assert "yes" in run.stdout
    console = Console(width=100)
    with console.capture() as captured:
        console.print(doctor.describe(read))
    assert all(name in captured.get() for name in read)
