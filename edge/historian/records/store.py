"""Opening a database of inspection records: by its one writer, or by anybody for reading."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import msgspec

from edge import signing
from edge.core.errors import RecordsError
from edge.core.history import Checkpointed
from edge.historian.records import schema
from edge.historian.records.chain import GENESIS
from edge.signing import Signer

BUSY_S = 2.0  # for somebody else's lock, such as a person's own SQL
_OLDEST_SQLITE = (3, 37)  # STRICT tables
_CACHE_KIB = 16_384
_MOST_LOG_BYTES = 64 << 20  # what the write-ahead log is cut back to
_RECOVERED = "; put it back, or move the database away to begin a new one"


def key_of(path: Path) -> Path:
    """Where the key of a database lies when nothing else is said."""
    return path.with_suffix(".key")


def open_writing(path: Path, key: Path | None) -> tuple[sqlite3.Connection, Signer, int]:
    """The database, its key, and the descriptor that keeps other writers out until it is closed.

    Makes the database and its key where there is none. RecordsError where it is damaged, newer,
    another program's, read-only, being written to already, or its key is not there.
    """
    key = key or key_of(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RecordsError(f"{path.parent}: cannot be made: {error.strerror}") from None
    lock = _lock(path)
    try:
        connection = _connect(path, f"{path.absolute().as_uri()}?mode=rwc")
        try:
            with in_words(path):
                signer = _prepared(path, connection, key)
        except BaseException:
            connection.close()
            raise
    except BaseException:
        os.close(lock)
        raise
    return connection, signer, lock


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A read-only connection on one snapshot; it makes no file and waits for no writer.

    RecordsError where there is nothing that can be read. Beside a writer, or after one that was
    killed, SQLite reads the write-ahead log; else the file is taken to stand still, and when a
    station begins to write meanwhile, that is an error at the end.
    """
    log = Path(f"{os.path.realpath(path)}-wal")  # SQLite's own, beside what a link points at
    try:
        status = path.stat()
        still = not log.exists()
    except OSError as error:
        raise RecordsError(f"{path}: cannot be read: {error.strerror}") from None
    if not stat.S_ISREG(status.st_mode):
        raise RecordsError(f"{path}: not a file; allowed: a database of inspection records")
    uri = path.absolute().as_uri() + ("?immutable=1" if still else "?mode=ro")
    with closing(_connect(path, uri)) as connection, in_words(path):
        version = _version(path, connection)
        if version == 0:
            raise RecordsError(f"{path}: not inspection records: no tables")
        if version < schema.NEWEST:
            raise RecordsError(
                f"{path}: version {version}; start a station on it to bring it to {schema.NEWEST}"
            )
        connection.execute("BEGIN")
        yield connection
        if still and log.exists():
            raise RecordsError(f"{path}: a station began to write while it was read; ask again")


