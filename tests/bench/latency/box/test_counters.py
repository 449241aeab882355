"""Counts of real processes that do a known amount of each, and of real allocations."""

from __future__ import annotations

import gc
import importlib.util
import os
import subprocess
import sys
import tracemalloc
from contextlib import contextmanager

import msgspec
import pytest

from bench.latency.box.counters import Allocations, Collections, Meter
from bench.latency.result import Counters

PAGES, SLEEPS, BURN_S = 4096, 50, 0.2

# Does a known amount of one thing for every line on stdin, and answers with an empty line.
WORK = f"""
import mmap, sys, threading, time
kept = []
def sleep():
    for _ in range({SLEEPS}):
        time.sleep(0.001)
def thread():
    done, leave = threading.Event(), threading.Event()
    def run():
        sleep()
        done.set()
        leave.wait()
    threading.Thread(target=run, daemon=True).start()
    done.wait()
def touch():
    pages = mmap.mmap(-1, {PAGES} * mmap.PAGESIZE)
    pages.madvise(mmap.MADV_NOHUGEPAGE)
    for page in range({PAGES}):
        pages[page * mmap.PAGESIZE] = 1
    kept.append(pages)
def burn():
    until = time.process_time() + {BURN_S}
    while time.process_time() < until:
        pass
print(flush=True)
for line in sys.stdin:
    globals()[line.strip()]()
    print(flush=True)
"""


@contextmanager
def process():
    command = [sys.executable, "-c", WORK]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as child:
        try:
            child.stdout.readline()
            yield child
        finally:
            child.kill()


def do(child, what):
    child.stdin.write(what + "\n")
    child.stdin.flush()
    child.stdout.readline()


def test_what_loop_and_worker_did_is_divided_among_the_parts():
    with process() as loop, process() as worker, process() as controller:
        meter = Meter({"loop": loop.pid, "worker": worker.pid, "controller": controller.pid})
        meter.begin()
        do(loop, "sleep")
        do(worker, "touch")
        do(worker, "thread")  # one that is not there at the beginning
        do(controller, "burn")
        do(controller, "touch")  # the controller's faults are not the product's
        found = meter.end(10)
    assert PAGES / 10 <= found["page_faults_a_part"] < 2 * PAGES / 10
    assert found["context_switches_a_part"] >= 2 * SLEEPS / 10
    assert found["involuntary_switches_a_part"] <= found["context_switches_a_part"]
    grown = found["worker_resident_mib_last"] - found["worker_resident_mib_first"]
    assert grown == pytest.approx(PAGES * 4096 / 2**20, rel=0.2)
    assert 0 < found["resident_mib_first"] <= found["resident_mib_last"]
    used = found["cpu_ms_a_part"]
    assert set(used) == {"loop", "worker", "controller"}
    assert used["controller"] >= 1000 * BURN_S / 10
    assert used["controller"] > used["loop"] > 0
    assert meter.ended == ()
    msgspec.convert(
        found | {"collections": 0, "bytes_copied_a_part": 0, "pointers_checked": 0}, Counters
    )


def test_a_process_that_ends_counts_up_to_the_last_look_at_it():
    with process() as loop, process() as worker:
        meter = Meter({"loop": loop.pid, "worker": worker.pid})
        meter.begin()
        do(worker, "burn")
        meter.look()
        worker.kill()
        os.waitid(os.P_PID, worker.pid, os.WEXITED | os.WNOWAIT)  # ended, and not reaped yet
        found = meter.end(1)
        assert meter.ended == ("worker",)
        worker.wait()
        assert meter.end(1)["cpu_ms_a_part"]["worker"] == found["cpu_ms_a_part"]["worker"]
    assert found["cpu_ms_a_part"]["worker"] >= 1000 * BURN_S
    assert found["worker_resident_mib_last"] > 0


def test_a_process_that_was_never_there_counts_nothing():
    with process() as gone:
        gone.kill()
    meter = Meter({"worker": gone.pid})
    meter.begin()
    found = meter.end(0)
    assert found["page_faults_a_part"] == 0.0
    assert found["worker_resident_mib_last"] == 0.0
    assert found["cpu_ms_a_part"] == {}
    assert meter.ended == ("worker",)


