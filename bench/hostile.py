"""Hostile packages: sealed as a package is, but of a model that somebody has been at.

Each is refused in one line, soon; or it is admitted, and then a child process with little memory
and little time must load and run it without dying. The child stands for the engine worker.
"""

from __future__ import annotations

import random
import resource
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import suppress
from pathlib import Path

from bench.altered import altered, seeds
from edge.core.clock import NS_PER_MS, NS_PER_S, SystemClock, now_ns
from edge.core.errors import PackageError
from edge.core.process import python_module
from models import package

SEED = 5
REFUSAL_NS = NS_PER_S  # a refusal takes no longer
CHILD_NS = 20 * NS_PER_S  # to load and run a model that was admitted
CHILD_BYTES = 3 * 2**30  # its address space; a worker with a session has 0.6 GiB of it


class Child:
    """A process that loads and runs what it is given, and is started again when it dies."""

    def __init__(self) -> None:
        self._clock = SystemClock()
        self._process = self._started()

    def _started(self) -> subprocess.Popen[bytes]:
        command = python_module("bench.hostile")
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def tried(self, path: Path) -> str:
        """ "ran", "refused" (by ONNX Runtime), "died" or "hung"."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        with suppress(BrokenPipeError):  # it has died already: there is no answer either
            process.stdin.write(f"{path}\n".encode())
            process.stdin.flush()
        ready = self._clock.wait((process.stdout.fileno(),), now_ns() + CHILD_NS)
        answer = process.stdout.readline().decode().strip() if ready else "hung"
        if answer not in ("ran", "refused"):
            self.close()
            self._process = self._started()
            return answer or "died"
        return answer

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        self.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with suppress(BrokenPipeError):
                pipe.close()


def packages(count: int) -> dict[str, float]:
    """So many hostile files; crashes counts children that died or hung, and other exceptions."""
    dice, given, outcomes = random.Random(SEED), seeds(), Counter[str]()
    slowest_ns = 0
    child = Child()
    with tempfile.TemporaryDirectory(prefix="edge-hostile-") as name:
        path = Path(name) / "hostile.onnx"
        for number in range(count):
            path.write_bytes(altered(dice, given))
            began_ns = now_ns()
            outcome = _loaded(path)
            slowest_ns = max(slowest_ns, now_ns() - began_ns)
            if outcome == "admitted":
                outcome = child.tried(path)
            outcomes[outcome] += 1
            if outcome in ("died", "hung", "escaped"):
                kept = Path(tempfile.gettempdir()) / f"hostile-{outcome}-{number}.onnx"
                kept.write_bytes(path.read_bytes())
                print(f"{outcome}: {kept}", file=sys.stderr)
        child.close()
    return {
        "packages": count,
        "refused": outcomes["no package"],
        "admitted": outcomes["ran"] + outcomes["refused"],
        "admitted, and refused by ONNX Runtime": outcomes["refused"],
        "slowest_ms": slowest_ns / NS_PER_MS,
        "crashes": sum(outcomes[each] for each in ("died", "hung", "escaped"))
        + (slowest_ns > REFUSAL_NS),
    }


def _loaded(path: Path) -> str:
    try:
        package.load(path)
    except PackageError as error:
        return "escaped" if "\n" in str(error) else "no package"
    except Exception as error:  # what this looks for: any other exception is a find
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return "escaped"
    return "admitted"


def main() -> None:
    """The child: load and run each file named on standard input."""
    import numpy as np
    import onnxruntime as ort

    from models.session import session_options

    resource.setrlimit(resource.RLIMIT_AS, (CHILD_BYTES, CHILD_BYTES))
    ort.set_default_logger_severity(4)
    options = session_options(1)
    quiet = ort.RunOptions()
    options.log_severity_level = quiet.log_severity_level = 4
    kinds = {
        "tensor(uint8)": "u1",
        "tensor(float)": "f4",
        "tensor(int64)": "i8",
        "tensor(bool)": "?",
    }
    for line in sys.stdin:
        try:
            data = Path(line.strip()).read_bytes()
            session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
            feed = {i.name: np.zeros(i.shape, kinds[i.type]) for i in session.get_inputs()}
            session.run(None, feed, quiet)
            answer = "ran"
        except (
            Exception
        ):  # process boundary: every refusal is one; what kills is what is looked for
            answer = "refused"
        print(answer, flush=True)


if __name__ == "__main__":
    main()
