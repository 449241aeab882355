"""The key that signs checkpoints: an Ed25519 private key in a file that is its owner's alone."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from edge.core.errors import RecordsError

_RAW_BYTES = 32
_MOST_BYTES = 10_000
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


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


def load(path: Path) -> Signer:
    """The key in a file, PEM (PKCS 8, without a password) or 32 raw bytes.

    RecordsError where it is absent, no such key, or open to anybody but its owner.
    """
    try:
        # Not to hang on a pipe that lies where the key should.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            data = file.read(_MOST_BYTES) if stat.S_ISREG(status.st_mode) else b""
    except OSError as error:
        raise RecordsError(f"{path}: the key cannot be read: {error.strerror}") from None
    if mode := stat.S_IMODE(status.st_mode) & _OTHERS:
        raise RecordsError(
            f"{path}: mode {mode | 0o600:04o} lets others at the key; run: chmod 600 {path}"
        )
    return Signer(_parsed(path, data))


def make(path: Path) -> Signer:
    """A new key in a new file, mode 0600; RecordsError rather than replace one."""
    private = Ed25519PrivateKey.generate()
    text = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, 0o600)
    except OSError as error:
        raise RecordsError(f"{path}: the key cannot be made: {error.strerror}") from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, 0o600)  # exact, whatever the umask
            file.write(text)
            file.flush()
            os.fsync(descriptor)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise RecordsError(f"{path}: the key cannot be written: {error.strerror}") from None
    return Signer(private)


def _parsed(path: Path, data: bytes) -> Ed25519PrivateKey:
    if len(data) == _RAW_BYTES:
        return Ed25519PrivateKey.from_private_bytes(data)
    allowed = "allowed: an Ed25519 private key as PEM without a password | its 32 bytes"
    try:
        key = serialization.load_pem_private_key(data, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):  # TypeError: it has a password
        raise RecordsError(f"{path}: not a key for records; {allowed}") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise RecordsError(f"{path}: a key of another kind; {allowed}")
    return key
