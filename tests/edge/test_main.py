"""The command line: a person's mistake is one line that names the thing, exit code 2."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from sensors.synthetic import PartGenerator
from sensors.synthetic_camera import write_footage


def edge(*arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "edge", *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def refused(*arguments: str) -> str:
    """The one line a mistake brings."""
    run = edge(*arguments)
    assert run.returncode == 2, run.stderr
    assert "Traceback" not in run.stderr
    (line,) = run.stderr.strip().splitlines()
    return line


@pytest.fixture(scope="module")
def footage(tmp_path_factory) -> Path:
    return write_footage(PartGenerator(20_000), tmp_path_factory.mktemp("footage"), 6)


@pytest.fixture
def station(tmp_path: Path):
    def write(**keys: str) -> str:
        values = {
            "camera": 'source = "synthetic"\nparts = 3',
            "engine": 'model = "synthetic-part"',
            "controller": f'bind = "ipc://{tmp_path}/s.ipc"\nwait_s = 0.1',
        } | keys
        path = tmp_path / "cell.toml"
        path.write_text("".join(f"[{key}]\n{value}\n" for key, value in values.items()))
        return str(path)

    return write


def test_help_lists_the_commands():
    run = edge("--help")
    assert run.returncode == 0
    for command in ("demo", "run", "arm", "replay", "model"):
        assert command in run.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "Missing command"),
        (("fly",), "fly"),
        (("replay", ".", "--model", "x", "--speed", "9"), "--speed"),
        (("replay", ".", "--model", "x", "--pace", "slow"), "--pace slow: allowed: max | recorded"),
        (("replay", ".", "--model", "x", "--provider", "abacus"), "'abacus'"),
        (("replay", "."), "--model"),
        (("demo", "--rate", "0"), "--rate"),
        (("demo", "--rate", "1e300"), "--rate"),
        (("demo", "--seconds", "inf"), "--seconds"),
        (("model", "info", "x" * 5000), "x"),
        (("replay", ".", "--model", "deeppcb", "--json", "/"), "--json /"),
        (("model", "info", "nothing"), "no package named 'nothing'; installed in"),
        (("model", "info", "none.onnx"), "none.onnx: no such file"),
        (("model", "build", "none.toml"), "none.toml"),
        (("run", "none.toml"), "none.toml: cannot be read"),
        (("arm", "--connect", "nonsense"), "--connect nonsense"),
    ],
)
def test_a_mistake_is_one_line_and_exit_2(arguments, words):
    assert words in refused(*arguments)


def test_what_is_allowed_is_said():
    assert "'cpu', 'openvino'" in refused("replay", ".", "--provider", "abacus")


@pytest.mark.parametrize("case", ["no such folder", "no rows", "split", "columns", "empty video"])
def test_footage_that_cannot_be_replayed(case, footage, tmp_path):
    folder = tmp_path / "footage"
    match case:
        case "no such folder":
            words = "footage"
        case "no rows":
            folder.mkdir()
            head = (footage / "manifest.csv").read_text().splitlines()[0]
            (folder / "manifest.csv").write_text(head + "\n")
            words = "no rows"
        case "split":
            shutil.copytree(footage, folder)
            line = refused("replay", str(folder), "--model", "synthetic-part", "--split", "train")
            assert "train" in line
            assert "test" in line
            return
        case "columns":
            folder.mkdir()
            (folder / "manifest.csv").write_text("file,label\na.png,good\n")
            words = "path"
        case _:
            folder = tmp_path / "film.mp4"
            folder.write_bytes(b"not a film")
            words = "film.mp4"
    assert words in refused("replay", str(folder), "--model", "synthetic-part")


def test_a_package_whose_views_the_footage_lacks(tmp_path):
    (tmp_path / "a").mkdir()
    cv2.imwrite(str(tmp_path / "a" / "x.png"), np.zeros((512, 512), np.uint8))
    line = refused("replay", str(tmp_path / "a"), "--model", "deeppcb")
    assert "reference" in line


def test_a_package_altered_by_one_byte(tmp_path):
    source = Path(__file__).parents[2] / "models" / "zoo" / "synthetic-part.onnx"
    data = bytearray(source.read_bytes())
    data[len(data) // 2] ^= 1
    path = tmp_path / "altered.onnx"
    path.write_bytes(data)
    line = refused("model", "info", str(path))
    assert "altered.onnx" in line
    assert "wrong digest" in line
    footage = write_footage(PartGenerator(20_001), tmp_path / "f", 1)
    assert "wrong digest" in refused("replay", str(footage), "--model", str(path))


def test_an_unknown_key_in_the_station_file(station):
    line = refused("run", station(policy='defualt = "reject"'))
    assert "policy.defualt: unknown key; allowed: default" in line


@pytest.mark.parametrize("value", ["inf", "nan", "1e300", "9" * 5000])
def test_a_number_of_no_sane_size_in_the_station_file(station, value):
    engine = f'model = "synthetic-part"\nhang_ms = {value}'
    assert "cell.toml" in refused("run", station(engine=engine))


def test_no_controller_connected(station):
    line = refused("run", station())
    assert "no controller connected" in line
    assert "edge arm --connect" in line


def test_a_machine_that_rests_at_pass_without_sensor_or_line_stop():
    line = refused("arm", "--connect", "tcp://127.0.0.1:1", "--rest", "pass")
    assert "--rest pass: needs --sensor FIFO, --part-sensor or --line-stop" in line


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ("ctl", "status", "--station", "nobody-here"),
            "no station named 'nobody-here' is running",
        ),
        (("ctl", "status", "--station", "a b"), "a b"),
        (("ctl", "dance"), "dance"),
        (("keys", "make", "a/b"), "key name 'a/b': allowed"),
        (("arm", "--connect", "tcp://127.0.0.1:1", "--key", "x.key"), "--key and --server-key"),
        (("arm", "--connect", "tcp://127.0.0.1:1", "--role", "A"), "--role A: allowed"),
        (("conformance", "--bind", "nonsense"), "nonsense"),
    ],
)
def test_a_mistake_at_the_daemons_commands_is_one_line(arguments, words):
    assert words in refused(*arguments)


def test_an_address_that_others_can_reach_needs_keys(station):
    line = refused("run", station(controller='bind = "tcp://0.0.0.0:5599"'))
    assert "controller.bind = tcp://0.0.0.0:5599: others can reach it" in line
    assert "edge keys make NAME" in line


def test_keys_are_made_and_listed_and_an_open_one_is_an_alarm(tmp_path):
    made = edge("keys", "make", "cell-1", "--folder", str(tmp_path))
    assert made.returncode == 0
    assert (tmp_path / "cell-1.key").stat().st_mode & 0o777 == 0o600
    listed = edge("keys", "list", "--folder", str(tmp_path))
    assert listed.returncode == 0
    assert "cell-1" in listed.stdout
    (tmp_path / "cell-1.key").chmod(0o640)
    listed = edge("keys", "list", "--folder", str(tmp_path))
    assert listed.returncode == 1
    assert "chmod 600" in listed.stdout


def test_a_port_in_use(station):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        line = refused("run", station(controller=f'bind = "tcp://127.0.0.1:{port}"'))
    assert f"tcp://127.0.0.1:{port}" in line
    assert "in use" in line


def test_a_camera_that_is_not_there(station):
    line = refused("run", station(camera='source = "opencv"\ndevice = "/nowhere/film.mp4"'))
    assert "/nowhere/film.mp4" in line


def test_a_provider_that_is_not_installed(footage):
    line = refused("replay", str(footage), "--model", "synthetic-part", "--provider", "tensorrt")
    assert "provider tensorrt" in line
    assert "available: cpu" in line


def test_a_result_that_cannot_be_written(footage):
    line = refused(
        "replay", str(footage), "--model", "synthetic-part", "--json", "/nowhere/result.json"
    )
    assert "/nowhere/result.json" in line


def test_a_broken_picture_is_a_fault_on_its_part_and_one_warning(footage, tmp_path):
    folder = tmp_path / "footage"
    shutil.copytree(footage, folder)
    pictures = sorted((folder / "images").iterdir())
    pictures[1].write_bytes(pictures[1].read_bytes()[:60])
    pictures[3].unlink()
    result = tmp_path / "r.json"
    run = edge("replay", str(folder), "--model", "synthetic-part", "--json", str(result))
    assert run.returncode == 0, run.stderr
    warnings = run.stderr.strip().splitlines()
    assert len(warnings) == 2
    assert "part 2" in warnings[0]
    assert "bad_frame" in warnings[0]
    assert "part 4" in warnings[1]
    assert "no_image" in warnings[1]


def test_model_info_tells_what_a_package_is():
    run = edge("model", "info", "synthetic-part")
    assert run.returncode == 0
    for word in ("content_sha256", "thresholds", "view", "terms"):
        assert word in run.stdout
