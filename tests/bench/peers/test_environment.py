"""The peers' own environments: pinned, made once, and a failure is the installer's reason."""

from __future__ import annotations

import ast
import hashlib
import re
from pathlib import Path

import pytest

from bench.peers.environment import REQUIREMENTS, STAMP, python_of
from bench.peers.roster import ROSTER, SCRIPTS, script
from bench.peers.turn import UnavailableError

SCRIPTED = sorted({peer.name for peer in ROSTER if peer.take is script})
PRODUCT = {"edge", "models", "sensors", "control", "bench"}


def pinned(file: Path) -> list[str]:
    lines = file.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


@pytest.mark.parametrize("name", SCRIPTED)
def test_every_pin_is_one_exact_version_and_no_address(name):
    pins = pinned(REQUIREMENTS / f"requirements-{name}.txt")
    assert pins
    for pin in pins:
        assert re.fullmatch(r"[a-z0-9][a-z0-9._-]*==[0-9][a-z0-9.]*", pin), pin


def test_onnxruntime_is_the_version_that_the_product_is_pinned_to():
    own = (REQUIREMENTS.parents[1] / "requirements" / "cpu.txt").read_text(encoding="utf-8")
    (wanted,) = re.findall(r"^onnxruntime==\S+", own, re.MULTILINE)
    assert wanted in pinned(REQUIREMENTS / "requirements-onnxruntime.txt")


@pytest.mark.parametrize("name", SCRIPTED)
def test_a_script_imports_nothing_of_this_product(name):
    imported: set[str] = set()
    for node in ast.walk(ast.parse((SCRIPTS / f"run_{name}.py").read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            imported.add((node.module or "").split(".")[0])
    assert imported
    assert not imported & PRODUCT


def test_one_that_was_made_from_these_pins_is_not_made_again(tmp_path):
    pins = tmp_path / "requirements-some.txt"
    pins.write_text("some==1.0\n", encoding="utf-8")
    python = tmp_path / "made" / "some" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    digest = hashlib.sha256(pins.read_bytes()).hexdigest()
    (tmp_path / "made" / "some" / STAMP).write_text(digest, encoding="ascii")
    said: list[str] = []
    found = python_of("some", said.append, folder=tmp_path / "made", requirements=tmp_path)
    assert (found, said) == (python, [])


def test_other_pins_make_it_anew_and_what_does_not_install_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    (tmp_path / "requirements-some.txt").write_text("no-such-thing==1.0\n", encoding="utf-8")
    place = tmp_path / "made" / "some"
    place.mkdir(parents=True)
    (place / STAMP).write_text("of other pins", encoding="ascii")
    said: list[str] = []
    with pytest.raises(UnavailableError) as caught:
        python_of("some", said.append, folder=tmp_path / "made", requirements=tmp_path)
    assert said == ["some: making build/peers/some from requirements-some.txt"]
    assert str(caught.value).startswith("does not install: ERROR: No matching distribution found")
    assert not (place / STAMP).exists()
