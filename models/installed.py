"""The files of installed packages, by their names alone: which there are, and which is meant."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from edge.core.errors import PackageError
from models import package as packages
from models import signature
from models.package import Package

LEAST_DIGITS = 8  # of a digest that stands for a package
NAMED_DIGITS = 12  # of a digest in a file's name
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")
_FILE = re.compile(r"(.+)-([0-9a-f]{12})(?:\.[0-9a-f]{8})?\.onnx")
_DIGITS = re.compile(rf"[0-9a-f]{{{LEAST_DIGITS},64}}")


class Installed(NamedTuple):
    """A package's file as its name has it; `load` looks whether that is what it holds."""

    name: str
    version: str
    digest: str  # the first 12 digits of content_sha256
    path: Path
    installed_ns: int  # UTC

    def __str__(self) -> str:
        return f"{self.name}@{self.version} {self.digest}"

    def load(self) -> Package:
        """Read and check the file; PackageError where it is not what its name says."""
        loaded = packages.load(self.path)
        name, version = loaded.manifest.name, loaded.manifest.version
        found = name, version, loaded.content_sha256[:NAMED_DIGITS]
        if found != self[:3]:
            raise PackageError(f"{self.path}: holds {name}@{version} {found[2]}, not what it says")
        return loaded

    def is_meant(self, text: str) -> bool:
        """Whether it is what the text names, where that has more digits than the file's name."""
        if self.name == text.partition("@")[0] or len(text) <= NAMED_DIGITS:
            return True
        return self.load().content_sha256.startswith(text.lower())


def place_of(package: Package, folder: Path) -> Path:
    """Where a package's file belongs below the folder of packages; it may be there already.

    A damaged file gives up its place: nobody can begin with it. PackageError where the version
    cannot be part of a file's name.
    """
    manifest = package.manifest
    if not _VERSION.fullmatch(manifest.version):
        allowed = "allowed: up to 64 of A-Z a-z 0-9 . _ + -, the first a letter or digit"
        raise PackageError(
            f"{package.path}: version {manifest.version[:80]!r} cannot be a file; {allowed}"
        )
    name = f"{manifest.version}-{package.content_sha256[:NAMED_DIGITS]}"
    path = folder / manifest.name / f"{name}.onnx"
    if not path.exists() or holds(path, package) or _opened(path) is None:
        return path
    return path.with_name(f"{name}.{package.file_sha256[:8]}.onnx")


def holds(path: Path, package: Package) -> bool:
    """Whether a file is the package, byte for byte."""
    return path.exists() and _file_sha256(path) == package.file_sha256


def files(folder: Path) -> list[Installed]:
    """Every package's file below the folder, the oldest version first."""
    found = []
    for path in folder.glob("*/*.onnx"):
        if one := _of(path):
            found.append(one)
    return sorted(found, key=_age)


def strays(folder: Path) -> list[Path]:
    """Files that nobody installed: they are never used."""
    known = {one.path for one in files(folder)}
    return sorted(path for path in folder.glob("*/*") if path not in known)


def contents(found: Iterable[Installed]) -> list[Installed]:
    """One file a content: an intact one before a damaged one, then as `best` has it."""
    same: dict[tuple[str, str, str], list[Installed]] = {}
    for one in found:
        same.setdefault(one[:3], []).append(one)
    return sorted((_standing(group) for group in same.values()), key=_age)


def best(loaded: Iterable[Package]) -> Package | None:
    """Of packages of one content, the one installed last first: a signed one, else the first.

    An unsigned file that is installed again must not hide the one that a station may demand.
    """
    there = list(loaded)
    return next((one for one in there if _is_signed(one)), there[0] if there else None)


def loaded(found: Iterable[Installed], content_sha256: str) -> list[Package]:
    """The intact files of a content, the one installed last first.

    A damaged file is passed over where another can stand for it; else PackageError names it.
    """
    there, troubles = [], []
    digest = content_sha256[:NAMED_DIGITS]
    same = [one for one in found if one.digest == digest]
    for one in sorted(same, key=lambda one: one.installed_ns, reverse=True):
        try:
            there.append(one.load())
        except PackageError as trouble:
            troubles.append(trouble)
    there = [package for package in there if package.content_sha256 == content_sha256]
    if troubles and not there:
        raise troubles[0]
    return there


def matching(there: Iterable[Installed], text: str) -> list[Installed]:
    """What NAME, NAME@VERSION, or 8 and more digits of a content_sha256 can mean; names first."""
    there = list(there)
    name, _, version = text.partition("@")
    if named := [one for one in there if one.name == name]:
        return [one for one in named if version in ("", one.version)]
    if not _DIGITS.fullmatch(text.lower()):
        return []
    digits = text.lower()[:NAMED_DIGITS]
    return [one for one in there if one.digest.startswith(digits)]


def natural(version: str) -> list[tuple[int, int, str]]:
    """The order of versions: 1.9 before 1.10, 2.0-rc1 before 2.0, 2.0 before 2.0.1 and 2.0b."""
    parts = []
    for part in re.findall(r"[0-9]+|-?[A-Za-z]+", version):
        if part.isdigit():
            parts.append((2, int(part), ""))
        else:
            parts.append((0 if part[0] == "-" else 3, 0, part))
    return [*parts, (1, 0, "")]


def _of(path: Path) -> Installed | None:
    """What a file's name says, None where nobody installed it."""
    if parts := _FILE.fullmatch(path.name):
        return Installed(path.parent.name, parts[1], parts[2], path, path.stat().st_mtime_ns)
    return None


def _opened(path: Path) -> Package | None:
    """A file's package, None where it is damaged or not what its name says."""
    try:
        return one.load() if (one := _of(path)) else None
    except PackageError:
        return None


def _standing(same: list[Installed]) -> Installed:
    """The file that stands for a content; only where there are several are they read."""
    same = sorted(same, key=lambda one: one.installed_ns, reverse=True)
    if len(same) == 1:
        return same[0]
    intact = [package for one in same if (package := _opened(one.path))]
    chosen = best(intact)
    return next((one for one in same if chosen and one.path == chosen.path), same[0])


def _is_signed(package: Package) -> bool:
    """Whether a signature holds; whose it is, only a station knows to ask."""
    try:
        return signature.signed(package) is not None
    except PackageError:
        return False


def _age(one: Installed) -> tuple[str, list[tuple[int, int, str]], int]:
    return one.name, natural(one.version), one.installed_ns


def _file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
