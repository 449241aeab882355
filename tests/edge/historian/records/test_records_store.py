"""Opening and writing: what a person can get wrong, and what a disk can."""

from __future__ import annotations

import os
import resource
import sqlite3
import stat
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge.core.errors import RecordsError
from edge.historian.records import schema
from edge.historian.records.books import Books
from edge.historian.records.query import count, query
from edge.historian.records.verify import verify

PEM = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8)


def pem(key, password: bytes | None = None) -> bytes:
    hidden = serialization.BestAvailableEncryption(password) if password else None
    return key.private_bytes(*PEM, hidden or serialization.NoEncryption())


def write_key(path, data: bytes, mode: int = 0o600) -> None:
    path.write_bytes(data)
    path.chmod(mode)


def test_a_new_database_is_as_promised(line):
    line.begin()
    connection = sqlite3.connect(line.path)
    told = {
        name: connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("journal_mode", "auto_vacuum", "user_version", "application_id")
    }
    strict = {name: row for _, name, *_, row in connection.execute("PRAGMA table_list")}
    connection.close()
    assert told == {
        "journal_mode": "wal",
        "auto_vacuum": 2,
        "user_version": schema.NEWEST,
        "application_id": schema.APPLICATION_ID,
    }
    assert all(one for name, one in strict.items() if not name.startswith("sqlite_"))
    key = line.path.with_suffix(".key")
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    loaded = serialization.load_pem_private_key(key.read_bytes(), None)
    assert loaded.public_key().public_bytes_raw().hex() == verify(line.path).public_key


def test_a_raw_key_signs_too(tmp_path):
    key = Ed25519PrivateKey.generate()
    write_key(tmp_path / "raw.key", key.private_bytes_raw())
    Books(tmp_path / "line.db", key=tmp_path / "raw.key").close()
    assert verify(tmp_path / "line.db").public_key == key.public_key().public_bytes_raw().hex()


KEYS = {  # what lies where the key should -> mode, and the word that says so
    "open to others": (pem(Ed25519PrivateKey.generate()), 0o640, "chmod 600"),
    "of another kind": (pem(generate_private_key(SECP256R1())), 0o600, "another kind"),
    "with a password": (pem(Ed25519PrivateKey.generate(), b"secret"), 0o600, "password"),
    "no key": (b"hello", 0o600, "not a key"),
    "empty": (b"", 0o600, "not a key"),
    "another one": (pem(Ed25519PrivateKey.generate()), 0o600, "not the key that signs line.db"),
}


@pytest.mark.parametrize("begun", [False, True], ids=["new database", "one begun"])
@pytest.mark.parametrize("name", KEYS)
def test_a_key_that_cannot_sign_is_refused(tmp_path, name, begun):
    data, mode, word = KEYS[name]
    path = tmp_path / "line.db"
    if begun:
        Books(path).close()
    elif name == "another one":
        return
    write_key(path.with_suffix(".key"), data, mode)
    with pytest.raises(RecordsError, match=word):
        Books(path)


def test_a_key_that_is_gone_is_not_made_again(tmp_path):
    Books(tmp_path / "line.db").close()
    (tmp_path / "line.key").unlink()
    with pytest.raises(RecordsError, match=r"line\.key: no such file; it signs line\.db"):
        Books(tmp_path / "line.db")


def test_one_writer_at_a_time(line, tmp_path):
    alias = tmp_path / "alias.db"
    alias.symlink_to(line.path)
    for path in (line.path, alias):
        with pytest.raises(RecordsError, match=f"process {os.getpid()} is writing"):
            Books(path, key=line.path.with_suffix(".key"))
    line.books.close()
    line.books = Books(line.path)  # free again
    assert line.begin() == 0


def another_program(path):
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE songs (name)")
    connection.close()


def newer(path):
    Books(path).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()


