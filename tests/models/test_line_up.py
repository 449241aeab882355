"""Several crews for one line: chains of providers, swaps, candidates, golden sets; real workers."""

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
from models import golden, package
from models.crew import Crew, LineUp
from models.engine import WorkerEngine
from models.exchange import WorkerPlan
from models.golden_round import GoldenRound
from models.manifest import Gate
from models.package import seal
from models.session import available

CLOCK = SystemClock()
ROGUE = Path(__file__).with_name("rogue_worker.py")


def serving(name: str, provider: str = "cpu") -> Serving:
    return Serving(name, "1", "0" * 64, provider, 1, "float32", 0.5, 0.5)


def crew(path: Path, pool: FramePool, called: str = "cpu", **changes) -> Crew:
    """Honest workers of a package, called by a provider's name; changes: of their plan."""
    loaded = package.load(path)

    def command(fd: int, gently: bool) -> list[str]:
        plan = WorkerPlan(
            str(path), loaded.file_sha256, "cpu", 1, pool.slots, pool.fd, fd, os.getpid(),
            gently=gently,
        )  # fmt: skip
        plan = msgspec.structs.replace(plan, **changes)
        return python_module("models.worker", msgspec.json.encode(plan).decode())

    return Crew(serving(loaded.manifest.name, called), command)


def rogue(mode: str, provider: str = "cpu") -> Crew:
    command = [sys.executable, str(ROGUE), mode]
    return Crew(serving("rogue", provider), lambda fd, gently: [*command, str(fd)])


class Line:
    """A pool, an engine, and the loop's part of their conversation."""

    def __init__(self, views) -> None:
        self.events: list[tuple[str, int, str]] = []
        self.pool = FramePool.create(views, 6)
        self.engine: WorkerEngine | None = None
        self.part = 0

    def start(self, *chain: Crew, **options) -> WorkerEngine:
        options = {"hang_ns": 2 * NS_PER_S} | options
        self.engine = WorkerEngine(self.pool, chain, event=self._event, **options)
        self.engine.start()
        return self.engine

    def _event(self, *event) -> None:
        self.events.append(event)

    def told(self, kind: str) -> list[str]:
        return [detail for what, _, detail in self.events if what == kind]

    def judged(self, gray: int = 51, within_s: float = 10.0) -> Answer:
        self.part += 1
        slot, generation = self.pool.lease(self.part)
        arrays = self.pool.arrays(slot)
        arrays["image"].fill(gray)
        arrays["force"].fill(0)
        now_ns = CLOCK.now_ns()
        self.engine.submit(Frame(self.part, slot, generation, now_ns), now_ns + 5 * NS_PER_S)
        self.pool.release(slot, Holder.PART)
        until = CLOCK.now_ns() + round(within_s * NS_PER_S)
        while (now := CLOCK.now_ns()) < until:
            if answer := self.engine.poll(now):
                assert answer.part == self.part
                return answer
            CLOCK.wait(self.engine.filenos(), now + 5 * NS_PER_MS)
        raise AssertionError("no answer")

    def until(self, holds, within_s: float = 20.0) -> None:
        end = CLOCK.now_ns() + round(within_s * NS_PER_S)
        while not holds():
            assert CLOCK.now_ns() < end, f"it did not happen; {self.events}"
            assert self.engine.poll(CLOCK.now_ns()) is None
            CLOCK.wait(self.engine.filenos(), CLOCK.now_ns() + 10 * NS_PER_MS)

    def swapped(self, *chain: Crew) -> str:
        """What a swap came to, parts being judged all the while."""
        said: list[str] = []
        self.engine.swap(chain, said.append)
        end = CLOCK.now_ns() + 20 * NS_PER_S
        while not said:
            assert CLOCK.now_ns() < end
            assert isinstance(self.judged().outcome, Prediction)
        return said[0]


@pytest.fixture
def line(tiny_package):
    made = Line(package.load(tiny_package).manifest.views)
    yield made
    if made.engine:
        made.engine.close()
    made.pool.close()


