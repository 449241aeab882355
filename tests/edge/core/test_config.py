"""Every mistake in a station file is one line that names the key and what is allowed."""

import pytest

from edge.core.config import Station, load
from edge.core.errors import ConfigError
from edge.core.types import Action, Verdict

GOOD = """
name = "cell-7"
budget_ms = 40
[camera]
source = "footage"
path = "belt"
[engine]
model = "deeppcb"
[policy]
on_fail = "rework"
[[policy.region_rules]]
min_area_px = 40
verdict = "indeterminate"
[controller]
bind = "tcp://127.0.0.1:5590"
"""


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "cell.toml"
        path.write_text(text)
        return path

    return write


def test_a_good_file_and_its_deadline(write):
    station = load(write(GOOD), Station)
    assert station.policy.on_fail is Action.REWORK
    assert station.policy.region_rules[0].verdict is Verdict.INDETERMINATE
    deadline = station.deadline(1_000_000)
    assert (deadline.decide_by_ns, deadline.act_by_ns) == (36_000_000, 41_000_000)


POSE = '[pose]\nframe = "belt"\nmm_per_px = 0.06\nx_mm = 1.0\ny_mm = 1.0\nz_mm = 1.0\n'


@pytest.mark.parametrize(
    ("camera", "pose", "mm_per_px"),
    [
        ("", "", 0.0),
        ("mm_per_px = 0.05", "", 0.05),
        ("", POSE, 0.06),  # of the same picture
        ("mm_per_px = 0.06", POSE, 0.06),
    ],
)
@pytest.mark.parametrize("source", ["synthetic", "opencv", 'footage"\npath = "belt'])
def test_the_scale_is_the_camera_s_or_the_pose_s(write, source, camera, pose, mm_per_px):
    text = f'[camera]\nsource = "{source}"\n{camera}\n[engine]\nmodel = "deeppcb"\n{pose}'
    assert load(write(text), Station).mm_per_px == mm_per_px


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("name =", "nmae =", "nmae: unknown key; allowed: camera, engine, name, budget_ms"),
        ("on_fail", "on_fial", "policy.on_fial: unknown key; allowed: default, on_pass, on_fail"),
        ("path =", "pth =", "camera.pth: unknown key; allowed: source, path, split, rate_hz"),
        ('path = "belt"', "", "camera.path: missing"),
        *(
            ("[camera]", f"[camera]\nmm_per_px = {bad}", "camera.mm_per_px: expected `float`")
            for bad in ("0", "-0.05", "nan", "inf")
        ),
        (
            "[camera]",
            f"{POSE}[camera]\nmm_per_px = 0.05",
            "0.05 and pose.mm_per_px 0.06 are of the",
        ),
        ("min_area_px", "area", "policy.region_rules[0].area: unknown key; allowed: min_area_px"),
        ('"footage"', '"tape"', "'tape'; allowed: synthetic | footage | opencv"),
        ('"rework"', '"eject"', "'eject'; allowed: accept | reject | rework | hold"),
        ('on_fail = "rework"', 'on_fail = "accept"', "on_fail = accept would fail open; allowed:"),
        ('on_fail = "rework"', 'default = "accept"', "default = accept needs a verdict; allowed:"),
        ('"indeterminate"', '"maybe"', "'maybe'; allowed: pass | fail | indeterminate"),
        ("= 40\n[camera]", "= 5\n[camera]", "margin_ms 5.0 must be below budget_ms 5.0"),
        ("= 40\n[camera]", '= "x"\n[camera]', "budget_ms: expected `float`, got `str`"),
        ("min_area_px = 40", "min_area_px = 0", "region_rules[0].min_area_px: expected `int` >= 1"),
        ("[camera]", "[camera", "not TOML"),
    ],
)
def test_one_line_names_file_key_and_allowed_values(write, old, new, line):
    assert old in GOOD
    path = write(GOOD.replace(old, new))
    with pytest.raises(ConfigError) as caught:
        load(path, Station)
    assert line in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("more", "line"),
    [
        ("[limits]\nmissed_acks = { limit = 0 }", "limits.missed_acks.limit: expected `int` >= 1"),
        ("[limits]\nreject_rate = { limit = 0.0 }", "limits.reject_rate.limit: expected `float` >"),
        (
            '[limits]\nmissed_acks = { limit = 2, effect = "stop" }',
            "missed_acks.effect: invalid enum value 'stop'; allowed: warn | hold_line | error",
        ),
        ('pose_for = ["rework"]', "controller.pose_for needs the table [pose]: frame, mm_per_px"),
        ('pose_for = ["rework"]\n[pose]\nframe = "belt"', "pose.mm_per_px: missing"),
        ("at_ms = 1.0\nat_counts = 3", "at_ms and at_counts are two answers to one question"),
        ("[realtime]\nfifo = 99", "realtime.fifo: expected `int` <= 90"),
        (
            '[realtime]\ncpus = "all"',
            "realtime.cpus: invalid enum value 'all'; allowed: auto | any",
        ),
    ],
)
def test_what_a_daemon_needs_is_checked_at_the_start(write, more, line):
    with pytest.raises(ConfigError) as caught:
        load(write(f"{GOOD}{more}\n"), Station)
    assert line in str(caught.value)


@pytest.mark.parametrize(
    ("more", "allowed"),
    [
        ("budget_ms = 0", "a number above 0, up to 1000000"),
        ('slots = "many"', "a whole number from 4, up to 256"),
        ("name = 4", "text"),
        ("engine.standby = 1", "true | false"),
        ("engine.keep_warm_s = -1", "a number from 0, up to 3600"),
        ("engine.provider = 7", "text"),
        ('engine.content_sha256 = "ab"', "64 hexadecimal digits, or empty"),
        ("engine.content_sha256 = 7", "64 hexadecimal digits, or empty"),
        ("engine.check = 8", "{ parts = ..., hours = ... }"),
        (
            "policy = 8",
            "{ default = ..., on_pass = ..., on_fail = ..., on_indeterminate = ..., "
            "region_rules = ... }",
        ),
    ],
)
def test_a_plain_value_that_cannot_be_is_told_what_can(tmp_path, more, allowed):
    path = tmp_path / "station.toml"
    more = {"camera.source": '"synthetic"', "engine.model": '"deeppcb"', more: ""}
    path.write_text(
        "".join(f"{key} = {value}\n" if value else f"{key}\n" for key, value in more.items())
    )
    with pytest.raises(ConfigError, match=r"expected `[^']*; allowed: ") as caught:
        load(path, Station)
    assert str(caught.value).endswith(f"allowed: {allowed}")


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load(tmp_path / "none.toml", Station)
