"""Answers kept on disk: whole or not at all, and believed only about what they say they are."""

from __future__ import annotations

import os
import stat

import msgspec
import pytest

from models import cache, package
from models.found import Found
from models.rated import Rated

FOUND = Found(onnxruntime=("OpenVINOExecutionProvider", "CPUExecutionProvider"), flavour="x 1")
RATED = Rated(provider="openvino", threads=2, runs=500, p99_ms=2.5, p99_upper_ms=2.75)


@pytest.fixture
def key(tiny_package):
    return cache.key(package.load(tiny_package), "openvino", 2, FOUND)


def test_what_was_kept_comes_back_and_is_the_user_s_alone(tmp_path, key):
    root = tmp_path / "not yet" / "there"
    assert cache.recall(root, key, Rated) is None
    assert cache.keep(root, key, RATED) == ""
    assert cache.recall(root, key, Rated) == RATED
    assert cache.recall(root, key | {"threads": "1"}, Rated) is None
    assert stat.S_IMODE(root.stat().st_mode) == 0o700
    assert [path.suffix for path in (root / "measured").iterdir()] == [".json"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[: len(data) // 2],
        lambda data: b"\x00" * len(data),
        lambda data: data.replace(b'"threads":"2"', b'"threads":"8"'),
        lambda data: data.replace(b'"p99_ms":2.5', b'"p99_ms":"soon"'),
        lambda data: b"[]",
        lambda data: b"\xff\xfe",
    ],
)
def test_a_damaged_answer_is_none(tmp_path, key, damage):
    cache.keep(tmp_path, key, RATED)
    (path,) = (tmp_path / "measured").iterdir()
    path.write_bytes(damage(path.read_bytes()))
    found = cache.recall(tmp_path, key, Rated)
    assert isinstance(found, cache.Damaged)
    assert found.path == path
    assert found.reason
    assert cache.keep(tmp_path, key, RATED) == ""
    assert cache.recall(tmp_path, key, Rated) == RATED


def test_a_folder_that_cannot_be_made_is_said_and_nothing_more(tmp_path, key):
    (tmp_path / "file").write_text("")
    root = tmp_path / "file" / "below"
    assert "file" in cache.keep(root, key, RATED)
    assert cache.built(root, key) is None
    assert isinstance(cache.recall(root, key, Rated), cache.Damaged)


def test_engines_have_a_folder_for_each_key_and_the_latest_stay(tmp_path, key):
    assert cache.built(tmp_path, key | {"provider": "cpu"}) is None
    made = []
    for number in range(cache.KEPT + 2):
        path = cache.built(tmp_path, key | {"driver": str(number)})
        (path / "engine").write_text("x")
        os.utime(path, (number, number))
        made.append(path)
    again = cache.built(tmp_path, key | {"driver": "3"})
    assert again == made[3]
    assert (again / "engine").exists()
    assert len(list(again.parent.iterdir())) == cache.KEPT
    assert not made[0].exists()


@pytest.mark.parametrize(
    ("environment", "folder"),
    [
        ({}, "home/.cache/edge"),
        ({"XDG_CACHE_HOME": "xdg"}, "xdg/edge"),
        ({"XDG_CACHE_HOME": "xdg", "CACHE_DIRECTORY": "service:second"}, "service"),
    ],
)
def test_where_answers_lie(monkeypatch, environment, folder):
    monkeypatch.setenv("HOME", "home")
    for name in ("XDG_CACHE_HOME", "CACHE_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert str(cache.folder()) == folder
    assert str(cache.folder("/elsewhere")) == "/elsewhere"


def test_a_key_s_name_does_not_depend_on_its_order(key):
    backwards = dict(reversed(list(key.items())))
    assert cache.name(key) == cache.name(backwards)
    assert msgspec.json.decode(msgspec.json.encode(key), type=dict[str, str]) == key