@contextmanager
def in_words(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into RecordsError with one line that a person understands."""
    try:
        yield
    except sqlite3.Error as error:
        name = getattr(error, "sqlite_errorname", "") or ""
        for start, words in _WORDS:
            if name.startswith(start):
                raise RecordsError(f"{path}: {words}") from None
        raise RecordsError(f"{path}: {error}") from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:  # or SQLite's own message is noise
        raise RecordsError(f"{path}: damaged, see `edge records verify`: {error}") from None


def head(connection: sqlite3.Connection) -> tuple[int, bytes]:
    """The number and hash of the last event, as a removal may have left them."""
    for asked in (
        "SELECT event, hash FROM events ORDER BY event DESC LIMIT 1",
        "SELECT last, hash_after FROM tombstones ORDER BY last DESC LIMIT 1",
    ):
        if found := connection.execute(asked).fetchone():
            event, digest = found
            return event, digest
    return 0, GENESIS


def last_checkpoint(connection: sqlite3.Connection) -> Checkpointed | None:
    """The newest signature that is on record."""
    found = connection.execute(
        "SELECT event, hash, signature FROM checkpoints ORDER BY event DESC LIMIT 1"
    ).fetchone()
    return Checkpointed(found[0], found[1].hex(), found[2].hex()) if found else None


_WORDS = (
    ("SQLITE_FULL", "the disk is full"),
    ("SQLITE_READONLY", "cannot be written: read-only"),
    ("SQLITE_PERM", "cannot be opened: permission denied"),
    ("SQLITE_CANTOPEN", "cannot be opened: check the folder's and the file's permissions"),
    ("SQLITE_NOTADB", "not inspection records: not a database"),
    ("SQLITE_CORRUPT", "the database is damaged"),
    ("SQLITE_BUSY", "another program has it open for writing"),
    ("SQLITE_LOCKED", "another program has it open for writing"),
    ("SQLITE_IOERR", "the disk refuses it: full, over a limit, or failing"),
)


def _lock(path: Path) -> int:
    """Keep other writers out, as long as the descriptor is open; freed when the process dies.

    In a file of its own: SQLite's locks on the database would go with any descriptor of it.
    """
    name = f"{os.path.realpath(path)}-writer"
    try:
        lock = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise RecordsError(f"{path}: cannot be written: {error.strerror}") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        pid = os.pread(lock, 20, 0).decode("ascii", "replace").strip() or "unknown"
        os.close(lock)
        raise RecordsError(
            f"{path}: process {pid} is writing to it; one writer at a time"
        ) from None
    with suppress(OSError):  # a full disk: the number is only for the message above
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    return lock


def _connect(path: Path, uri: str) -> sqlite3.Connection:
    if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
        oldest = ".".join(map(str, _OLDEST_SQLITE))
        raise RecordsError(f"SQLite {sqlite3.sqlite_version}: records need {oldest} or newer")
    with in_words(path):
        return sqlite3.connect(uri, uri=True, timeout=BUSY_S, isolation_level=None)


def _version(path: Path, connection: sqlite3.Connection) -> int:
    """The version of its tables, 0 where it is empty; RecordsError where they are not ours."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if not tables and not version and not application:
        return 0
    if application != schema.APPLICATION_ID:
        raise RecordsError(f"{path}: not inspection records: a database of another program")
    if version > schema.NEWEST:
        raise RecordsError(
            f"{path}: records of version {version}; this edge knows up to {schema.NEWEST}"
        )
    return int(version)


def _prepared(path: Path, connection: sqlite3.Connection, key: Path) -> Signer:
    """Set the connection up, bring the tables to the newest version, and fetch the key."""
    version = _version(path, connection)
    if version == 0:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # only before there are tables
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA secure_delete = FAST")
    connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    connection.execute(f"PRAGMA journal_size_limit = {_MOST_LOG_BYTES}")
    signer = _key(key) if version == 0 else _own_key(path, connection, key)
    if version < schema.NEWEST:
        connection.execute("BEGIN IMMEDIATE")
        for statement in schema.statements(version):
            connection.execute(statement)
        if version == 0:
            connection.execute("INSERT INTO keys VALUES (?)", (signer.public,))
        connection.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {schema.NEWEST}")
        connection.execute("COMMIT")
        _sync(path.parent)
    return signer


def _key(path: Path) -> Signer:
    """The key in a file, made where there is none."""
    if path.exists():
        return signing.load(path, RecordsError)
    return signing.make(path, RecordsError)


def _own_key(path: Path, connection: sqlite3.Connection, key: Path) -> Signer:
    """The key that the database was begun with: a change of keys would hide a forgery."""
    if not key.exists():
        raise RecordsError(f"{key}: no such file; it signs {path.name}{_RECOVERED}")
    signer = signing.load(key, RecordsError)
    known = [public for (public,) in connection.execute("SELECT public_key FROM keys")]
    if known != [signer.public]:
        raise RecordsError(f"{key}: not the key that signs {path.name}{_RECOVERED}")
    return signer


def _sync(folder: Path) -> None:
    """Names of new files are on disk too."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
