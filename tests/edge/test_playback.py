"""A station's recording, played again: exact, cut short, of another package, of another model."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest

from edge.core.errors import FootageError, PackageError
from edge.core.history import Closed, served
from edge.historian.footage import FootageWriter
from edge.historian.records.query import query
from edge.historian.records.verify import verify as verify_records
from edge.playback import Asked, against, elsewhere, pictures, replay, verify
from edge.rerun import opened, resolved
from models import package
from models.store import Store
from sensors.mcap import open_recording
from sensors.synthetic import PartGenerator
from sensors.synthetic_camera import write_footage

PARTS = 24
MODEL = "synthetic-part"


@pytest.fixture(scope="module")
def recorded(tmp_path_factory) -> Path:
    """A folder with footage, the recording and the records of a replay of it."""
    folder = tmp_path_factory.mktemp("recorded")
    write_footage(PartGenerator(5), folder / "footage", PARTS)
    asked = Asked(
        footage=folder / "footage",
        model=MODEL,
        record=folder / "out.mcap",
        records=folder / "r.db",
    )
    played = replay(asked)
    assert played.report.conservation_errors == 0
    (folder / "sha256").write_text(played.report.decisions_sha256)
    return folder


def test_everything_of_a_replay_is_kept(recorded):
    recording = open_recording(recorded / "out.mcap")
    assert (recording.parts, recording.whole, recording.exact) == (PARTS, True, True)
    assert all(row.has_picture for row in recording.rows)
    assert verify_records(recorded / "r.db").problems == ()
    rows = list(query(recorded / "r.db"))
    assert [row.part for row in rows] == list(range(1, PARTS + 1))
    assert {row.verdict for row in rows} == {"pass", "fail"}
    assert all(row.truth in ("good", "defect") for row in rows)
    assert {row.defect_type for row in rows} > {""}
    shown = [row for row in rows if row.verdict == "fail"]
    assert all((recorded / "r-evidence" / row.evidence).is_file() for row in shown)


def test_a_recording_is_decided_again_bit_for_bit(recorded):
    found = verify(Asked(footage=recorded / "out.mcap"))
    assert (found.parts, found.judged, found.unseen) == (PARTS, PARTS, 0)
    assert found.differences == []
    assert found.elsewhere == []
    assert found.replayed_sha256 == found.recorded_sha256 == (recorded / "sha256").read_text()


def test_a_recording_of_a_recording_is_the_same(recorded, tmp_path):
    first = replay(Asked(footage=recorded / "out.mcap", record=tmp_path / "again.mcap"))
    assert verify(Asked(footage=tmp_path / "again.mcap")).differences == []
    assert first.report.decisions_sha256 == (recorded / "sha256").read_text()
    assert first.report.detection == 1.0  # the labels came along


def test_a_cut_recording_plays_to_its_last_whole_chunk(recorded, tmp_path):
    data = (recorded / "out.mcap").read_bytes()
    cut = tmp_path / "cut.mcap"
    cut.write_bytes(data[: len(data) * 2 // 3])
    told: list[str] = []
    found = verify(Asked(footage=cut), told.append)
    assert 0 < found.parts < PARTS
    assert found.differences == []
    assert "cut short" in told[0]


@pytest.mark.parametrize(("span", "parts"), [((7, 7), 1), ((20, None), 5), ((None, 3), 3)])
def test_a_span_of_parts_is_played_alone(recorded, span, parts):
    found = verify(Asked(footage=recorded / "out.mcap", span=span))
    assert (found.parts, found.differences) == (parts, [])


def test_real_time_keeps_the_recorded_arrivals_and_the_deadlines(recorded):
    result = replay(Asked(footage=recorded / "out.mcap", pace="recorded")).report
    assert (result.parts, result.conservation_errors) == (PARTS, 0)
    assert result.latency_ms is not None
    twice = replay(Asked(footage=recorded / "out.mcap", pace=2.0)).report
    assert twice.parts == PARTS


@pytest.fixture
def other(tmp_path) -> Path:
    """The same network, with limits that make every part fail."""
    found = package.find(MODEL)
    limits = msgspec.structs.replace(found.manifest.thresholds, pass_below=-1e9, fail_from=-1e9)
    manifest = msgspec.structs.replace(found.manifest, name="strict-part", thresholds=limits)
    model = onnx.load_model_from_string(found.model_bytes())
    del model.metadata_props[:]
    path = tmp_path / "strict.onnx"
    path.write_bytes(package.seal(model.SerializeToString(), manifest))
    return path


def test_another_package_decides_otherwise_and_the_first_field_is_named(recorded, other):
    found = verify(Asked(footage=recorded / "out.mcap", model=str(other)))
    passed = sum(row.verdict == "pass" for row in query(recorded / "r.db"))
    assert len(found.differences) == passed
    assert found.differences[0].endswith("verdict was pass, is fail")
    assert found.replayed_sha256 != found.recorded_sha256


@pytest.mark.parametrize("source", ["footage", "out.mcap"])
def test_flips_against_another_package_come_with_their_pictures(recorded, other, source):
    asked = Asked(footage=recorded / source, model=MODEL)
    flips = against(asked, str(other))
    assert {(flip.old, flip.new) for flip in flips} == {("pass", "fail")}
    shown = list(pictures(asked, [flip.part for flip in flips]))
    assert len(shown) == len(flips)
    assert all(picture is not None and picture.std() > 0 for picture in shown)


def test_a_recording_of_a_package_that_is_not_here_says_so(recorded, other, tmp_path):
    replay(Asked(footage=recorded / "footage", model=str(other), record=tmp_path / "o.mcap"))
    digest = package.load(other).content_sha256
    with pytest.raises(FootageError, match=f"strict-part, content sha256 {digest}.*--model"):
        verify(Asked(footage=tmp_path / "o.mcap"))
    assert verify(Asked(footage=tmp_path / "o.mcap", model=str(other))).differences == []


def test_what_is_not_as_it_was_recorded_with_is_named(recorded):
    session = open_recording(recorded / "out.mcap").session
    elsewhere_now = msgspec.structs.replace(
        session, versions=session.versions | {"onnxruntime": "1.0"}, instruction_sets=("none",)
    )
    told = elsewhere(elsewhere_now, Asked(footage=Path("x"), threads=7), package.find("deeppcb"))
    assert [line.partition(":")[0] for line in told] == [
        "package",
        "threads",
        "instruction sets",
        "onnxruntime",
    ]


@pytest.fixture
def mixed(recorded, other, tmp_path) -> Path:
    """The recording of a station that was given the strict package after 16 of the 24 parts."""
    strict = replay(Asked(footage=recorded / "footage", model=str(other))).records
    limits = package.load(other)
    recording = open_recording(recorded / "out.mcap")
    session = msgspec.structs.replace(recording.session, version="1")
    own = served(None, session)
    theirs = msgspec.structs.replace(
        own,
        package="strict-part",
        version="2",
        content_sha256=limits.content_sha256,
        pass_below=-1e9,
        fail_from=-1e9,
    )
    path = tmp_path / "mixed.mcap"
    writer = FootageWriter(path, session)
    reader = recording.reader()
    arrays = {view.name: np.zeros(view.shape, view.dtype) for view in recording.views}
    for place, row in enumerate(recording.rows):
        serving, decision = own, row.record.decision
        if place >= 16:
            serving, decision = theirs, strict[place].decision
        record = msgspec.structs.replace(row.record, serving=serving, decision=decision)
        reader.fill(place, arrays)
        writer.part(row.opened, Closed(record, "kept"), arrays)
    reader.close()
    writer.close()
    return path


def test_parts_of_another_package_are_counted_and_not_compared(mixed, other):
    digest = package.load(other).content_sha256[:12]
    told: list[str] = []
    found = verify(Asked(footage=mixed), told.append)
    assert (found.parts, found.judged, found.unseen) == (16, 16, 0)
    assert (found.differences, found.elsewhere) == ([], [])
    assert found.left_out == {f"strict-part 2 ({digest}) on cpu": 8}
    assert found.replayed_sha256 == found.recorded_sha256
    assert told == [f"8 parts judged by strict-part 2 ({digest}) on cpu: not compared"]


def test_so_are_the_others_when_that_package_is_replayed(mixed, other):
    found = verify(Asked(footage=mixed, model=str(other)))
    assert (found.parts, found.judged) == (8, 8)
    assert (found.differences, found.elsewhere) == ([], [])
    ((name, parts),) = found.left_out.items()
    assert (name.startswith(f"{MODEL} 1 ("), parts) == (True, 16)


def test_a_span_of_one_package_is_judged_by_it(mixed, other):
    with pytest.raises(FootageError, match="recorded with package strict-part, content sha256"):
        verify(Asked(footage=mixed, span=(18, None)))  # not in the zoo
    found = verify(Asked(footage=mixed, span=(18, None), model=str(other)))
    assert (found.parts, found.differences, found.left_out) == (7, [], {})


def test_an_installed_package_is_found_by_its_digest(mixed, other, tmp_path, monkeypatch):
    recording = open_recording(mixed)
    digest = package.load(other).content_sha256
    monkeypatch.setattr(Store, "at", lambda option="": Store(tmp_path / "store"))
    Store.at().install(other)
    asked = Asked(footage=mixed, span=(recording.rows[17].record.part, None))
    found = verify(asked)
    assert (found.parts, found.differences, found.elsewhere) == (7, [], [])
    model, whole = resolved(asked, opened(asked, lambda line: None))
    assert package.find(whole.model).content_sha256 == model.content_sha256 == digest


def test_a_package_that_judged_none_of_several_is_refused(mixed):
    twin = Path(__file__).parents[2] / "models" / "zoo" / "twins" / "synthetic-part-fp32.onnx"
    with pytest.raises(FootageError, match=r"nothing to compare: parts were judged by .* \(16\), "):
        verify(Asked(footage=mixed, model=str(twin)))


def test_a_plain_replay_says_that_it_judges_them_all(mixed, other):
    told: list[str] = []
    played = replay(Asked(footage=mixed), told.append)
    assert played.report.parts == PARTS
    assert len(told) == 1
    assert "strict-part 2 (" in told[0]
    assert told[0].endswith(f"; now all are by {MODEL} on cpu")


MISTAKES = [
    (Asked(footage=Path("footage")), PackageError, "--model: missing"),
    (Asked(footage=Path("footage"), model=MODEL, span=(1, 2)), FootageError, "--from"),
    (Asked(footage=Path("out.mcap"), span=(90, 95)), FootageError, "from 90 to 95"),
    (Asked(footage=Path("gone.mcap")), FootageError, "gone.mcap"),
    (Asked(footage=Path("out.mcap"), record=Path("x.mp4")), FootageError, "ends in .mcap"),
    (Asked(footage=Path("out.mcap"), record=Path("out.mcap")), FootageError, "overwritten"),
    (Asked(footage=Path("out.mcap"), model="deeppcb"), FootageError, "the package wants"),
]


@pytest.mark.parametrize(("asked", "error", "words"), MISTAKES)
def test_a_mistake_is_one_line(recorded, monkeypatch, asked, error, words):
    monkeypatch.chdir(recorded)
    with pytest.raises(error, match=words) as caught:
        replay(asked)
    assert "\n" not in str(caught.value)


def test_only_a_recording_can_be_verified(recorded):
    with pytest.raises(FootageError, match="for recordings"):
        verify(Asked(footage=recorded / "footage", model=MODEL))


def test_hostile_bytes_are_one_line(recorded, tmp_path):
    shutil.copy(recorded / "r.db", tmp_path / "database.mcap")
    with pytest.raises(FootageError):
        verify(Asked(footage=tmp_path / "database.mcap"))
