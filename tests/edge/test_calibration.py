"""`edge model calibrate`: real packages on real pictures, certified or refused."""

from __future__ import annotations

import csv
import hashlib
import subprocess
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
import typer
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner

from edge.calibration import Request, calibration, write_new
from edge.commands import calibrate as command
from edge.core.binomial import upper
from edge.core.errors import EdgeError
from edge.core.process import python_module
from edge.core.types import ViewSpec
from edge.report.judge import inspector, judged, open_known
from models import certificate, package
from models.calibrate import Asked
from models.manifest import Bound, Envelope, Manifest, Outputs, Pictures, Thresholds
from models.splits import dealt
from models.store import Store

VIEW = ViewSpec("image", "picture", "uint8", (16, 16))
# The score is the mean gray level / 255; a picture above 230 is unfit.
MANIFEST = Manifest(
    name="gray",
    version="3",
    views=(VIEW,),
    outputs=Outputs(map=None),
    thresholds=Thresholds(pass_below=0.5, fail_from=0.5),
    envelope=Envelope(bounds=(Bound(view="image", feature="brightness", low=0, high=230),)),
    precision="float32",
)
app = typer.Typer()
app.add_typer(command.calibrate_app, name="model")


@pytest.fixture(scope="session")
def model() -> bytes:
    nodes = [
        helper.make_node("Cast", ["image"], ["gray"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["gray"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "scale"], ["bright"]),
        helper.make_node("Reshape", ["bright", "one"], ["score"]),
    ]
    constants = {"scale": np.float32(1 / 255), "one": np.array([1], np.int64)}
    graph = helper.make_graph(
        nodes,
        "gray",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, [1, 1, 16, 16])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, [1])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    opset = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()


@pytest.fixture
def gray(model: bytes, tmp_path: Path) -> Path:
    path = tmp_path / "gray.onnx"
    path.write_bytes(package.seal(model, MANIFEST))
    return path


def picture(path: Path, level: float, number: int) -> None:
    """A picture of that mean gray level, unlike all others in one pair of pixels."""
    array = np.full(256, int(level), np.uint8)
    array[: round((level - int(level)) * 256)] += 1
    array[number % 200] += 1
    array[number // 200 + 210] -= 1
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), array.reshape(16, 16))


Row = tuple[str, float, str, str]  # label, gray level, group, split


