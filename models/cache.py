"""What was measured and built for this box, kept on disk under the name of all it depends on.

    FOLDER/measured/KEY.json          a trial's figures (models/trial.py)
    FOLDER/built/CONTENT/PROVIDER/KEY a provider's engines or blobs

KEY is a digest over the package's content, the provider and its options, threads, the versions
of every library and driver, processor and card. When any of them changes, the name does, so an
engine of another driver is not refused: it is not seen. A figure's file repeats what its key was
made of; one that cannot be read, or says something else, is not believed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import msgspec

from edge.core import box
from models.found import Found
from models.package import Package
from models.providers import PROVIDERS, Setup

T = TypeVar("T")
Key = dict[str, str]
KEPT = 4  # sets of engines of one package and provider; a box moves between drivers, or flavours


class Damaged(msgspec.Struct, frozen=True):
    """A file of figures that cannot be believed; it is measured again."""

    path: Path
    reason: str


class _Kept(msgspec.Struct, frozen=True):
    key: Key
    figures: msgspec.Raw


def folder(asked: str = "") -> Path:
    """Where this user's, or this service's, answers lie; asked: a folder instead."""
    if asked:
        return Path(asked).expanduser().absolute()
    if given := os.environ.get("CACHE_DIRECTORY"):  # from systemd, perhaps several
        return Path(given.split(":")[0])
    if given := os.environ.get("XDG_CACHE_HOME"):
        return Path(given) / "edge"
    try:
        return Path.home() / ".cache" / "edge"
    except RuntimeError:  # a user without a home
        return Path("/var/cache/edge")


def key(package: Package, provider: str, threads: int, found: Found) -> Key:
    """All that a trial's figures and an engine depend on, by name."""
    row, precision = PROVIDERS[provider], package.manifest.precision
    return {
        "content_sha256": package.content_sha256,
        "provider": provider,
        "options": str(sorted(row.options(Setup(threads, precision)).items())),
        "threads": str(threads),
        "edge": box.libraries().get("edge-inspection", ""),
        "flavour": found.flavour,
        "processor": box.cpu(),
        "processors": str(os.cpu_count()),
        "instruction sets": " ".join(box.instruction_sets()),
        "card": found.card if row.uploads else "",
        "driver": found.driver if row.uploads else "",
        **(dict(found.versions) if row.uploads else {}),
    }


def name(of: Key) -> str:
    """The key as a file's name."""
    return hashlib.sha256(msgspec.json.encode(sorted(of.items()))).hexdigest()[:32]


def recall(root: Path, of: Key, figures: type[T]) -> T | Damaged | None:
    """What was kept under a key; None where there is nothing."""
    path = _measured(root, of)
    try:
        kept = msgspec.json.decode(path.read_bytes(), type=_Kept)
        if kept.key != of:
            return Damaged(path, "it is about something else")
        return msgspec.json.decode(kept.figures, type=figures)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        return Damaged(path, " ".join(str(error).split()))


def keep(root: Path, of: Key, figures: object) -> str:
    """Keep figures under their key, whole or not at all; why they could not be kept, or ""."""
    path = _measured(root, of)
    data = msgspec.json.encode(_Kept(of, msgspec.Raw(msgspec.json.encode(figures))))
    passing = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.parent.mkdir(exist_ok=True)
        passing.write_bytes(data)
        passing.replace(path)
    except OSError as error:
        with suppress(OSError):
            passing.unlink()
        return f"{path}: {error.strerror}"
    return ""


def built(root: Path, of: Key) -> Path | None:
    """The folder of a provider's engines under a key, made if it is not there; the KEPT latest of
    a package and provider stay. None for a provider that builds none, or where none can be made.
    """
    if not PROVIDERS[of["provider"]].builds:
        return None
    siblings = root / "built" / of["content_sha256"][:16] / of["provider"]
    path = siblings / name(of)
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)  # an engine is code
        path.mkdir(parents=True, exist_ok=True)
        os.utime(path)
        by_age = sorted(siblings.iterdir(), key=lambda one: one.stat().st_mtime, reverse=True)
    except OSError:
        return None
    for old in by_age[KEPT:]:
        shutil.rmtree(old, ignore_errors=True)
    return path


def _measured(root: Path, of: Key) -> Path:
    return root / "measured" / f"{name(of)}.json"
