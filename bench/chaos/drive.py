"""The run: station, network and controllers as real processes, broken at the parts of the plan."""

from __future__ import annotations

import os
import random
import resource
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

from bench.chaos.hostile import attack
from bench.chaos.judge import ChaosReport, judge
from bench.chaos.kept import DATABASE, FOOTAGE
from bench.chaos.logs import INJECTED, Injected, Lines
from bench.chaos.network import Link
from bench.chaos.plan import KINDS, Injection, Kind, Plan, draw
from bench.chaos.station import BANK, CALL, bank
from edge.children import HISTORIAN
from edge.core import config
from edge.core.clock import NS_PER_MS, NS_PER_S, SystemClock, now_ns
from edge.core.errors import EdgeError
from edge.core.process import python_module
from edge.core.types import Verdict
from edge.desk import socket_path
from models import package
from models.build.unfit import Judge

MODEL = "synthetic-part"
SETTLE_NS = 100 * NS_PER_MS  # after something stood still: until beats and queues are as before
Say = Callable[[str], None]


def chaos(
    parts: int,
    rate_hz: float,
    seed: int,
    say: Say,
    *,
    folder: Path | None = None,
    kinds: tuple[Kind, ...] = KINDS,
    slots: int = 8,
) -> ChaosReport:
    """Run the plan of a seed and judge it; rate_hz 0 is the maximum pace. Logs go to `folder`."""
    with ExitStack() as stack:
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="edge-chaos-")))
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise EdgeError(f"--keep {folder}: not empty")
        expected = _expected(seed)
        plan = draw(parts, rate_hz, seed, str(folder), tuple(expected), kinds)
        plan.write(folder / "plan.json")
        say(f"{parts} parts, {len(plan.injections)} injections, seed {seed}")
        station = _station(folder, slots)
        started_ns = now_ns()
        with _Run(plan, station, say) as run:
            run.drive()
        return judge(plan, station, folder, expected, (now_ns() - started_ns) / NS_PER_S)


def _station(folder: Path, slots: int) -> config.Station:
    """The station file of the run: limits only warn, because everything will be reached."""
    text = f"""
name = "chaos-{os.getpid()}"
slots = {slots}
[camera]
source = "synthetic"
[engine]
model = "{MODEL}"
[controller]
bind = "tcp://127.0.0.1:{_free_port()}"
[publish]
bind = "tcp://127.0.0.1:{_free_port()}"
[limits]
missed_acks = {{ limit = 3, effect = "warn" }}
conservation_errors = {{ limit = 1, effect = "warn" }}
[records]
path = "{folder / DATABASE}"
evidence = false
[recording]
path = "{folder / FOOTAGE}"
keep = "all"
"""
    path = folder / "station.toml"
    path.write_text(text)
    return config.load(path, config.Station)


def _expected(seed: int) -> dict[int, Verdict]:
    """The verdicts of the run's pictures without any fault; those unfit to judge are left out."""
    loaded = package.find(MODEL)
    judge_alone, generator = Judge(loaded), bank(seed)
    limits = loaded.manifest.thresholds
    verdicts = {}
    for index in range(1, BANK + 1):
        picture = generator.part(index).image
        if judge_alone.unfit([picture]):
            continue
        score = judge_alone.score([picture])
        verdicts[index] = Verdict.PASS if score < limits.pass_below else Verdict.FAIL
    return verdicts


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


class _Controller:
    """One arm process and its way to the station."""

    def __init__(self, number: int, folder: Path, link: Link) -> None:
        self.link, self.log = link, folder / f"arm{number:04d}.jsonl"
        self.log.touch()
        address = f"tcp://127.0.0.1:{link.port}"
        options = ("--connect", address, "--log", str(self.log), "--parent", str(os.getpid()))
        self.process = subprocess.Popen(
            python_module("edge", "arm", *options),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            process_group=0,
        )

    @property
    def is_in_session(self) -> bool:
        return b'"event":"session"' in self.log.read_bytes()

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self.link.end()


