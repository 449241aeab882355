"""The composition root: a station file, or a replay's options, becomes a running station."""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec

from control.actuator import RouterActuator
from control.policy import ThresholdPolicy
from edge.children import arm_process
from edge.core.clock import NS_PER_MS, SystemClock, VirtualClock
from edge.core.config import (
    ControllerOptions,
    EngineOptions,
    FootageOptions,
    OpenCvOptions,
    Station,
    SyntheticOptions,
)
from edge.core.ledger import Balance
from edge.core.pool import FramePool
from edge.core.ports import Camera, Clock, Recorder
from edge.core.process import python_module
from edge.core.types import ViewSpec
from edge.feed import Feed
from edge.loop import Inspection, inspect
from edge.replay import Journal, Report, report
from models import package
from models.engine import WorkerEngine
from models.exchange import WorkerPlan
from models.package import Package
from sensors.footage import Footage, open_footage
from sensors.opencv import OpenCvCamera
from sensors.scheduled import Rows, ScheduledCamera
from sensors.synthetic import PartGenerator
from sensors.synthetic_camera import SyntheticRows

SWITCH_INTERVAL_S = 0.0005  # Python's 5 ms would let the decoding thread hold up a verdict

Pace = Literal["max", "recorded"]
CameraFor = Callable[[FramePool], Camera]


class Rig(NamedTuple):
    """A station wired and warm; `inspection` is driven by edge.loop.inspect."""

    inspection: Inspection
    camera: Camera
    engine: WorkerEngine
    actuator: RouterActuator


@contextmanager
def rigged(
    station: Station,
    model: Package,
    recorder: Recorder,
    clock: Clock,
    camera_for: CameraFor,
    *,
    lockstep: bool = False,
    before_waiting: Callable[[], None] = lambda: None,
) -> Iterator[Rig]:
    """Bind, start and warm everything; triggers flow only once a controller is there.

    before_waiting runs once the address is bound, while the engine warms up.
    """
    manifest, event = model.manifest, recorder.event
    with ExitStack() as stack:
        pool = FramePool.create(manifest.views, station.slots)
        stack.callback(pool.close)
        actuator = RouterActuator(station.controller, clock, ticking=lockstep, event=event)
        stack.callback(actuator.close)
        hang_ns = None if lockstep else round(station.engine.hang_ms * NS_PER_MS)
        command = _worker_command(model, station, pool)
        engine = WorkerEngine(pool, command, hang_ns=hang_ns, event=event)
        stack.callback(engine.close)
        before_waiting()
        engine.start()
        camera = camera_for(pool)
        stack.callback(camera.close)
        # Last: from the welcome on the controller counts on a beat, which only the loop keeps.
        actuator.wait_for_controller()
        limits = manifest.thresholds
        inspection = Inspection(
            camera=camera,
            engine=engine,
            policy=ThresholdPolicy(limits.pass_below, limits.fail_from, station.policy),
            actuator=actuator,
            recorder=recorder,
            pool=pool,
            clock=clock,
            deadline=station.deadline,
            ack_ns=round(station.controller.ack_ms * NS_PER_MS),
        )
        yield Rig(inspection, camera, engine, actuator)


def _worker_command(
    model: Package, station: Station, pool: FramePool
) -> Callable[[int], list[str]]:
    def command(socket_fd: int) -> list[str]:
        plan = WorkerPlan(
            package=str(model.path),
            file_sha256=model.file_sha256,
            provider=station.engine.provider,
            threads=station.engine.threads,
            slots=pool.slots,
            pool_fd=pool.fd,
            socket_fd=socket_fd,
            parent_pid=os.getpid(),
            cpus=_cpus()[1],
        )
        return python_module("models.worker", msgspec.json.encode(plan).decode())

    return command


def run_fed(station: Station, feed_fd: int) -> Balance:
    """`run`, with every record and event sent to whoever holds the other end of the socket."""
    feed = Feed(socket.socket(fileno=feed_fd))
    balance = run(station, feed)
    feed.end(balance)
    return balance


