"""Where the store lies, and how anything in it is changed: whole, and by one at a time."""

from __future__ import annotations

import fcntl
import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from edge.core.clock import NS_PER_MS, NS_PER_S, SystemClock, utc_ns
from edge.core.errors import EdgeError

VARIABLE = "EDGE_STORE"
SERVICE_FOLDER = Path("/var/lib/edge")  # the unit's StateDirectory
WAIT_S = 10  # for another process that changes the store
_UNFINISHED = ".part"
_LOCK = ".lock"
_WRITABLE = 0o222  # the mode's bits


def folder_of(option: str | Path = "") -> Path:
    """The store's folder, which need not exist: an option, $EDGE_STORE, the service's, or XDG's.

    The service's is /var/lib/edge/models, for whoever may write in /var/lib/edge: the station, and
    a person who works as its user, find the same folder without being told.
    """
    if named := str(option) or os.environ.get(VARIABLE, ""):
        return Path(named).expanduser().absolute()
    if SERVICE_FOLDER.is_dir() and os.access(SERVICE_FOLDER, os.W_OK | os.X_OK):
        return SERVICE_FOLDER / "models"
    data = os.environ.get("XDG_DATA_HOME", "")
    try:
        own = Path(data) if Path(data).is_absolute() else Path.home() / ".local" / "share"
    except RuntimeError:  # a user without a home
        allowed = f"engine.store, --store or ${VARIABLE}"
        why = f"no folder for packages: this user has no home; name one by {allowed}"
        raise EdgeError(why) from None
    return own / "edge" / "models"


@contextmanager
def changing(folder: Path) -> Iterator[None]:
    """Be the only one who changes the store; EdgeError where that cannot be."""
    _check_owner(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        lock = os.open(folder / _LOCK, flags, 0o644)
    except OSError as error:
        raise EdgeError(f"{folder}: the store cannot be written: {error.strerror}") from None
    try:
        _wait_for(lock, folder)
        yield
    except OSError as error:
        where = error.filename or folder
        raise EdgeError(f"{where}: cannot be changed: {error.strerror}") from None
    finally:
        os.close(lock)


def store_of(path: Path) -> Path | None:
    """The store among whose packages a file lies or would lie, None outside of any."""
    folder = path.resolve().parent.parent
    is_store = folder.name == "packages" and (folder.parent / _LOCK).exists()
    return folder.parent if is_store else None


def write(path: Path, data: bytes, *, is_read_only: bool = False) -> None:
    """Put a file in its place whole, and on disk; for who holds the lock."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f".*{_UNFINISHED}"):  # of a writer that was killed
        left.unlink(missing_ok=True)
    beside = path.with_name(f".{path.name}{_UNFINISHED}")
    try:
        with beside.open("wb") as file:
            file.write(data)
            file.flush()
            now_ns = utc_ns()  # the kernel's own stamp is a few milliseconds coarse
            os.utime(file.fileno(), ns=(now_ns, now_ns))
            if is_read_only:
                os.fchmod(file.fileno(), os.fstat(file.fileno()).st_mode & 0o777 & ~_WRITABLE)
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        raise
    for folder in (path.parent, path.parent.parent):  # its name is on disk too
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def utc_text(utc_ns: int) -> str:
    """An instant for people: "2026-01-31T12:00:00Z"."""
    return f"{datetime.fromtimestamp(utc_ns // NS_PER_S, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _check_owner(folder: Path) -> None:
    """Root leaves another user's store alone: what it made there, the station could not change."""
    there = next(place for place in (folder, *folder.parents) if place.exists())
    owner = there.stat().st_uid
    if os.geteuid() == 0 and owner != 0:
        name = str(owner)
        with suppress(KeyError):
            name = pwd.getpwuid(owner).pw_name
        raise EdgeError(f"{folder}: the store of user {name}: change it as that user (sudo -u)")


def _wait_for(lock: int, folder: Path) -> None:
    clock = SystemClock()
    until_ns = clock.now_ns() + WAIT_S * NS_PER_S
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if clock.now_ns() > until_ns:
                why = f"another process has been changing the store for {WAIT_S} s"
                raise EdgeError(f"{folder}: {why}") from None
            clock.wait((), clock.now_ns() + 20 * NS_PER_MS)
