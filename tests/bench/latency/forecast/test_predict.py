"""The prediction's arithmetic on made costs, and one whole prediction on the box at hand."""

from __future__ import annotations

import re

import msgspec
import numpy as np
import pytest

from bench.latency.box import host
from bench.latency.forecast import calibrate, macs, miniature, predict
from bench.latency.forecast.costs import Calibration, features, fit
from bench.latency.forecast.macs import Work
from bench.latency.result import save
from edge.core.errors import ConfigError, EngineError
from models import package

CALL_US, MAC_US, OUTPUT_US, MOVED_US = 3.0, 1e-5, 1e-3, 5e-5
BOX = Calibration(
    threads=2,
    seconds=6.5,
    costs={
        "int8 dense": (2.0, 1e-6, 0.0, 0.0, 0.0, 0.0),
        "fp32 dense": (CALL_US, MAC_US, OUTPUT_US, 0.0, 0.0, 0.0),
        "fp32 plain": (1.0, 0.0, 0.0, 0.0, 0.0, MOVED_US),
        "int8 plain": (1.0, 0.0, 0.0, 0.0, 0.0, MOVED_US),
    },
    gmacs={"int8": 1000.0, "fp32": 100.0},
    gbytes=20.0,
    node_us=0.5,
    run_us=4.0,
    spread=0.05,
    fit_error={},
    samples=tuple((50.0, 50.0 + 25.0 * (place % 100 == 0)) for place in range(2000)),
)
FLOOR = host.Floor((0.1, 0.4), (0.03, 0.1))


def work(kind, **changed):
    return Work(name="n", operator="Conv", kind=kind, **changed)


def test_a_fit_finds_the_costs_that_the_times_were_made_with():
    dice = np.random.default_rng(3)
    made = np.array([CALL_US, MAC_US, OUTPUT_US, 0.0, 0.0, 0.0])
    those = [
        work("fp32 dense", executed=int(m), outputs=int(o), rows=int(r), weights=int(w))
        for m, o, r, w in dice.integers(1e3, (1e7, 1e5, 1e4, 1e5), (12, 4))
    ]
    costs, error = fit([(one, float(features(one) @ made)) for one in those])
    np.testing.assert_allclose(costs, made, rtol=1e-3, atol=1e-6)
    assert error < 0.001


def test_a_fit_has_no_negative_cost_where_bigger_was_faster():
    those = [(work("fp32 dense", executed=m, outputs=10), t) for m, t in ((100, 9.0), (200, 5.0))]
    costs, error = fit(those)
    assert min(costs) >= 0
    assert 0 < error < 1


def test_an_operator_costs_its_call_its_macs_and_its_outputs():
    one = work("fp32 dense", macs=9, executed=1_000_000, outputs=2000, read=100, written=100)
    assert BOX.operator_us(one) == pytest.approx(CALL_US + 10.0 + 2.0)


def test_no_operator_is_faster_than_its_bytes():
    one = work("fp32 dense", executed=1000, read=3_000_000, written=1_000_000)
    assert BOX.operator_us(one) == pytest.approx(200.0)  # 4 MB at 20 GB/s


def test_a_family_without_probes_is_dense_work_or_a_plain_pass():
    heavy = work("int8 grouped", macs=10**6, executed=10**6)
    assert BOX.operator_us(heavy) == BOX.operator_us(work("int8 dense", executed=10**6))
    light = work("convert", read=1000, written=1000)
    assert BOX.operator_us(light) == BOX.operator_us(work("fp32 plain", read=1000, written=1000))


def test_a_session_is_its_operators_their_number_and_one_run():
    graph = macs.Graph((work("free"), work("int8 dense", executed=10**6)), 0, 0)
    assert BOX.session_us(graph) == pytest.approx(2.0 + 1.0 + 2 * 0.5 + 4.0)


def test_stretches_hold_every_slow_sample_once():
    ratios = BOX.stretches(500.0)  # ten samples each; 20 slow ones in 2000
    slow = ratios[ratios > 1.0]
    assert len(ratios) == 200
    np.testing.assert_allclose(slow, 525.0 / 500.0)
    assert len(slow) == 20


@pytest.fixture
def calibrated(monkeypatch):
    """predict with a box known beforehand."""
    small = miniature.Miniature(
        overhead_p50=0.8, overhead_p99=1.4, turn_p50=0.2, pause=0.5, parts=60
    )
    box = msgspec.structs.replace(
        BOX, costs=BOX.costs | {"int8 few inputs": BOX.costs["int8 dense"]}
    )
    monkeypatch.setattr(calibrate, "calibrate", lambda threads, seconds: box)
    monkeypatch.setattr(miniature, "measure", lambda *given: small)
    monkeypatch.setattr(host, "noise_floor", lambda seconds: FLOOR)
    return monkeypatch


