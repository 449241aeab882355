"""What cannot be re-tiled is refused in one line; composites are as they are described."""

from __future__ import annotations

import shutil
from itertools import islice

import msgspec
import numpy as np
import pytest

from edge.core.errors import ConfigError
from edge.core.types import Verdict
from models import golden, package

pytest.importorskip("onnx", reason="building needs onnx")

from models.build import composites, retile
from models.manifest import Thresholds

LIMITS = Thresholds(pass_below=0.5, fail_from=0.5)
SIDE = 16


@pytest.fixture(scope="module")
def synthetic():
    return package.find("synthetic-part")


def without_golden(loaded, file):
    file.write_bytes(package.seal(package.unsealed(loaded.model_bytes()), loaded.manifest))
    return package.load(file)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({}, "nothing to change"),
        ({"batch": 257}, "synthetic-part: batch 257: 2 to 256"),
        ({"batch": 0}, "batch 0: 2 to 256"),
        ({"tile_px": (256, 256)}, "tile 256x256: synthetic-part takes multiples of 8, larger than"),
        ({"tile_px": (512, 500)}, "tile 512x500"),
        ({"tile_px": (248, 512)}, "larger than 256x256"),
        ({"tile_px": (512, 2056)}, "2048 at most"),
    ],
)
def test_sizes_and_batches_that_cannot_be(synthetic, asked, said):
    with pytest.raises(ConfigError, match=said):
        retile.retiled(synthetic, **asked)


def test_larger_tiles_need_a_golden_set_and_the_twin(synthetic, tmp_path):
    bare = without_golden(synthetic, tmp_path / "bare.onnx")
    twin = package.find("synthetic-part-fp32")
    with pytest.raises(ConfigError, match="no golden set to make one of larger tiles of"):
        retile.retiled(bare, tile_px=(512, 512), twin=twin)
    alone = package.load(shutil.copy(synthetic.path, tmp_path / "alone.onnx"))
    with pytest.raises(ConfigError, match=r"no FP32 twin at .*synthetic-part-fp32.onnx"):
        retile.retiled(alone, tile_px=(512, 512))


@pytest.mark.parametrize("name", ["deeppcb-fp32", "synthetic-part"])
def test_another_package_is_no_twin(synthetic, name):
    with pytest.raises(ConfigError, match=f"{name}: no FP32 twin of .*: other views, or not FP32"):
        retile.retiled(synthetic, tile_px=(512, 512), twin=package.find(name))


def test_other_weights_are_no_twin(synthetic, tmp_path):
    manifest = msgspec.structs.replace(synthetic.manifest, name="told", precision="fp32")
    (tmp_path / "told.onnx").write_bytes(
        package.seal(package.unsealed(synthetic.model_bytes()), manifest)
    )
    with pytest.raises(ConfigError, match=r"told: no FP32 twin of .* is on record"):
        retile.retiled(synthetic, tile_px=(512, 512), twin=package.load(tmp_path / "told.onnx"))


def test_a_graph_of_another_making(tiny_package):
    with pytest.raises(ConfigError, match="not a graph of `edge model build`"):
        retile.retiled(package.load(tiny_package), batch=2)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--batch", "257"], "retile: synthetic-part: batch 257: 2 to 256"),
        (["--tile-px", "512x500"], "retile: tile 512x500"),
        (["--tile-px", "512x512", "--twin", "no.onnx"], "retile: no.onnx: no such file"),
    ],
)
def test_the_command_says_why_not_in_one_line(tmp_path, capsys, arguments, said):
    file = tmp_path / "new.onnx"
    assert retile.main(["synthetic-part", str(file), *arguments]) == 2
    out = capsys.readouterr()
    assert out.err.startswith(said)
    assert out.err.count("\n") == 1
    assert not file.exists()


def picture(value, spot=None):
    out = np.full((1, SIDE, SIDE), 50, np.uint8)
    out[:, 4:12, 4:12] = value
    if spot is not None:
        out[:, 7:9, 7:9] = spot
    return out


@pytest.fixture
def held(synthetic):
    """A golden set of small pictures: two families, and a limit sample."""
    views = (msgspec.structs.replace(synthetic.manifest.views[0], shape=(SIDE, SIDE)),)
    first, second = picture(100), picture(120)
    parts = [
        golden.part_of(first, name="a, 0", fp32=0.1, own=0.1),
        golden.part_of(picture(100, 0), [*first], name="a, 1", fp32=0.9, own=0.9),
        golden.part_of(second, name="b, 0", fp32=0.2, own=0.2),
        golden.part_of(
            picture(110), name="c", fp32=0.4, own=0.4, kind="limit", expected=Verdict.PASS
        ),
    ]
    return golden.Golden("small", views, tuple(parts))


def test_all_but_one_of_a_composite_are_good(held):
    found = list(composites.composites(held, LIMITS, (40, 56)))
    assert len(found) == composites.SERIES
    leads = set()
    for series in islice(found, 0, None, 2):  # of the family with a defect
        clean, flawed = series.at(0.0), series.at(1.0)
        assert clean.shape == (1, 40, 56)
        rows, columns = np.nonzero(clean[0] != flawed[0])
        assert (np.ptp(rows), np.ptp(columns)) == (1, 1)
        assert (clean == 50).mean() > 0.8
        assert sum(int((clean == level).sum()) for level in (100, 120)) == 6 * 64
        leads.add((rows[0] // 20, columns[0] // 19))
    assert len(leads) > 1
    again = next(composites.composites(held, LIMITS, (40, 56)))
    np.testing.assert_array_equal(again.at(0.5), found[0].at(0.5))


def test_samples_lie_alone_in_a_tile(held):
    ((kind, name, defect, views),) = composites.samples(held, (40, 56))
    assert (kind, name, defect) == ("limit", "c", False)
    assert (views == 110).sum() == 64
    assert (views != 50).sum() == 64


def test_a_golden_set_without_a_good_part_fills_no_tile(held):
    part = golden.part_of(picture(9), name="x", fp32=0.9, own=0.9)
    bad = golden.Golden("bad", held.views, (part,))
    with pytest.raises(ConfigError, match="bad: no golden part passes"):
        next(composites.composites(bad, LIMITS, (40, 56)))
