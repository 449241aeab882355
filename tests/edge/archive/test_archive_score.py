"""Archives scored in one process: the loop's own decisions, kept whole, and not made twice."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge import playback
from edge.archive import table
from edge.archive.identity import Settings, identity
from edge.archive.items import Item
from edge.archive.results import Label, held
from edge.archive.score import score
from edge.archive.summary import Summary, count
from edge.core.errors import ConfigError, EngineError, FootageError, PackageError, RecordsError
from edge.core.process import python_module
from edge.core.types import (
    Action,
    Cause,
    Deadline,
    Decision,
    Fault,
    PartRecord,
    Region,
    Stamps,
    Verdict,
)
from edge.replay import Report
from edge.stats import DecisionDigest


def stamps_of(out: Path) -> dict[str, int]:
    return {str(file): file.stat().st_mtime_ns for file in out.rglob("*.parquet")}


parquet = pytest.importorskip(
    "pyarrow.parquet", reason="pyarrow (extra `archive`) is not installed"
)


def test_every_part_of_every_footage_is_in_its_items_file(archive, bright, tmp_path):
    out, seen = tmp_path / "out", []
    found = score(archive, str(bright), out, rows_per_item=4, progress=seen.append)
    assert (found.items, found.done, found.reused, found.ignored) == (7, 6, 0, 1)
    assert list(found.failed) == ["line/torn.mp4"]
    assert "not a video" in found.failed["line/torn.mp4"]
    assert (found.parts, found.scored, found.judged) == (23, 23, 23)
    assert [one.state for one in seen].count("failed") == 1
    assert sum(one.parts for one in seen) == 23
    # a-set and b-table are labelled, every third part defective; the rest count without labels.
    assert (found.good, found.defect) == (9, 4)
    assert found.caught + found.escapes + found.held_defect + found.defaulted_defect == 4
    assert 0.0 <= found.auroc <= 1.0
    rows = parquet.read_table(out / "a-set" / "rows-00000005-00000008.parquet").to_pylist()
    assert list(rows[0]) == [
        *("item", "part", "number", "truth", "verdict", "action", "cause", "fault", "score"),
        *("regions", "session_ms"),
    ]
    level = 4 * 23 + 7
    assert rows[0] | {"session_ms": 0} == {
        "item": "a-set/rows-00000005-00000008",
        "part": 1,
        "number": 5,
        "truth": "good",
        "verdict": "indeterminate",
        "action": "hold",
        "cause": "verdict",
        "fault": None,
        "score": pytest.approx(level / 255, rel=1e-6),
        "regions": "[]",
        "session_ms": 0,
    }
    assert rows[0]["session_ms"] > 0
    whole = parquet.read_table(out)  # as one data set, by those who read it
    assert whole.num_rows == 23


def broken_and_missing(archive: Path) -> Path:
    (archive / "a-set" / "pictures" / "003.png").write_bytes(b"no picture")
    (archive / "a-set" / "pictures" / "005.png").unlink()
    return archive / "a-set"


def replayed(path: Path, model: str, **options) -> Report:
    """The same footage through the real loop, worker and arm."""
    asked = playback.Asked(footage=path, model=model, threads=1, **options)
    return playback.replay(asked).report


FOOTAGE = {
    "a data set": lambda archive: archive / "a-set",
    "broken and missing pictures": broken_and_missing,
    "a video": lambda archive: archive / "line" / "clip.avi",
}


@pytest.mark.parametrize("footage", FOOTAGE.values(), ids=FOOTAGE)
def test_it_decides_as_the_loop_does(archive, bright, tmp_path, footage):
    path = footage(archive)
    found = score(path, str(bright), tmp_path / "out", rows_per_item=3)
    loop = replayed(path, str(bright))
    assert found.decisions_sha256 == loop.decisions_sha256
    fields = ("parts", "scored", "good", "caught", "escapes", "held_good", "faults", "auroc")
    for field in (*fields, "actions"):
        assert getattr(found, field) == getattr(loop, field), field


def test_the_terminal_says_how_an_archive_fared(archive, bright, tmp_path):
    command = ("replay", archive / "a-set", "--model", bright, "--out", tmp_path / "out")
    for state in ("done", "reused"):
        done = subprocess.run(
            python_module("edge", *map(str, command)), capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        assert f"rows-00000001-00000010: {state}, 10 parts\n" in done.stdout
    assert "escapes" in done.stdout
    assert f"all of it: {tmp_path / 'out' / '_summary.json'}" in done.stdout
    for picture in (archive / "a-set" / "pictures").iterdir():
        picture.write_bytes(b"torn")
    none = subprocess.run(
        python_module("edge", *map(str, command)), capture_output=True, text=True, timeout=60
    )
    assert none.returncode == 1
    assert "bad_frame 10" in none.stdout
    assert none.stderr.endswith("edge: no picture of the 10 parts could be judged\n")


def test_it_decides_as_the_loop_does_about_real_parts(data, tmp_path):
    lines = (data / "deeppcb" / "footage.csv").read_text().splitlines()
    place = {name: at for at, name in enumerate(lines[0].split(","))}
    rows = ["path,reference_path,label"]
    for line in lines[1:41]:
        cells = line.split(",")
        paths = (data / "deeppcb" / cells[place[name]] for name in ("path", "reference_path"))
        rows.append(",".join((*map(str, paths), cells[place["label"]])))
    (tmp_path / "footage.csv").write_text("\n".join(rows) + "\n")
    found = score(tmp_path, "deeppcb", tmp_path / "out", rows_per_item=16)
    loop = replayed(tmp_path / "footage.csv", "deeppcb")
    assert (found.parts, found.decisions_sha256) == (40, loop.decisions_sha256)


def test_a_recording_is_judged_again_from_its_own_pictures(archive, bright, tmp_path):
    recorded = tmp_path / "recorded" / "shift.mcap"
    recorded.parent.mkdir()
    loop = replayed(archive / "a-set", str(bright), record=recorded)
    found = score(recorded.parent, str(bright), tmp_path / "out")
    assert (found.items, found.failed, found.notes) == (1, {}, {})
    assert found.decisions_sha256 == loop.decisions_sha256
    assert (found.caught, found.good) == (loop.caught, loop.good)
    recorded.write_bytes(recorded.read_bytes()[:-600])  # killed before its footer
    cut = score(recorded.parent, str(bright), tmp_path / "out")
    assert "cut short" in cut.notes["shift.mcap"]
    again = score(recorded.parent, str(bright), tmp_path / "out")
    assert (again.reused, again.notes) == (1, cut.notes)


def test_what_is_finished_is_not_done_again(archive, bright, tmp_path):
    out = tmp_path / "out"
    first = score(archive, str(bright), out, rows_per_item=4)
    before = stamps_of(out)
    again = score(archive, str(bright), out, rows_per_item=4)
    assert (again.done, again.reused, again.judged, again.parts_per_s) == (0, 6, 0, None)
    assert stamps_of(out) == before
    assert again.decisions_sha256 == first.decisions_sha256

    (archive / "a-set" / "pictures" / "006.png").write_bytes(b"torn since")
    damaged = out / "b-table" / "rows-00000001-00000003.parquet"
    damaged.write_bytes(damaged.read_bytes()[:-9])
    half = out / "line" / ".clip.avi.parquet.unfinished"
    half.write_bytes(b"half")
    third = score(archive, str(bright), out, rows_per_item=4)
    assert (third.done, third.reused) == (2, 4)
    assert third.faults == {"bad_frame": 1}
    assert third.decisions_sha256 != first.decisions_sha256
    assert not half.exists()

    (archive / "line" / "clip.avi").unlink()
    fourth = score(archive, str(bright), out, rows_per_item=4)
    assert fourth.stale == ("line/clip.avi.parquet",)
    assert fourth.parts == 23 - 6


def test_a_moved_archive_is_the_same_and_another_is_refused(archive, bright, tmp_path):
    out = tmp_path / "out"
    score(archive, str(bright), out, rows_per_item=4)
    moved = archive.rename(tmp_path / "moved")
    assert score(moved, str(bright), out, rows_per_item=4).reused == 6
    other = tmp_path / "other"
    other.mkdir()
    (moved / "a-set").rename(other / "a-set")
    with pytest.raises(RecordsError, match=r"holds results of .*moved, and .* is none of"):
        score(other, str(bright), out, rows_per_item=4)


def test_a_folder_of_other_results_is_refused(archive, bright, brighter, tmp_path):
    out = tmp_path / "out"
    score(archive, str(bright), out)
    with pytest.raises(RecordsError, match=r"of package bright .*choose another folder"):
        score(archive, str(brighter), out)
    with pytest.raises(RecordsError, match="rows_per_item 256, not 5"):
        score(archive, str(bright), out, rows_per_item=5)
    with pytest.raises(RecordsError, match="threads 1, not 2"):
        score(archive, str(bright), out, threads=2)
    (out / "_archive.json").write_text("{}")
    with pytest.raises(RecordsError, match="does not say what"):
        score(archive, str(bright), out)
    with pytest.raises(RecordsError, match="is the archive itself"):
        score(archive, str(bright), archive)
    with pytest.raises(RecordsError, match="not a folder of results"):
        score(archive, str(bright), archive / "line")
    with pytest.raises(RecordsError, match="no folder for results"):
        score(archive, str(bright), archive / "notes.txt" / "out")


def test_one_run_at_a_time(archive, bright, tmp_path):
    label = Label(
        archive=str(archive),
        package="bright",
        settings=Settings(content_sha256="0" * 64),
        split="test",
        rows_per_item=4,
    )
    with (
        held(tmp_path / "out", label, ()),
        pytest.raises(RecordsError, match="another run is writing"),
    ):
        score(archive, str(bright), tmp_path / "out")


def test_what_a_person_can_get_wrong_is_one_line(archive, bright, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").touch()
    out = tmp_path / "out"
    with pytest.raises(FootageError, match="no footage in it, only 1 other"):
        score(tmp_path / "empty", str(bright), out)
    with pytest.raises(FootageError, match="no such file"):
        score(tmp_path / "none", str(bright), out)
    with pytest.raises(PackageError, match="no package named"):
        score(archive, "no-such-model", out)
    with pytest.raises(ConfigError, match="1 or more"):
        score(archive, str(bright), out, rows_per_item=0)
    assert not out.exists()
    with pytest.raises(EngineError, match="provider tensorrt: not in this installation"):
        score(archive, str(bright), out, provider="tensorrt")


scores = st.floats(width=32, allow_nan=False, allow_infinity=False)
sizes = st.integers(0, 65535)
regions = st.builds(Region, sizes, sizes, sizes, sizes, st.integers(0, 2**32 - 1), scores)
verdicts = st.builds(
    Decision,
    part=st.just(1),
    action=st.sampled_from(Action),
    cause=st.just(Cause.VERDICT),
    verdict=st.sampled_from(Verdict),
    score=scores,
    regions=st.lists(regions, max_size=3).map(tuple),
)
faults = st.builds(
    Decision,
    part=st.just(1),
    action=st.just(Action.REJECT),
    cause=st.sampled_from(Cause),
    fault=st.sampled_from(Fault),
)


@settings(max_examples=30, deadline=None)
@given(
    decisions=st.lists(verdicts | faults, max_size=5),
    truth=st.sampled_from(["good", "defect", None]),
)
def test_a_table_gives_back_what_was_put_in(tmp_path_factory, decisions, truth):
    file = tmp_path_factory.mktemp("table") / "item.parquet"
    records = [
        PartRecord(n, n + 7, Deadline(0, 0, 0), one, stamps=Stamps(0, 1, 2_000_001, 3))
        for n, one in enumerate(decisions, start=1)
    ]
    item = Item("item", file)
    one = identity(item, Settings(content_sha256="0" * 64))
    file.write_bytes(table.encode(one, records, [truth] * len(records), processor="p"))
    back = list(table.parts(file))
    about = table.about(file)
    assert [told for _, told in back] == [truth] * len(records)
    assert [(r.part, r.number) for r, _ in back] == [(r.part, r.number) for r in records]
    assert [r.decision.regions for r, _ in back] == [r.decision.regions for r in records]
    digest, other = DecisionDigest(), DecisionDigest()
    for record in records:
        digest.add(record)
    for record, _ in back:
        other.add(record)
    assert about.decisions_sha256 == digest.hexdigest() == other.hexdigest()
    assert (about.digest, about.parts, about.identity) == (one.digest(), len(records), one)
    assert all(
        struct.pack(">f", r.decision.score) == struct.pack(">f", b.decision.score)
        for r, (b, _) in zip(records, back, strict=True)
        if r.decision.score is not None
    )


def test_counts_without_labels_are_none(archive, bright, tmp_path):
    found = score(archive / "c-pictures", str(bright), tmp_path / "out")
    names = Summary.__struct_fields__
    labelled = names[names.index("good") : names.index("auroc") + 1]
    assert len(labelled) == 12
    assert all(getattr(found, name) is None for name in labelled)
    with pytest.raises(RecordsError, match="not readable now"):
        count([tmp_path / "none.parquet"])
