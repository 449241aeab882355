"""Keys that sign, in files: what is no key, and what is not its owner's alone, is refused."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge import signing
from edge.core.errors import ConfigError, PackageError, RecordsError


def pem(key, password: bytes | None = None) -> bytes:
    hidden = serialization.BestAvailableEncryption(password) if password else None
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        hidden or serialization.NoEncryption(),
    )


def test_a_key_that_is_made_signs_when_it_is_read_again(tmp_path: Path) -> None:
    made = signing.make(tmp_path / "k", PackageError)
    read = signing.load(tmp_path / "k", PackageError)
    assert stat.S_IMODE((tmp_path / "k").stat().st_mode) == 0o600
    assert signing.is_signed(made.public, read.sign(b"text"), b"text")
    assert not signing.is_signed(made.public, read.sign(b"text"), b"other text")
    assert not signing.is_signed(b"short", read.sign(b"text"), b"text")
    with pytest.raises(PackageError, match="cannot be made"):
        signing.make(tmp_path / "k", PackageError)


def test_thirty_two_bytes_are_a_key_too(tmp_path: Path) -> None:
    key = Ed25519PrivateKey.generate()
    (tmp_path / "raw").write_bytes(key.private_bytes_raw())
    (tmp_path / "raw").chmod(0o600)
    assert (
        signing.load(tmp_path / "raw", RecordsError).public == key.public_key().public_bytes_raw()
    )


KEYS = {  # what lies where the key should -> mode, and the word that says so
    "open to others": (pem(Ed25519PrivateKey.generate()), 0o640, "chmod 600"),
    "of another kind": (pem(generate_private_key(SECP256R1())), 0o600, "another kind"),
    "with a password": (pem(Ed25519PrivateKey.generate(), b"secret"), 0o600, "password"),
    "no key": (b"hello", 0o600, "not a key"),
    "empty": (b"", 0o600, "not a key"),
    "public, as keygen writes it": (b"ab" * 32 + b"\n", 0o644, "a public key; to sign takes"),
    "public": (b"-----BEGIN PUBLIC KEY-----\n", 0o600, "a public key; to sign takes"),
}


@pytest.mark.parametrize("name", KEYS)
def test_what_cannot_sign_is_refused_with_the_error_asked_for(tmp_path: Path, name: str) -> None:
    data, mode, word = KEYS[name]
    (tmp_path / "k").write_bytes(data)
    (tmp_path / "k").chmod(mode)
    for error in (RecordsError, PackageError):
        with pytest.raises(error, match=word):
            signing.load(tmp_path / "k", error)


def test_a_public_key_is_said_in_hex_or_by_its_file(tmp_path: Path) -> None:
    signer = signing.make(tmp_path / "k", PackageError)
    signing.publish(signer, tmp_path / "k.pub", PackageError)
    assert stat.S_IMODE((tmp_path / "k.pub").stat().st_mode) == 0o644
    for said in ("k.pub", signer.public.hex(), signer.public.hex().upper()):
        assert signing.public_key(said, tmp_path, ConfigError) == signer.public


PUBLIC = {
    "": "allowed: 64",
    "ab" * 31: "allowed: 64",
    "xy" * 32: "allowed: 64",
    "gone.pub": "cannot be read",
    "curve.pub": "allowed: 64",
    "nul\0.pub": "allowed: 64",
    "00" * 32: "anybody can sign",
    "01" + "00" * 31: "anybody can sign",
    "ec" + "ff" * 31: "anybody can sign",
}


@pytest.mark.parametrize("said", PUBLIC)
def test_what_is_no_public_key_is_refused(tmp_path: Path, said: str) -> None:
    (tmp_path / "curve.pub").write_text('public = "a key of the wire"')
    with pytest.raises(ConfigError, match=PUBLIC[said]):
        signing.public_key(said, tmp_path, ConfigError)