FOREIGN = {
    "text": (lambda path: path.write_text("part,verdict\n" * 200), "not a database"),
    "another program's": (another_program, "of another program"),
    "newer": (newer, f"version 99; this edge knows up to {schema.NEWEST}"),
    "a folder": (lambda path: path.mkdir(), "line.db"),
    "cut": (lambda path: (newer(path), os.truncate(path, 5000)), "damaged|not a database|99"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_file_that_is_no_records_of_ours_is_refused_and_left_alone(tmp_path, name):
    make, words = FOREIGN[name]
    path = tmp_path / "line.db"
    make(path)
    before = path.read_bytes() if path.is_file() else b""
    for use in (Books, verify, count, lambda path: list(query(path))):
        with pytest.raises(RecordsError, match=words) as refused:
            use(path)
        assert "\n" not in str(refused.value)
    assert before == (path.read_bytes() if path.is_file() else b"")


def test_an_empty_file_is_a_database_to_be(tmp_path):
    path = tmp_path / "line.db"
    path.touch()
    with pytest.raises(RecordsError, match="not inspection records: no tables"):
        count(path)
    Books(path).close()
    assert count(path) == 0


def test_reading_makes_no_files(line, tmp_path):
    line.begin()
    line.parts(1, 2)
    line.books.close()
    before = sorted(tmp_path.iterdir())
    assert len(list(query(line.path))) == 2
    assert verify(line.path).problems == ()
    with pytest.raises(RecordsError, match="No such file"):
        count(tmp_path / "absent.db")
    assert sorted(tmp_path.iterdir()) == before
    line.books = Books(line.path)


def test_reading_says_when_a_station_began_meanwhile(line):
    line.begin()
    line.parts(1, 2)
    line.books.close()
    rows = query(line.path)
    next(rows)
    line.books = Books(line.path)
    with pytest.raises(RecordsError, match="a station began to write"):
        list(rows)


def test_a_folder_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RecordsError, match=r"file: cannot be made: (File exists|Not a dir)"):
        Books(tmp_path / "file" / "line.db")
    with readonly_folder() as folder:
        with pytest.raises(RecordsError, match=r"line\.db: cannot be written: Permission denied"):
            Books(folder / "line.db")
        assert count(folder / "old.db") == 0  # but read it can be


@contextmanager
def readonly_folder():
    """A folder with a database in it, as a user sees it who may only read it."""
    with tempfile.TemporaryDirectory() as name:
        folder, user = Path(name), os.geteuid()
        Books(folder / "old.db").close()
        folder.chmod(0o555)
        try:
            if user == 0:  # who may write everywhere
                os.seteuid(65534)
            yield folder
        finally:
            os.seteuid(user)
            folder.chmod(0o755)


def test_a_full_disk_keeps_what_was_taken_for_the_next_commit(line):
    """The system's own limit on the size of files: a write fails as on a full disk."""
    line.begin()
    line.parts(1, 3)
    line.books.commit(line.told)
    line.parts(4, 60)
    head = line.books.head
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    size = os.path.getsize(f"{line.path}-wal")
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 8192, usual[1]))
    try:
        for _ in range(2):
            with pytest.raises(RecordsError, match="full"):
                line.books.commit(line.told)
        line.parts(61, 62)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    assert count(line.path) == 3
    assert verify(line.path).problems == ()
    line.books.commit(line.told)
    assert count(line.path) == 62
    found = verify(line.path, head=f"{head[0]}:{head[1]}")
    assert (found.problems, found.parts) == ((), 62)


def test_somebody_elses_lock_is_said_and_the_next_commit_writes(line, monkeypatch):
    line.begin()
    line.parts(1, 3)
    other = sqlite3.connect(line.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    line.books._connection.execute("PRAGMA busy_timeout = 10")
    with pytest.raises(RecordsError, match="another program has it open for writing"):
        line.books.commit(line.told)
    other.execute("ROLLBACK")
    other.close()
    line.books.commit(line.told)
    assert verify(line.path).parts == 3
