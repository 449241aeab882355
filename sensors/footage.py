"""Footage: recorded parts with their labels, opened and checked before anything runs.

What can be opened: a data-set folder (manifest.csv, the rows of one split), a .csv of rows in
replay order, a folder of pictures (those in good/ and defect/ are labelled so), a video, a
station's recording (.mcap). A row whose own file is broken or missing is no error here: its part
becomes a NoFrame when its turn comes.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import cv2

from edge.core.errors import FootageError
from edge.core.types import Record, ViewSpec
from sensors.readers import FileReader, VideoReader, open_video
from sensors.scheduled import Label, Reader

if TYPE_CHECKING:
    from sensors.mcap import Recording

NS_PER_S = 1_000_000_000
PICTURE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
_RECORDING_SUFFIX = ".mcap"
_LABELS: dict[str, Label | None] = {
    "good": "good",
    "defect": "defect",
    "unlabelled": None,
    "": None,
}


class FootageRow(Record, frozen=True):
    """One part: a file for each view (none for a video), what it is known to be, and when it comes.

    timestamp_ns counts from the first row; None where the footage gives no times. marks: where its
    defect is, a table of boxes (.txt) or a mask picture; None where nobody says.
    """

    paths: tuple[Path | None, ...]
    label: Label | None = None
    defect_type: str = ""
    group: str = ""
    timestamp_ns: int | None = None
    marks: Path | None = None


class Footage:
    """Rows in replay order, as a camera's `Rows`: row n is part n + 1."""

    def __init__(
        self,
        source: Path,
        rows: Sequence[FootageRow],
        views: tuple[ViewSpec, ...],
        *,
        rate_hz: float,
        video: bool = False,
    ) -> None:
        """rate_hz spaces the rows that give no times of their own."""
        self.source, self.rows, self.views = source, tuple(rows), views
        self.rate_hz, self.video = rate_hz, video

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def parts(self) -> int | None:
        return len(self.rows)

    def arrival_ns(self, row: int) -> int:
        given = self.rows[row].timestamp_ns
        return round(row * NS_PER_S / self.rate_hz) if given is None else given

    def label(self, part: int) -> Label | None:
        return self.rows[part - 1].label

    def defect_type(self, part: int) -> str:
        return self.rows[part - 1].defect_type

    def encoder(self, row: int) -> int | None:
        return None

    def reader(self) -> Reader:
        if self.video:
            return VideoReader(self.source, self.views[0])
        return FileReader(self.views, [row.paths for row in self.rows])


def open_footage(
    path: str | Path,
    *,
    views: tuple[ViewSpec, ...],
    split: str = "test",
    rate_hz: float = 20.0,
) -> Footage | Recording:
    """Open and check footage for these views; raises FootageError with one line for a person.

    split: which rows of a data set's manifest. rate_hz: parts a second where the footage has
    no times (a video has its own rate).
    """
    path = Path(path)
    if not 0.0 < rate_hz <= 10_000.0:
        raise FootageError(f"rate_hz {rate_hz:g}: above 0 and at most 10000")
    if not any(view.kind == "picture" for view in views):
        raise FootageError("the package has no view of kind picture: footage cannot feed it")
    if path.is_dir():
        if (path / "manifest.csv").is_file():
            rows = _table(path / "manifest.csv", views, split=split)
        elif (path / "footage.csv").is_file():
            rows = _table(path / "footage.csv", views)
        else:
            rows = _pictures(path, views)
    elif not path.exists():
        raise FootageError(f"{path}: no such file or folder")
    elif path.suffix.lower() == ".csv":
        rows = _table(path, views)
    elif path.suffix.lower() == _RECORDING_SUFFIX:
        from sensors.mcap import open_recording  # 60 ms, which a camera's station need not wait

        recording = open_recording(path)
        recording.check(views)
        return recording
    else:
        return _video(path, views, rate_hz)
    return Footage(path, rows, views, rate_hz=rate_hz)


def refuse_recordings(folder: Path) -> None:
    """FootageError where recordings lie in a folder that would be read as pictures.

    They would be passed over without a word, and the pictures alone scored.
    """
    if any((folder / table).is_file() for table in ("manifest.csv", "footage.csv")):
        return
    found = sum(file.suffix.lower() == _RECORDING_SUFFIX for file in folder.rglob("*"))
    if found:
        holds = "1 recording" if found == 1 else f"{found} recordings"
        raise FootageError(
            f"{folder}: a folder with {holds} ({_RECORDING_SUFFIX}): give one file, "
            "or score all with `edge replay --out`"
        )


def columns_of(views: tuple[ViewSpec, ...]) -> tuple[str, ...]:
    """The column that feeds each view: path, reference_path, samples_path; a second view of a
    kind takes a column named after it (`<name>_path`).
    """
    usual = {"picture": "path", "reference": "reference_path", "samples": "samples_path"}
    columns: list[str] = []
    for view in views:
        column = usual[view.kind]
        columns.append(column if column not in columns else f"{view.name}_path")
    return tuple(columns)


