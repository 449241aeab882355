"""The engine against real child processes: an honest worker, and ones that hang, die or lie."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

from edge.core.clock import NS_PER_MS, NS_PER_S, SystemClock
from edge.core.errors import EngineError
from edge.core.pool import FramePool, Holder
from edge.core.process import python_module
from edge.core.types import Answer, Fault, Frame, Prediction, Serving
from models import package
from models.crew import Crew
from models.engine import WorkerEngine
from models.exchange import WorkerPlan

CLOCK = SystemClock()
SERVING = Serving("tiny", "1", "0" * 64, "cpu", 1, "fp32", 0.5, 0.5)
ROGUE = Path(__file__).with_name("rogue_worker.py")


class Bench:
    """A pool and an engine, and the loop's part of their conversation."""

    def __init__(self, views, command, hang_ns=150 * NS_PER_MS, standby=False, rehearse=False):
        self.events = []
        self.pool = FramePool.create(views, 4)
        self.engine = WorkerEngine(
            self.pool,
            [Crew(SERVING, command(self.pool))],
            hang_ns=hang_ns,
            event=lambda *event: self.events.append(event),
            standby=standby,
            rehearse=rehearse,
        )
        self.part = 0

    def submit(self, gray=0, force=0.0, within_ms=1000.0):
        self.part += 1
        slot, generation = self.pool.lease(self.part)
        arrays = self.pool.arrays(slot)
        arrays["image"].fill(gray)
        arrays["force"].fill(force)
        now_ns = CLOCK.now_ns()
        frame = Frame(self.part, slot, generation, now_ns)
        self.engine.submit(frame, now_ns + round(within_ms * NS_PER_MS))
        self.pool.release(slot, Holder.PART)  # decided elsewhere; the engine still holds it
        return slot

    def answer(self, within_s=5.0) -> Answer:
        until = CLOCK.now_ns() + round(within_s * NS_PER_S)
        while (now := CLOCK.now_ns()) < until:
            if answer := self.engine.poll(now):
                return answer
            CLOCK.wait(self.engine.filenos(), min(until, self.engine.due_ns() or until))
        raise AssertionError("no answer")

    def until(self, holds, within_s=10.0):
        until = CLOCK.now_ns() + round(within_s * NS_PER_S)
        while not holds():
            assert CLOCK.now_ns() < until
            assert self.engine.poll(CLOCK.now_ns()) is None
            CLOCK.wait(self.engine.filenos(), CLOCK.now_ns() + 20 * NS_PER_MS)


def honest(path: Path, **changes):
    loaded = package.load(path)

    def for_pool(pool):
        def command(fd, gently):
            plan = WorkerPlan(str(path), loaded.file_sha256, "cpu", 1, pool.slots, pool.fd, fd,
                              os.getpid())  # fmt: skip
            plan = msgspec.structs.replace(plan, **changes)
            modules = ("models.gentle", "models.worker") if gently else ("models.worker",)
            return python_module(*modules, msgspec.json.encode(plan).decode())

        return command

    return loaded.manifest.views, for_pool


def rogue(mode):
    return lambda pool: lambda fd, gently: [sys.executable, str(ROGUE), mode, str(fd)]


@pytest.fixture
def bench(request):
    made = []

    def make(*args, **kwargs):
        made.append(Bench(*args, **kwargs))
        return made[-1]

    yield make
    for one in made:
        one.engine.close()
        one.pool.close()


@pytest.fixture
def good(bench, tiny_package):
    bench = bench(*honest(tiny_package))
    bench.engine.start()
    return bench


def test_a_score_and_regions_come_back_from_the_slot_in_place(good):
    good.submit(gray=51)
    answer = good.answer()
    assert isinstance(answer.outcome, Prediction)
    assert answer.outcome.score == pytest.approx(0.2)
    assert answer.outcome.regions == ()
    stamps = answer.stamps
    assert stamps.received_ns <= stamps.started_ns <= stamps.ended_ns <= stamps.sent_ns
    good.submit(gray=255)
    (region,) = good.answer().outcome.regions
    assert (region.x, region.y, region.width, region.height) == (0, 0, 16, 16)
    assert region.area_px == 256
    assert good.pool.free == 4


def test_a_later_frame_in_the_same_slot_is_seen_without_another_bind(good):
    scores = []
    for gray in (10, 200, 10, 60, 255, 0):
        good.submit(gray=gray)
        scores.append(good.answer().outcome.score)
    assert scores == pytest.approx([g / 255 for g in (10, 200, 10, 60, 255, 0)])