def test_a_part_is_a_session_after_a_pause_and_the_overhead(calibrated):
    found = predict.predict("deeppcb")
    p50 = found.session_p50_ms
    assert found.paced_session_p50_ms == pytest.approx(p50 + 0.5, rel=1e-3)
    assert found.latency_p50_ms == pytest.approx(p50 + 0.5 + 0.8, rel=1e-3)
    session = found.session_p99_ms - p50
    excess = float(np.sqrt(session**2 + 0.6**2 + 0.3**2))
    assert found.latency_p99_ms == pytest.approx(found.latency_p50_ms + excess, rel=1e-3)
    assert found.parts_per_s == pytest.approx(1000 / (p50 + 0.2), rel=1e-3)
    assert found.macs == 1_335_623_680
    assert (found.threads, found.measured, found.error_percent) == (2, None, None)
    assert found.warnings == ()


def test_a_busy_machine_is_said(calibrated):
    box = msgspec.structs.replace(calibrate.calibrate(2, 1.0), spread=0.8)
    calibrated.setattr(calibrate, "calibrate", lambda threads, seconds: box)
    found = predict.predict("synthetic-part")
    assert "spread by 80 %" in found.warnings[0]
    assert "warning         the machine was busy" in predict.describe(found)


def test_the_error_against_a_result_is_of_the_same_figures(calibrated, make_result, tmp_path):
    path = tmp_path / "result.json"
    sha256 = package.find("deeppcb").file_sha256
    result = make_result(model_sha256=sha256)
    save(path, result)
    found = predict.predict("deeppcb", against=path)
    assert found.measured == {
        "session_p50_ms": 3.92,
        "session_p99_ms": 4.61,
        "paced_session_p50_ms": result.session_ms["p50"],
        "latency_p50_ms": result.latency_ms["p50"],
        "latency_p99_ms": result.latency_ms["p99"],
    }
    assert found.error_percent == pytest.approx(100 * (found.session_p50_ms / 3.92 - 1), abs=0.1)
    lines = predict.describe(found).splitlines()
    assert sum(line.startswith("measured") for line in lines) == 5
    assert re.search(r"session.run p50 3.92 ms: predicted [\d.]+, [+-]\d+ %", "\n".join(lines))


@pytest.mark.parametrize(
    ("scenario", "also"),
    [("single", set()), ("offline", {"parts_per_s"})],
)
def test_only_figures_of_the_same_kind_are_compared(
    calibrated, make_result, tmp_path, scenario, also
):
    path = tmp_path / "result.json"
    sha256 = package.find("deeppcb").file_sha256
    save(path, make_result(model_sha256=sha256, scenario=scenario))
    found = predict.predict("deeppcb", against=path)
    assert set(found.measured) == {"session_p50_ms", "session_p99_ms"} | also
    assert any("no pauses" in line for line in found.warnings) == (scenario == "single")


def test_a_result_of_other_threads_is_compared_but_said(calibrated, make_result, tmp_path):
    path = tmp_path / "result.json"
    save(path, make_result(model_sha256=package.find("deeppcb").file_sha256))
    found = predict.predict("deeppcb", against=path, threads=1)
    assert found.threads == 1
    assert found.warnings == ("the measurement was made with 2 threads, not 1",)


def test_a_result_of_another_model_is_refused(calibrated, make_result, tmp_path):
    path = tmp_path / "result.json"
    save(path, make_result())
    with pytest.raises(ConfigError, match="another file than this model"):
        predict.predict("deeppcb", against=path)


def test_too_short_a_calibration_is_refused():
    with pytest.raises(ConfigError, match="at least 2, to calibrate"):
        predict.predict("deeppcb", seconds=0.5)


def test_a_whole_prediction_of_a_package_on_this_box(tiny_package):
    found = predict.predict(str(tiny_package), seconds=3.0, threads=1, measure=True)
    assert 0 < found.session_p50_ms <= found.session_p99_ms
    assert found.session_p50_ms < found.latency_p50_ms < found.latency_p99_ms
    assert found.macs == 0
    assert found.measured is not None
    assert set(found.measured) == {"session_p50_ms", "session_p99_ms"}
    assert found.error_percent is not None
    families = {"dense", "few inputs", "pointwise", "depthwise", "grouped", "matrix", "plain"}
    for precision in ("int8", "fp32"):
        assert {f"{precision} {family}" for family in families} <= set(found.calibration.fit_error)
        assert found.calibration.gmacs[precision] > 0
    assert found == msgspec.json.decode(msgspec.json.encode(found), type=predict.Prediction)
    assert "measured        session.run p50" in predict.describe(found)


@pytest.mark.parametrize("role", ["_judge", "_control"])
def test_a_calibration_whose_child_does_not_come_is_one_line(monkeypatch, role):
    def no_child(stack, task, *fds):
        if (role == "_judge") != bool(task.address):
            return
        made(stack, task, *fds)

    made = miniature._child
    monkeypatch.setattr(miniature, "_child", no_child)
    monkeypatch.setattr(miniature, "START_S", 1.5)
    with pytest.raises(EngineError, match="did not start"):
        miniature.measure(1, 100, 10, 1.0)


def test_a_calibration_whose_worker_dies_is_one_line(monkeypatch):
    monkeypatch.setattr(miniature._Line, "_part", _broken)
    with pytest.raises(EngineError, match="is gone"):
        miniature.measure(1, 100, 10, 1.0)


def _broken(self):
    raise BrokenPipeError