class _Run:
    """The processes of one run, and the deeds that the plan calls for."""

    def __init__(self, plan: Plan, station: config.Station, say: Say) -> None:
        self._plan, self._station, self._say = plan, station, say
        self._folder, self._clock = Path(plan.folder), SystemClock()
        self._injected = Lines(self._folder / INJECTED)
        self._by_part = {one.part: one for one in plan.injections}
        self._lost = {one.part for one in plan.injections if one.kind == "lost_ack"}
        self._ports = (_port(station.controller.bind), _port(station.publish.bind))
        self._made = self._part = 0

    def __enter__(self) -> _Run:
        self._calls, theirs = os.pipe()
        plan_path = str(self._folder / "plan.json")
        command = ("bench.chaos.station", plan_path, str(theirs), str(os.getpid()))
        self._process = subprocess.Popen(
            python_module(*command), stdin=subprocess.DEVNULL, pass_fds=(theirs,), process_group=0
        )
        os.close(theirs)
        self._arm, self._spare = self._controller(), self._controller()
        self._arm.link.let_in()
        return self

    def __exit__(self, *exc: object) -> None:
        self._process.kill()
        self._process.wait()
        self._arm.end()
        self._spare.end()
        os.close(self._calls)

    def drive(self) -> None:
        """Break things until the station has inspected its last part and ended by itself."""
        tell_ns = now_ns()
        while True:
            if self._clock.wait((self._calls,), now_ns() + NS_PER_S):
                data = os.read(self._calls, CALL.size)
                if not data:
                    break
                (self._part,) = CALL.unpack(data)
                self._do(self._by_part[self._part])
            if now_ns() > tell_ns:
                tell_ns = now_ns() + 10 * NS_PER_S
                self._say(f"part {self._part} of {self._plan.parts}")
        if code := self._process.wait():
            raise EdgeError(f"the station ended with exit code {code}")

    def _do(self, injection: Injection) -> None:
        from_ns, dice = now_ns(), random.Random(injection.dice)
        settle_ns = SETTLE_NS
        match injection.kind:
            case "controller_restart":
                self._restart()
            case "controller_stop":
                self._stop(self._arm.process, 1000)
            case "station_stall":
                # Mostly shorter than the wait for an ack; one in eight outlasts that, too.
                self._stop(self._process, dice.choice((40, 70, 90, 110, 130, 150, 160, 700)))
            case "network_stall":
                self._arm.link.running.clear()
                self._rest(dice.randrange(60, 400))
                self._arm.link.running.set()
            case "hostile_bytes":
                if not attack(self._ports, socket_path(self._station.name), dice):
                    return  # not reached: not injected
                settle_ns = 0
            case "historian_kill":
                if not self._kill_historian():
                    return  # it is being replaced already
                settle_ns = 0
            case "disk_full":
                if not self._fill_disk():
                    return
                settle_ns = 0
            case _:
                return
        entry = Injected(injection.kind, injection.part, from_ns, now_ns() + settle_ns)
        self._injected.write(entry)

    def _restart(self) -> None:
        """kill -9 the controller; another one takes its place."""
        self._arm.end()
        self._arm = self._spare
        self._arm.link.let_in()
        until_ns = now_ns() + 5 * NS_PER_S
        while not self._arm.is_in_session:
            if now_ns() > until_ns:
                raise EdgeError("the next controller was not welcomed within 5 s")
            self._rest(5)
        self._spare = self._controller()
        while not self._spare.link.is_knocked_at() and now_ns() < until_ns:
            self._rest(5)  # its start takes half a second of a core, as it would nowhere else

    def _kill_historian(self) -> bool:
        pid = _historian_of(self._process.pid)
        if pid:
            os.kill(pid, signal.SIGKILL)
        return pid > 0

    def _fill_disk(self) -> bool:
        """For 200 ms no file of the historian's may grow: every write fails, as on a full disk."""
        pid = _historian_of(self._process.pid)
        try:
            usual = resource.prlimit(pid, resource.RLIMIT_FSIZE) if pid else None
            if usual is None:
                return False
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, usual[1]))
            self._rest(200)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, usual)
        except OSError:  # gone meanwhile
            return False
        return True

    def _stop(self, process: subprocess.Popen[bytes], ms: int) -> None:
        process.send_signal(signal.SIGSTOP)
        self._rest(ms)
        process.send_signal(signal.SIGCONT)

    def _rest(self, ms: int) -> None:
        self._clock.wait((), now_ns() + ms * NS_PER_MS)

    def _controller(self) -> _Controller:
        self._made += 1
        link = Link(self._ports[0], self._loses)
        return _Controller(self._made, self._folder, link)

    def _loses(self, part: int) -> bool:
        """Whether the network loses this ack: the first one of the part, once."""
        if part not in self._lost:
            return False
        self._lost.discard(part)
        self._injected.injected("lost_ack", part)
        return True


def _historian_of(station: int) -> int:
    """The historian's process id; 0 while there is none."""
    for task in Path(f"/proc/{station}/task").iterdir():
        for child in (task / "children").read_text().split():
            with suppress(OSError):
                if HISTORIAN in Path(f"/proc/{child}/cmdline").read_text():
                    return int(child)
    return 0


def _port(address: str) -> int:
    return int(address.rpartition(":")[2])