def test_nan_in_the_samples_is_bad_output_and_the_worker_is_replaced(good):
    good.submit(force=np.nan)
    assert good.answer().outcome is Fault.BAD_OUTPUT
    good.until(lambda: good.engine.ready and good.pool.free == 4)
    good.submit(gray=51)
    assert good.answer().outcome.score == pytest.approx(0.2)
    assert good.engine.replaced == 1


def test_a_slot_leased_again_is_a_stale_frame_and_not_a_score(good):
    slot, generation = good.pool.lease(1)
    now_ns = CLOCK.now_ns()
    good.engine.submit(Frame(1, slot, generation - 1, now_ns), now_ns + NS_PER_S)
    assert good.answer().outcome is Fault.STALE_FRAME
    good.pool.release(slot, Holder.PART)


def test_a_killed_worker_answers_engine_down_and_is_replaced(good):
    os.kill(good.engine.worker_pids[0], signal.SIGSTOP)  # so that the frame is surely in flight
    good.submit()
    os.kill(good.engine.worker_pids[0], signal.SIGKILL)
    assert good.answer().outcome is Fault.ENGINE_DOWN
    good.until(lambda: good.engine.ready and good.pool.free == 4)
    good.submit(gray=51)
    assert good.answer().outcome.score == pytest.approx(0.2)


def test_a_stopped_worker_is_killed_after_hang_ns_and_its_slot_is_in_quarantine(good):
    os.kill(good.engine.worker_pids[0], signal.SIGSTOP)
    slot = good.submit()
    started = CLOCK.now_ns()
    assert good.answer().outcome is Fault.ENGINE_DOWN
    assert CLOCK.now_ns() - started >= 150 * NS_PER_MS
    assert good.pool.holders(slot) in (Holder.QUARANTINE, Holder(0))
    good.until(lambda: good.pool.free == 4 and good.engine.ready)


def test_a_queued_frame_waits_for_the_next_worker(good):
    os.kill(good.engine.worker_pids[0], signal.SIGSTOP)
    good.submit()
    good.submit(gray=51)
    assert good.answer().outcome is Fault.ENGINE_DOWN
    assert good.answer(10.0).outcome.score == pytest.approx(0.2)


def test_an_abandoned_queued_frame_is_dropped_and_its_slot_freed(good):
    os.kill(good.engine.worker_pids[0], signal.SIGSTOP)
    good.submit()
    good.submit()
    good.engine.abandon(2)
    assert good.pool.free == 3
    assert good.answer().part == 1
    good.until(lambda: good.pool.free == 4)


def test_in_lock_step_an_abandoned_frame_ends_its_worker_at_once(bench, tiny_package):
    lockstep = bench(*honest(tiny_package), hang_ns=None)
    lockstep.engine.start()
    os.kill(lockstep.engine.worker_pids[0], signal.SIGSTOP)
    lockstep.submit()
    assert lockstep.engine.poll(CLOCK.now_ns()) is None
    lockstep.engine.abandon(1)
    assert lockstep.answer().outcome is Fault.ENGINE_DOWN


@pytest.mark.parametrize(
    ("mode", "fault"),
    [
        ("hangs", Fault.ENGINE_DOWN),
        ("dies", Fault.ENGINE_DOWN),
        ("exits", Fault.ENGINE_DOWN),
        ("nan", Fault.BAD_OUTPUT),
        ("short", Fault.BAD_OUTPUT),
        ("noise", Fault.BAD_OUTPUT),
        ("other_part", Fault.BAD_OUTPUT),
        ("other_generation", Fault.BAD_OUTPUT),
        ("too_many_regions", Fault.BAD_OUTPUT),
        ("unknown_fault", Fault.BAD_OUTPUT),
        ("rehearsed", Fault.BAD_OUTPUT),
    ],
)
def test_a_rogue_worker_is_a_fault_and_is_replaced(bench, tiny_package, mode, fault):
    views, _ = honest(tiny_package)
    rogued = bench(views, rogue(mode))
    rogued.engine.start()
    first = rogued.engine.worker_pids[0]
    rogued.submit()
    assert rogued.answer().outcome is fault
    rogued.until(lambda: rogued.engine.ready and rogued.pool.free == 4)
    assert rogued.engine.worker_pids[0] != first
    assert [kind for kind, _, _ in rogued.events] == ["worker_replaced", "worker_ready"]