def _table(
    file: Path, views: tuple[ViewSpec, ...], *, split: str | None = None
) -> list[FootageRow]:
    """Rows of a manifest (one split of it) or of a footage file; paths are relative to it."""
    cells = list(_read_csv(file, ("path",) if split is None else ("path", "label", "split")))
    if split is not None:
        splits = sorted({row["split"] for _, row in cells})
        cells = [(line, row) for line, row in cells if row["split"] == split]
        if not cells and splits:
            raise FootageError(f"{file}: no rows of split {split!r}; it has {', '.join(splits)}")
    if not cells:
        raise FootageError(f"{file}: no rows")
    columns = columns_of(views)
    for view, column in zip(views, columns, strict=True):
        if not any(row.get(column) for _, row in cells):
            raise FootageError(
                f"{file}: the package wants view {view.name} ({view.kind}), "
                f"and no row has a {column}"
            )
    rows: list[FootageRow] = []
    first_ns = last_ns = _timestamp_ns(file, *cells[0])
    for line, row in cells:
        label = row.get("label", "")
        if label not in _LABELS:
            raise FootageError(f"{file} line {line}: label {label!r}; allowed: good, defect, empty")
        at_ns = _timestamp_ns(file, line, row)
        if (at_ns is None) != (first_ns is None) or (at_ns or 0) < (last_ns or 0):
            raise FootageError(f"{file} line {line}: timestamp_ns is absent or runs backwards")
        last_ns = at_ns
        marks = row.get("boxes_path") or row.get("mask_path")
        rows.append(
            FootageRow(
                paths=tuple(file.parent / row[c] if row.get(c) else None for c in columns),
                label=_LABELS[label],
                defect_type=row.get("defect_type", ""),
                group=row.get("group", ""),
                timestamp_ns=None if at_ns is None else at_ns - cast(int, first_ns),
                marks=file.parent / marks if marks else None,
            )
        )
    return rows


def _read_csv(file: Path, needed: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    """(line number, cells by column) of each row; raises FootageError."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as text:
            table = csv.reader(text)
            header = next(table, [])
            missing = [column for column in needed if column not in header]
            if missing:
                raise FootageError(
                    f"{file}: no column {', '.join(missing)}; it has {', '.join(header) or 'none'}"
                )
            for cells in table:
                if not cells:
                    continue
                if len(cells) != len(header):
                    raise FootageError(
                        f"{file} line {table.line_num}: {len(cells)} cells, not {len(header)}"
                    )
                yield table.line_num, dict(zip(header, cells, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as why:
        raise FootageError(f"{file}: not a readable CSV file: {why}") from why


_MOST_DIGITS = 19  # nanoseconds since 1970 have 19


def _timestamp_ns(file: Path, line: int, row: dict[str, str]) -> int | None:
    text = row.get("timestamp_ns", "")
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > _MOST_DIGITS:
        shown = text if len(text) <= _MOST_DIGITS else f"{text[:_MOST_DIGITS]}..."
        raise FootageError(f"{file} line {line}: timestamp_ns {shown!r} is not a whole number")
    return int(text)


def _pictures(folder: Path, views: tuple[ViewSpec, ...]) -> list[FootageRow]:
    """Every picture below a folder, sorted by path; labelled as the folder it is in is called."""
    refuse_recordings(folder)
    files = sorted(f for f in folder.rglob("*") if f.suffix.lower() in PICTURE_SUFFIXES)
    if not files:
        raise FootageError(
            f"{folder}: no manifest.csv, no footage.csv and no pictures "
            f"({' '.join(PICTURE_SUFFIXES)})"
        )
    _only_picture(folder, views, "a folder of pictures")
    return [FootageRow(paths=(file,), label=_label_of(file, folder)) for file in files]


def _label_of(file: Path, folder: Path) -> Label | None:
    """good or defect, by the nearest of its folders that is called so; as a build reads them."""
    names = (folder.resolve().name, *file.relative_to(folder).parts[:-1])
    return next((_FOLDERS[name] for name in reversed(names) if name in _FOLDERS), None)


_FOLDERS: dict[str, Label] = {"good": "good", "defect": "defect"}


def _video(path: Path, views: tuple[ViewSpec, ...], rate_hz: float) -> Footage:
    """Rows are the frames. They are counted by decoding them once, as headers often lie."""
    _only_picture(path, views, "a video")
    capture = open_video(path)
    frames, rate = 0, capture.get(cv2.CAP_PROP_FPS)
    while capture.grab():
        frames += 1
    capture.release()
    if not frames:
        raise FootageError(f"{path}: not a video with a decodable frame")
    rows = [FootageRow(paths=())] * frames
    own_rate = 0.0 < rate <= 1000.0  # some containers have none, others 90000
    return Footage(path, rows, views, rate_hz=rate if own_rate else rate_hz, video=True)


def _only_picture(path: Path, views: tuple[ViewSpec, ...], what: str) -> None:
    if len(views) != 1:
        names = ", ".join(f"{view.name} ({view.kind})" for view in views)
        raise FootageError(f"{path}: {what} has one picture a part, and the package wants {names}")
