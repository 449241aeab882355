"""The control socket, for real: who may ask, what is asked, and everything that is no request."""

from __future__ import annotations

import json
import os
import select
import socket
import stat
import threading
import time
from contextlib import closing, suppress

import pytest

from edge import desk as desks
from edge.core.clock import NS_PER_MS
from edge.core.errors import ConfigError, EdgeError
from edge.desk import Desk, ask, socket_path


class Loop:
    """The loop's side: waits on the desk, keeps what it hears, answers unless told not to."""

    def __init__(self, desk: Desk, answering: bool = True) -> None:
        self.requests, self._desk, self._answering = [], desk, answering
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            select.select([self._desk.fileno()], [], [], 0.02)
            if request := self._desk.poll():
                self.requests.append(request)
                if self._answering:
                    self._desk.answer(request, {"ok": True, "verb": request.verb})

    def end(self) -> None:
        self._stop.set()
        self._thread.join()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "cell-1.sock"


@pytest.fixture
def desk(path):
    made = Desk(path, client_ns=150 * NS_PER_MS, loop_ns=150 * NS_PER_MS)
    yield made
    made.close()


@pytest.fixture
def loop(desk):
    made = Loop(desk)
    yield made
    made.end()


def said(path, data: bytes) -> bytes:
    """Everything the desk says to these bytes, until it hangs up."""
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(2.0)
        link.connect(str(path))
        link.sendall(data)
        heard = b""
        with suppress(ConnectionResetError):  # where it hung up on bytes it had not read
            while chunk := link.recv(1 << 16):
                heard += chunk
        return heard


@pytest.mark.parametrize("umask", [0o000, 0o022])
def test_only_the_owner_may_ask(path, umask):
    before = os.umask(umask)
    try:
        desk = Desk(path)
    finally:
        os.umask(before)
    found = path.lstat()
    assert stat.S_ISSOCK(found.st_mode)
    assert stat.S_IMODE(found.st_mode) == 0o600
    assert stat.S_IMODE(path.with_suffix(".lock").stat().st_mode) == 0o600
    desk.close()
    assert not path.exists()
    desk.close()


def test_the_file_has_its_mode_before_anyone_can_connect(path, monkeypatch):
    modes = []

    class Watched(socket.socket):
        def listen(self, *backlog):
            modes.append(stat.S_IMODE(path.lstat().st_mode))
            super().listen(*backlog)

    monkeypatch.setattr(socket, "socket", Watched)
    before = os.umask(0)
    try:
        Desk(path).close()
    finally:
        os.umask(before)
    assert modes == [0o600]


@pytest.mark.parametrize("verb", ["status", "reset", "hold", "resume"])
def test_a_request_reaches_the_loop_with_its_sender(verb, path, desk, loop):
    assert ask(path, verb, "Größe 5 \udcff") == {"ok": True, "verb": verb}
    (request,) = loop.requests
    assert (request.verb, request.reason) == (verb, "Größe 5 ?")
    assert request.who.endswith(f"({os.getuid()}), pid {os.getpid()}")
    assert desk.refused == 0


def test_nothing_waits_nothing_is_polled(desk):
    assert desk.poll() is None
    assert select.select([desk.fileno()], [], [], 0)[0] == []


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b'{"verb": "dance"}\n', "verb: invalid enum value 'dance'; allowed: status | reset |"),
        (b'{"verb": "hold", "colour": 1}\n', "colour: unknown key; allowed: verb, reason"),
        (b'{"reason": "x"}\n', "verb: missing"),
        (
            b'{"verb": "hold", "reason": "' + b"x" * 201 + b'"}\n',
            "reason: expected `str` of length",
        ),
        (b'{"verb": "hold", "who": "root"}\n', "who: unknown key"),
        (b'["hold"]\n', "expected `object`"),
        (b"\n", "JSON"),
        (b"GET / HTTP/1.1\r\n\r\n", "JSON"),
        (b"\xff\xfe\x00\n", "JSON"),
        (b'{"verb": "hold", "reason": "\xff"}\n', "JSON"),
        (b'{"verb": "hold", "reason": "\\ud800"}\n', "JSON"),
        (b"[" * 4000 + b"\n", "JSON"),
        (b"9" * 4095 + b"\n", "expected `object`"),
        (b'{"a - at `$.verb`": 1, "verb": "hold"}\n', "unknown field"),
        (b"x" * 4096, "at most 4096 bytes"),
        (b"x" * 100_000 + b"\n", "at most 4096 bytes"),
    ],
)
def test_what_is_no_request_gets_a_line_and_never_reaches_the_loop(data, words, path, desk, loop):
    answer = json.loads(said(path, data))
    assert answer["ok"] is False
    assert words in answer["error"]
    assert desk.refused == 1
    assert ask(path, "status")["ok"] is True  # and the next one is served
    assert [request.verb for request in loop.requests] == ["status"]


