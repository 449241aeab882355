"""Choosing a golden set: near the limits, beyond the stated delta, the same bytes every time."""

from __future__ import annotations

import itertools
import shutil

import cv2
import numpy as np
import pytest

from edge.core.errors import ConfigError
from edge.core.types import Verdict, ViewSpec
from models import golden, package
from models.build import datasets, measure, recipe, series
from models.build.boards import FLAWS, board
from models.build.golden import COUNT, NEAR, NoGoldenSetError, choose
from models.build.sealing import recipe_of, remade
from models.build.series import Series
from models.manifest import Thresholds

BAND = Thresholds(pass_below=0.3, fail_from=0.6)
VIEW = ViewSpec("image", "picture", "uint8", (16, 16))


def grays(count=400, side=16):
    """Noisy pictures, the corner of which gets brighter: it is all that the score is of."""
    for number in range(count):
        good = np.random.default_rng(number).integers(0, 40, (1, side, side), np.uint8)
        bad = good.copy()
        bad[:, :12, :12] += np.uint8(100 + number % 100)
        yield Series(f"gray {number}", good, bad)


def mean(views):
    return float(1 / (1 + np.exp(6 - views[:, :12, :12].mean() / 16)))


def quantised(error):
    """A package whose scores are off by up to `error`, by what the picture happens to be."""
    return lambda views: mean(views) + error * np.sin(views.sum())


def margins(chosen, limits=BAND):
    both = (limits.pass_below, limits.fail_from)
    return sorted(min(abs(part.fp32 - limit) for limit in both) for part in chosen.parts)


@pytest.mark.parametrize(("error", "stated"), [(0, 0.02), (0.01, 0.02), (0.02, 0.02), (0.1, 0.04)])
def test_a_third_is_just_beyond_the_stated_delta(error, stated):
    chosen = choose(grays(), mean, quantised(error), BAND)
    assert len(chosen.parts) == COUNT
    assert chosen.gate.max_score_delta <= stated
    assert chosen.gate.widest_score_delta == pytest.approx(error, rel=0.1)
    found = margins(chosen)
    assert found[0] > chosen.gate.max_score_delta
    assert found[NEAR - 1] <= 3 * chosen.gate.max_score_delta
    held = golden.opened(golden.encoded(chosen.parts).encode(), (VIEW,), "grays")
    own = [part.own for part in held.parts]
    noisy = [score + 0.3 * chosen.gate.max_score_delta for score in own]
    for scores in (own, noisy):
        parity = golden.judge(held, scores, BAND, chosen.gate.max_score_delta)
        assert (parity.flips, parity.refusal) == (0, "")
    for part, arrays in zip(held.parts, held.pictures(), strict=True):
        assert mean(arrays["image"][None]) == part.fp32  # stored is what was scored


def test_all_three_verdicts_and_the_range_are_there():
    chosen = choose(grays(), mean, quantised(0.005), BAND)
    verdicts = [BAND.verdict(part.fp32) for part in chosen.parts]
    assert min(verdicts.count(verdict) for verdict in Verdict) >= 8
    assert "64 parts, 16 of them whole" in chosen.told


def test_the_same_seed_gives_the_same_bytes():
    one, two = (
        golden.encoded(choose(grays(), mean, quantised(0.01), BAND).parts) for _ in range(2)
    )
    assert one == two


def test_large_noisy_pictures_are_stored_in_fewer_and_coarser_ones(monkeypatch):
    sizes = []
    for most, whole in ((10**9, 16), (9 / 10, 8), (9 / 10, 4), (9 / 10, 4)):
        most = round(most * sizes[-1]) if sizes else most
        monkeypatch.setattr("models.build.golden.MAX_GOLDEN_BYTES", most)
        chosen = choose(grays(40, 64), mean, mean, BAND)
        sizes.append(len(golden.encoded(chosen.parts)))
        assert sum(not part.keyed for part in chosen.parts) == whole
    assert sizes == sorted(sizes, reverse=True)
    monkeypatch.setattr("models.build.golden.MAX_GOLDEN_BYTES", 100)
    with pytest.raises(NoGoldenSetError, match="MiB of pictures"):
        choose(grays(40, 64), mean, mean, BAND)


@pytest.mark.parametrize("own", [lambda views: mean(views) + 0.5, lambda views: 0.0])
def test_a_package_that_is_not_its_fp32_network_gets_no_set(own):
    with pytest.raises(NoGoldenSetError, match=r"fewer than 64 of .* within 0\.19 of FP32"):
        choose(grays(60), lambda views: 0.9, own, BAND)


def test_samples_are_kept_and_a_misjudged_one_is_named():
    black, white = np.zeros((1, 16, 16), np.uint8), np.full((1, 16, 16), 255, np.uint8)
    asked = [("limit", "a.png", False, black), ("challenge", "b.png", True, white)]
    chosen = choose(grays(), mean, mean, BAND, asked)
    assert [(p.name, p.kind, p.expected) for p in chosen.parts[COUNT:]] == [
        ("a.png", "limit", Verdict.PASS),
        ("b.png", "challenge", Verdict.FAIL),
    ]
    with pytest.raises(ConfigError, match=r"limit/a\.png: scores .*fail is expected"):
        choose(grays(), mean, mean, BAND, [("limit", "a.png", True, black)])


