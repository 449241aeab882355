"""What changes under a running line: packages, swapped again and again; a provider that fails."""

from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgspec

from bench.failing_worker import KINDS
from bench.measures import UNSEEN_SEED, Figures, SkippedError
from edge import app
from edge.children import arm_process
from edge.core.clock import NS_PER_MS, NS_PER_S, SystemClock
from edge.core.config import ControllerOptions, EngineOptions, Station, SyntheticOptions
from edge.core.errors import EdgeError
from edge.core.process import python_module
from edge.core.types import PartRecord
from edge.desk import ask, socket_path
from edge.historian.records.query import query
from edge.replay import Journal
from models import package
from models.package import Package, seal
from models.session import available
from models.store import Store, address

MODEL = "synthetic-part"
RATE_HZ = 20.0
SWAPS, WARM_UP_SWAPS = 200, 20
QUIET_PARTS = 4000  # with no swap, to compare with
OF_THE_PICTURE = ("unfit_image",)  # refused at once, and none of the swap's doing
FAILS_AT, FAILING_PARTS = 100, 300


def swaps() -> Figures:
    """200 activations in a row at 20 parts/s, then 4,000 parts without any."""
    with tempfile.TemporaryDirectory(prefix="edge-swap-") as name, _line(Path(name)) as line:
        other = line.store.install(_second(Path(name)))
        both = [address(other), address(line.store.install(package.find(MODEL).path))]
        for number in range(WARM_UP_SWAPS):
            line.activate(both[number % 2])
        first, memory = line.parts, [line.resident_kb()]
        for number in range(SWAPS):
            line.activate(both[number % 2])
            memory.append(line.resident_kb())
        last = line.parts
        line.until(lambda: line.parts >= last + QUIET_PARTS, within_s=600.0)
        errors = line.status()["conservation_errors"]
        line.end()
        rows = list(query(line.records))
    swapped = [row for row in rows if first < row.part <= last]
    quiet = [row for row in rows if last < row.part <= last + QUIET_PARTS]
    late = [row for row in swapped if row.overrun and row.fault not in OF_THE_PICTURE]
    for row in late:
        instants = (row.frame_ns, row.worker_ns, row.ended_ns, row.decided_ns)
        spent = [f"{(at - row.trigger_ns) / NS_PER_MS:.1f}" for at in instants if at]
        print(f"part {row.part}: {row.fault or row.verdict} {row.detail}, ms: {', '.join(spent)}")
    quarter = len(memory) // 4
    begin, end = (statistics.median(some) for some in (memory[:quarter], memory[-quarter:]))
    return {
        "overruns": len(late),
        "records_missing": last - len([row for row in rows if row.part <= last]),
        "conservation_errors": errors,
        "packages_beside": len({row.content_sha256 for row in swapped}) - 2,
        "memory_growth": end / begin - 1.0,
        "swaps": SWAPS,
        "parts": len(swapped),
        "overruns_without": sum(row.fault not in OF_THE_PICTURE for row in quiet if row.overrun),
        "unfit_pictures": sum(row.fault in OF_THE_PICTURE for row in rows),
        "latency_p99_ms": _p99([row.latency_ms for row in swapped]),
        "latency_p99_without_ms": _p99([row.latency_ms for row in quiet]),
        "resident_mb": end / 1024,
    }


def failing_provider() -> Figures:
    """The first of two providers fails from part 100 on, in each of four ways, at 20 parts/s."""
    if "OpenVINOExecutionProvider" not in available():
        raise SkippedError("one provider here; the flavour onnxruntime-openvino has two")
    defaults, unserved, beside, missing = 0, 0, 0, 0
    for kind in KINDS:
        records, balance_errors = _failing(kind)
        after = [record for record in records if record.part >= FAILS_AT]
        lost = [record for record in after if record.decision.fault is not None]
        missing += FAILING_PARTS - len(records) + balance_errors
        defaults = max(defaults, len(lost))
        beside += sum(record.part > FAILS_AT + 1 for record in lost)
        unserved += sum(
            record.serving is None or record.serving.provider != "cpu"
            for record in after
            if record.decision.fault is None
        )
    return {
        "commands_missing": missing,
        "defaults_beside_those_in_flight": beside,
        "judged_by_the_failed_one": unserved,
        "most_defaults": defaults,
        "kinds": len(KINDS),
        "parts": FAILING_PARTS * len(KINDS),
    }


