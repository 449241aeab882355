"""`edge report FOOTAGE --model`: drawn parts, judged by a shipped package, on one page."""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest

from edge.core.binomial import interval
from edge.core.errors import ConfigError, EdgeError, FootageError, PackageError
from edge.core.process import python_module
from edge.report.judge import data_sha256
from edge.report.worst import known_boxes
from edge.report.write import Asked, write
from models import certificate, package
from models.build import measure
from models.calibrate import Counts
from models.package import seal, unsealed
from sensors.synthetic import FIRST_UNSEEN_SEED, PartGenerator

PARTS = 24
# Labelled wrongly on purpose: two good pictures become escapes, one defective one overkill.
ESCAPES, OVERKILL, UNFIT = 2, 1, 1


class Page(HTMLParser):
    """A page's words without its style, its tags, and where its pictures come from."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.sources: list[str] = []
        self._open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self._open.append(tag)
        self.tags.append((tag, dict(attrs)))
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag):
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data):
        if "style" not in self._open and data.strip():
            self.words.append(" ".join(data.split()))

    @property
    def text(self) -> str:
        return " ".join(self.words)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Path:
    """A data set: parts of two pictures a group, some labels wrong, one capped lens, a copy."""
    folder = tmp_path_factory.mktemp("drawn")
    generator = PartGenerator(FIRST_UNSEEN_SEED + 7)
    kinds = {"good": [], "defect": []}
    for index in range(10 * PARTS):
        kinds[generator.label(index)].append(index)
    rows = [
        _row(folder, generator, index, place)
        for label in ("good", "defect")
        for place, index in enumerate(kinds[label][: PARTS // 2])
    ]
    good = [row for row in rows if row["label"] == "good"]
    defect = [row for row in rows if row["label"] == "defect"]
    for row in good[:ESCAPES]:
        row |= {"label": "defect", "defect_type": "scratch"}
    defect[-1] |= {"label": "good", "defect_type": ""}
    cv2.imwrite(str(folder / "capped.png"), np.zeros((256, 256), np.uint8))
    rows.append(dict(good[-1]) | {"path": "capped.png", "group": "capped"})
    rows.append(dict(good[-1]))  # the very file again
    rows.append(dict(good[-1]) | {"path": "capped.png", "label": ""})
    rows.append(dict(good[-1]) | {"path": "gone.png", "split": "train"})
    with (folder / "manifest.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    return folder


def _row(folder: Path, generator: PartGenerator, index: int, place: int) -> dict[str, str]:
    part, name = generator.part(index), f"{index:03}.png"
    cv2.imwrite(str(folder / name), part.image)
    mask = ""
    if part.label == "defect":
        mask = f"mask-{name}"
        cv2.imwrite(str(folder / mask), part.mask)
    return {
        "path": name,
        "label": part.label,
        "split": "test",
        "group": f"{part.label}-{place // 2}",
        "defect_type": part.defect_type,
        "mask_path": mask,
    }


@pytest.fixture(scope="module")
def reported(drawn, tmp_path_factory):
    """(what the command said, the page's text, the JSON), of the real command."""
    out = tmp_path_factory.mktemp("out")
    given = (drawn, "--model", "synthetic-part", "--html", out / "r.html", "--json", out / "r.json")
    done = edge("report", *given)
    assert done.returncode == 0, done.stderr
    return done, (out / "r.html").read_text(), json.loads((out / "r.json").read_text())


def edge(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        python_module("edge", *map(str, arguments)), capture_output=True, text=True, check=False
    )


def test_the_figures_are_those_counted_by_hand(drawn, reported):
    _, _, told = reported
    rows = list(csv.DictReader((drawn / "manifest.csv").read_text().splitlines()))[:PARTS]
    model = package.find("synthetic-part")
    pictures = np.stack([[cv2.imread(str(drawn / r["path"]), 0)] for r in rows])
    scores = measure.scores(model.model_bytes(), ["image"], pictures)
    limits = model.manifest.thresholds
    failed = [score >= limits.fail_from for score in scores]
    passed = [score < limits.pass_below for score in scores]
    bad = [row["label"] == "defect" for row in rows]
    it = told["pictures"]
    assert it["defect"] == sum(bad) == PARTS // 2 + ESCAPES - OVERKILL
    assert it["good"] == PARTS - sum(bad) + UNFIT
    assert it["caught"] == sum(f and b for f, b in zip(failed, bad, strict=True))
    assert it["escapes"] == sum(p and b for p, b in zip(passed, bad, strict=True)) >= ESCAPES
    assert it["overkill"] == sum(f and not b for f, b in zip(failed, bad, strict=True)) >= OVERKILL
    assert (it["defaulted_good"], it["defaulted_defect"]) == (UNFIT, 0)
    low, high = interval(it["escapes"], it["defect"])
    assert (it["escape_rate"]["low"], it["escape_rate"]["high"]) == (low, high)
    assert (told["repeated"], told["unlabelled"], told["learned_from"]) == (1, 1, 0)
    pairs = [(s, b) for s, b in zip(scores, bad, strict=True)]
    wins = sum((s > t) + (s == t) / 2 for s, b in pairs if b for t, c in pairs if not c)
    assert told["curve"]["auroc"] == pytest.approx(wins / sum(bad) / (PARTS - sum(bad)))


def test_groups_faults_and_the_study(reported):
    _, _, told = reported
    groups = told["groups"]
    # good-0 holds both wrong labels; the last defective pair holds one of each.
    assert (groups["defect"], groups["good"]) == (PARTS // 4 + 1, PARTS // 4 - 1 + UNFIT)
    assert (groups["escapes"], groups["defaulted_good"]) == (1, 1)
    assert groups["caught"] == groups["defect"] - 1
    study = told["study"]
    assert (study["groups"], study["of_both_labels"], study["single"]) == (PARTS // 2 - 1, 1, 1)
    assert study["effectiveness"]["count"] == study["groups"] - 1
    assert study["repeatability"]["share"] == 1.0
    assert study["miss"]["count"] == 2
    assert study["false_alarm"]["count"] == 0
    (fault,) = told["faults"]
    assert (fault["fault"], fault["good"]) == ("unfit_image", 1)
    assert "outside" in fault["reason"]


def test_what_ran_and_on_which_data_is_told(drawn, reported):
    _, _, told = reported
    ran, model = told["ran"], package.find("synthetic-part")
    assert ran["content_sha256"] == model.content_sha256
    assert (ran["provider"], ran["pass_below"]) == ("cpu", model.manifest.thresholds.pass_below)
    rows = csv.DictReader((drawn / "manifest.csv").read_text().splitlines())
    files = {drawn / row["path"] for row in rows if row["split"] == "test"}
    digests = sorted(hashlib.sha256(file.read_bytes()).digest() for file in files)
    assert ran["data_sha256"] == hashlib.sha256(b"".join(digests)).hexdigest()
    assert ran["data_sha256"] == data_sha256(tuple(d.hex() for d in reversed(digests)))
    fp32 = told["fp32"]
    assert (fp32["twin"], fp32["pictures"]) == ("synthetic-part-fp32", PARTS + UNFIT)
    assert 0 < fp32["max_score_delta"] < 0.2
    assert sum(fp32["verdicts"].values()) == fp32["flips"]


def test_the_page_needs_nothing_else_and_says_the_figures(drawn, reported):
    done, text, told = reported
    page = Page(text)
    tags = [tag for tag, _ in page.tags]
    assert "script" not in tags
    assert "link" not in tags
    assert page.sources
    assert all(source.startswith("data:image/") for source in page.sources)
    assert "url(" not in text
    assert len(text) < 5_000_000
    it = told["pictures"]
    sentence = f"Of {it['defect']} pictures of defective parts {it['caught']} were caught, "
    assert page.words[1].startswith("Quality report: synthetic-part")  # behind the title
    assert page.words[2].startswith(sentence)
    assert done.stdout.startswith(sentence)
    for said in (
        f"{100 * it['escape_rate']['share']:.1f} %",
        f"{told['curve']['auroc']:.4f}",
        told["ran"]["content_sha256"],
        told["ran"]["data_sha256"],
        "no certificate",
        "for diagnosis",
        "are too narrow, since pictures of one group are alike",
        "Left out, since a picture counts once: 1 row",
    ):
        assert said in page.text
    assert "WARNING" not in page.text
    # A row of the table by type: a scratch for each wrong label at least.
    assert "scratch" in page.words


def test_the_worst_are_shown_with_map_and_known_defect(drawn, reported):
    _, text, told = reported
    shown = [*told["misses"], *told["false_rejects"]]
    assert len(told["misses"]) == told["pictures"]["escapes"]
    assert len(told["false_rejects"]) == told["pictures"]["overkill"]
    pictures = [s for s in Page(text).sources if s.startswith("data:image/jpeg")]
    assert len(pictures) == 2 * len(shown)
    for one in shown:
        assert f"{one['name']}, " in text
    last = [cv2.imdecode(np.frombuffer(_decoded(s), np.uint8), 1) for s in pictures[-2:]]
    assert all(picture.shape == (256, 256, 3) for picture in last)
    # The false reject has a defect in truth: its map is in colour, the plain picture is not.
    gray, colour = (int(np.ptp(p.astype(int), axis=2).max()) for p in last)
    assert gray < 16 < colour
    # Pictures are in the page alone.
    assert not any(drawn.parent.joinpath("out").glob("*.jpg"))


def _decoded(source: str) -> bytes:
    return base64.b64decode(source.split(",", 1)[1])


def test_a_known_defect_is_boxed_as_the_view_shows_it(tmp_path):
    (view,) = package.find("synthetic-part").manifest.views
    view = msgspec.structs.replace(
        view, fit=msgspec.structs.replace(view.fit, mode="pad", sizes=())
    )
    cv2.imwrite(str(tmp_path / "p.png"), np.full((200, 100), 90, np.uint8))
    (tmp_path / "b.txt").write_text("10 20 30 40 4\n50 60 51 61 2\n")
    first, second = known_boxes(tmp_path / "b.txt", tmp_path / "p.png", view)
    assert (first.x, first.y, first.width, first.height) == (78 + 10, 28 + 20, 20, 20)
    assert (second.x, second.y, second.area_px) == (78 + 50, 28 + 60, 1)
    mask = np.zeros((200, 100), np.uint8)
    mask[5:9, 7:8] = 255
    cv2.imwrite(str(tmp_path / "m.png"), mask)
    (found,) = known_boxes(tmp_path / "m.png", tmp_path / "p.png", view)
    assert (found.x, found.y, found.width, found.height) == (78 + 7, 28 + 5, 1, 4)
    assert known_boxes(tmp_path / "gone.png", tmp_path / "p.png", view) == []
    assert known_boxes(None, tmp_path / "p.png", view) == []


def test_learned_pictures_are_warned_of_in_the_first_line(drawn, tmp_path):
    model = package.find("synthetic-part")
    seen = hashlib.sha256((drawn / "capped.png").read_bytes()).digest()
    pictures = msgspec.structs.replace(
        model.manifest.pictures, sha256=base64.b64encode(seen).decode()
    )
    manifest = msgspec.structs.replace(model.manifest, pictures=pictures)
    (tmp_path / "p.onnx").write_bytes(seal(unsealed(model.model_bytes()), manifest))
    figures = write(tmp_path / "r.html", Asked(footage=drawn, model=str(tmp_path / "p.onnx")))
    assert (figures.learned_from, figures.fp32) == (1, None)
    page = Page((tmp_path / "r.html").read_text())
    assert page.words[1].startswith(f"WARNING: the package has learned from 1 of these {PARTS + 1}")
    assert next(attrs for tag, attrs in page.tags if tag == "p") == {"class": "alarm"}
    assert "color: #b00020" in (tmp_path / "r.html").read_text()
    assert "Not compared: no FP32 twin at twins/synthetic-part-fp32.onnx" in page.text


def test_good_pictures_alone_say_nothing_of_escapes(drawn, tmp_path):
    (tmp_path / "good").mkdir()
    for name in sorted(drawn.glob("[0-9]*.png"))[:3]:
        (tmp_path / "good" / name.name).write_bytes(name.read_bytes())
    figures = write(tmp_path / "r.html", Asked(footage=tmp_path, model="synthetic-part"))
    page = Page((tmp_path / "r.html").read_text())
    assert (figures.pictures.good, figures.pictures.escape_rate, figures.groups) == (3, None, None)
    assert "nothing is known of escapes" in page.text
    assert "No groups are given." in page.text
    assert "Not reckoned: there are no repeats" in page.text


def pictures(folder: Path, *, side: int = 256) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(2):
        cv2.imwrite(str(folder / f"{number}.png"), np.full((side, side), 120 + number, np.uint8))
    return folder


def test_what_is_in_the_way_is_said_in_one_line(drawn, tmp_path, monkeypatch):
    page = tmp_path / "r.html"

    def refused(kind: type[EdgeError], **asked: object) -> str:
        with pytest.raises(kind) as why:
            write(page, Asked(**({"footage": drawn, "model": "synthetic-part"} | asked)))
        assert not page.exists()
        return str(why.value)

    assert refused(FootageError, footage=tmp_path / "gone").endswith("no such file or folder")
    unlabelled = pictures(tmp_path / "unlabelled")
    assert "no picture has a label: a manifest.csv" in refused(FootageError, footage=unlabelled)
    small = pictures(tmp_path / "small" / "good", side=48).parent
    assert "none of 2 pictures could be judged; the first: bad_frame: " in refused(
        FootageError, footage=small
    )
    assert "no rows of split 'calib'; it has test, train" in refused(FootageError, split="calib")
    assert "wants view reference" in refused(FootageError, model="deeppcb")
    twin = package.ZOO / "twins" / "deeppcb-fp32.onnx"
    assert "no FP32 twin of synthetic-part" in refused(PackageError, fp32=twin)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert "(extra `report`): .venv/bin/pip install" in refused(ConfigError)


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (("{drawn}",), "name the package to report on with --model"),
        (("{drawn}", "--model", "synthetic-part", "--lot", "A"), "--lot: of a shift's records"),
        (("r.db", "--split", "calib"), "--split: only with --model"),
    ],
)
def test_options_of_the_other_report_are_refused(drawn, tmp_path, given, line):
    named = [one.format(drawn=drawn) for one in given]
    done = edge("report", *named, "--html", tmp_path / "r.html")
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert line in done.stderr


def test_deeppcb_designs_are_no_parts(data, tmp_path):
    folder = data / "deeppcb"
    rows = csv.DictReader((folder / "manifest.csv").read_text().splitlines())
    calib = [row for row in rows if row["split"] == "calib"]
    table = ["path,label,group,boxes_path,reference_path"]
    for row in calib[::21]:
        boxes = row["boxes_path"] and folder / row["boxes_path"]
        files = (boxes, folder / row["reference_path"])
        told = (folder / row["path"], row["label"], row["group"], *files)
        table.append(",".join(map(str, told)))
    (tmp_path / "footage.csv").write_text("\n".join(table))
    figures = write(tmp_path / "r.html", Asked(footage=tmp_path, model="deeppcb"))
    assert (figures.groups, len(figures.by_group), figures.study) == (None, 2, None)
    assert figures.learned_from == len(calib[::21]) == 17  # its limits were set on these
    assert "2 of 2 groups hold good and defective" in Page((tmp_path / "r.html").read_text()).text


def test_a_certificate_is_on_the_page_as_it_stands(drawn, tmp_path):
    model = package.find("synthetic-part")
    limits = model.manifest.thresholds
    held = certificate.Certificate(
        content_sha256=model.content_sha256,
        pass_below=limits.pass_below,
        fail_from=limits.fail_from,
        confidence=0.95,
        unit="group",
        escape=certificate.Promise(asked=0.002, bound=0.0123),
        overkill=certificate.Promise(asked=0.02, bound=0.0191),
        uncaught=0.0123,
        failed=0.0191,
        defective=Counts(units=300, passed=0, held=0, failed=300, unfit=0),
        good=Counts(units=900, passed=895, held=0, failed=5, unfit=0),
        data=certificate.Data(
            name="parts", split="calib", pictures=2500, left_out=0,
            pictures_sha256="a" * 64, labels_sha256="b" * 64,
        ),
        provider="cpu",
        threads=2,
        library="",
        processor="",
        who="",
        at="2026-01-31T12:00:00Z",
    )  # fmt: skip
    file = tmp_path / "p.onnx"
    appended = package.append(model.model_bytes(), certificate.KEY, certificate.encoded(held))
    file.write_bytes(appended)
    write(tmp_path / "r.html", Asked(footage=drawn, model=str(file)))
    text = Page((tmp_path / "r.html").read_text()).text
    lines = certificate.certificate_text(package.load(file))
    assert len(lines) > 3
    assert all(" ".join(line.split()) in text for line in lines)
    assert "no certificate" not in text