def test_a_slow_answer_is_still_an_answer(bench, tiny_package):
    slow = bench(honest(tiny_package)[0], rogue("slow"))
    slow.engine.start()
    slow.submit()
    assert isinstance(slow.answer().outcome, Prediction)
    assert slow.engine.replaced == 0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"provider": "tensorrt"}, "provider tensorrt: not in this installation"),
        ({"file_sha256": "0" * 64}, "changed since the station read it"),
        ({"package": "none.onnx"}, "none.onnx: no such file"),
    ],
)
def test_a_worker_that_cannot_start_says_why(bench, tiny_package, changes, words):
    broken = bench(*honest(tiny_package, **changes))
    with pytest.raises(EngineError, match=words):
        broken.engine.start()


def test_a_worker_that_dies_at_birth_is_named(bench, tiny_package):
    broken = bench(honest(tiny_package)[0], rogue("dies_at_birth"))
    with pytest.raises(EngineError, match="ended before it was ready"):
        broken.engine.start()


def test_no_worker_outlives_its_engine(bench, tiny_package):
    short = bench(*honest(tiny_package))
    short.engine.start()
    pid = short.engine.worker_pids[0]
    short.engine.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_worker_that_cannot_be_started_at_all_is_one_line(bench, tiny_package):
    broken = bench(honest(tiny_package)[0], lambda pool: lambda fd, gently: ["/nowhere/python"])
    with pytest.raises(EngineError, match=r"cannot be started: .*No such file"):
        broken.engine.start()


@pytest.fixture
def pair(bench, tiny_package):
    """An engine whose standby is warm, too."""
    bench = bench(*honest(tiny_package), standby=True)
    bench.engine.start()
    bench.until(lambda: bench.engine.warm == 2)
    return bench


@pytest.mark.parametrize("blow", [signal.SIGSTOP, signal.SIGKILL])
def test_the_very_next_frame_is_inspected_by_the_standby(pair, blow):
    first, second = pair.engine.worker_pids
    os.kill(first, signal.SIGSTOP)
    pair.submit()
    os.kill(first, blow)
    pair.engine.abandon(1)  # its deadline passed
    pair.submit(gray=51)
    answers = [pair.answer(), pair.answer()]
    assert {a.part: a.outcome for a in answers}[1] is Fault.ENGINE_DOWN
    after = {a.part: a.outcome for a in answers}[2]
    assert after.score == pytest.approx(0.2)
    assert pair.engine.worker_pids[0] == second
    pair.until(lambda: pair.engine.warm == 2 and pair.pool.free == 4)


def test_the_standby_answers_before_the_hung_worker_is_killed(pair):
    os.kill(pair.engine.worker_pids[0], signal.SIGSTOP)
    pair.submit()
    pair.submit(gray=51)  # waits behind it, its deadline still to come
    assert pair.answer().outcome.score == pytest.approx(0.2)


def test_a_slow_worker_comes_back_as_the_standby_and_nothing_is_respawned(pair):
    first, second = pair.engine.worker_pids
    os.kill(first, signal.SIGSTOP)
    pair.submit()
    pair.engine.abandon(1)
    pair.submit(gray=51)
    assert pair.answer().outcome.score == pytest.approx(0.2)
    os.kill(first, signal.SIGCONT)
    assert pair.answer().part == 1  # late, but an answer
    assert pair.engine.worker_pids == (second, first)
    assert pair.engine.replaced == 0


def test_a_standby_that_dies_is_noticed_and_replaced_before_it_is_needed(pair):
    second = pair.engine.worker_pids[1]
    os.kill(second, signal.SIGKILL)
    pair.until(lambda: second not in pair.engine.worker_pids)
    pair.until(lambda: pair.engine.warm == 2)
    pair.submit(gray=51)
    assert pair.answer().outcome.score == pytest.approx(0.2)


def test_a_frame_that_cannot_be_answered_in_time_is_refused_and_the_slow_spell_forgotten(pair):
    now = CLOCK.now_ns()
    assert pair.engine.refusal(now, now + NS_PER_MS) is None  # nothing measured yet
    for _ in range(30):
        pair.engine.times.add(60 * NS_PER_MS)
    pair.engine.times.settle()
    assert pair.engine.refusal(now, now + 45 * NS_PER_MS)[0] is Fault.NOT_ADMITTED
    for _ in range(30):
        pair.engine.refusal(now, now + 45 * NS_PER_MS)
    assert pair.engine.refusal(now, now + 45 * NS_PER_MS) is None


def test_without_a_worker_a_frame_is_refused_with_the_reason(bench, tiny_package):
    alone = bench(*honest(tiny_package))
    alone.engine.start()
    os.kill(alone.engine.worker_pids[0], signal.SIGKILL)
    alone.until(lambda: not alone.engine.ready)
    now = CLOCK.now_ns()
    assert alone.engine.refusal(now, now + NS_PER_S) == (Fault.ENGINE_DOWN, "the worker ended")


