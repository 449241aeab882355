"""Recipes: strict, and a typing error names the key and the allowed ones."""

from __future__ import annotations

import pytest

from edge.core.errors import ConfigError
from models.build import recipe
from models.package import ZOO

WHOLE = 'name = "a-b"\nterms = "t"\n[data]\nsize_px = [64, 64]\n'
WRONG = {
    "unknown key nam; allowed: .*name": 'nam = "x"\n',
    r"unknown key data\.sizes; allowed: .*size_px": WHOLE + "sizes = 1\n",
    r"unknown key training\.epoch; allowed: .*epochs": WHOLE + "[training]\nepoch = 1\n",
    "missing required field": 'name = "x"\n',
    "lower case": WHOLE.replace("a-b", "A B"),
    "multiples of 8": WHOLE.replace("64, 64", "65, 64"),
    "72x64: multiples of 16 for": WHOLE.replace("64, 64", "72, 64")
    + '[network]\nkind = "encoder"\n',
    "exact.*|Invalid enum": WHOLE + 'fit = "stretch"\n',
    "at least one": WHOLE + "[network]\nchannels = []\n",
    "epochs at least 1": WHOLE + "[training]\nepochs = 0\n",
    "data.routed_boards must be in 0..10000": WHOLE.replace("[data]", "[data]\nrouted_boards = -1"),
    "crop_px 20: a multiple of 8": WHOLE + "[augment]\ncrop_px = 20\n",
    r"augment\.paste must be in 0\.\.1": WHOLE + "[augment]\npaste = 7.0\n",
    "tone: the reference": WHOLE + "reference = true\n[augment]\ntone = 0.5\n",
    "augment.flaw: at least one": WHOLE + "[augment]\nflaw = []\n",
    "max_escape must be": WHOLE + "[limits]\nmax_escape = 0.7\n",
    r"unknown key golden\.from; allowed: .*source": WHOLE + '[golden]\nfrom = "calib"\n',
    "Invalid enum.*golden.source": WHOLE + '[golden]\nsource = "mine"\n',
    r"golden\.seed 900: from 0 to 800": WHOLE + "[golden]\nseed = 900\n",
    "must be a table": 'name = "x"\ndata = 3\n',
    "not TOML": "name =",
}


@pytest.mark.parametrize("reason", WRONG)
def test_a_wrong_recipe_is_refused_in_one_line(tmp_path, reason):
    path = tmp_path / "r.toml"
    path.write_text(WRONG[reason])
    with pytest.raises(ConfigError, match=reason) as caught:
        recipe.read(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_missing_recipe_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"gone\.toml: cannot be read"):
        recipe.read(tmp_path / "gone.toml")


RECIPES = [p for p in ZOO.rglob("*.toml") if p.stem != "index"]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_the_shipped_recipes_are_read(path):
    assert recipe.read(path).terms


def test_the_shipped_seeds_keep_train_calib_and_test_apart():
    data = recipe.read(ZOO / "synthetic-part.toml").data
    assert data.train_seeds[1] < data.calib_seeds[0]
    assert data.calib_seeds[1] < data.test_seeds[0]


def written(folder, name, text):
    (folder / f"{name}.toml").write_text(text)
    return folder / f"{name}.toml"


def test_a_teacher_is_a_recipe_beside_and_goes_with_like(tmp_path):
    (tmp_path / "deep").mkdir()
    written(tmp_path, "large", WHOLE + "[network]\nstem = 96\n")
    written(tmp_path, "small", 'teacher = "large.toml"\n' + WHOLE)
    also = written(tmp_path / "deep", "other", 'like = "../small.toml"\nname = "other"\n')
    found = recipe.read(also, tmp_path)
    assert found.name == "other"
    assert found.teacher is not None
    assert found.teacher.network.stem == 96
    assert found.teacher.data.root == str(tmp_path)
    assert found.teacher.training.seed != found.training.seed  # other batches than the pupil's
    alone = written(tmp_path, "alone", 'like = "small.toml"\nteacher = ""\n')
    assert recipe.read(alone).teacher is None
    assert recipe.read(written(tmp_path, "so", 'like = "alone.toml"\n')).teacher is None


@pytest.mark.parametrize(
    ("named", "reason"),
    [
        ('"small.toml"', "small.toml: has a teacher itself"),
        ('"whole.toml"', "whole.toml: network.picture: only its map is taught"),
        ('"coarse.toml"', "72x64: multiples of 16 for this network"),
        ("3", "teacher 3: the name of a recipe's file"),
        ('"taught.toml"', "taught.toml: has a teacher itself"),
    ],
)
def test_a_teacher_that_cannot_teach_is_one_line(tmp_path, named, reason):
    written(tmp_path, "whole", WHOLE + "[network]\npicture = true\n")
    written(tmp_path, "coarse", WHOLE + '[network]\nkind = "encoder"\n')
    written(tmp_path, "taught", 'teacher = "plain.toml"\n' + WHOLE)
    written(tmp_path, "plain", WHOLE)
    small = written(tmp_path, "small", f"teacher = {named}\n" + WHOLE.replace("64, 64", "72, 64"))
    with pytest.raises(ConfigError, match=reason):
        recipe.read(small)