def test_a_slow_client_is_sent_away_and_the_next_one_served(path, desk, loop):
    begin = time.monotonic()
    with socket.socket(socket.AF_UNIX) as slow:
        slow.settimeout(2.0)
        slow.connect(str(path))
        for _ in range(4):  # a byte now and then does not keep the place
            slow.send(b" ")
            time.sleep(0.03)
        assert ask(path, "status")["ok"] is True
        assert b"no request line within 0.15 s" in slow.recv(4096)
    assert time.monotonic() - begin < 1.5
    assert desk.refused == 1


def test_a_client_that_hangs_up_or_never_reads_harms_nobody(path, desk, loop):
    for data in (b"", b'{"verb": "status"}\n', b'{"verb'):
        with socket.socket(socket.AF_UNIX) as link:
            link.connect(str(path))
            link.sendall(data)
    assert ask(path, "hold")["ok"] is True
    assert desk.refused == 1  # the half request; to look whether someone is there is no offence


def test_a_loop_that_stands_still(path, desk):
    answer = ask(path, "hold")
    assert answer == {
        "ok": False,
        "error": "the station does not answer: its loop stands still",
    }
    assert desk.poll() is None  # withdrawn: it must not come into force when the loop goes on
    loop = Loop(desk)
    assert ask(path, "status") == {"ok": True, "verb": "status"}
    loop.end()


def test_an_answer_too_late_is_not_given_to_the_next_client(path, desk):
    deaf = Loop(desk, answering=False)
    assert ask(path, "hold")["ok"] is False
    deaf.end()
    (late,) = deaf.requests
    desk.answer(late, {"ok": True, "verb": "late"})
    loop = Loop(desk)
    assert ask(path, "status") == {"ok": True, "verb": "status"}
    loop.end()


def test_an_answer_that_is_no_json_costs_its_client_and_no_other(path, desk):
    requests = Loop(desk, answering=False)
    heard = []
    client = threading.Thread(target=lambda: heard.append(said(path, b'{"verb": "status"}\n')))
    client.start()
    while not requests.requests:
        time.sleep(0.001)
    desk.answer(requests.requests[0], {"ok": object()})
    client.join()
    requests.end()
    assert heard == [b""]
    loop = Loop(desk)
    assert ask(path, "status")["ok"] is True
    loop.end()


def test_closing_tells_the_one_who_waits(path):
    desk, heard = Desk(path), []
    client = threading.Thread(target=lambda: heard.append(ask(path, "status")))
    client.start()
    select.select([desk.fileno()], [], [])
    begin = time.monotonic()
    desk.close()
    assert time.monotonic() - begin < 0.5
    client.join()
    assert heard == [{"ok": False, "error": "the station is ending"}]


def test_the_socket_of_a_dead_station_is_replaced(path):
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    desk = Desk(path)
    loop = Loop(desk)
    assert ask(path, "status")["ok"] is True
    loop.end()
    desk.close()


def test_a_place_that_is_taken_is_refused(path, desk):
    words = f"station cell-1 is already running: {path}"
    with pytest.raises(EdgeError, match=words):
        Desk(path)
    assert path.exists()
    stranger = path.with_name("cell-2.sock")
    with socket.socket(socket.AF_UNIX) as other:  # listens without our lock
        other.bind(str(stranger))
        other.listen()
        with pytest.raises(EdgeError, match="station cell-2 is already running"):
            Desk(stranger)
    assert stranger.exists()


@pytest.mark.parametrize("kind", ["file", "folder", "link", "no folder", "long"])
def test_a_path_that_cannot_be_ours(kind, path):
    words = "not a socket; remove it"
    match kind:
        case "file":
            path.write_text("mine")
        case "folder":
            path.mkdir()
        case "link":
            path.symlink_to("/dev/null")
        case "no folder":
            path, words = path.parent / "none" / "x.sock", "No such file"
        case _:
            path, words = path.parent / f"{'x' * 100}.sock", "too long"
    with pytest.raises(EdgeError, match=words):
        Desk(path)
    assert path.exists() == (kind in ("file", "folder", "link"))


