"""What a station file may say of what a model runs on."""

from __future__ import annotations

import pytest

from edge.core.config import EngineOptions, Station, load
from edge.core.errors import ConfigError


def station(tmp_path, *lines):
    path = tmp_path / "station.toml"
    engine = "\n".join(lines)
    path.write_text(f'[camera]\nsource = "synthetic"\n[engine]\nmodel = "x"\n{engine}\n')
    return load(path, Station)


@pytest.mark.parametrize(
    ("line", "providers"),
    [
        ("", ("cpu",)),
        ('provider = "openvino"', ("openvino",)),
        ('provider = "auto"', ("auto",)),
        ('provider = ["tensorrt", "cuda", "cpu"]', ("tensorrt", "cuda", "cpu")),
        ('provider = ["cpu"]', ("cpu",)),
    ],
)
def test_providers_by_name_in_their_order_or_auto(tmp_path, line, providers):
    assert station(tmp_path, line).engine.providers == providers


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (['provider = "abacus"'], "provider abacus: unknown; allowed: cpu | openvino | cuda"),
        (['provider = ["cpu", "abacus"]'], "provider abacus: unknown"),
        (['provider = ["cpu", "cpu"]'], "each once"),
        (["provider = []"], "at least one; allowed: cpu | openvino | cuda | tensorrt | auto"),
        (['provider = ["auto", "cpu"]'], "auto stands alone"),
        (['provider = "auto"', 'measure = "never"'], "allowed measure: always | once"),
        (["provider = 3"], "engine.provider"),
        (['measure = "often"'], "engine.measure"),
        (["keep_warm_s = -1"], "engine.keep_warm_s"),
    ],
)
def test_what_is_refused_names_the_key_and_what_is_allowed(tmp_path, lines, words):
    with pytest.raises(ConfigError) as refused:
        station(tmp_path, *lines)
    assert words in str(refused.value)
    assert "engine" in str(refused.value)


def test_options_built_in_code_are_refused_in_the_same_way():
    with pytest.raises(ConfigError, match="provider abacus: unknown; allowed: cpu"):
        EngineOptions(model="x", provider="abacus")


def test_pauses(tmp_path):
    assert station(tmp_path).engine.keep_warm_s is None
    assert station(tmp_path, "keep_warm_s = 0").engine.keep_warm_s == 0
    assert station(tmp_path, "keep_warm_s = 2.5").engine.keep_warm_s == 2.5
