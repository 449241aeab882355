"""What makes a running station a daemon: signals, systemd, `edge ctl`, and what it publishes.

All of it is served from the end of the loop's turns, and nothing of it waits.
"""

from __future__ import annotations

import resource
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol

from control.access import publish_gate
from control.interlock import Interlock
from control.publish import Publisher
from edge import realtime
from edge.announce import Announcer, Fanout
from edge.changeover import Changeover
from edge.core.config import Station
from edge.desk import Desk, Request, socket_path
from edge.history import History
from edge.notify import Notify


class Running(Protocol):
    """The station as this page needs it."""

    @property
    def interlock(self) -> Interlock: ...

    @property
    def history(self) -> History | None: ...

    @property
    def changeover(self) -> Changeover | None: ...

    def status(self) -> dict[str, Any]: ...

    @property
    def idle(self) -> bool: ...


class Service:
    """Answers people and systems about one station, between the turns of its loop."""

    def __init__(
        self,
        name: str,
        desk: Desk,
        notify: Notify,
        publisher: Publisher | None,
        *,
        mm_per_px: float = 0.0,
    ) -> None:
        """mm_per_px: the station's scale, for what is published; 0 without one."""
        self._name, self._desk, self._notify, self._publisher = name, desk, notify, publisher
        self._station: Running | None = None
        self._stop = self._stop_told = False
        self._state = ""
        self.announcer = (
            Announcer(publisher.send, name, self._status, mm_per_px=mm_per_px)
            if publisher
            else None
        )

    def stop(self, signum: int, frame: object) -> None:
        """A signal's way in: no further trigger, open parts are finished."""
        self._stop = True

    def stopping(self) -> bool:
        return self._stop

    def fileno(self) -> int:
        """Readable when somebody asks something of the station."""
        return self._desk.fileno()

    def ready(self, station: Running) -> None:
        """Parts may come."""
        self._station = station
        self._state = self._line()
        self._notify.ready(self._state)

    def turn(self, now_ns: int) -> None:
        """The loop got on by one turn."""
        self._notify.progress(now_ns)
        if self._station is None:
            return
        realtime.tidy(self._station.idle)
        if self._stop and not self._stop_told:
            self._stop_told = True
            self._notify.stopping()
        if request := self._desk.poll():
            self._desk.answer(request, self._serve(request))
        if self.announcer:
            self.announcer.turn(now_ns)
        if self._publisher:
            self._publisher.poll()
        if (line := self._line()) != self._state:
            self._state = line
            self._notify.status(line)

    def _serve(self, request: Request) -> dict[str, Any]:
        assert self._station is not None
        lock, history = self._station.interlock, self._station.history
        before = self._line()
        match request.verb:
            case "status":
                return {"ok": True, **self._status()}
            case "lot":
                return self._lot(request, history)
            case "activate" | "shadow" | "promote" | "rollback":
                changeover = self._station.changeover
                assert changeover is not None  # only a replay has none, and no control socket
                return changeover.ask(request)
            case "hold":
                refusal = lock.hold(request.who, request.reason)
            case "resume":
                refusal = lock.resume(request.who, request.reason)
            case "single":
                refusal = lock.resume(request.who, request.reason, single=True)
            case "reset":
                refusal = lock.reset(request.who, request.reason)
        if refusal:
            return {"ok": False, "error": refusal}
        if history:
            history.changed(request.verb, request.who, before, self._line(), request.reason)
        return {"ok": True, **self._status()}

    def _lot(self, request: Request, history: History | None) -> dict[str, Any]:
        """Parts belong to another lot from now on."""
        if history is None or history.lot is None:
            return {"ok": False, "error": "this station keeps no records ([records] path)"}
        if not request.reason:
            return {"ok": False, "error": "which? give its name with --reason"}
        history.changed("lot", request.who, history.lot, request.reason, "")
        history.lot = request.reason
        return {"ok": True, **self._status()}

    def _status(self) -> dict[str, Any]:
        status = {"station": self._name, **(self._station.status() if self._station else {})}
        if self._publisher:
            status["listeners_refused"] = self._publisher.refused
        return status

    def _line(self) -> str:
        assert self._station is not None
        lock, changeover = self._station.interlock, self._station.changeover
        line = f"{lock.state}: {lock.reason}" if lock.reason else str(lock.state)
        degraded = changeover.degraded if changeover else ""
        return f"{line}; degraded: {degraded}" if degraded else line


@contextmanager
def serving(station: Station, fanout: Fanout, keys: Path) -> Iterator[Service]:
    """Open what a daemon needs, and take SIGTERM and SIGINT; all given back on the way out."""
    with ExitStack() as stack:
        # select() takes descriptors below 1024 only: whoever opens connections by the thousand
        # is refused them, instead of being given the numbers that the next worker needs.
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 1024), hard))
        publisher = None
        if station.publish.bind:
            gate_for = publish_gate(station.publish, station.controller, keys, fanout.event)
            publisher = Publisher(station.publish.bind, gate_for=gate_for)
            stack.callback(publisher.close)
        desk = Desk(socket_path(station.name))
        stack.callback(desk.close)
        notify = Notify.from_environment()
        stack.callback(notify.close)
        service = Service(station.name, desk, notify, publisher, mm_per_px=station.mm_per_px)
        if service.announcer:
            fanout.recorders.append(service.announcer)
        for signum in (signal.SIGTERM, signal.SIGINT):
            stack.callback(signal.signal, signum, signal.signal(signum, service.stop))
        yield service