@pytest.mark.parametrize("kind", ["nothing", "dead", "silent", "nonsense"])
def test_asking_where_nobody_answers_is_one_line(kind, path, monkeypatch):
    monkeypatch.setattr(desks, "ASK_S", 0.1)
    with socket.socket(socket.AF_UNIX) as other:
        words = "no station named 'cell-1' is running; running in .*: none"
        if kind != "nothing":
            other.bind(str(path))
        if kind in ("silent", "nonsense"):
            other.listen()
            words = "station cell-1 does not answer"
        thread = threading.Thread(target=_babble, args=(other,))
        if kind == "nonsense":
            thread.start()
        with pytest.raises(EdgeError, match=words) as refusal:
            ask(path, "status")
        if kind == "nonsense":
            thread.join()
    assert str(path.parent) in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_who_is_running_is_said_where_the_name_is_wrong(desk, loop, path):
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path.with_name("dead.sock")))
    with pytest.raises(EdgeError, match=r"no station named 'cell' is running; .*: cell-1$"):
        ask(path.with_name("cell.sock"), "status")


def test_an_ended_station_leaves_nothing_and_a_refused_one_neither(path):
    Desk(path).close()
    assert list(path.parent.iterdir()) == []
    path.write_text("mine")
    with pytest.raises(EdgeError, match="not a socket"):
        Desk(path)
    assert list(path.parent.iterdir()) == [path]


def test_a_lock_whose_file_was_removed_meanwhile_is_no_lock(path, monkeypatch):
    ending = Desk(path)
    opened, real = [], os.open

    def slow_open(name, *how, **more):
        descriptor = real(name, *how, **more)
        if str(name).endswith(".lock") and not opened:  # the other one ends just now
            opened.append(os.fstat(descriptor).st_ino)
            ending.close()
        return descriptor

    monkeypatch.setattr(desks.os, "open", slow_open)
    with closing(Desk(path)):
        assert len(opened) == 1
        assert path.with_suffix(".lock").exists()
        with pytest.raises(EdgeError, match="already running"):
            Desk(path)


def test_of_many_that_start_and_end_at_once_one_at_a_time_has_the_place(path):
    inside, most, started = [], [], []

    def start_and_end() -> None:
        for _ in range(15):
            with suppress(EdgeError):
                desk = Desk(path)
                inside.append(desk)
                most.append(len(inside))
                started.append(1)
                inside.remove(desk)
                desk.close()

    threads = [threading.Thread(target=start_and_end) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 1
    assert started
    assert list(path.parent.iterdir()) == []


def _babble(listener: socket.socket) -> None:
    with listener.accept()[0] as client:
        client.recv(4096)
        client.sendall(b"[1, 2]\n")


class TestPath:
    @pytest.fixture(autouse=True)
    def folders(self, tmp_path, monkeypatch):
        monkeypatch.setattr(desks, "RUN_FOLDER", tmp_path / "run")
        monkeypatch.setattr(desks, "TMP_FOLDER", tmp_path)

    def test_beside_the_other_stations_where_systemd_made_a_folder(self, tmp_path):
        (tmp_path / "run").mkdir()
        assert socket_path("cell-1.a") == tmp_path / "run" / "cell-1.a.sock"

    def test_else_in_a_folder_of_ones_own(self, tmp_path):
        folder = tmp_path / f"edge-{os.geteuid()}"
        assert socket_path("a") == folder / "a.sock"
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert socket_path("a") == folder / "a.sock"

    @pytest.mark.parametrize("kind", ["open", "file", "link"])
    def test_never_in_a_folder_of_others(self, kind, tmp_path):
        folder, mine = tmp_path / f"edge-{os.geteuid()}", tmp_path / "mine"
        mine.mkdir(mode=0o700)
        match kind:
            case "open":
                folder.mkdir()
                folder.chmod(0o750)
            case "file":
                folder.touch(mode=0o600)
            case _:
                folder.symlink_to(mine)
        with pytest.raises(EdgeError, match="must be a folder of our own"):
            socket_path("a")

    @pytest.mark.parametrize("name", ["", "a/b", "../a", "x" * 61, "ä", "a b", "a\n", "\0"])
    def test_names(self, name):
        with pytest.raises(ConfigError, match="allowed: 1 to 60 of A-Z a-z 0-9"):
            socket_path(name)