def data_set(folder: Path, rows: list[Row]) -> Path:
    """A folder with a manifest.csv: a picture a row."""
    folder.mkdir(exist_ok=True)
    with (folder / "manifest.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("path", "label", "split", "group"))
        for number, (label, level, group, split) in enumerate(rows):
            name = f"{split}/{number}.png"
            picture(folder / name, level, number)
            table.writerow((name, label, split, group))
    return folder


def apart(count: int, *, groups: int = 0, split: str = "calib") -> list[Row]:
    """So many good pictures below 80 and defective ones above 150, perhaps of so many groups."""
    rows = []
    for n in range(count):
        group = n % groups if groups else ""
        rows.append(("good", 20 + 60 * n / count, f"g{group}" if groups else "", split))
        rows.append(("defect", 150 + 60 * n / count, f"d{group}" if groups else "", split))
    return rows


def edge(*arguments: object) -> str:
    """What the command prints; its EdgeError, which edge/__main__.py makes exit code 2, passes."""
    done = CliRunner().invoke(app, ["model", "calibrate", *map(str, arguments)])
    if done.exception:
        raise done.exception
    return done.stdout


def refused(*arguments: object) -> str:
    with pytest.raises(EdgeError) as caught:
        edge(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_promise_that_the_data_keep_is_certified(gray: Path, tmp_path: Path) -> None:
    folder, out = data_set(tmp_path / "parts", apart(160)), tmp_path / "out.onnx"
    before = gray.read_bytes()
    told = edge(
        gray, "--data", folder, "--escape", 0.02, "--overkill", 0.05, "--write", out,
        "--who", "quality", "--json", tmp_path / "out.json",
    )  # fmt: skip
    assert gray.read_bytes() == before
    found = package.load(out)
    held = certificate.certificate(found)
    assert held
    assert told.splitlines()[:7] == certificate.certificate_text(found)
    assert "unsigned: edge model sign" in told
    assert (held.unit, held.provider, held.who, held.data.name) == (
        "picture", "cpu", "quality", "parts",
    )  # fmt: skip
    assert held.escape.bound == upper(0, 160, 0.95) <= held.escape.asked == 0.02
    assert (held.defective.units, held.defective.failed) == (160, 160)
    assert (held.good.units, held.good.passed) == (160, 160)
    # INDETERMINATE is the stretch where calib had nothing.
    limits = found.manifest.thresholds
    assert 79 < 255 * limits.pass_below < 81
    assert 149 < 255 * limits.fail_from < 151
    assert (found.manifest.version, found.manifest.name) == ("3.1", "gray")
    digests = {hashlib.sha256(file.read_bytes()).digest() for file in folder.rglob("*.png")}
    assert found.manifest.pictures.digests() == digests
    result = msgspec.json.decode((tmp_path / "out.json").read_bytes())
    assert result["shortfall"] == ""
    assert result["certificate"]["content_sha256"] == found.content_sha256
    # The limits are those that judge: the same pictures get the verdicts that were counted.
    known = open_known(folder, found, "calib")
    with inspector(found, "cpu", 2) as by:
        fates = [row.fate for row in judged(known, by)]
    assert fates.count("fail") == fates.count("accepted") == 160


def test_what_is_not_proven_is_refused_and_nothing_is_written(gray: Path, tmp_path: Path) -> None:
    folder, out = data_set(tmp_path / "parts", apart(60)), tmp_path / "out.onnx"
    line = refused(gray, "--data", folder, "--write", out)
    assert "not proven, 95 % sure: escapes of 0.2 % need 1,497 defective units" in line
    assert "1,437 more than the 60 there are, which can bound them at 4.88 %" in line
    assert "overkill of 2 % need 149 good units without one, 89 more than the 60" in line
    assert not out.exists()
    told = edge(gray, "--data", folder, "--write", out, "--accept-supported", "--version", "4")
    assert "NOT PROVEN" in told
    held = certificate.certificate(package.load(out))
    assert held
    assert held.escape.bound == upper(0, 60, 0.95) > held.escape.asked == 0.002
    assert package.load(out).manifest.version == "4"


def test_a_refusal_is_exit_code_2_and_one_line(gray: Path, tmp_path: Path) -> None:
    folder = data_set(tmp_path / "parts", apart(20))
    done = subprocess.run(
        python_module("edge", "model", "calibrate", str(gray), "--data", str(folder)),
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("edge: not proven, 95 % sure: ")
    assert "20 defective, 0 passed" in done.stdout


def test_the_group_counts_where_the_manifest_has_groups(gray: Path, tmp_path: Path) -> None:
    folder = data_set(tmp_path / "parts", apart(120, groups=12))
    result = tmp_path / "out.json"

    def counted(*more: str) -> dict:
        line = refused(gray, "--data", folder, "--json", result, *more)
        held = msgspec.json.decode(result.read_bytes())["certificate"]
        return {"line": line, **held}

    by_group, by_picture = counted(), counted("--unit", "picture")
    assert (by_group["unit"], by_group["defective"]["units"]) == ("group", 12)
    assert "1,485 more than the 12" in by_group["line"]
    assert (by_picture["unit"], by_picture["defective"]["units"]) == ("picture", 120)
    assert by_group["data"]["pictures"] == by_picture["data"]["pictures"] == 240
    assert by_group["data"]["pictures_sha256"] == by_picture["data"]["pictures_sha256"]
    assert by_group["data"]["labels_sha256"] != by_picture["data"]["labels_sha256"]


def test_a_part_with_both_labels_is_defective_and_its_good_pictures_do_not_count(
    gray: Path, tmp_path: Path
) -> None:
    rows = [
        *apart(40, groups=40),
        *(("good", 200, f"d{n}", "calib") for n in range(10)),  # of defective parts
        ("defect", 40, "d3", "calib"),  # one picture of a defective part that looks good
    ]
    folder, result = data_set(tmp_path / "parts", rows), tmp_path / "out.json"
    wish = ("--escape", 0.1, "--overkill", 0.1, "--json", result)
    line = refused(gray, "--data", folder, *wish)
    assert "good units that fail or are held are at most" in line
    held = msgspec.json.decode(result.read_bytes())["certificate"]
    assert held["data"]["left_out"] == 10
    assert (held["defective"]["units"], held["good"]["units"]) == (40, 40)
    assert held["defective"]["passed"] == 0  # the limit lies below that one picture
    assert held["defective"]["held"] + held["defective"]["failed"] == 40


def test_unfit_pictures_are_neither_caught_nor_overkill(gray: Path, tmp_path: Path) -> None:
    rows = [
        *apart(150),
        *(("defect", 250, "", "calib") for _ in range(5)),
        *(("good", 250, "", "calib") for _ in range(3)),
    ]
    folder, out = data_set(tmp_path / "parts", rows), tmp_path / "out.onnx"
    edge(gray, "--data", folder, "--escape", 0.02, "--overkill", 0.02, "--write", out)
    held = certificate.certificate(package.load(out))
    assert held
    assert (held.defective.units, held.defective.failed, held.defective.unfit) == (155, 150, 5)
    assert (held.good.units, held.good.passed, held.good.unfit) == (153, 150, 3)
    assert held.fail_from < 1


def test_calib_is_what_is_looked_at(gray: Path, tmp_path: Path) -> None:
    # In test all is upside down: a limit taken from it would be another.
    rows = apart(150) + [
        ("defect" if label == "good" else "good", level, group, "test")
        for label, level, group, _ in apart(5)
    ]
    folder = data_set(tmp_path / "parts", rows)
    assert ": kept" in edge(gray, "--data", folder, "--escape", 0.02, "--overkill", 0.02)
    assert "no rows of split 'hold'" in refused(gray, "--data", folder, "--split", "hold")


def learned(path: Path, model: bytes, digests: set[bytes]) -> Path:
    """The package, as if it had been built from these pictures."""
    import base64

    seen = Pictures(sha256=base64.b64encode(b"".join(sorted(digests))).decode())
    path.write_bytes(package.seal(model, msgspec.structs.replace(MANIFEST, pictures=seen)))
    return path


def test_pictures_that_were_learned_from_set_no_limit(model: bytes, tmp_path: Path) -> None:
    folder = data_set(tmp_path / "parts", apart(30) + apart(30, split="train"))
    seen = {hashlib.sha256(file.read_bytes()).digest() for file in folder.rglob("*.png")}
    built = learned(tmp_path / "built.onnx", model, seen)
    line = refused(built, "--data", folder, "--split", "train")
    assert "gray has seen 60 of the 60 pictures of split train; allowed: --split calib" in line
    wish = ("--escape", 0.1, "--overkill", 0.1)
    assert ": kept" in edge(built, "--data", folder, *wish)


def folders(folder: Path, count: int) -> dict[str, set[bytes]]:
    """good/ and defect/ of so many pictures each; their digests by label."""
    for n in range(count):
        picture(folder / "good" / f"{n}.png", 20 + 60 * n / count, n)
        picture(folder / "defect" / f"{n}.png", 150 + 60 * n / count, n)
    return {
        label: {hashlib.sha256(f.read_bytes()).digest() for f in (folder / label).iterdir()}
        for label in ("good", "defect")
    }


def test_folders_that_are_new_count_whole_those_of_the_build_by_its_own_calib(
    gray: Path, model: bytes, tmp_path: Path
) -> None:
    folder, result = tmp_path / "parts", tmp_path / "out.json"
    digests = folders(folder, 50)
    wish = ("--escape", 0.3, "--overkill", 0.3, "--json", result)
    assert "100 pictures" in edge(gray, "--data", folder, *wish)
    split_of = dealt(digests["good"]) | dealt(digests["defect"])
    seen = {one for one, split in split_of.items() if split != "test"}
    built = learned(tmp_path / "built.onnx", model, seen)
    told = edge(built, "--data", folder, *wish)
    assert "20 pictures of split calib" in told
    calib = sorted(one for one, split in split_of.items() if split == "calib")
    held = msgspec.json.decode(result.read_bytes())["certificate"]
    assert held["data"]["pictures_sha256"] == hashlib.sha256(b"".join(calib)).hexdigest()
    picture(folder / "good" / "later.png", 30, 999)  # the deal is another one now
    assert "not those of its build" in refused(built, "--data", folder)


def test_a_copy_is_one_witness_and_lands_in_the_split_of_the_other(
    gray: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "parts"
    folders(folder, 30)
    for n in range(20):
        copy = (folder / "defect" / f"{n}.png").read_bytes()
        (folder / "defect" / f"copy-{n}.png").write_bytes(copy)
    told = edge(gray, "--data", folder, "--escape", 0.1, "--overkill", 0.1)
    assert "30 defective" in told
    assert dealt([b"a", b"b", b"b", b"c", b"d", b"e", b"f"]) == {
        b"a": "train", b"b": "train", b"c": "train", b"d": "calib", b"e": "test", b"f": "train",
    }  # fmt: skip


BROKEN = {
    "no folder": (lambda f: f / "gone", (), "not a folder with a manifest.csv"),
    "one kind alone": (
        lambda f: data_set(f, [("good", 30, "", "calib")] * 3), (), "0 defective and 3 good pict",
    ),
    "a row without a group": (
        lambda f: data_set(f, [*apart(3, groups=3), ("good", 30, "", "calib")]), (),
        "6.png: no group; allowed: a group, --unit picture",
    ),
    "an escape of 0": (lambda f: data_set(f, apart(3)), ("--escape", 0), "--escape 0: allowed"),
    "a confidence of 1": (
        lambda f: data_set(f, apart(3)), ("--confidence", 1), "--confidence 1: allowed",
    ),
    "who in two lines": (lambda f: data_set(f, apart(3)), ("--who", "a\nb"), "printable"),
    "no place for it": (
        lambda f: data_set(f, apart(3)), ("--write", "no/where.onnx"), "not a file in a folder",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_a_mistake_is_one_line(gray: Path, tmp_path: Path, case: str) -> None:
    made, options, told = BROKEN[case]
    assert told in refused(gray, "--data", made(tmp_path / "parts"), *options)


def test_a_picture_that_cannot_be_read_is_no_unit(gray: Path, tmp_path: Path) -> None:
    folder = data_set(tmp_path / "parts", apart(5))
    (folder / "calib" / "4.png").write_bytes(b"not a picture")
    assert "calib/4.png" in refused(gray, "--data", folder)
    (folder / "calib" / "4.png").unlink()
    assert "calib/4.png" in refused(gray, "--data", folder)


def test_nothing_is_overwritten_and_no_store_is_written_into(gray: Path, tmp_path: Path) -> None:
    folder = data_set(tmp_path / "parts", apart(150))
    wish = (gray, "--data", folder, "--escape", 0.02, "--overkill", 0.02, "--write")
    assert "exists; nothing is overwritten" in refused(*wish, gray)
    store = Store(tmp_path / "store")
    installed = store.install(gray).path
    assert "edge model install" in refused(*wish, installed.with_name("new.onnx"))


def test_deeppcb_cannot_prove_what_the_field_asks_for(data: Path, tmp_path: Path) -> None:
    """177 defective calib pictures: the refusal is the expected result."""
    zoo = package.find("deeppcb")
    wish = Asked(escape=0.002, overkill=0.02)
    made = calibration(Request(package=zoo, data=data / "deeppcb", asked=wish, unit="picture"))
    assert "1,320 more than the 177 there are, which can bound them at 1.68 %" in made.shortfall
    held = made.certificate
    assert held.defective.units == held.good.units == 177
    assert held.escape.bound == upper(0, 177, 0.95) > wish.escape
    # What can be promised instead is in the package, which has no other pictures to its name.
    write_new(made, tmp_path / "out.onnx")
    found = package.load(tmp_path / "out.onnx")
    assert certificate.certificate(found) == held
    assert found.manifest.pictures == zoo.manifest.pictures
