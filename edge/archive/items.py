"""What an archive holds: the footage found below one path, cut into work items.

A folder with a manifest.csv or a footage.csv is one footage, and so is a .csv table, a video, a
recording, and a folder that has pictures of its own (with all pictures below it). Footage whose
rows are files is cut into items of so many rows; a video or recording is read from its beginning
and stays whole. Everything comes in one order: names compared component by component, as text.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from edge.core.errors import EdgeError, FootageError
from edge.core.types import Record, ViewSpec
from sensors.footage import PICTURE_SUFFIXES, Footage, FootageRow, open_footage

VIDEO_SUFFIXES = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ts", ".webm", ".wmv")
WHOLE_SUFFIXES = (*VIDEO_SUFFIXES, ".mcap")
TABLES = ("manifest.csv", "footage.csv")  # in open_footage's order
ROWS_PER_ITEM = 256  # about 2 s of work; a task costs milliseconds


class Item(Record, frozen=True):
    """One piece of work: a file read whole, or a stretch of rows whose files are read.

    name is unique and without the archive's own place: the path below it, and `rows-FIRST-LAST`
    behind it where rows were cut. path is what the footage was opened from. first is the
    footage's own number of the first part.
    """

    name: str
    path: Path
    first: int = 1
    rows: tuple[FootageRow, ...] = ()


class Refused(Record, frozen=True):
    """Footage that cannot be scored, and why."""

    name: str
    reason: str


class Archive:
    """The items below a path, found while they are asked for, so that no size is too large.

    A package's `views` and the `split` of data sets are what open_footage takes. leave: a folder
    that is passed over, since results may lie in the archive.
    """

    def __init__(
        self,
        path: Path,
        views: tuple[ViewSpec, ...],
        *,
        split: str = "test",
        rows_per_item: int = ROWS_PER_ITEM,
        leave: Path | None = None,
    ) -> None:
        """FootageError where there is no such path."""
        if not path.exists():
            raise FootageError(f"{path}: no such file or folder")
        self.path, self._views, self._split = path, views, split
        self._rows_per_item, self._leave = rows_per_item, leave
        self.ignored = 0  # files that are no footage, of the last walk

    def items(self) -> Iterator[Item | Refused]:
        """Walk the archive, once from the beginning for each call."""
        self.ignored = 0
        if self.path.is_dir():
            yield from self._folder(self.path, frozenset())
        else:
            yield from self._file(self.path)

    def _folder(self, folder: Path, above: frozenset[tuple[int, int]]) -> Iterator[Item | Refused]:
        """above: the folders on the way here, for a link that leads back to one of them."""
        try:
            here = folder.stat()
            entries = sorted(folder.iterdir())
        except OSError as why:
            yield Refused(self._name(folder), f"cannot be read: {why.strerror}")
            return
        place = (here.st_dev, here.st_ino)
        if place in above:
            self.ignored += 1
            return
        if any((folder / table).is_file() for table in TABLES):
            yield from self._cut(folder)
            return
        if any(_is_picture(entry) for entry in entries):
            other = _other_footage(folder)
            if other is None:
                yield from self._cut(folder)
                return
            # open_footage takes every picture below: those of the other footage would count twice.
            yield Refused(
                self._name(folder),
                f"its pictures lie beside other footage ({other.name}): "
                "move them to a folder of their own",
            )
        for entry in entries:
            if entry.is_dir():
                if entry != self._leave:
                    yield from self._folder(entry, above | {place})
            elif not _is_picture(entry):
                yield from self._file(entry)

    def _file(self, file: Path) -> Iterator[Item | Refused]:
        suffix = file.suffix.lower()
        if suffix in WHOLE_SUFFIXES:
            yield _named(self._name(file), file)
        elif suffix == ".csv" or file == self.path:
            yield from self._cut(file)
        else:
            self.ignored += 1

    def _cut(self, path: Path) -> Iterator[Item | Refused]:
        """Open footage whose rows are files, and cut it."""
        name, size = self._name(path), self._rows_per_item
        try:
            footage = open_footage(path, views=self._views, split=self._split)
        except (EdgeError, OSError) as why:
            yield Refused(name, str(why))
            return
        if not isinstance(footage, Footage) or footage.video:
            yield _named(name, path)
            return
        for start in range(0, len(footage.rows), size):
            rows = footage.rows[start : start + size]
            cut = f"rows-{start + 1:08}-{start + len(rows):08}"
            yield _named(cut if name == "." else f"{name}/{cut}", path, start + 1, rows)

    def _name(self, path: Path) -> str:
        if path == self.path:
            return "." if path.is_dir() else path.name
        return path.relative_to(self.path).as_posix()


def _named(
    name: str, path: Path, first: int = 1, rows: tuple[FootageRow, ...] = ()
) -> Item | Refused:
    """The item; refused where its name is no text, since a table of results cannot hold it."""
    try:
        name.encode()
    except UnicodeEncodeError:
        shown = os.fsencode(name).decode(errors="backslashreplace")
        return Refused(shown, "its name is not UTF-8")
    return Item(name, path, first, rows)


def order(name: str) -> tuple[str, ...]:
    """What items are sorted by: the order in which a walk finds them."""
    return PurePosixPath(name).parts


def _is_picture(entry: Path) -> bool:
    return entry.suffix.lower() in PICTURE_SUFFIXES and not entry.is_dir()


def _other_footage(folder: Path) -> Path | None:
    """The first footage at or below a folder that is no picture."""
    for place, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            if Path(name).suffix.lower() in (*WHOLE_SUFFIXES, ".csv"):
                return Path(place, name)
    return None
