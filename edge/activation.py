"""A package for a station: asked of the one that runs, or written down for its next start."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import msgspec

from edge.core.clock import NS_PER_MS, NS_PER_S, SystemClock
from edge.core.errors import EdgeError
from edge.desk import NotRunningError, ask, socket_path
from models.package import Package
from models.store import Store, address

Verb = Literal["activate", "shadow", "promote", "rollback"]
LOOK_NS = 200 * NS_PER_MS
LONGEST_REASON = 200


class _Task(msgspec.Struct, frozen=True):
    """How far a running station is with what it was asked; the rest of its words is for people."""

    number: int
    stage: str
    package: str = ""
    detail: str = ""


def change(
    store: Store,
    station: str,
    verb: Verb,
    package: Package | None,
    *,
    reason: str = "",
    wait_s: float = 600.0,
    say: Callable[[str], None],
) -> str:
    """Have a station change its package, and wait until it has; the refusal, else "".

    package: None for the one in question, the shadow of promote and the previous one of rollback;
    for shadow, to end it. say: told each stage. wait_s: 0 only begins. A refusal may have several
    lines. A station that does not run is written to the store for; EdgeError for a shadow.
    """
    if len(reason) > LONGEST_REASON:
        raise EdgeError(f"--reason: {len(reason)} characters; at most {LONGEST_REASON} are kept")
    if verb == "rollback" and package is not None:
        raise EdgeError("rollback: to the package before alone; for another: edge model activate")
    path = socket_path(station)
    asked = address(package) if package else ""
    try:
        answer = ask(path, verb, reason, package=asked)
    except NotRunningError:
        say(_write_down(store, station, verb, package, reason))
        return ""
    if not answer.get("ok"):
        return str(answer.get("error") or f"{verb}: refused")
    if verb == "shadow" and package is None:
        say("done")  # within the answer; the last task is another one's
        return ""
    number = answer.get("task")
    if not isinstance(number, int):
        raise EdgeError(f"station {station}: its answer names no task: is it of another version?")
    if wait_s == 0:
        say(f"begun as task {number}: edge ctl status --station {station}")
        return ""
    return _follow(path, verb, number, wait_s, say)


def _follow(path: Path, verb: Verb, number: int, wait_s: float, say: Callable[[str], None]) -> str:
    """Tell each stage of a task until it is over; the refusal, else ""."""
    clock, station, told = SystemClock(), path.stem, ""
    until_ns = clock.now_ns() + round(wait_s * NS_PER_S)
    while True:
        try:
            status = ask(path, "status")
        except NotRunningError:
            raise EdgeError(f"station {station} ended before {verb} was done") from None
        # A loop that is busy for a second says so instead of its status: asked again.
        if status.get("ok"):
            task = _task(status, station)
            if task.number > number:
                raise EdgeError(f"{verb}: station {station} has taken another request since")
            package = task.package.partition("#")[0]  # as asked for, until it has been read
            line = f"{task.stage}: {package}" if package else task.stage
            if task.number == number and task.stage == "refused":
                return task.detail or "refused"
            if task.number == number and line != told:
                told = line
                say(line)
            if task.number == number and task.stage == "done":
                return ""
        if (now_ns := clock.now_ns()) >= until_ns:
            why = f"{verb}: not done after {wait_s:g} s ({told or 'no word'}); it goes on"
            raise EdgeError(f"{why}: edge ctl status --station {station}")
        clock.wait((), min(until_ns, now_ns + LOOK_NS))


def _task(status: dict[str, Any], station: str) -> _Task:
    try:
        return msgspec.convert(status["models"]["task"], _Task)
    except (KeyError, TypeError, msgspec.ValidationError):
        raise EdgeError(f"station {station}: its status names no task; another version?") from None


def _write_down(
    store: Store, station: str, verb: Verb, package: Package | None, reason: str
) -> str:
    """The change in the store alone; a line that says what follows from it."""
    if verb == "shadow" and package is not None:
        raise EdgeError(f"station {station} is not running: a shadow judges only beside its parts")
    state = store.record(station, verb, who=_me(), new=package, reason=reason)
    change = state.history[-1]
    line = (
        f"{station} is not running; written down: {change.old or 'none'} -> {change.new or 'none'}"
    )
    if verb == "shadow":
        return line
    return f"{line}; it begins with that where its file has engine.model {state.model!r}"


def _me() -> str:
    """As the control socket would name this process."""
    name = "?"
    with suppress(KeyError):
        name = pwd.getpwuid(os.getuid()).pw_name
    return f"{name} ({os.getuid()}), pid {os.getpid()}"
