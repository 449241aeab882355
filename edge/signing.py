"""Ed25519 keys in files: a private one that is its owner's alone, a public one for everybody.

What signs records and what signs packages have this in common; each names its own error.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from edge.core.errors import EdgeError

PUBLIC = ".pub"
_RAW_BYTES = 32
_MOST_BYTES = 10_000
_PUBLIC_KEY = re.compile(rb"[0-9a-fA-F]{64}")
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
# Points of small order, without their sign bit: anybody can sign for such a "key", and one of
# them is 64 zeros, which somebody may write into a station file until there is a real one.
_SMALL_ORDER = frozenset(
    (
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    )
)


class Signer:
    """Signs with a private key, which no repr or error shows."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.public = private.public_key().public_bytes_raw()

    def sign(self, text: bytes) -> bytes:
        return self._private.sign(text)


def is_signed(public: bytes, signature: bytes, text: bytes) -> bool:
    """Whether the holder of `public` signed the text."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, text)
    except (InvalidSignature, ValueError):  # ValueError: not 32 bytes
        return False
    return True


def load(path: Path, error: type[EdgeError]) -> Signer:
    """The key in a file, PEM (PKCS 8, without a password) or 32 raw bytes.

    Raises `error` where it is absent, no such key, or open to anybody but its owner.
    """
    data, mode = _read(path, error)
    if _PUBLIC_KEY.fullmatch(data.strip()) or b"BEGIN PUBLIC KEY" in data:
        raise error(f"{path}: a public key; to sign takes the secret one")
    if mode := mode & _OTHERS:
        raise error(
            f"{path}: mode {mode | 0o600:04o} lets others at the key; run: chmod 600 {path}"
        )
    return Signer(_parsed(path, data, error))


def make(path: Path, error: type[EdgeError]) -> Signer:
    """A new key in a new file, mode 0600; raises `error` rather than replace one."""
    private = Ed25519PrivateKey.generate()
    text = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    _write(path, text, 0o600, error)
    return Signer(private)


def publish(signer: Signer, path: Path, error: type[EdgeError]) -> None:
    """Write a signer's public key, 64 hexadecimal digits, into a new file for everybody."""
    _write(path, f"{signer.public.hex()}\n".encode(), 0o644, error)


def public_key(text: str, folder: Path, error: type[EdgeError]) -> bytes:
    """A public key from its 64 hexadecimal digits, or from a .pub file, looked up from `folder`."""
    said = text.strip()
    if said.endswith(PUBLIC) and "\0" not in said:
        path = folder / said
        said = _read(path, error)[0].decode("ascii", "replace").strip()
        text = str(path)
    try:
        key = bytes.fromhex(said) if len(said) == 2 * _RAW_BYTES else b""
    except ValueError:
        key = b""
    if len(key) != _RAW_BYTES:
        raise error(
            f"public key {text!r}: allowed: 64 hexadecimal digits | the path of a {PUBLIC} file"
        )
    if (key[:-1] + bytes((key[-1] & 0x7F,))).hex() in _SMALL_ORDER:
        raise error(f"public key {text!r}: anybody can sign for it; it is no one's key")
    return key


def _read(path: Path, error: type[EdgeError]) -> tuple[bytes, int]:
    """A small file's bytes, none for what is no file, and its mode."""
    try:
        # Not to hang on a pipe that lies where the key should.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            data = file.read(_MOST_BYTES) if stat.S_ISREG(status.st_mode) else b""
    except OSError as fault:
        raise error(f"{path}: the key cannot be read: {fault.strerror}") from None
    return data, stat.S_IMODE(status.st_mode)


def _write(path: Path, text: bytes, mode: int, error: type[EdgeError]) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, mode)
    except OSError as fault:
        raise error(f"{path}: the key cannot be made: {fault.strerror}") from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)  # exact, whatever the umask
            file.write(text)
            file.flush()
            os.fsync(descriptor)
    except OSError as fault:
        path.unlink(missing_ok=True)
        raise error(f"{path}: the key cannot be written: {fault.strerror}") from None


def _parsed(path: Path, data: bytes, error: type[EdgeError]) -> Ed25519PrivateKey:
    if len(data) == _RAW_BYTES:
        return Ed25519PrivateKey.from_private_bytes(data)
    allowed = "allowed: an Ed25519 private key as PEM without a password | its 32 bytes"
    try:
        key = serialization.load_pem_private_key(data, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):  # TypeError: it has a password
        raise error(f"{path}: not a key that signs; {allowed}") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise error(f"{path}: a key of another kind; {allowed}")
    return key
