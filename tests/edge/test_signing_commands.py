"""edge model keygen, sign and verify, as a person types them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from edge.commands import signing
from edge.core.errors import EdgeError
from models.store import Store

ZOO = Path(__file__).parents[2] / "models" / "zoo"
app = typer.Typer()
app.add_typer(signing.signing_app, name="model")


def edge(*arguments: object) -> str:
    """What a command prints; its EdgeError, which edge/__main__.py makes exit code 2, passes."""
    done = CliRunner().invoke(app, ["model", *map(str, arguments)])
    if done.exception:
        raise done.exception
    return done.stdout


@pytest.fixture
def file(tmp_path: Path) -> Path:
    shutil.copy(ZOO / "synthetic-part.onnx", tmp_path / "part.onnx")
    return tmp_path / "part.onnx"


def test_sign_and_verify(file: Path, tmp_path: Path) -> None:
    key, public = tmp_path / "plant.key", tmp_path / "plant.pub"
    told = edge("keygen", key)
    assert public.read_text().strip() in told
    assert "not signed" in edge("verify", file)
    assert "not signed" in edge("verify", "synthetic-part")
    with pytest.raises(EdgeError, match="not signed; allowed"):
        edge("verify", file, "--trusted", public)
    mode = file.stat().st_mode
    edge("sign", file, "--key", key, "--who", "quality")
    assert file.stat().st_mode == mode
    assert [path.name for path in tmp_path.glob(".*")] == []
    assert "(quality)" in edge("verify", file)
    assert "a trusted key" in edge(
        "verify", file, "--trusted", "00" + "ab" * 31, "--trusted", public
    )
    with pytest.raises(EdgeError, match="allowed: signed by abab"):
        edge("verify", file, "--trusted", "ab" * 32)


def test_signing_to_another_file_leaves_the_first_alone(file: Path, tmp_path: Path) -> None:
    edge("keygen", tmp_path / "k.key")
    before = file.read_bytes()
    out = tmp_path / "signed.onnx"
    edge("sign", file, "--key", tmp_path / "k.key", "--out", out)
    assert file.read_bytes() == before
    assert "signed by" in edge("verify", out)
    with pytest.raises(EdgeError, match="nothing is overwritten"):
        edge("sign", file, "--key", tmp_path / "k.key", "--out", out)
    with pytest.raises(EdgeError, match="cannot be written"):
        edge("sign", file, "--key", tmp_path / "k.key", "--out", tmp_path / "no" / "x.onnx")


def test_a_file_of_a_store_is_not_signed_where_it_lies(file: Path, tmp_path: Path) -> None:
    key, out = tmp_path / "k.key", tmp_path / "signed.onnx"
    edge("keygen", key)
    store = Store(tmp_path / "store")
    installed = store.install(file).path
    link = tmp_path / "link.onnx"
    link.symlink_to(installed)
    for where in ([installed], [link], [installed, "--out", installed],
                  [file, "--out", installed.with_name("new.onnx")]):  # fmt: skip
        with pytest.raises(EdgeError, match="edge model install") as raised:
            edge("sign", *where, "--key", key)
        assert "\n" not in str(raised.value)
    assert installed.read_bytes() == file.read_bytes()
    edge("sign", installed, "--key", key, "--out", out)
    assert store.find("synthetic-part").path == installed
    store.install(out)
    assert store.find("synthetic-part").appended


def test_keys_are_not_overwritten(tmp_path: Path) -> None:
    edge("keygen", tmp_path / "k.key")
    for name in ("k.key", "k.other", "k.pub"):
        with pytest.raises(EdgeError):
            edge("keygen", tmp_path / name)
    assert not (tmp_path / "k.other").exists()


def test_an_altered_package_is_neither_signed_nor_verified(file: Path, tmp_path: Path) -> None:
    edge("keygen", tmp_path / "k.key")
    data = bytearray(file.read_bytes())
    data[1000] ^= 1
    file.write_bytes(data)
    for command in (("sign", file, "--key", tmp_path / "k.key"), ("verify", file)):
        with pytest.raises(EdgeError, match="wrong digest"):
            edge(*command)
