"""The tables of a database of inspection records, and the steps from one version to the next.

events      append-only, hash-chained (chain.py); everything else but signatures follows from them
sessions    one row a station's start: its `session` event, and the event that closed it
parts       one row a finished part (rows.py says what each column holds)
open_parts  parts between their trigger and their decision, by the event of the trigger
checkpoints signatures over the chain; tombstones: signed notes of what retention removed
keys        the one public key; heard: the station's last message that is on record
"""

from __future__ import annotations

APPLICATION_ID = 0x45444745  # "EDGE", so that another program's database is told apart

_VERSION_1 = """
CREATE TABLE events (
    event INTEGER PRIMARY KEY,
    session INTEGER NOT NULL,
    part INTEGER NOT NULL,
    kind TEXT NOT NULL,
    at_ns INTEGER NOT NULL,
    utc_ns INTEGER NOT NULL,
    body TEXT NOT NULL,
    hash BLOB NOT NULL
) STRICT;
CREATE INDEX events_of_part ON events (part, session) WHERE part > 0;
CREATE INDEX events_of_station ON events (kind, utc_ns) WHERE part = 0;
CREATE TABLE sessions (
    session INTEGER PRIMARY KEY,
    event INTEGER NOT NULL UNIQUE,
    body TEXT NOT NULL,
    closed INTEGER,
    outcome TEXT CHECK (outcome IN ('ended', 'lost'))
) STRICT;
CREATE TABLE parts (
    session INTEGER NOT NULL,
    part INTEGER NOT NULL,
    number INTEGER NOT NULL,
    encoder INTEGER,
    utc_ns INTEGER NOT NULL,
    lot TEXT NOT NULL,
    package TEXT NOT NULL,
    content_sha256 TEXT NOT NULL,
    provider TEXT NOT NULL,
    pass_below REAL NOT NULL,
    fail_from REAL NOT NULL,
    verdict TEXT,
    action TEXT NOT NULL,
    cause TEXT NOT NULL,
    fault TEXT,
    score REAL,
    detail TEXT NOT NULL,
    regions TEXT NOT NULL,
    truth TEXT NOT NULL,
    defect_type TEXT NOT NULL,
    trigger_ns INTEGER NOT NULL,
    decide_by_ns INTEGER NOT NULL,
    act_by_ns INTEGER NOT NULL,
    frame_ns INTEGER NOT NULL,
    worker_ns INTEGER NOT NULL,
    began_ns INTEGER NOT NULL,
    ended_ns INTEGER NOT NULL,
    answered_ns INTEGER NOT NULL,
    decided_ns INTEGER NOT NULL,
    sent_ns INTEGER NOT NULL,
    received_ns INTEGER NOT NULL,
    acked_ns INTEGER NOT NULL,
    command_id INTEGER NOT NULL,
    applied TEXT,
    late_score REAL,
    done INTEGER,
    confirmed TEXT,
    latency_ms REAL,
    session_ms REAL,
    overrun INTEGER NOT NULL,
    picture TEXT NOT NULL,
    evidence TEXT,
    footage TEXT,
    event INTEGER PRIMARY KEY,
    UNIQUE (part, session)
) STRICT;
CREATE INDEX parts_by_time ON parts (utc_ns);
CREATE INDEX parts_by_verdict ON parts (verdict, utc_ns);
CREATE INDEX parts_by_lot ON parts (lot, utc_ns) WHERE lot <> '';
CREATE INDEX parts_by_fault ON parts (fault, utc_ns) WHERE fault IS NOT NULL;
CREATE INDEX parts_by_defect ON parts (defect_type, utc_ns) WHERE defect_type <> '';
CREATE TABLE open_parts (
    event INTEGER PRIMARY KEY,
    session INTEGER NOT NULL,
    part INTEGER NOT NULL
) STRICT;
CREATE TABLE checkpoints (
    event INTEGER PRIMARY KEY,
    hash BLOB NOT NULL,
    utc_ns INTEGER NOT NULL,
    public_key BLOB NOT NULL,
    signature BLOB NOT NULL
) STRICT;
CREATE TABLE tombstones (
    first INTEGER PRIMARY KEY,
    last INTEGER NOT NULL,
    events INTEGER NOT NULL,
    parts INTEGER NOT NULL,
    utc_ns INTEGER NOT NULL,
    hash_before BLOB NOT NULL,
    hash_after BLOB NOT NULL,
    carried BLOB NOT NULL,
    reason TEXT NOT NULL,
    signature BLOB NOT NULL
) STRICT;
CREATE TABLE keys (public_key BLOB PRIMARY KEY) STRICT;
CREATE TABLE heard (
    session INTEGER PRIMARY KEY,
    number INTEGER NOT NULL,
    hash BLOB NOT NULL
) STRICT;
"""

MIGRATIONS = (_VERSION_1,)  # entry n leads from version n to n + 1
NEWEST = len(MIGRATIONS)


def statements(version: int) -> list[str]:
    """What leads from a version (0: an empty file) to the newest, one statement each."""
    text = "".join(MIGRATIONS[version:])
    return [statement.strip() for statement in text.split(";") if statement.strip()]