def run(station: Station, recorder: Recorder) -> Balance:
    """Run a station in real time until its source is exhausted or SIGTERM or SIGINT comes."""
    stopping = False

    def stop(signum: int, frame: object) -> None:
        nonlocal stopping
        stopping = True

    model = package.find(station.engine.model)
    clock = SystemClock()
    camera_for = live_source(station, model.manifest.views, clock, recorder)
    with rigged(station, model, recorder, clock, camera_for) as rig, tuned():
        # Only now: until the first part there is nothing to finish, and a signal just ends it.
        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        return inspect(rig.inspection, lambda: stopping)


def live_source(
    station: Station, views: tuple[ViewSpec, ...], clock: Clock, recorder: Recorder
) -> CameraFor:
    """Check a station's source now, and return what opens it on a pool later."""
    match station.camera:
        case SyntheticOptions(seed=seed, rate_hz=rate_hz, parts=parts, defect_share=share):
            generator = PartGenerator(seed, defect_share=share)
            return scheduled(
                SyntheticRows(generator, views, rate_hz=rate_hz, parts=parts or None), clock
            )
        case FootageOptions(path=path, split=split, rate_hz=rate_hz):
            return scheduled(
                open_footage(Path(path), split=split, views=views, rate_hz=rate_hz), clock
            )
        case OpenCvOptions(device=device):
            return lambda pool: OpenCvCamera(device, pool, clock, tell=recorder.event)


def scheduled(rows: Rows, clock: Clock, *, lockstep: bool = False) -> CameraFor:
    """What opens a series of known parts on a pool."""
    return lambda pool: ScheduledCamera(rows, pool, clock, lockstep=lockstep)


def _cpus() -> tuple[int, tuple[int, ...]]:
    """The loop's processor, and those of the worker's judging thread.

    Left to the kernel, a woken worker often lands on the processor of the loop that woke it and
    waits there until the loop sleeps: 0.57 ms from trigger to worker instead of 0.27 (medians).
    """
    *others, own = sorted(os.sched_getaffinity(0))
    return own, tuple(others)


@contextmanager
def tuned() -> Iterator[None]:
    """Keep the loop's thread from being held up: its own processor, no start-up garbage.

    The other threads of the process, started before, stay where the kernel puts them.
    """
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {_cpus()[0]})
    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        os.sched_setaffinity(0, allowed)
        sys.setswitchinterval(interval_s)


def replay(
    footage_path: Path,
    model_name: str,
    *,
    split: str = "test",
    pace: Pace = "max",
    provider: str = "cpu",
    threads: int = 2,
    warn: Callable[[str], None] = lambda line: None,
) -> Report:
    """Replay footage through the real loop, engine and arm, and score it.

    pace "max" is lock-step on a virtual clock; "recorded" is real time, deadlines and all.
    """
    model = package.find(model_name)
    footage = open_footage(footage_path, split=split, views=model.manifest.views)
    with tempfile.TemporaryDirectory(prefix="edge-replay-") as folder:
        station = Station(
            camera=FootageOptions(path=str(footage_path), split=split),
            engine=EngineOptions(model=model_name, provider=provider, threads=threads),
            controller=ControllerOptions(bind=f"ipc://{folder}/station.ipc"),
        )
        return replay_on(station, model, footage, Path(folder), lockstep=pace == "max", warn=warn)


def replay_on(
    station: Station,
    model: Package,
    footage: Footage,
    folder: Path,
    *,
    lockstep: bool,
    warn: Callable[[str], None] = lambda line: None,
) -> Report:
    """Replay opened footage on a station with an arm of its own that logs into `folder`."""
    journal, arm_log = Journal(warn), folder / "arm.jsonl"
    arm_log.touch()
    clock = VirtualClock() if lockstep else SystemClock()
    with ExitStack() as stack:

        def start_arm() -> None:
            stack.enter_context(arm_process(station.controller.bind, arm_log, simulated=lockstep))

        rig = stack.enter_context(
            rigged(
                station,
                model,
                journal,
                clock,
                scheduled(footage, clock, lockstep=lockstep),
                lockstep=lockstep,
                before_waiting=start_arm,
            )
        )
        with tuned():
            balance = inspect(rig.inspection, lambda: False)
    return report(
        journal.records,
        footage.label,
        balance=balance,
        arm_log=arm_log,
        real_time=not lockstep,
        provider=station.engine.provider,
        model_sha256=model.file_sha256,
    )
