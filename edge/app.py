"""The composition root: a station file, or a replay's options, becomes a running station."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from control import access
from control.actuator import RouterActuator
from control.interlock import Interlock
from control.placement import Placement
from control.policy import ThresholdPolicy
from edge import packages, realtime
from edge.announce import Fanout
from edge.changeover import Changeover, named
from edge.children import historian_process
from edge.core.clock import NS_PER_MS, SystemClock
from edge.core.config import (
    FootageOptions,
    OpenCvOptions,
    Station,
    SyntheticOptions,
)
from edge.core.errors import ConfigError, RecordsError
from edge.core.history import HistorianPlan
from edge.core.ledger import Balance
from edge.core.pool import FramePool
from edge.core.ports import Actuator, Camera, Clock, Engine, Recorder
from edge.core.ports import Interlock as Watch
from edge.core.types import Action, ViewSpec
from edge.crews import WORKER, crews_of
from edge.feed import Feed
from edge.history import History, Wants
from edge.loop import Inspection, Unwitnessed, inspect
from edge.recorded import (
    RecordedActuator,
    RecordedCamera,
    RecordedClock,
    RecordedEngine,
    RecordedInterlock,
    Scripted,
)
from edge.service import serving
from edge.sessions import session_of
from models import native
from models.engine import WorkerEngine
from models.golden_round import GoldenRound
from models.package import Package
from sensors.footage import open_footage
from sensors.opencv import OpenCvCamera
from sensors.scheduled import Rows, ScheduledCamera
from sensors.synthetic import PartGenerator
from sensors.synthetic_camera import SyntheticRows

CameraFor = Callable[[FramePool], Camera]


class Rig(NamedTuple):
    """A station wired and warm; `inspection` is driven by edge.loop.inspect."""

    inspection: Inspection
    camera: Camera
    engine: WorkerEngine
    actuator: RouterActuator
    interlock: Interlock
    history: History | None
    changeover: Changeover | None

    @property
    def idle(self) -> bool:
        """No part is under way."""
        return self.inspection.open == 0

    def status(self) -> dict[str, Any]:
        """The station as a person asks for it: state, counts, who is there."""
        inspection, ledger = self.inspection, self.inspection.ledger
        return {
            "state": self.interlock.state,
            "reason": self.interlock.reason,
            "hold_line": self.interlock.hold_line,
            "parts": ledger.triggers,
            "decided": ledger.decided,
            "open": inspection.open,
            "decisions": ledger.decisions,
            "acks": ledger.acks,
            "unacked": ledger.unacked,
            "conservation_errors": ledger.errors,
            "workers_warm": self.engine.warm,
            "workers_replaced": self.engine.replaced,
            "controller": bool(self.actuator.controller),
            "session": self.actuator.session,
            "dropped": self.actuator.dropped,
            "refused": self.actuator.refused,
            **(self.history.status() if self.history else {}),
            **({"models": self.changeover.status()} if self.changeover else {}),
        }

    def end(self, balance: Balance) -> None:
        """The loop is over: wait until all of it is on record; RecordsError where some is not."""
        if self.history:
            self.history.end(balance)
            if lost := self.history.lost_records:
                raise RecordsError(f"{lost} messages of this session are on no record")


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
    stop: Callable[[], bool] = lambda: False,
    on_turn: Callable[[int], None] = lambda now_ns: None,
    wake_fds: tuple[int, ...] = (),
    worker: tuple[str, ...] = WORKER,
    actuator_of: type[RouterActuator] = RouterActuator,
    recorded: Sequence[Scripted] = (),
    keys: Path = Path(),
) -> Iterator[Rig]:
    """Bind, start and warm everything; triggers flow only once a controller is there.

    before_waiting runs once the address is bound, while the engine warms up; stop ends the
    wait for a controller. worker: the module that is the engine's process. recorded: parts whose
    every instant and fault is as it was (lock-step only). keys: the folder of the station file,
    where its key files are looked up.
    """
    manifest, told = model.manifest, Fanout(recorder)
    event = told.event
    with ExitStack() as stack:
        interlock = Interlock(station.limits, event)
        gate_for = access.controller_gate(station.controller, keys, event)
        pool = FramePool.create(manifest.views, station.slots, manifest.outputs.map_shape)
        stack.callback(pool.close)
        actuator = actuator_of(
            station.controller,
            clock,
            ticking=lockstep,
            event=event,
            needs=_needs(station),
            gate_for=gate_for,
        )
        stack.callback(actuator.close)
        # Before the workers: it opens its files while they warm up.
        providers = packages.admitted(station, model, lambda line: event("prepare", 0, line))
        history = _history(
            station, model, providers.names[0], actuator.session, pool, clock, recorder, lockstep
        )
        if history:
            stack.callback(history.close)
            told.recorders.append(history)
        engine = WorkerEngine(
            pool,
            crews_of(model, providers.names, station, pool, worker=worker),
            hang_ns=None if lockstep else round(station.engine.hang_ms * NS_PER_MS),
            event=event,
            standby=station.engine.standby and not lockstep,
            # With one processor everything would wait for the rehearsal.
            rehearse=station.realtime.rehearse and len(os.sched_getaffinity(0)) > 1,
            golden=GoldenRound(station.engine.check.parts, station.engine.check.hours),
            budget_ns=None if lockstep else station.deadline(0).decide_by_ns,
            left_out=providers.left_out,
        )
        stack.callback(engine.close)
        before_waiting()
        engine.start()
        if history:
            history.await_start()
        camera = camera_for(pool)
        stack.callback(camera.close)
        if history and isinstance(camera, ScheduledCamera | RecordedCamera):
            history.truth = camera.truth
        policy = _policy(station, model)
        changeover = None
        if not lockstep:  # a replay is of one package
            changeover = packages.changeover(
                packages.Way(station, keys, pool, worker, providers),
                model,
                engine,
                decide=lambda answer: policy.decide(
                    answer.part, answer.outcome, serving=answer.serving
                ),
                changed=history.changed if history else lambda *change: None,
                event=event,
                is_held=lambda: interlock.hold_line,
            )
            stack.callback(changeover.close)
            told.recorders.append(changeover)
        # Last: from the welcome on the controller counts on a beat, which only the loop keeps.
        actuator.wait_for_controller(stop)
        # Told only now: a start that fails is one line about why.
        interlock.step("initialize", "the engine is warm")
        interlock.step("prepare", "a controller is there")
        interlock.step("start")
        ports: tuple[Engine, Actuator, Watch] = (engine, actuator, interlock)
        if recorded:
            ports = _as_recorded(recorded, engine, actuator, clock)
        inspection = Inspection(
            camera=camera,
            engine=ports[0],
            policy=policy,
            actuator=ports[1],
            interlock=ports[2],
            recorder=told,
            witness=history or Unwitnessed(),
            pool=pool,
            clock=clock,
            deadline=station.deadline,
            ack_ns=round(station.controller.ack_ms * NS_PER_MS),
            on_turn=_turns(on_turn, history, changeover),
            wake_fds=wake_fds,
        )
        yield Rig(inspection, camera, engine, actuator, interlock, history, changeover)


def _policy(station: Station, model: Package) -> ThresholdPolicy:
    limits = model.manifest.thresholds
    placement = _placement(station, model)
    return ThresholdPolicy(limits.pass_below, limits.fail_from, station.policy, placement)


def _as_recorded(
    parts: Sequence[Scripted],
    engine: WorkerEngine,
    actuator: RouterActuator,
    clock: Clock,
) -> tuple[RecordedEngine, RecordedActuator, RecordedInterlock]:
    """Ports that behave as they did, and a clock that waits for what is really under way."""
    assert isinstance(clock, RecordedClock)
    judged, link = RecordedEngine(engine, parts), RecordedActuator(actuator, parts)
    clock.outstanding = lambda: judged.outstanding
    clock.limit_ns, clock.give_up = link.limit_ns, link.give_up
    return judged, link, RecordedInterlock(parts)


def _history(
    station: Station,
    model: Package,
    provider: str,
    session: int,
    pool: FramePool,
    clock: Clock,
    recorder: Recorder,
    lockstep: bool,
) -> History | None:
    """The historian of a station that keeps anything; RecordsError where it cannot."""
    records, recording = station.records, station.recording
    if not records.path and not recording.path:
        return None
    plan = HistorianPlan(
        session=session_of(station, model, provider, session, clock, virtual=lockstep),
        records=records,
        recording=recording,
        pool_fd=pool.fd,
        slots=pool.slots,
        socket_fd=-1,
        parent_pid=0,
    )
    wants = Wants(
        every=bool(recording.path),
        evidence=bool(records.path) and records.evidence,
        pass_every=round(1 / records.pass_share) if records.pass_share else 0,
    )
    return History(
        lambda gently: historian_process(plan, gently=gently),
        wants,
        pool,
        clock,
        lot=records.lot if records.path else None,
        patient=lockstep,
        tell=recorder.event,
    )


def _turns(
    on_turn: Callable[[int], None], history: History | None, changeover: Changeover | None
) -> Callable[[int], None]:
    if history is None and changeover is None:
        return on_turn

    def all_of_them(now_ns: int) -> None:
        if history:
            history.turn(now_ns)
        if changeover:
            changeover.turn()
        on_turn(now_ns)

    return all_of_them


def _needs(station: Station) -> tuple[str, ...]:
    """What the disposition controller must be able to do here."""
    policy = station.policy
    actions = (policy.on_pass, policy.on_fail, policy.on_indeterminate)
    rework = ("rework",) if Action.REWORK in actions else ()
    return rework + (("pose",) if station.controller.pose_for else ())


def _placement(station: Station, model: Package) -> Placement | None:
    if station.pose is None or not station.controller.pose_for:
        return None
    pictures = [view for view in model.manifest.views if view.kind == "picture"]
    if not pictures:
        raise ConfigError("controller.pose_for: the package has no picture to take a place from")
    shape = (pictures[0].shape[0], pictures[0].shape[1])
    return Placement(station.pose, station.controller.pose_for, shape)


def run_fed(station: Station, feed_fd: int, keys: Path) -> Balance:
    """`run`, with every record and event sent to whoever holds the other end of the socket."""
    feed = Feed(socket.socket(fileno=feed_fd))
    balance = run(station, feed, keys)
    feed.end(balance)
    return balance


def run(
    station: Station,
    recorder: Recorder,
    keys: Path,
    *,
    camera_for: CameraFor | None = None,
    worker: tuple[str, ...] = WORKER,
) -> Balance:
    """Run a station in real time until its source is exhausted or SIGTERM or SIGINT comes.

    On a signal no further trigger is taken, the open parts are finished, and Bye is said.
    camera_for: in place of the station file's source.
    """
    realtime.check(station.realtime)
    model, why = packages.first_package(station, keys)
    clock = SystemClock()
    fanout = Fanout(recorder)
    camera_for = camera_for or live_source(station, model.manifest.views, clock, fanout)
    with ExitStack() as stack:
        # First, so that ZeroMQ's threads and the workers have it too.
        sliced = stack.enter_context(realtime.sliced(station.realtime))
        service = stack.enter_context(serving(station, fanout, keys))
        rig = stack.enter_context(
            rigged(
                station,
                model,
                fanout,
                clock,
                camera_for,
                stop=service.stopping,
                on_turn=service.turn,
                wake_fds=(service.fileno(),),
                worker=worker,
                keys=keys,
            )
        )
        for effect in (sliced, *stack.enter_context(realtime.tuned(station.realtime))):
            if effect.asked:
                fanout.event("realtime", 0, f"{effect.name} {effect.asked}: {effect.got}")
        if native.helper is None:  # a part takes 0.3 ms longer, and somebody may ask why
            fanout.event("realtime", 0, "compiled helper: not built; everything runs in Python")
        fanout.event("package", 0, f"{named(model)}: {why}")
        if degraded := rig.engine.degraded:
            fanout.event("provider", 0, f"degraded from the start: {degraded}")
        if rig.changeover:
            rig.changeover.later(lambda: packages.begun(station, model))
        service.ready(rig)
        balance = inspect(rig.inspection, service.stopping)
        rig.end(balance)
        rig.interlock.step("halt", "the run is over")
        return balance


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
        case OpenCvOptions(device=device, stale_after=stale_after):
            return lambda pool: OpenCvCamera(
                device, pool, clock, stale_after=stale_after, tell=recorder.event
            )


def scheduled(rows: Rows, clock: Clock, *, lockstep: bool = False) -> CameraFor:
    """What opens a series of known parts on a pool."""
    return lambda pool: ScheduledCamera(rows, pool, clock, at_most=1 if lockstep else None)