@pytest.fixture
def with_golden(tiny_package, tmp_path):
    """The tiny package with a golden set; off: what every FP32 score is said to be too much."""

    def make(name: str = "tiny", *, off: float = 0.0, tolerance: float = 0.01) -> Path:
        loaded = package.load(tiny_package)
        views = loaded.manifest.views
        parts = []
        for gray in (10, 40, 90, 200):
            arrays = [np.full(view.shape, gray if view.kind == "picture" else 0, view.dtype)
                      for view in views]  # fmt: skip
            score = gray / 255
            parts.append(golden.part_of(arrays, name=f"{gray}", fp32=score + off, own=score))
        manifest = msgspec.structs.replace(
            loaded.manifest, name=name, gate=Gate(max_score_delta=tolerance)
        )
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(seal(_graph(tiny_package), manifest, golden=golden.encoded(parts)))
        return path

    return make


def _graph(path: Path) -> bytes:
    """A package's model without what the seal and the manifest added."""
    import onnx

    model = onnx.load(str(path))
    del model.metadata_props[:]
    return model.SerializeToString()


# ---- line-ups ----


def chain_of(*providers: str) -> LineUp:
    return LineUp([rogue("ok", provider) for provider in providers])


def test_the_standby_is_of_the_next_provider_that_is_left():
    up = chain_of("a", "b", "c")
    a, b, c = up.chain
    assert (up.first, up.standby(a), up.degraded) == (a, b, "")
    assert up.fail(b, "dead")
    assert (up.first, up.standby(a), up.degraded) == (a, c, "")
    assert up.fail(a, "late")
    assert (up.first, up.standby(c), up.degraded) == (c, c, "a: late; b: dead")


def test_the_last_provider_never_counts_as_failed():
    up = chain_of("a", "b")
    a, b = up.chain
    assert up.fail(a, "x")
    assert not up.fail(a, "again")
    assert not up.fail(b, "y")
    assert up.first is b


# ---- chains ----


def test_a_provider_that_fails_leaves_the_line_to_the_next_one_for_good(line, tiny_package):
    first, second = crew(tiny_package, line.pool, "openvino"), crew(tiny_package, line.pool)
    engine = line.start(first, second)
    assert line.judged().serving.provider == "openvino"
    os.kill(engine.worker_pids[0], signal.SIGKILL)
    line.until(lambda: engine.serving.provider == "cpu")
    answers = [line.judged() for _ in range(5)]
    assert {answer.serving.provider for answer in answers} == {"cpu"}
    assert all(isinstance(answer.outcome, Prediction) for answer in answers)
    assert engine.degraded == "openvino: the worker ended"
    line.until(lambda: engine.warm == 2)  # more of the same stands by
    assert "openvino given up: the worker ended; cpu serves" in line.told("provider")[0]


def test_the_frame_in_flight_at_a_failing_provider_is_the_only_one_lost(line, tiny_package):
    engine = line.start(rogue("dies", "openvino"), crew(tiny_package, line.pool))
    assert line.judged().outcome is Fault.ENGINE_DOWN
    answer = line.judged()
    assert answer.outcome.score == pytest.approx(0.2)
    assert answer.serving.package == "tiny"
    assert engine.degraded


def test_a_provider_that_cannot_start_is_left_out_and_said(line, tiny_package):
    broken = crew(tiny_package, line.pool, "openvino", file_sha256="0" * 64)
    engine = line.start(broken, crew(tiny_package, line.pool))
    assert engine.serving.provider == "cpu"
    assert "changed since" in engine.degraded
    assert engine.warm == 2


def test_where_none_of_a_chain_can_start_every_reason_is_told(line, tiny_package):
    broken = [crew(tiny_package, line.pool, name, file_sha256="0" * 64) for name in ("a", "cpu")]
    with pytest.raises(EngineError, match=r"^a: .*changed since.*; cpu: .*changed since"):
        line.start(*broken)


class Turns:
    """A crew of which each worker is started by the next command; the last one is for all more."""

    def __init__(self, *crews: Crew) -> None:
        self.crews, self.started = list(crews), 0

    def crew(self, **changes) -> Crew:
        return self.crews[0]._replace(command=self.command, **changes)

    def command(self, fd: int, gently: bool) -> list[str]:
        self.started += 1
        return self.crews[min(self.started, len(self.crews)) - 1].command(fd, gently)


