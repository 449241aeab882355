"""What an item's decisions depend on, and so what makes a result of it still true.

Replay is exact for the same footage, package, provider, thread count, library versions and
instruction set. All but the last are the identity of a result: a result of another identity is
made anew. The instruction set is what the machine that happens to take an item has; it is
recorded beside the identity, and the summary names all that took part.
"""

from __future__ import annotations

import hashlib
import os
import platform
from contextlib import suppress
from functools import cache
from pathlib import Path

import msgspec

from edge.archive.items import Item
from edge.core import box

FORMAT = 1
# What no decision passes through: an upgrade of one must not mean that an archive is judged again.
_INDIFFERENT = frozenset(("pyzmq", "msgspec", "compiled helper"))


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What judges an archive: the package by its content, the provider, and its threads."""

    content_sha256: str
    provider: str = "cpu"
    threads: int = 1


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """All that an item's decisions depend on; equal identities have equal decisions."""

    format: int
    item: str
    listing_sha256: str
    settings: Settings
    versions: dict[str, str]

    def digest(self) -> str:
        """SHA-256 of the fields, as JSON with sorted keys."""
        return hashlib.sha256(msgspec.json.encode(self, order="sorted")).hexdigest()


def identity(item: Item, settings: Settings) -> Identity:
    """An item's identity, here and now: its files are looked at, not read."""
    return Identity(
        format=FORMAT,
        item=item.name,
        listing_sha256=listing_sha256(item),
        settings=settings,
        versions=versions(),
    )


def listing_sha256(item: Item) -> str:
    """SHA-256 over the item's files (place below the footage, bytes, mtime in ns) and labels.

    Nothing of where the archive lies, so that one that was moved with its times is the same. A
    file changed without a change of size or time is not noticed.
    """
    digest = hashlib.sha256()
    folder = item.path if item.path.is_dir() else item.path.parent
    for row in item.rows:
        for path in row.paths:
            digest.update(_line(path, folder))
        digest.update(f"{row.label or ''}\n".encode())
    if not item.rows:
        digest.update(_line(item.path, folder))
    return digest.hexdigest()


def _line(path: Path | None, folder: Path) -> bytes:
    if path is None:
        return b"-\n"
    name = os.fsencode(os.path.relpath(path, folder))
    with suppress(OSError):
        facts = path.stat()
        return b"%b\0%d %d\n" % (name, facts.st_size, facts.st_mtime_ns)
    return name + b"\0absent\n"


@cache
def versions() -> dict[str, str]:
    """The libraries that decisions may depend on, by the name of the installed distribution."""
    return {name: told for name, told in box.libraries().items() if name not in _INDIFFERENT}


@cache
def processor() -> str:
    """This machine's kind of processor, as far as a model's kernels are chosen by it."""
    return " ".join((platform.machine(), *box.instruction_sets()))
