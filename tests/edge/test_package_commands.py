"""`edge model info`, `verify`, `prepare` and `bench` by the names that a store knows."""

from __future__ import annotations

import json

import msgspec
import pytest

from edge.__main__ import main
from edge.commands import provide
from models import package
from models.package import load, seal, unsealed
from models.store import Store

ZOO = package.find("synthetic-part")
COMMANDS = {
    "info": ["info"],
    "verify": ["verify"],
    "prepare": ["prepare", "--provider", "cpu"],
    "bench": ["bench", "--provider", "cpu", "--threads", "1", "--runs", "25", "--model"],
}


@pytest.fixture
def store(tiny_package, tmp_path):
    """A store with two versions of the tiny package."""
    tiny = load(tiny_package)
    made = Store(tmp_path / "store")
    for version in ("1.9", "1.10"):
        path = tmp_path / f"{version}.onnx"
        named = msgspec.structs.replace(tiny.manifest, version=version)
        path.write_bytes(seal(unsealed(tiny.model_bytes()), named))
        made.install(path)
    return made


@pytest.fixture
def edge(monkeypatch, capsys):
    """What `edge model` says and its exit code."""

    def run(*arguments: object) -> tuple[str, int]:
        monkeypatch.setattr("sys.argv", ["edge", "model", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        told = capsys.readouterr()
        return told.out if not ended.value.code else told.err, ended.value.code or 0

    return run


def test_the_newest_a_version_and_a_digest_are_found_in_the_store(edge, store, monkeypatch):
    old = store.find("tiny@1.9")
    for text, version in [("tiny", "1.10"), ("tiny@1.9", "1.9"), (old.content_sha256[:10], "1.9")]:
        said, code = edge("info", text, "--store", store.folder)
        assert (code, said.split()[:3]) == (0, ["name", "tiny", version])
        said, code = edge("verify", text, "--store", store.folder)
        assert (code, said.split(":")[0]) == (0, f"tiny {version}")
    monkeypatch.setenv("EDGE_STORE", str(store.folder))
    assert edge("info", "tiny")[1] == 0
    assert edge("info", old.path)[0] == edge("info", "tiny@1.9")[0]


def test_a_name_of_the_store_is_prepared_and_timed(edge, store, tmp_path):
    more = "--store", store.folder, "--cache", tmp_path / "cache"
    said, code = edge(*COMMANDS["prepare"], "tiny@1.9", *more)
    assert (code, said.split(":")[0]) == (0, "cpu")
    assert edge(*COMMANDS["bench"], "tiny@1.9", "--json", tmp_path / "rows.json", *more)[1] == 0
    found = json.loads((tmp_path / "rows.json").read_bytes())
    assert found["content_sha256"] == store.find("tiny@1.9").content_sha256
    assert [row["runs"] for row in found["rows"]] == [25]


def test_what_was_installed_from_the_zoo_is_timed_beside_the_zoo_s_twin(store):
    installed = store.install(ZOO)
    assert installed.path != ZOO.path
    assert provide._beside_its_twin(installed) == ZOO
    for other in (store.find("tiny"), ZOO):
        assert provide._beside_its_twin(other) == other


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("text", ["nothing", "tiny@2", "synthetic-part@2"])
def test_a_name_that_is_nowhere_is_one_line_with_what_there_is(edge, store, command, text):
    said, code = edge(*COMMANDS[command], text, "--store", store.folder)
    assert code == 2
    assert len(said.splitlines()) == 1
    assert f"no package named {text!r}" in said
    assert f"installed in {store.folder}: tiny@1.9, tiny@1.10; in the zoo: deeppcb@" in said