def test_a_station_begins_with_one_worker_and_tries_for_the_standby(line, tiny_package):
    good = crew(tiny_package, line.pool)
    turns = Turns(good, rogue("dies_at_birth"), rogue("dies_at_birth"), good)
    engine = line.start(turns.crew())
    assert (engine.warm, engine.trouble, engine.degraded) == (1, "", "")
    assert line.told("standby") == [
        "none to begin with: the engine worker ended before it was ready"
    ]
    assert line.judged().outcome.score == pytest.approx(0.2)
    line.until(lambda: engine.warm == 2)
    assert turns.started == 4
    assert len(line.told("worker_lost")) == 1


def test_a_standby_with_a_trouble_of_its_own_is_no_reason_not_to_begin(line, tiny_package):
    """Out of memory, say: in the worker's own words, and nothing that is wrong with the package."""
    good = crew(tiny_package, line.pool)
    turns = Turns(good, crew(tiny_package, line.pool, slots=10**6), good)
    engine = line.start(turns.crew())
    assert engine.warm == 1
    assert len(line.told("standby")) == 1
    line.until(lambda: engine.warm == 2)


def test_a_standby_that_hangs_at_its_start_keeps_nobody_out_for_ever(line, tiny_package):
    good = crew(tiny_package, line.pool)
    hanging = Crew(good.serving, lambda fd, gently: ["sleep", "60"])
    pool = line.pool
    line.engine = WorkerEngine(
        pool, [Turns(good, hanging, good).crew()], hang_ns=NS_PER_S, event=line._event
    )
    line.engine.start(timeout_s=3.0)
    assert line.told("standby") == ["none to begin with: no engine worker was ready within 3 s"]
    assert line.judged().outcome.score == pytest.approx(0.2)


def test_a_standby_that_is_too_slow_is_done_without(line, tiny_package, with_golden):
    good, late = crew(with_golden(), line.pool), rogue("slow_golden")
    engine = line.start(Turns(good, late, good).crew(), budget_ns=NS_PER_S)
    assert engine.warm == 1
    assert "golden picture" in line.told("standby")[0]


@pytest.mark.parametrize(
    ("why", "words"), [("gate", "golden set of"), ("altered", "changed since the station read it")]
)
def test_where_the_package_is_the_reason_nobody_begins(line, with_golden, why, words):
    good = crew(path := with_golden(), line.pool)
    admitted, other = package.load(path), with_golden("other", off=0.3)

    def altered(fd: int, gently: bool) -> list[str]:
        path.write_bytes(other.read_bytes())
        return good.command(fd, gently)

    bad = crew(other, line.pool) if why == "gate" else good._replace(command=altered)
    with pytest.raises(EngineError, match=words):
        line.start(Turns(good, bad).crew(read=admitted.model_bytes))
    assert not line.told("standby")


def test_a_slow_answer_is_no_reason_to_give_a_provider_up(line, tiny_package):
    chain = crew(tiny_package, line.pool, "openvino"), crew(tiny_package, line.pool)
    engine = line.start(*chain, hang_ns=5 * NS_PER_S)
    first = engine.worker_pids[0]
    line.judged()
    os.kill(first, signal.SIGSTOP)
    slots = [line.pool.lease(100), line.pool.lease(101)]
    for part, (slot, generation) in zip((100, 101), slots, strict=True):
        now_ns = CLOCK.now_ns()
        engine.submit(Frame(part, slot, generation, now_ns), now_ns + 5 * NS_PER_S)
        line.pool.release(slot, Holder.PART)
    seen: list[Answer] = []
    end = CLOCK.now_ns() + 5 * NS_PER_S
    while not seen and CLOCK.now_ns() < end:
        if answer := engine.poll(CLOCK.now_ns()):
            seen.append(answer)
        CLOCK.wait(engine.filenos(), CLOCK.now_ns() + 5 * NS_PER_MS)
    assert (seen[0].part, seen[0].serving.provider) == (101, "cpu")
    os.kill(first, signal.SIGCONT)
    while len(seen) < 2 and CLOCK.now_ns() < end:
        if answer := engine.poll(CLOCK.now_ns()):
            seen.append(answer)
    line.until(lambda: engine.worker_pids[0] == first)  # its place again, once it is idle
    assert line.judged().serving.provider == "openvino"
    assert not engine.degraded


