"""The folder of an archive's results: which archive they are of, and one Parquet file an item.

Files lie as the items are named, `line1/clip.mp4` in `line1/clip.mp4.parquet`. One appears whole
or not at all: it is written beside its place, synchronised and renamed. Only one run at a time
works in a folder.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from edge.archive import table
from edge.archive.identity import FORMAT, Settings, listing_sha256
from edge.archive.items import Item, Refused
from edge.core.errors import RecordsError

# Behind _ and ., where those who read a folder of Parquet as one data set do not look.
LABEL, SUMMARY = "_archive.json", "_summary.json"
_UNFINISHED = ".unfinished"


class Label(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a folder's results are of, as its _archive.json says."""

    format: int = FORMAT
    archive: str
    package: str
    settings: Settings
    split: str
    rows_per_item: int


class Results:
    """A folder of results, held by this run; see `held`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def file(self, item: str) -> Path:
        """Where an item's results lie."""
        return self.folder / f"{item}.parquet"

    def known(self, item: str) -> str:
        """The digest of the results that are there; "" without any, or with a damaged file."""
        there = table.about(self.file(item))
        return there.digest if there else ""

    def parts(self, item: str) -> int:
        """How many parts its results have; 0 without any."""
        there = table.about(self.file(item))
        return there.parts if there else 0

    def put(self, item: str, data: bytes) -> None:
        """Write an item's file, whole or not at all."""
        file = self.file(item)
        file.parent.mkdir(parents=True, exist_ok=True)
        _replace(file, data)

    def put_summary(self, summary: object) -> None:
        """Write _summary.json."""
        _replace(self.folder / SUMMARY, msgspec.json.format(msgspec.json.encode(summary)) + b"\n")

    def stale(self, finished: Iterable[str]) -> tuple[str, ...]:
        """Files of results that belong to none of the finished items; they are left alone."""
        theirs = {self.file(item) for item in finished}
        there = sorted(self.folder.rglob("*.parquet"))
        return tuple(str(f.relative_to(self.folder)) for f in there if f not in theirs)

    def _admit(self, label: Label, items: Iterable[Item | Refused]) -> None:
        """RecordsError unless the folder is empty, of this archive, or of one with equal items."""
        path = self.folder / LABEL
        if path.exists():
            there = _read(path)
            if differs := _difference(there, label):
                raise RecordsError(f"{self.folder}: holds results {differs}; choose another folder")
            if there.archive != label.archive and (other := self._foreign(items)):
                raise RecordsError(
                    f"{self.folder}: holds results of {there.archive}, and {other} is none of "
                    f"{label.archive}; choose another folder"
                )
        elif found := next(self.folder.iterdir(), None):
            raise RecordsError(
                f"{self.folder}: holds {found.name}, but no {LABEL}: not a folder of results; "
                "choose another"
            )
        _replace(path, msgspec.json.format(msgspec.json.encode(label)) + b"\n")

    def _foreign(self, items: Iterable[Item | Refused]) -> str:
        """A file that is of no item here, or of one with other files; "" if all are of these."""
        ours = set()
        for item in items:
            if isinstance(item, Item) and (there := table.about(self.file(item.name))):
                if there.identity.listing_sha256 != listing_sha256(item):
                    return item.name
                ours.add(item.name)
        return next(iter(self.stale(ours)), "")

    def _clear(self) -> None:
        """Remove what a run that was killed left half written."""
        for file in self.folder.rglob(f".*{_UNFINISHED}"):
            file.unlink(missing_ok=True)


@contextmanager
def held(out: Path, label: Label, items: Iterable[Item | Refused]) -> Iterator[Results]:
    """The results in `out` for this run alone; the folder is made where it is missing.

    items: of the archive, walked only where the results are of one that lay elsewhere.
    RecordsError for a folder of another archive, package or setting, or one that is in use.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = os.open(out, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as why:
        raise RecordsError(f"{out}: no folder for results: {why.strerror}") from None
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # gone with the process, however
        except OSError:
            raise RecordsError(f"{out}: another run is writing its results there") from None
        results = Results(out)
        results._admit(label, items)
        results._clear()
        yield results
    finally:
        os.close(lock)


def _read(path: Path) -> Label:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Label)
    except (OSError, msgspec.DecodeError) as why:
        raise RecordsError(f"{path}: does not say what the results are of: {why}") from None


def _difference(there: Label, here: Label) -> str:
    """The first setting in which two labels differ, in words; the archive's place is none."""
    if there.settings.content_sha256 != here.settings.content_sha256:
        short = there.settings.content_sha256[:12]
        return f"of package {there.package} ({short}), not of {here.package}"
    for name in ("format", "split", "rows_per_item"):
        if getattr(there, name) != getattr(here, name):
            return f"with {name} {getattr(there, name)}, not {getattr(here, name)}"
    for name in ("provider", "threads"):
        if getattr(there.settings, name) != getattr(here.settings, name):
            old, new = getattr(there.settings, name), getattr(here.settings, name)
            return f"with {name} {old}, not {new}"
    return ""


def _replace(file: Path, data: bytes) -> None:
    """Put data in a file's place at once; RecordsError naming it where the disk refuses."""
    unfinished = file.with_name(f".{file.name}{_UNFINISHED}")
    try:
        with unfinished.open("wb") as opened:
            opened.write(data)
            opened.flush()
            os.fsync(opened.fileno())
        unfinished.replace(file)
    except OSError as why:
        unfinished.unlink(missing_ok=True)
        raise RecordsError(f"{file}: cannot be written: {why.strerror}") from None
