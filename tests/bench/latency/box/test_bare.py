"""The bare session of a real package, in its own process."""

from __future__ import annotations

import os
from array import array
from pathlib import Path

import msgspec
import numpy as np
import pytest

from bench.latency.box import bare
from bench.latency.box.bare import Setting
from edge.core.errors import ConfigError, EngineError
from models import package
from models.session import BoundSession, session_options
from sensors.synthetic import PartGenerator


@pytest.fixture(scope="module")
def model():
    return package.find("synthetic-part")


@pytest.fixture(scope="module")
def pictures():
    generator = PartGenerator(77_001)
    return [{"image": generator.part(index).image} for index in (1, 2, 3)]


def test_every_setting_is_tried_and_the_fastest_one_is_measured(model, pictures):
    found = bare.measure(model, "cpu", pictures, seconds=0.5)
    tried = bare.settings("cpu", len(os.sched_getaffinity(0)))
    assert set(found.scanned) == {str(setting) for setting in tried}
    least = min(found.scanned.values())
    fastest = [setting for setting in tried if found.scanned[str(setting)] == least]
    assert (found.threads, found.spinning) in [(s.threads, s.spin != "off") for s in fastest]
    assert found.runs >= bare.LEAST_FINAL_RUNS
    assert 0 < found.p50 <= found.p99
    assert found.mean > 0


@pytest.mark.parametrize(
    ("provider", "cores", "threads"),
    [
        ("cpu", 1, [1]),
        ("cpu", 2, [1, 2]),
        ("cpu", 6, [1, 2, 4, 6]),
        ("cpu", 8, [1, 2, 4, 8]),
        ("openvino", 6, [1, 2, 4, 6]),
        ("cuda", 8, [1]),
    ],
)
def test_threads_double_up_to_all_the_cores(provider, cores, threads):
    tried = bare.settings(provider, cores)
    assert sorted({setting.threads for setting in tried}) == threads
    assert len({str(setting) for setting in tried}) == len(tried)
    several = [s for s in tried if s.threads == threads[-1] and s.threads > 1]
    # Three ways to wait for work, on processors of their own or not; a provider has its own way.
    assert len(several) == (0 if threads[-1] == 1 else 6 if provider == "cpu" else 1)


def test_a_setting_changes_how_threads_wait_and_nothing_of_the_graph():
    setting = Setting(3, "on", pinned=True)
    ours, station = bare.options(setting, [0, 2, 5, 7]), session_options(3)
    for name in ("use_deterministic_compute", "graph_optimization_level", "execution_mode"):
        assert getattr(ours, name) == getattr(station, name)
    assert (ours.intra_op_num_threads, ours.inter_op_num_threads) == (3, 1)
    entry = ours.get_session_config_entry
    assert entry("session.intra_op.allow_spinning") == "1"
    assert entry("session.force_spinning_stop") == "0"
    assert entry("session.intra_op_thread_affinities") == "3;6"  # counted from 1, without the first
    off = bare.options(Setting(2), [0, 1]).get_session_config_entry
    assert off("session.intra_op.allow_spinning") == "0"


def test_the_bare_session_and_the_station_s_find_the_same(model, pictures):
    pool = bare.filled_pool(model, pictures)
    station = BoundSession(model.model_bytes(), model.manifest.views, pool, "cpu", 1)
    alone = bare.Alone(model, pool, "cpu", Setting(1), sorted(os.sched_getaffinity(0)))
    taken_ns = array("q")
    alone.take_turn(taken_ns, 0, least=1)
    station.run(0)
    # The turn's last run was on the first slot too: warm-up runs do not move it on.
    for name, output in station.outputs.items():
        np.testing.assert_array_equal(output, alone.outputs[name])
    assert len(taken_ns) == 1
    pool.close()


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one processor")
def test_pinned_threads_are_where_they_are_said_to_be(model, pictures):
    allowed = os.sched_getaffinity(0)
    cpus, pool = sorted(allowed), bare.filled_pool(model, pictures)
    before = threads()
    alone = bare.Alone(model, pool, "cpu", Setting(2, "run", pinned=True), cpus)
    helpers = threads() - before
    try:
        alone.take_turn(array("q"), 0, least=2)
        assert os.sched_getaffinity(0) == {cpus[0]}
        assert [os.sched_getaffinity(thread) for thread in helpers] == [{cpus[1]}]
    finally:
        os.sched_setaffinity(0, allowed)
        pool.close()


def threads():
    return {int(name.name) for name in Path("/proc/self/task").iterdir()}


def test_what_cannot_be_measured_is_one_line_with_its_name(model, pictures):
    with pytest.raises(
        EngineError, match=r"synthetic-part: provider abacus: unknown; allowed: cpu"
    ):
        bare.measure(model, "abacus", pictures, seconds=0.1)
    altered = msgspec.structs.replace(model, file_sha256="0" * 64)
    with pytest.raises(EngineError, match="changed since it was read"):
        bare.measure(altered, "cpu", pictures, seconds=0.1)
    with pytest.raises(ConfigError, match="no pictures"):
        bare.measure(model, "cpu", [], seconds=0.1)
    small = [{"image": np.zeros((64, 64), np.uint8)}]
    with pytest.raises(ConfigError, match=r"part 1: view image: uint8 \(64, 64\); synthetic-part"):
        bare.measure(model, "cpu", small, seconds=0.1)
    with pytest.raises(ConfigError, match="part 1: view image: missing"):
        bare.measure(model, "cpu", [{}], seconds=0.1)