def test_a_worker_too_slow_for_the_line_may_not_serve(line, with_golden):
    with pytest.raises(EngineError, match="golden picture"):
        line.start(crew(with_golden(), line.pool), budget_ns=1)


# ---- the golden set ----


def test_a_worker_that_keeps_to_its_golden_set_serves(line, with_golden):
    engine = line.start(crew(with_golden(), line.pool))
    assert line.judged().outcome.score == pytest.approx(0.2)
    assert engine.warm == 2


def test_a_worker_that_does_not_is_refused_with_the_table(line, with_golden):
    with pytest.raises(EngineError, match="golden set") as refused:
        line.start(crew(with_golden(off=0.3), line.pool))
    assert "verdicts flipped" in str(refused.value)
    assert len(refused.value.table) == 1 + 4  # a heading, and every picture


def test_without_a_golden_set_only_the_reference_provider_serves(line, tiny_package):
    if "OpenVINOExecutionProvider" not in available():
        pytest.skip("this flavour of ONNX Runtime has one provider")
    with pytest.raises(EngineError, match="has no golden set"):
        line.start(crew(tiny_package, line.pool, "openvino", provider="openvino"))


def test_the_golden_set_is_judged_again_while_the_line_runs(line, with_golden):
    engine = line.start(crew(with_golden(), line.pool), golden=GoldenRound(every_parts=3))
    for _ in range(3):
        line.judged()
    line.until(lambda: engine.golden.rounds == 1)
    assert line.judged().outcome.score == pytest.approx(0.2)
    assert engine.replaced == 0


def test_an_idle_worker_is_kept_warm_where_its_provider_needs_it(line, tiny_package):
    warm = crew(tiny_package, line.pool)._replace(keep_warm_ns=50 * NS_PER_MS)
    engine = line.start(warm, rehearse=False)
    line.judged()
    rehearsed = []

    def two_rehearsals() -> bool:
        worker = engine._workers[0]
        if worker.rehearses_since_ns and worker.rehearses_since_ns not in rehearsed:
            rehearsed.append(worker.rehearses_since_ns)
        return len(rehearsed) == 2

    line.until(two_rehearsals)
    assert rehearsed[1] - rehearsed[0] >= 50 * NS_PER_MS
    assert line.judged().outcome.score == pytest.approx(0.2)


# ---- swaps ----


def test_a_swap_is_seen_by_no_part_but_in_its_record(line, tiny_package, with_golden):
    engine = line.start(crew(tiny_package, line.pool))
    before = set(engine.worker_pids)
    assert line.swapped(crew(with_golden("other"), line.pool)) == ""
    assert line.judged().serving.package == "other"
    assert not before & set(engine.worker_pids)
    line.until(lambda: engine.warm == 2)
    for pid in before:
        line.until(lambda pid=pid: _is_gone(pid))


def test_a_package_that_fails_its_gate_changes_nothing(line, tiny_package, with_golden):
    engine = line.start(crew(tiny_package, line.pool))
    before = engine.worker_pids
    why = line.swapped(crew(with_golden("other", off=0.3), line.pool))
    assert "golden set" in why.splitlines()[0]
    assert len(why.splitlines()) == 6
    assert engine.worker_pids == before
    assert line.judged().serving.package == "tiny"


def test_only_one_swap_at_a_time(line, tiny_package, with_golden):
    engine, said = line.start(crew(tiny_package, line.pool)), []
    engine.swap([crew(with_golden("other"), line.pool)], said.append)
    engine.swap([crew(tiny_package, line.pool)], said.append)
    assert said == ["another change is under way"]
    line.until(lambda: len(said) == 2)
    assert said[1] == ""


