"""Footage around events, files that follow one another, what goes when there is too much."""

from __future__ import annotations

import numpy as np
import pytest

from edge.core.clock import NS_PER_S
from edge.core.config import RecordingOptions, RecordsOptions
from edge.core.history import Closed, Noted, Opened, Session
from edge.core.types import (
    Action,
    Cause,
    Deadline,
    Decision,
    Fault,
    PartRecord,
    Verdict,
    ViewSpec,
)
from edge.historian import disk, film
from edge.historian.film import Film, Shot
from sensors.mcap import open_recording

VIEW = ViewSpec("image", "picture", "uint8", (32, 32))
SESSION = Session(
    session=7, station="cell", started_ns=0, started_utc_ns=NS_PER_S, who="x", package="p",
    content_sha256="0" * 64, file_sha256="0" * 64, views=(VIEW,), provider="cpu", threads=1,
    precision="int8", pass_below=0.5, fail_from=0.5, cpu="",
)  # fmt: skip
PERIOD_NS = NS_PER_S // 10


def shot(part: int, verdict: Verdict | None = Verdict.PASS, *, seen: bool = True) -> Shot:
    at_ns = part * PERIOD_NS
    deadline = Deadline(at_ns, at_ns + 45_000_000, at_ns + 50_000_000)
    if verdict is None:
        decision = Decision(part, Action.REJECT, Cause.FAULT, fault=Fault.UNFIT_IMAGE)
    else:
        decision = Decision(part, Action.ACCEPT, Cause.VERDICT, verdict=verdict, score=0.1)
    record = PartRecord(part, part, deadline, decision, frame_ns=at_ns, decided_ns=at_ns + 1)
    picture = np.random.default_rng(part).integers(0, 256, (32, 32), dtype=np.uint8)
    views = {"image": picture} if seen else None
    closed = Closed(record, "kept" if seen else "lost")
    return Shot(Opened(part, part, None, deadline), closed, views, None)


class Kept:
    """A film and what it told."""

    def __init__(self, folder, records: dict | None = None, **recording) -> None:
        self.folder = folder
        self.kept: list[tuple[str, int, str]] = []
        self.told: list[tuple[str, int, str]] = []
        self.film = Film(
            SESSION,
            RecordsOptions(**(records or {}) | {"min_free_gib": 0.0}),
            RecordingOptions(path=str(folder / "footage"), **recording),
            tell=lambda *told: self.told.append(told),
            kept=lambda *told: self.kept.append(told),
            utc_ns=lambda: 10 * NS_PER_S,
        )

    def take(self, *shots: Shot | Noted) -> None:
        for one in shots:
            self.film.take(one)
        self.film.close()

    def files(self):
        return sorted((self.folder / "footage").glob("*.mcap"))

    def parts(self) -> list[int]:
        return [row.record.part for file in self.files() for row in open_recording(file).rows]


def test_every_part_is_in_footage_and_told_of_when_it_is_on_disk(tmp_path):
    kept = Kept(tmp_path, keep="all")
    kept.take(*(shot(part) for part in range(1, 21)), Noted("limit", 0, "words", 5))
    assert kept.parts() == list(range(1, 21))
    (file,) = kept.files()
    assert kept.kept == [("footage", part, file.name) for part in range(1, 21)]


@pytest.mark.parametrize("verdict", [Verdict.FAIL, Verdict.INDETERMINATE, None])
def test_only_what_is_around_an_event_is_kept(tmp_path, verdict):
    kept = Kept(tmp_path, keep="events", pre_s=0.5, post_s=0.3)
    kept.take(*(shot(part, verdict if part == 20 else Verdict.PASS) for part in range(1, 41)))
    assert kept.parts() == list(range(15, 24))


def test_two_events_close_together_are_one_stretch(tmp_path):
    kept = Kept(tmp_path, keep="events", pre_s=0.2, post_s=0.2)
    kept.take(*(shot(p, Verdict.FAIL if p in (10, 12, 20) else Verdict.PASS) for p in range(1, 31)))
    assert kept.parts() == [*range(8, 15), *range(18, 23)]


def test_a_part_whose_picture_was_lost_is_in_footage_without_it(tmp_path):
    kept = Kept(tmp_path, keep="all")
    kept.take(shot(1), shot(2, seen=False), shot(3))
    (file,) = kept.files()
    assert [row.has_picture for row in open_recording(file).rows] == [True, False, True]
    assert [part for _, part, _ in kept.kept] == [1, 3]


def test_files_follow_one_another_and_the_oldest_go(tmp_path, monkeypatch):
    monkeypatch.setattr(film, "THIN_NS", 0)
    monkeypatch.setattr(film, "FLUSH_NS", 0)
    kept = Kept(tmp_path, keep="all", file_mib=1, keep_gib=2.5 / 1024)
    big = np.random.default_rng(0).integers(0, 256, (512, 512), dtype=np.uint8)
    wide = ViewSpec("image", "picture", "uint8", (512, 512))
    kept.film._session = SESSION
    kept.film._reel._session = Session(**{
        **{name: getattr(SESSION, name) for name in SESSION.__struct_fields__}, "views": (wide,)
    })  # fmt: skip
    shots = [shot(part)._replace(views={"image": big}) for part in range(1, 31)]
    kept.take(*shots)
    parts = kept.parts()
    assert 0 < len(parts) < 30
    assert parts == list(range(parts[0], 31))  # the newest, whole


def test_a_disk_that_refuses_costs_the_footage_and_each_picture_is_told(tmp_path, monkeypatch):
    kept = Kept(tmp_path, keep="all")

    def refuse(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(film.FootageWriter, "part", refuse)
    kept.take(shot(1), shot(2))
    assert ("picture_lost", 1, "no room on the disk") in kept.told
    assert ("picture_lost", 2, "no room on the disk") in kept.told
    assert any("no footage is kept" in detail for _, _, detail in kept.told)
    assert kept.kept == []


def test_old_footage_goes_before_new_footage_stops(tmp_path, monkeypatch):
    folder = tmp_path / "footage"
    folder.mkdir()
    for name in ("a", "b", "c"):
        (folder / f"{name}.mcap").write_bytes(b"x" * 1000)
    watched = disk.Disk(tmp_path, 10_000)
    monkeypatch.setattr(disk, "free_bytes", lambda folder: 11_000)
    assert watched.lacking_bytes() == 1000
    keeping = film._Keeping(RecordsOptions(), RecordingOptions(path=str(folder)))
    keeping.thin(0, None, watched.lacking_bytes())
    assert len(list(folder.glob("*.mcap"))) == 2


def test_evidence_is_of_what_did_not_pass_and_of_a_share_of_what_did(tmp_path):
    records = {"path": str(tmp_path / "r.db"), "pass_share": 0.1}
    kept = Kept(tmp_path, records, keep="events")
    kept.take(*(shot(p, Verdict.FAIL if p in (5, 7) else Verdict.PASS) for p in range(1, 31)))
    shown = [(part, name) for kind, part, name in kept.kept if kind == "evidence"]
    assert [part for part, _ in shown] == [5, 7, 10, 20, 30]
    assert all((tmp_path / "r-evidence" / name).is_file() for _, name in shown)