@pytest.mark.parametrize("flaw", FLAWS)
def test_a_board_has_one_flaw_and_the_same_every_time(flaw):
    for seed in range(4):
        made, again = (board(np.random.default_rng(seed), (256, 320), flaw) for _ in range(2))
        assert made is not None
        assert all(np.array_equal(a, b) for a, b in zip(made, again, strict=True))
        reference, good, bad = made
        assert set(np.unique(reference)) == {0, 255}
        changed = (good != bad).astype(np.uint8)
        assert 0 < changed.mean() < 0.05
        assert cv2.connectedComponents(cv2.dilate(changed, np.ones((9, 9))))[0] == 2


def test_drawn_series_are_of_the_packages_own_views():
    kinds = ("synthetic-part", "flanges"), ("synthetic-part", "surfaces"), ("deeppcb", "boards")
    for name, kind in kinds:
        manifest = package.find(name).manifest
        one, two = itertools.islice(series.drawn(kind, manifest, 3), 2)
        assert one.at(0).shape == (len(manifest.views), *manifest.picture().shape)
        assert one.name != two.name
        assert not np.array_equal(one.at(0), one.at(1))
        assert np.array_equal(one.at(1)[1:], one.at(0)[1:])  # the reference has no flaw


def test_pictures_of_a_set_become_series(tmp_path):
    rng = np.random.default_rng(0)
    for label in ("good", "defect"):
        (tmp_path / label).mkdir()
        for place in range(10):
            picture = rng.integers(100, 140, (64, 64), np.uint8)
            cv2.imwrite(str(tmp_path / label / f"{place}.png"), picture)
    data = recipe.Data(size_px=(64, 64), root=str(tmp_path))
    calib = datasets.load(data, tmp_path, "calib")
    for one in itertools.islice(series.from_split(calib, 1), 9):
        assert any(np.array_equal(one.at(0), good) for good in calib.pictures[~calib.defect])
        assert not np.array_equal(one.at(0), one.at(1))


def test_samples_are_read_from_their_folders(tmp_path):
    data = recipe.Data(size_px=(64, 64), reference=True)
    with pytest.raises(ConfigError, match="no pictures in limit/ or challenge/"):
        list(series.samples(tmp_path, data))
    picture = np.full((64, 64), 90, np.uint8)
    for at in ("limit/good", "challenge/defect", "limit/reference"):
        (tmp_path / at).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / at / "a.png"), picture)
    with pytest.raises(ConfigError, match=r"a\.png: cannot be read"):
        list(series.samples(tmp_path, data))
    (tmp_path / "challenge" / "reference").mkdir()
    cv2.imwrite(str(tmp_path / "challenge" / "reference" / "a.png"), picture)
    found = list(series.samples(tmp_path, data))
    assert [row[:3] for row in found] == [("limit", "a.png", False), ("challenge", "a.png", True)]
    assert found[0][3].shape == (2, 64, 64)


def test_a_set_is_made_anew_without_touching_the_model(tmp_path, monkeypatch):
    """From another seed: another set, and no other byte."""
    monkeypatch.setattr("models.build.golden._BATCH", 20)  # series; enough, and half as long
    name, said = "synthetic-part", []
    (tmp_path / "twins").mkdir()
    for file in (f"{name}.onnx", f"twins/{name}-fp32.onnx"):
        shutil.copy(package.ZOO / file, tmp_path / file)
    text = (package.ZOO / f"{name}.toml").read_text()
    (tmp_path / "other.toml").write_text(text + "seed = 400\n")
    (tmp_path / "index.toml").write_text("# head\n\n")
    before = package.load(tmp_path / f"{name}.onnx")
    models = [package.unsealed(before.model_bytes())]
    after = package.load(remade(tmp_path / "other.toml", report=said.append))
    models.append(package.unsealed(after.model_bytes()))
    assert models[0] == models[1]
    assert after.content_sha256 != before.content_sha256
    assert after.manifest.thresholds == before.manifest.thresholds
    assert package.zoo_index(tmp_path)[name][1] == after.content_sha256
    held, twin = golden.load(after), golden.load(package.load(tmp_path / f"twins/{name}-fp32.onnx"))
    assert [part.fp32 for part in held.parts] == [part.own for part in twin.parts]
    assert "golden set: 64 parts" in said[-1]
    score = measure.score_of(models[0], ["image"])
    parity = golden.examine(after, lambda arrays: score(arrays["image"][None]))
    assert parity.refusal == ""


def test_a_recipe_is_named_by_its_file_or_its_place_in_the_zoo():
    assert recipe_of("deeppcb") == package.ZOO / "deeppcb.toml"
    assert recipe_of("mine/my.toml").name == "my.toml"
    with pytest.raises(
        ConfigError, match=r"'mine'; a \.toml file, or deeppcb \| magnetic-tile \| synthetic-part$"
    ):
        recipe_of("mine")