def test_a_worker_that_dies_during_a_swap_is_still_replaced(line, tiny_package, with_golden):
    engine, said = line.start(crew(tiny_package, line.pool)), []
    engine.swap([crew(with_golden("other"), line.pool)], said.append)
    os.kill(engine.worker_pids[0], signal.SIGKILL)
    line.until(lambda: bool(said))
    assert line.judged().serving.package == "other"
    line.until(lambda: engine.warm == 2)
    assert line.pool.free == 6


def test_a_worker_that_died_while_it_waited_is_not_swapped_in(line, tiny_package, with_golden):
    engine, said = line.start(crew(tiny_package, line.pool)), []
    engine.swap([crew(with_golden("other"), line.pool)], said.append)
    swap = engine._roster._swap
    line.until(lambda: len(swap.workers) == 1)
    os.kill(swap.workers[0].pid, signal.SIGKILL)
    line.until(lambda: bool(said))
    assert said == ["the worker ended before it served"]
    assert line.judged().serving.package == "tiny"


def test_a_provider_that_was_given_up_keeps_no_package_out(line, tiny_package, with_golden):
    chain = crew(tiny_package, line.pool, "openvino"), crew(tiny_package, line.pool)
    engine = line.start(*chain)
    os.kill(engine.worker_pids[0], signal.SIGKILL)
    line.until(lambda: engine.serving.provider == "cpu")
    broken = crew(with_golden("other"), line.pool, "openvino", file_sha256="0" * 64)
    assert line.swapped(broken, crew(with_golden("other"), line.pool)) == ""
    assert line.judged().serving.package == "other"
    assert engine.degraded.startswith("openvino: ")


def test_a_start_that_hangs_keeps_no_successor_waiting(line, tiny_package):
    engine = line.start(crew(tiny_package, line.pool))
    silent = Crew(serving("silent"), lambda fd, gently: ["sleep", "30"])
    engine.swap([silent], lambda why: None)
    for pid in engine.worker_pids:
        os.kill(pid, signal.SIGKILL)
    line.until(lambda: engine.replaced == 2 and engine.warm == 2, within_s=15.0)
    assert isinstance(line.judged().outcome, Prediction)


# ---- candidates ----


def test_a_candidate_judges_the_same_parts_and_decides_none(line, tiny_package, with_golden):
    engine = line.start(crew(tiny_package, line.pool))
    pairs, said = [], []
    candidate = crew(with_golden("other"), line.pool, shadow=True)
    engine.shadow.begin(candidate, lambda *pair: pairs.append(pair), said.append)
    line.until(lambda: said == [""])
    for gray in (51, 102, 204):
        assert line.judged(gray).serving.package == "tiny"
        line.until(lambda gray=gray: bool(pairs) and pairs[-1][0].part == line.part)
    assert [pair[0].outcome.score for pair in pairs] == [p[1].outcome.score for p in pairs]
    assert {pair[1].serving.package for pair in pairs} == {"other"}
    assert line.pool.free == 6
    engine.shadow.end()
    line.judged()
    assert len(pairs) == 3


def test_a_candidate_that_dies_costs_the_line_nothing(line, tiny_package):
    engine = line.start(crew(tiny_package, line.pool))
    pairs, said = [], []
    engine.shadow.begin(rogue("dies"), lambda *pair: pairs.append(pair), said.append)
    line.until(lambda: said == [""])
    assert line.judged().outcome.score == pytest.approx(0.2)
    line.until(lambda: len(said) == 2)
    assert pairs[0][1].outcome is Fault.ENGINE_DOWN
    line.until(lambda: line.pool.free == 6)
    assert line.judged().outcome.score == pytest.approx(0.2)


def test_a_candidate_that_cannot_start_is_told(line, tiny_package, with_golden):
    engine, said = line.start(crew(tiny_package, line.pool)), []
    engine.shadow.begin(crew(with_golden(off=0.3), line.pool), lambda *pair: None, said.append)
    line.until(lambda: bool(said))
    assert "golden set" in said[0]


def _is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False
