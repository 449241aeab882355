"""What the loop asks of the machine: taken, reported, given back; refused without harm."""

from __future__ import annotations

import gc
import json
import os
import resource
import subprocess
import sys
import threading
import weakref

import msgspec
import pytest

from edge import realtime
from edge.core.errors import ConfigError
from edge.core.process import slice_ns
from edge.realtime import EngineCpus, RealtimeOptions, check, engine_cpus, sliced, tidy, tuned

ALLOWED = sorted(os.sched_getaffinity(0))
LAST = ALLOWED[-1]


def settings() -> tuple[object, ...]:
    """Everything `tuned` may touch, but for the reset flag, which only root can take back."""
    return (
        os.sched_getaffinity(0),
        os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK,
        os.sched_getparam(0).sched_priority,
        sys.getswitchinterval(),
        gc.isenabled(),
        gc.get_freeze_count(),
        realtime._status("VmLck"),
    )


@pytest.fixture(autouse=True)
def _given_back():
    before = settings()
    yield
    assert settings() == before


def test_by_default_a_processor_of_its_own_and_no_collector():
    with tuned(RealtimeOptions()) as effects:
        assert os.sched_getaffinity(0) == {LAST}
        assert sys.getswitchinterval() == realtime.SWITCH_INTERVAL_S
        assert not gc.isenabled()
        assert gc.get_freeze_count() > 1000
    assert [tuple(effect) for effect in effects] == [
        ("fifo", "0", "off", True),
        ("cpus", "auto", str(LAST), True),
        ("lock_memory", "false", "off", True),
        ("collect", "false", "off, tidied in pauses", True),
    ]


def test_an_error_in_the_loop_gives_everything_back():
    with pytest.raises(KeyError), tuned(RealtimeOptions(fifo=1)):
        raise KeyError


@pytest.mark.parametrize("collect", [True, False])
def test_a_collector_that_was_off_before_stays_off(collect):
    gc.disable()
    with tuned(RealtimeOptions(collect=collect)) as effects:
        assert not gc.isenabled()
    assert effects[3].ok is not collect
    assert not gc.isenabled()
    gc.enable()


def test_the_collector_can_be_left_on():
    with tuned(RealtimeOptions(collect=True)) as effects:
        assert gc.isenabled()
        assert not tidy(idle=True)
    assert effects[3] == ("collect", "true", "on", True)


@pytest.mark.parametrize(
    ("options", "loop", "worker"),
    [
        ({}, {LAST}, tuple(ALLOWED[:-1])),
        ({"cpus": "any"}, set(ALLOWED), ()),
        ({"cpus": (ALLOWED[0],)}, {ALLOWED[0]}, tuple(ALLOWED[1:])),
        ({"cpus": "any", "worker_cpus": (LAST,)}, set(ALLOWED), (LAST,)),
        ({"worker_cpus": (LAST,)}, {LAST}, (LAST,)),
    ],
)
def test_processors(options, loop, worker):
    asked = RealtimeOptions(**options)
    check(asked)
    assert engine_cpus(asked, 1) == EngineCpus(worker, ())
    with tuned(asked) as effects:
        assert os.sched_getaffinity(0) == loop
    assert effects[1].ok
    assert effects[1].got == ", ".join(map(str, sorted(loop)))


@pytest.mark.parametrize(
    ("options", "threads", "judging", "helpers"),
    [
        ({}, 1, (0, 1, 2), ()),
        ({}, 2, (0, 1), (2,)),
        ({}, 3, (0,), (2, 1)),
        ({}, 4, (0,), (2, 1, 3)),  # the loop's own, which sleeps meanwhile
        ({}, 5, (0, 1, 2), ()),  # not one each: all are left to the kernel
        ({"cpus": "any"}, 2, (), ()),
        ({"cpus": "any", "worker_cpus": (1, 2)}, 2, (1,), (2,)),
        ({"worker_cpus": (1,)}, 2, (1,), (0,)),
        ({"cpus": (0, 1, 2, 3)}, 2, (), ()),
        ({"cpus": (0,), "worker_cpus": (1, 1)}, 2, (1,), (2,)),  # not the loop's
    ],
)
def test_helpers_have_processors_of_their_own(monkeypatch, options, threads, judging, helpers):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 3})
    assert engine_cpus(RealtimeOptions(**options), threads) == EngineCpus(judging, helpers)


def test_a_short_slice_is_for_all_that_is_started_inside_and_given_back():
    usual = slice_ns()
    with sliced(RealtimeOptions(slice_ms=0.5)) as effect:
        if not effect.ok:
            pytest.skip(f"slice: {effect.got}")
        found = []
        thread = threading.Thread(target=lambda: found.append(slice_ns()))
        thread.start()
        thread.join()
        assert found == [slice_ns()] == [500_000]
    assert slice_ns() == usual


def test_the_kernel_s_own_slice_is_left_alone():
    usual = slice_ns()
    with sliced(RealtimeOptions(slice_ms=0)) as effect:
        assert effect == ("slice_ms", "0", "off", True)
        assert slice_ns() == usual