def _failing(kind: str) -> tuple[list[PartRecord], int]:
    journal = Journal()
    with tempfile.TemporaryDirectory(prefix="edge-fail-") as name, ExitStack() as stack:
        bind = f"ipc://{name}/s.ipc"
        station = Station(
            camera=SyntheticOptions(
                seed=UNSEEN_SEED, rate_hz=RATE_HZ, parts=FAILING_PARTS, defect_share=0.0
            ),
            engine=EngineOptions(model=MODEL, provider=("openvino", "cpu"), store=f"{name}/store"),
            controller=ControllerOptions(bind=bind),
            name=f"failing-{os.getpid()}",
        )
        log = Path(name) / "arm.jsonl"
        log.touch()
        stack.enter_context(arm_process(bind, log))
        spec = f"openvino:{FAILS_AT}:{kind}"
        balance = app.run(station, journal, Path(name), worker=("bench.failing_worker", spec))
    unfit = [one for one in journal.records if str(one.decision.fault) in OF_THE_PICTURE]
    if unfit:  # of the pictures, not of the provider
        journal.records[:] = [one for one in journal.records if one not in unfit]
    return journal.records, balance.errors + balance.triggers - balance.decided - len(unfit)


class _Line:
    """A station that runs, and what is asked of it."""

    def __init__(self, folder: Path, name: str, process: subprocess.Popen[bytes]) -> None:
        self.store, self.records = Store(folder / "store"), folder / "cell.db"
        self._path, self._process = socket_path(name), process
        self._clock = SystemClock()

    def status(self) -> dict[str, Any]:
        return ask(self._path, "status")

    @property
    def parts(self) -> int:
        return int(self.status().get("parts", 0))

    def until(self, holds: Any, within_s: float = 120.0) -> None:
        until_ns = self._clock.now_ns() + round(within_s * NS_PER_S)
        while not holds():
            if self._clock.now_ns() > until_ns:
                raise EdgeError("the station did not get so far")
            self._clock.wait((), self._clock.now_ns() + NS_PER_S // 20)

    def activate(self, where: str) -> None:
        answer = ask(self._path, "activate", "bench", package=where)
        if not answer["ok"]:
            raise EdgeError(f"activate: {answer['error']}")

        def is_over() -> bool:
            task = self.status().get("models", {}).get("task") or {}
            if task.get("number") == answer["task"] and task["stage"] == "refused":
                raise EdgeError(task["detail"])
            return bool(task.get("number") == answer["task"] and task["stage"] == "done")

        self.until(is_over)

    def resident_kb(self) -> int:
        """Of the station's own process."""
        text = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(text.split("VmRSS:")[1].split()[0])

    def end(self) -> None:
        self._process.terminate()
        self._process.wait(timeout=60)


@contextmanager
def _line(folder: Path) -> Iterator[_Line]:
    bind, name, log = f"ipc://{folder}/s.ipc", f"swaps-{os.getpid()}", folder / "arm.jsonl"
    log.touch()
    station = folder / "station.toml"
    station.write_text(
        f'name = "{name}"\n[camera]\nsource = "synthetic"\nseed = {UNSEEN_SEED}\n'
        f'rate_hz = {RATE_HZ}\n[engine]\nmodel = "{MODEL}"\nstore = "{folder}/store"\n'
        f'[engine.probation]\nparts = 0\n[controller]\nbind = "{bind}"\n'
        f'[records]\npath = "{folder}/cell.db"\nevidence = false\n'
    )
    with arm_process(bind, log):
        process = subprocess.Popen(
            python_module("edge", "run", str(station)),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            line = _Line(folder, name, process)
            line.until(lambda: _answers(line))
            yield line
        finally:
            process.kill()
            process.wait()


def _answers(line: _Line) -> bool:
    try:
        return line.parts > 0
    except EdgeError:  # it starts
        return False


def _second(folder: Path) -> Path:
    """The zoo's package once more, under another version."""
    import onnx

    found: Package = package.find(MODEL)
    model = onnx.load_model_from_string(found.model_bytes())
    del model.metadata_props[:]
    manifest = msgspec.structs.replace(found.manifest, version="2-bench")
    golden = (found.golden_bytes() or b"").decode()
    path = folder / "second.onnx"
    path.write_bytes(seal(model.SerializeToString(), manifest, golden=golden))
    return path


def _p99(values: list[float | None]) -> float:
    known = sorted(value for value in values if value is not None)
    return known[round(0.99 * (len(known) - 1))] if known else 0.0


GROUPS = {"swaps": swaps, "failing_provider": failing_provider}
