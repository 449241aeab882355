"""Who vouches for a package: an Ed25519 signature appended behind the seal.

    edge.signature = { public, signature, who, at }

What is signed is `_DOMAIN`, then what was vouched for as JSON: the content's digest, name and
version, the certificate's digest if there is one, and who and when. So nothing of the file can be
altered, taken from another package or added behind the signer's back: a certificate that comes
later needs a new signature. The newest signature replaces the one before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol

import msgspec

from edge.core.clock import NS_PER_S
from edge.core.errors import ConfigError, PackageError
from models import package as packages
from models.package import Package

# `edge.signing` is fetched where something is signed or checked: it brings 60 ms of imports, which
# a station that asks for no signature does without.
if TYPE_CHECKING:
    from edge.signing import Signer

KEY = "edge.signature"
_CERTIFICATE = "edge.certificate"
_DOMAIN = b"edge.package.v1\0"  # of nothing else that such a key may sign
_MAX_WHO = 200

_Who = Annotated[str, msgspec.Meta(max_length=_MAX_WHO)]


class Signed(msgspec.Struct, frozen=True):
    """A signature that holds: by which public key (hex), who they say they are, and when (UTC)."""

    public: str
    who: str
    at: str


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The payload of the appended entry."""

    public: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    signature: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{128}$")]
    who: _Who
    at: Annotated[str, msgspec.Meta(max_length=40)]


class _Statement(msgspec.Struct, frozen=True):
    """What the signer vouches for; its JSON is what is signed."""

    content_sha256: str
    name: str
    version: str
    certificate_sha256: str  # "" where there is none
    who: str
    at: str


class Wanted(Protocol):
    """What a station asks of its packages (edge/core/config.py, EngineOptions)."""

    @property
    def require_signature(self) -> bool: ...

    @property
    def trusted(self) -> tuple[str, ...]: ...


def sign(package: Package, signer: Signer, *, who: str = "", utc_ns: int) -> bytes:
    """The package's file with this signature, which covers its certificate, as its last entry.

    PackageError if the file is no longer the one that was loaded, or `who` is not a short line.
    """
    if len(who) > _MAX_WHO or not who.isprintable():
        raise PackageError(f"who signs: allowed: up to {_MAX_WHO} printable characters")
    at = datetime.fromtimestamp(utc_ns // NS_PER_S, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    text = _text(package, _certificate_sha256(package), who, at)
    payload = _Entry(signer.public.hex(), signer.sign(text).hex(), who, at)
    data = package.model_bytes()
    return packages.replace(data, KEY, msgspec.json.encode(payload).decode())


def signed(package: Package) -> Signed | None:
    """The signature of an intact package, None without one; PackageError where it does not hold.

    Says nothing about whether the key is anybody's.
    """
    from edge.signing import is_signed

    payload = package.appended.get(KEY)
    if payload is None:
        return None
    try:
        held = msgspec.json.decode(payload, type=_Entry)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise PackageError(f"{package.path}: its signature is malformed: {error}") from None
    if not (held.who.isprintable() and held.at.isprintable()):
        raise PackageError(f"{package.path}: its signature is malformed: not plain text")
    public, mark = bytes.fromhex(held.public), bytes.fromhex(held.signature)
    certificate = _certificate_sha256(package)
    if is_signed(public, mark, _text(package, certificate, held.who, held.at)):
        return Signed(held.public, held.who, held.at)
    if certificate and is_signed(public, mark, _text(package, "", held.who, held.at)):
        raise PackageError(
            f"{package.path}: certified after it was signed; sign it again: edge model sign"
        )
    raise PackageError(f"{package.path}: not what was signed: altered, or the signature was")


def check(package: Package, trusted: Sequence[str]) -> Signed:
    """The signature of a package, by one of the trusted public keys (64 hexadecimal digits each).

    PackageError, one line, for a package that is unsigned, altered, or signed by another key.
    """
    found = signed(package)
    keys = ", ".join(trusted)
    if found is None:
        raise PackageError(f"{package.path}: not signed; allowed: signed by {keys}")
    if found.public not in trusted:
        by = f"{found.public}{f' ({found.who})' if found.who else ''}"
        raise PackageError(f"{package.path}: signed by {by}; allowed: signed by {keys}")
    return found


def trusted_keys(said: Sequence[str], folder: Path) -> tuple[str, ...]:
    """Public keys as hex, from hex or from .pub files looked up from `folder`; ConfigError."""
    from edge.signing import public_key

    return tuple(public_key(key, folder, ConfigError).hex() for key in said)


def admit(package: Package, wanted: Wanted, keys_folder: Path) -> None:
    """Do nothing, or raise PackageError where a station wants a signature that is not there.

    keys_folder: where relative .pub files of the station file are looked up.
    """
    if wanted.require_signature:
        check(package, trusted_keys(wanted.trusted, keys_folder))


def _certificate_sha256(package: Package) -> str:
    payload = package.appended.get(_CERTIFICATE)
    return "" if payload is None else hashlib.sha256(payload.encode()).hexdigest()


def _text(package: Package, certificate_sha256: str, who: str, at: str) -> bytes:
    manifest = package.manifest
    return _DOMAIN + msgspec.json.encode(
        _Statement(
            package.content_sha256, manifest.name, manifest.version, certificate_sha256, who, at
        )
    )
