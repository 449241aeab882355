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
    "exact.*|Invalid enum": WHOLE + 'fit = "stretch"\n',
    "at least one": WHOLE + "[network]\nchannels = []\n",
    "epochs at least 1": WHOLE + "[training]\nepochs = 0\n",
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


@pytest.mark.parametrize("path", [p for p in ZOO.glob("*.toml") if p.stem != "index"], ids=str)
def test_the_shipped_recipes_are_read(path):
    assert recipe.read(path).terms


def test_the_shipped_seeds_keep_train_calib_and_test_apart():
    data = recipe.read(ZOO / "synthetic-part.toml").data
    assert data.train_seeds[1] < data.calib_seeds[0]
    assert data.calib_seeds[1] < data.test_seeds[0]
