"""CURVE keys as files: NAME.key is secret and its owner's alone, NAME.pub is for everyone.

Both are TOML with Z85 text: `public = "..."`, and in NAME.key also `secret = "..."`.
"""

from __future__ import annotations

import os
import re
import stat
import struct
from dataclasses import dataclass, field
from pathlib import Path

import zmq
from zmq.utils import z85

from edge.core import config
from edge.core.errors import ConfigError

SECRET, PUBLIC = ".key", ".pub"
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,60}")
_Z85 = re.compile(r"[0-9a-zA-Z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}")
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True, slots=True)
class Key:
    """A key pair as Z85 text; the secret is kept out of its repr, and so out of logs."""

    public: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Listing:
    """One name in a folder of keys."""

    name: str
    public: str
    has_secret: bool
    secret_is_safe: bool  # its owner alone may read it; True where there is none


class _PublicFile(config.Section, frozen=True):
    public: str


class _SecretFile(config.Section, frozen=True):
    public: str
    secret: str


def make(folder: str | Path, name: str) -> Key:
    """Make NAME.key and NAME.pub in `folder`; ConfigError rather than replace either."""
    if not _NAME.fullmatch(name):
        raise ConfigError(f"key name {name!r}: allowed: 1 to 60 of A-Z a-z 0-9 _ . -")
    folder = Path(folder)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be made: {error.strerror}") from None
    public, secret = (half.decode("ascii") for half in zmq.curve_keypair())
    secret_path = folder / (name + SECRET)
    _write(secret_path, f'public = "{public}"\nsecret = "{secret}"\n', 0o600)
    try:
        _write(folder / (name + PUBLIC), f'public = "{public}"\n', 0o644)
    except ConfigError:
        secret_path.unlink()  # a secret whose public half nobody has is of no use
        raise
    return Key(public, secret)


def listed(folder: str | Path) -> list[Listing]:
    """The keys in `folder` by name, none where it is absent; ConfigError for a damaged one."""
    folder = Path(folder)
    paths = [path for end in (SECRET, PUBLIC) for path in folder.glob("*" + end)]
    return [_listing(folder, name) for name in sorted({path.stem for path in paths})]


def load_secret(path: str | Path) -> Key:
    """The pair in a .key file; ConfigError unless it is whole and its owner's alone."""
    path = Path(path)
    if path.is_file() and (mode := _mode(path)) & _OTHERS:
        raise ConfigError(
            f"{path}: mode {mode:04o} lets others at the secret key; run: chmod 600 {path}"
        )
    return _pair(path)


def load_public(text: str, folder: str | Path) -> str:
    """A public key from its own 40 characters, or from a .pub file, looked up from `folder`."""
    path = Path(folder) / text
    # Z85 has letters, dots and slashes: a path can look like a key, so an existing file wins.
    if text.endswith(PUBLIC) and "\0" not in text and (path.is_file() or not is_z85(text)):
        return _checked(path, "public", config.load(path, _PublicFile).public)
    if not is_z85(text):
        raise ConfigError(
            f"public key {text!r}: allowed: 40 Z85 characters | the path of a {PUBLIC} file"
        )
    return text


def is_z85(text: str) -> bool:
    """Whether `text` is 32 bytes in Z85."""
    try:
        return bool(_Z85.fullmatch(text)) and len(z85.decode(text)) == 32
    except struct.error:  # five characters of the alphabet can be more than 32 bits
        return False


def _listing(folder: Path, name: str) -> Listing:
    secret_path, public_path = folder / (name + SECRET), folder / (name + PUBLIC)
    has_secret = secret_path.exists()
    safe = not has_secret or not _mode(secret_path) & _OTHERS
    public = _pair(secret_path).public if has_secret else ""
    if public_path.exists():
        told = _checked(public_path, "public", config.load(public_path, _PublicFile).public)
        if public and told != public:
            raise ConfigError(f"{public_path}: not the public half of {secret_path}")
        public = told
    return Listing(name, public, has_secret, safe)


def _pair(path: Path) -> Key:
    file = config.load(path, _SecretFile)
    key = Key(_checked(path, "public", file.public), _checked(path, "secret", file.secret))
    if zmq.curve_public(key.secret.encode("ascii")) != key.public.encode("ascii"):
        raise ConfigError(f"{path}: public and secret do not belong together")
    return key


def _checked(path: Path, name: str, value: str) -> str:
    """The value itself; the error does not repeat it, because it may be a secret."""
    if not is_z85(value):
        raise ConfigError(f"{path}: {name}: allowed: 40 Z85 characters, got {len(value)}")
    return value


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def _write(path: Path, text: str, mode: int) -> None:
    """A new file that had its mode before it had its content; never over an old one."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise ConfigError(f"{path}: is there already; a key is never replaced") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be made: {error.strerror}") from None
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            os.fchmod(descriptor, mode)  # exact, whatever the umask
            file.write(text)
            file.flush()
            os.fsync(descriptor)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from None