def alerted(bench, in_ms=50):
    """Tell the engine of a part, and take what its worker says to that."""
    worker = bench.engine._workers[0]
    bench.engine.alert(CLOCK.now_ns(), CLOCK.now_ns() + in_ms * NS_PER_MS)
    assert worker.rehearses_since_ns
    bench.until(lambda: not worker.rehearses_since_ns)


def test_a_rehearsal_brings_no_answer_and_the_part_behind_it_is_judged_as_ever(bench, tiny_package):
    bench = bench(*honest(tiny_package), rehearse=True)
    bench.engine.start()
    bench.submit(gray=204)
    first = bench.answer()
    alerted(bench)
    bench.submit(gray=51)
    second = bench.answer()
    assert (first.part, second.part) == (1, 2)
    assert first.outcome.score > second.outcome.score
    assert not [kind for kind, _, _ in bench.events if kind != "worker_ready"]
    assert bench.pool.free == 4


def test_a_part_that_comes_during_the_rehearsal_waits_for_it_and_no_longer(bench, tiny_package):
    bench = bench(*honest(tiny_package), rehearse=True)
    bench.engine.start()
    bench.engine.alert(CLOCK.now_ns(), CLOCK.now_ns() + 50 * NS_PER_MS)
    bench.submit(gray=51)
    answer = bench.answer()
    assert isinstance(answer.outcome, Prediction)
    assert not bench.engine._workers[0].rehearses_since_ns


def test_an_alert_is_for_an_idle_worker_of_a_quick_model(bench, tiny_package):
    bench = bench(*honest(tiny_package), rehearse=True)
    bench.engine.start()
    assert bench.engine.alert_ns() is None  # nobody knows yet how long it takes
    bench.submit()
    bench.engine.alert(CLOCK.now_ns(), CLOCK.now_ns() + 50 * NS_PER_MS)
    assert not bench.engine._workers[0].rehearses_since_ns
    bench.answer()
    bench.engine.times.p50_ns = 3 * NS_PER_MS
    assert bench.engine.alert_ns() == 5_500_000
    bench.engine.times.p50_ns = 11 * NS_PER_MS
    assert bench.engine.alert_ns() is None


def test_without_rehearsals_and_in_lock_step_nobody_is_alerted(bench, tiny_package):
    views, command = honest(tiny_package)
    assert bench(views, command).engine.alert_ns() is None
    assert bench(views, command, hang_ns=None, rehearse=True).engine.alert_ns() is None


def test_a_part_is_given_to_the_standby_where_the_first_worker_hangs_in_its_rehearsal(
    bench, tiny_package
):
    bench = bench(*honest(tiny_package), standby=True, rehearse=True)
    bench.engine.start()
    first, second = bench.engine.worker_pids
    os.kill(first, signal.SIGSTOP)
    bench.engine.alert(CLOCK.now_ns(), CLOCK.now_ns() + 20 * NS_PER_MS)
    bench.submit()
    assert isinstance(bench.answer().outcome, Prediction)
    assert bench.engine.worker_pids == (second, first)
    bench.until(lambda: bench.engine.replaced == 1)  # after hang_ns, as with a part
    bench.until(lambda: bench.engine.warm == 2)
    assert first not in bench.engine.worker_pids


def test_a_part_refused_before_the_session_says_nothing_of_how_long_it_takes(good):
    slot = good.submit()
    good.pool._header[slot * 3] += 1  # leased again meanwhile
    assert good.answer().outcome is Fault.STALE_FRAME
    good.engine.times.settle()
    assert good.engine.times.p50_ns == 0


def test_a_frame_that_waited_too_long_is_not_given_to_a_worker(good):
    good.submit()
    good.answer()
    good.engine.times.p50_ns = good.engine.times.p99_ns = 5 * NS_PER_MS
    os.kill(good.engine.worker_pids[0], signal.SIGSTOP)
    good.submit()
    late, fresh = good.submit(within_ms=30), good.submit()
    CLOCK.wait((), CLOCK.now_ns() + 40 * NS_PER_MS)
    os.kill(good.engine.worker_pids[0], signal.SIGCONT)
    answers = [good.answer() for _ in range(3)]
    assert {a.part: isinstance(a.outcome, Prediction) for a in answers} == {
        2: True,
        3: False,
        4: True,
    }
    refused = next(a for a in answers if a.part == 3)
    assert refused.outcome is Fault.NOT_ADMITTED
    assert (refused.slot, late != fresh) == (late, True)
    assert good.pool.free == 4
