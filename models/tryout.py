"""A provider tried out with a package, in a process of its own: models/trial.py, from outside.

Nothing here imports ONNX Runtime: a station asks, and stays without it.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import IO, TypedDict, Unpack

import msgspec

from edge.core.clock import NS_PER_S, SystemClock, now_ns
from edge.core.process import python_module
from models.keeper import HUGE_PAGES
from models.package import Package
from models.rated import Rated

TOLD_EVERY_S = 10.0
MOST_S = 20.0  # of timing: a station waits for it, once

Tell = Callable[[str], None]


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """All a trial is told, as one JSON argument.

    runs: how many to time, 0 for building and judging alone; with a budget fewer where they
    settle it (models/rated.py), and not for longer than most_s. turns: the runs are split into so
    many, each begun by a line on stdin. cache: the folder for engines; "": none. gently: beside a
    line that runs, so at the lowest priority.
    """

    package: str
    file_sha256: str
    provider: str
    threads: int
    parent_pid: int
    runs: int = 0
    budget_ms: float | None = None
    thorough: bool = False
    most_s: float = MOST_S
    turns: int = 1
    cache: str = ""
    device: int = 0
    gently: bool = False


class How(TypedDict, total=False):
    """The fields of Plan that say how much is timed."""

    runs: int
    budget_ms: float | None
    thorough: bool
    most_s: float
    turns: int
    gently: bool


class Said(msgspec.Struct, frozen=True, tag=True):
    """A step was taken; waits: the next one begins with a line on stdin."""

    line: str
    waits: bool = False


class Ended(msgspec.Struct, frozen=True, tag=True):
    rated: Rated


class Trial:
    """A trial process, from its start to its result. Use as a context; it ends what still runs."""

    def __init__(
        self,
        model: Package,
        provider: str,
        threads: int,
        *,
        cache: Path | None = None,
        **how: Unpack[How],
    ) -> None:
        self.named = (
            f"{model.manifest.name} on {provider}, {threads} thread{'' if threads == 1 else 's'}"
        )
        self._failed = Rated(provider=provider, precision=model.manifest.precision, threads=threads)
        plan = Plan(
            package=str(model.path),
            file_sha256=model.file_sha256,
            provider=provider,
            threads=threads,
            parent_pid=os.getpid(),
            cache=str(cache or ""),
            **how,
        )
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the trial
        self._process = subprocess.Popen(
            python_module("models.trial", msgspec.json.encode(plan).decode()),
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            process_group=0,
            env=HUGE_PAGES | os.environ,  # as a station's worker
        )
        if plan.gently:  # now, for its threads have what the one that starts them has
            with suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, self._process.pid, 19)
        self._said = b""

    def __enter__(self) -> Trial:
        return self

    def __exit__(self, *exc: object) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            if stream:
                stream.close()

    def go(self) -> None:
        """Let it take its next turn; a process that is gone says so when it is listened to."""
        stdin = self._process.stdin
        assert stdin
        with suppress(OSError):
            stdin.write(b"\n")

    def until_it_waits(self, timeout_s: float, tell: Tell) -> Rated | None:
        """Tell what it does until it waits for its next turn (None) or has ended.

        A process that dies, or says nothing new for timeout_s, ends in a Rated with a refusal.
        """
        until_ns = now_ns() + round(timeout_s * NS_PER_S)
        for line in self._lines(until_ns, tell):
            try:
                said = msgspec.json.decode(line, type=Said | Ended)
            except msgspec.MsgspecError:
                return self._refused(f"its trial said {line[:80]!r}")
            if isinstance(said, Ended):
                return said.rated
            if said.line:
                tell(f"{self.named}: {said.line}")
            if said.waits:
                return None
        if self._process.poll() is None and now_ns() >= until_ns:
            return self._refused(f"its trial was not done after {timeout_s:g} s")
        return self._refused(self._last_words())

    def _lines(self, until_ns: int, tell: Tell) -> Iterator[bytes]:
        stdout, clock = self._process.stdout, SystemClock()
        assert stdout
        began_ns = now_ns()
        while (left_ns := until_ns - now_ns()) > 0:
            line, end, rest = self._said.partition(b"\n")
            if end:
                self._said = rest
                yield line
                continue
            pause_ns = min(left_ns, round(TOLD_EVERY_S * NS_PER_S))
            if not clock.wait((stdout.fileno(),), now_ns() + pause_ns, look_ns=0):
                tell(f"{self.named}: {(now_ns() - began_ns) // NS_PER_S} s so far")
                continue
            if not (more := os.read(stdout.fileno(), 65536)):
                return
            self._said += more

    def _refused(self, why: str) -> Rated:
        return msgspec.structs.replace(self._failed, refusal=why)

    def _last_words(self) -> str:
        code = self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        how = f"signal {-code}" if code < 0 else f"code {code}"
        return f"its trial ended by {how}: {' '.join(lines[-1].split()) if lines else 'no word'}"


def tried(
    model: Package,
    provider: str,
    threads: int,
    *,
    timeout_s: float,
    tell: Tell,
    cache: Path | None = None,
    **how: Unpack[How],
) -> Rated:
    """Try a provider out; whatever goes wrong is in the result's refusal."""
    with Trial(model, provider, threads, cache=cache, **how) as trial:
        rated = trial.until_it_waits(timeout_s, tell)
    assert rated  # it has one turn, so it never waits
    return rated


gently = partial(tried, gently=True)  # beside a line that runs