def test_collector_runs_are_told_apart_by_whether_a_part_was_open():
    is_open = False
    with Collections(lambda: is_open) as collections:
        gc.collect()
        is_open = True
        gc.collect()
        gc.collect()
    gc.collect()
    assert collections.while_open == 2
    assert collections.all >= 3
    assert collections._note not in gc.callbacks


PRODUCT = """
from collections import deque
import json
window, table, kept, last = deque(maxlen=100), {}, [], []
def roll(part):
    window.append(part * 1000.5)
def grow(part):
    table[part] = None
def keep(part):
    kept.append(bytes(1000))
def library(part):
    kept.append(json.loads('[1000, 2000, 3000]'))
def cycle(part):
    one = []
    one.append(one)
def frame(part):
    return len(bytearray(70_000))
def replace(part):
    last.clear()
    last.append(bytearray(70_000))
def hand_over(part, recorder):
    recorder(part)
"""
RECORDER = """
kept = []
def record(part):
    kept.append([part] * 100)
"""
SMALL = 64 + 128  # bytes a part that a table or list of 1,000 entries may grow by


@pytest.fixture
def product(tmp_path):
    def load(name, source):
        path = tmp_path / name / f"{name}_code.py"
        path.parent.mkdir()
        path.write_text(source)
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    code = load("product", PRODUCT)
    code.record = load("recorder", RECORDER).record
    code.folders = {"own": [tmp_path / "product"], "measure": tmp_path / "recorder"}
    yield code
    tracemalloc.stop()


def traced(product, do, *, parts=1000, before=200):
    allocations = Allocations(65_536, **product.folders)
    allocations.start()
    for part in range(before):
        do(part)
    allocations.begin()
    for part in range(before, before + parts):
        do(part)
        allocations.part()
    return allocations.end(), allocations.lines


def line_of(name):
    return f"product_code.py:{PRODUCT.splitlines().index(f'def {name}(part):') + 2}"


def test_a_leak_is_counted_and_its_line_is_named(product):
    kept, lines = traced(product, product.keep)
    assert kept.blocks in (1000, 1001)  # the list's own table may have become a block of its own
    assert kept.bytes >= 1000 * 1000
    assert kept.frame_sized_blocks == 0
    assert lines[0].place.endswith(line_of("keep"))
    assert lines[0].blocks == kept.blocks


def test_what_a_library_allocates_for_the_product_is_the_product_s(product):
    kept, lines = traced(product, product.library)
    assert kept.blocks >= 1000
    assert lines[0].place.endswith(line_of("library"))


def test_a_window_that_rolls_keeps_nothing(product):
    kept, _ = traced(product, product.roll)
    assert kept.blocks == 0


def test_a_table_that_grows_keeps_its_size_and_no_block_for_each_part(product):
    product.table.update(dict.fromkeys(range(-10, 0)))
    kept, lines = traced(product, product.grow)
    _, blocks, size = next(one for one in lines if one.place.endswith(line_of("grow")))
    assert blocks <= 1
    assert 0 < size <= 1000 * SMALL
    assert kept.frame_sized_blocks == 0


def test_garbage_cycles_are_not_kept_and_add_up_to_no_frame(product):
    gc.disable()  # as on a station, where they wait for a pause
    try:
        kept, _ = traced(product, product.cycle, parts=2000)
    finally:
        gc.enable()
    assert kept.blocks == 0
    assert kept.frame_sized_blocks == 0


def test_what_the_recorder_keeps_is_its_own(product):
    kept, _ = traced(product, lambda part: product.hand_over(part, product.record))
    assert kept.blocks == 0


def test_a_frame_that_comes_and_goes_is_seen_in_every_part(product):
    kept, _ = traced(product, product.frame, parts=50)
    assert kept.frame_sized_blocks == 50
    assert kept.blocks == 0


def test_a_frame_that_each_part_replaces_is_seen_though_no_more_are_kept(product):
    kept, _ = traced(product, product.replace, parts=50)
    assert kept.frame_sized_blocks >= 1
    assert kept.blocks == 0


def test_begin_starts_the_tracing_and_end_stops_it(product):
    allocations = Allocations(65_536, **product.folders)
    with pytest.raises(ValueError, match="begin"):
        allocations.end()
    allocations.begin()
    product.keep(1)
    assert allocations.end().blocks >= 1
    assert not tracemalloc.is_tracing()
