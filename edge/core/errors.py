"""Errors a person can cause, as one tree.

    EdgeError                 anything this product raises on purpose; exit code 2, one line
    +-- ConfigError           a station file, a recipe or an option: key and what is allowed
    +-- PackageError          a model package that is damaged, hostile, or not what was asked for
    +-- FootageError          a data set, folder or video that cannot be replayed as asked
    +-- CameraError           a camera that cannot be opened
    +-- EngineError           an engine worker or provider that cannot be started
    +-- WireError             an address, peer or message the wire refuses
    +-- RecordsError          a database, key or folder of records that cannot be used

Trouble with a single part of a running station is not an exception: it is a `Fault`
(edge/core/types.py), so that it cannot be mistaken for a result on its way up.
"""

from __future__ import annotations

from collections.abc import Sequence


class EdgeError(Exception):
    """One clear line for a person: what is wrong, its name, and what is allowed."""


class ConfigError(EdgeError):
    """A key, value or option that is not admitted; the line names it and the allowed ones."""


class PackageError(EdgeError):
    """A model package that is damaged, hostile, too new, or lacks what was asked of it."""


class FootageError(EdgeError):
    """Footage that cannot be replayed: no manifest, columns, rows, views or decodable video."""


class CameraError(EdgeError):
    """A camera or stream that cannot be opened."""


class EngineError(EdgeError):
    """A provider that is not there, or an engine worker that does not start.

    table: lines that show why, such as what its golden set came to; for below the one line.
    """

    def __init__(self, message: str, table: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.table = tuple(table)


class WireError(EdgeError):
    """An address that cannot be bound, a controller that does not come, a refused message."""


class RecordsError(EdgeError):
    """Records that cannot be opened, read or written: damaged, newer, foreign, or read-only."""
