"""The packages of this machine, for people and scripts: the store's and the zoo's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from edge.core.errors import EdgeError, PackageError
from models import package as packages
from models import signature
from models.installed import Installed
from models.package import Package
from models.station_state import StationState
from models.store import Store
from models.store_files import utc_text


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One package. used: "active at cell-1", ...; trouble: what is wrong with its file."""

    name: str
    version: str
    content_sha256: str  # of a damaged file the 12 digits that its name has
    where: str  # store | zoo | station, for a damaged state
    path: str
    file_sha256: str = ""
    size: int = 0  # bytes
    precision: str = ""
    installed_at: str = ""  # UTC; "" in the zoo
    signed_by: str = ""  # whose signature holds, trusted or not
    used: list[str] = []
    trouble: str = ""


def rows(store: Store) -> list[Row]:
    """Every installed package, then those of the zoo that are not; every file is checked.

    Of several files of a content the one that stands for them, and those that are damaged.
    """
    states, troubles = _states(store)
    standing = store.installed()
    found = [_installed(one, store, states) for one in standing]
    others = [_installed(one, store, states) for one in store.files() if one not in standing]
    found += [row for row in others if row.trouble]
    found += [
        _trouble(path, "store", f"{path}: nobody installed it; it is never used")
        for path in store.strays()
    ]
    found += troubles
    there = {row.content_sha256 for row in found}
    shipped = [packages.find(name) for name in sorted(packages.zoo_index())]
    return found + [_row(one, "zoo") for one in shipped if one.content_sha256 not in there]


def table(listed: Sequence[Row]) -> list[str]:
    """Lines for a terminal, troubles last."""
    cells = [("name", "version", "digest", "kB", "precision", "installed", "signed by", "used")]
    for row in listed:
        if row.version:
            kilobytes = f"{row.size / 1000:.0f}" if row.size else "?"
            installed = row.installed_at or "(zoo)"
            used = ", ".join(row.used)
            digest = row.content_sha256[:12]
            signed = row.signed_by or "-"
            cells.append(
                (row.name, row.version, digest, kilobytes, row.precision, installed, signed, used)
            )
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    ]
    return lines + [f"TROUBLE {row.trouble}" for row in listed if row.trouble]


def _states(store: Store) -> tuple[list[StationState], list[Row]]:
    """The states that can be read, and rows for the others."""
    states, troubles = [], []
    for name in store.stations():
        try:
            if state := store.state(name):
                states.append(state)
        except EdgeError as error:
            path = store.folder / "stations" / f"{name}.json"
            troubles.append(_trouble(path, "station", str(error)))
    return states, troubles


def _trouble(path: Path, where: str, why: str) -> Row:
    return Row(
        name=path.name, version="", content_sha256="", where=where, path=str(path), trouble=why
    )


def _installed(one: Installed, store: Store, states: Sequence[StationState]) -> Row:
    installed_at, used = utc_text(one.installed_ns), store.uses(one.digest, states)
    try:
        return _row(one.load(), "store", installed_at, used)
    except PackageError as error:
        return Row(
            name=one.name,
            version=one.version,
            content_sha256=one.digest,
            where="store",
            path=str(one.path),
            installed_at=installed_at,
            used=used,
            trouble=str(error),
        )


def _row(package: Package, where: str, installed_at: str = "", used: Sequence[str] = ()) -> Row:
    manifest = package.manifest
    return Row(
        name=manifest.name,
        version=manifest.version,
        content_sha256=package.content_sha256,
        where=where,
        path=str(package.path),
        file_sha256=package.file_sha256,
        size=package.size,
        precision=manifest.precision,
        installed_at=installed_at,
        signed_by=_signer(package),
        used=list(used),
    )


def _signer(package: Package) -> str:
    if (found := signature.signed(package)) is None:
        return ""
    return f"{found.who} {found.public[:12]}".strip()