@pytest.mark.parametrize("key", ["cpus", "worker_cpus"])
def test_a_processor_that_is_not_there(key):
    asked = RealtimeOptions(**{key: (ALLOWED[0], 4000)})
    words = f"realtime.{key}: no processor 4000; allowed: {', '.join(map(str, ALLOWED))}"
    with pytest.raises(ConfigError, match=words):
        check(asked)


def test_a_processor_that_went_away_since_is_reported():
    with tuned(RealtimeOptions(cpus=(4000,))) as effects:
        assert os.sched_getaffinity(0) == set(ALLOWED)
    assert effects[1].got.startswith("refused: ")
    assert not effects[1].ok


@pytest.mark.parametrize(
    "table",
    [{"fifo": 91}, {"fifo": -1}, {"cpus": []}, {"cpus": "all"}, {"cpus": 1}, {"nice": 1}],
)
def test_what_no_station_file_may_say(table):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(table, RealtimeOptions)
    assert msgspec.convert({"cpus": [0, 1], "fifo": 90}, RealtimeOptions).cpus == (0, 1)


def test_fifo_is_for_the_loop_and_not_for_the_threads_it_starts():
    policies = []
    with tuned(RealtimeOptions(fifo=5)) as effects:
        if effects[0].ok:
            assert os.sched_getparam(0).sched_priority == 5
        thread = threading.Thread(target=lambda: policies.append(os.sched_getscheduler(0)))
        thread.start()
        thread.join()
    expected = "SCHED_FIFO 5" if effects[0].ok else "not permitted: needs CAP_SYS_NICE"
    assert effects[0].got.startswith(expected)
    assert policies[0] & ~os.SCHED_RESET_ON_FORK == os.SCHED_OTHER


def test_memory_is_locked_where_that_is_permitted():
    with tuned(RealtimeOptions(lock_memory=True)) as effects:
        locked = int(realtime._status("VmLck").split()[0])
    assert effects[2].ok == (locked > 0), effects[2]


UNPRIVILEGED = """
import contextlib, json, os, resource
from edge.realtime import RealtimeOptions, tuned
resource.setrlimit(resource.RLIMIT_RTPRIO, (0, 0))
resource.setrlimit(resource.RLIMIT_MEMLOCK, (1 << 20, 1 << 20))
with contextlib.suppress(PermissionError):  # root steps down, nobody else has to
    os.setresuid(65534, 65534, 65534)
with tuned(RealtimeOptions(fifo=50, lock_memory=True)) as effects:
    print(json.dumps(effects))
"""


def test_without_permission_the_station_runs_and_says_so():
    done = subprocess.run(
        [sys.executable, "-c", UNPRIVILEGED], capture_output=True, text=True, check=True
    )
    fifo, cpus, memory, collect = json.loads(done.stdout)
    assert fifo == ["fifo", "50", "not permitted: needs CAP_SYS_NICE or rtprio in limits", False]
    assert memory[2].startswith("RLIMIT_MEMLOCK is 1 MiB: needs ")
    assert [cpus[3], memory[3], collect[3]] == [True, False, True]


def test_a_kernel_that_refuses_the_lock(monkeypatch):
    monkeypatch.setattr(realtime, "_lack_of_memlock", lambda: "")
    monkeypatch.setattr(realtime, "_MCL_CURRENT", 1 << 20)  # no such flag
    with tuned(RealtimeOptions(lock_memory=True)) as effects:
        pass
    assert effects[2] == ("lock_memory", "true", "refused: Invalid argument", False)


def test_the_limit_is_looked_at_before_the_lock(monkeypatch):
    monkeypatch.setattr(realtime, "_CAP_IPC_LOCK", 63)  # a capability nobody has
    for limit, lacking in ((1 << 20, True), (1 << 60, False), (resource.RLIM_INFINITY, False)):
        monkeypatch.setattr(resource, "getrlimit", lambda _, limit=limit: (limit, limit))
        assert bool(realtime._lack_of_memlock()) == lacking


class Knot:
    """A reference cycle, which only the collector takes apart."""

    def __init__(self) -> None:
        self.itself = self


@pytest.mark.parametrize(
    ("objects", "idle", "tidied"),
    [(10, True, False), (2000, True, True), (2000, False, False), (20_000, False, True)],
)
def test_tidied_in_pauses_and_when_overdue(objects, idle, tidied):
    with tuned(RealtimeOptions()):
        knot = weakref.ref(Knot())
        kept = [[] for _ in range(objects)]
        assert tidy(idle) == tidied
        assert (knot() is None) == tidied
        assert not tidy(idle)  # once is enough
        del kept


def pauses(number: int) -> int:
    """So many pauses of the loop, with enough for the collector in each; how many it used."""
    used = 0
    for _ in range(number):
        kept = [[] for _ in range(realtime.YOUNG + 100)]  # some come from a free list
        used += tidy(idle=True)
        del kept  # freed without the collector, which counts that against the next ones
    return used


def test_a_knot_that_grew_old_is_found_as_well():
    with tuned(RealtimeOptions()):
        knot = Knot()
        seen = weakref.ref(knot)
        assert pauses(150) == 150  # it has survived the young and the middle generation
        del knot
        assert pauses(150) == 150
        assert seen() is None
