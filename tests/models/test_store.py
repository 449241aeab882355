"""The store: what is installed is found again, nothing is ever altered, states survive anything."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import onnx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge.core.errors import ConfigError, EdgeError, PackageError
from edge.signing import Signer
from models import package as packages
from models import station_state, store_files
from models.installed import natural
from models.listing import rows, table
from models.package import load, seal
from models.probation import Counts
from models.signature import sign
from models.station_state import KEPT_CHANGES, StationState
from models.store import Store, address, at_address


@pytest.fixture
def make(tiny_package, tmp_path):
    """Package files like the tiny one, by name, version, content and signature."""
    model = onnx.load(tiny_package)
    del model.metadata_props[:]
    manifest = load(tiny_package).manifest

    def made(version="1", name="tiny", terms="", signer=None):
        named = msgspec.structs.replace(manifest, name=name, version=version, terms=terms)
        data = seal(model.SerializeToString(), named)
        path = tmp_path / f"{name}-{version}-{terms}-{bool(signer)}.onnx".replace("/", "_")
        path.write_bytes(data)
        if signer:
            path.write_bytes(sign(load(path), signer, who="release", utc_ns=0))
        return path

    return made


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def one_line(raised) -> str:
    line = str(raised.value)
    assert "\n" not in line
    return line


def test_a_package_is_kept_byte_for_byte_and_installed_once(store, make):
    file = make()
    installed = store.install(file)
    assert installed.path.read_bytes() == file.read_bytes()
    assert installed.path.name == f"1-{installed.content_sha256[:12]}.onnx"
    assert installed.path.parent == store.folder / "packages" / "tiny"
    before = installed.path.stat()
    assert store.install(file) == installed
    assert store.install(installed.path) == installed
    assert installed.path.stat() == before
    assert store.find("tiny") == installed


def test_reading_makes_nothing(store):
    assert store.installed() == store.strays() == []
    assert store.state("cell-1") is None
    with pytest.raises(PackageError, match="there are: none"):
        store.find("tiny")
    assert not store.folder.exists()


def test_what_is_damaged_is_not_installed(store, make):
    file = make()
    data = bytearray(file.read_bytes())
    data[40] ^= 1
    file.write_bytes(data)
    with pytest.raises(PackageError):
        store.install(file)
    assert store.installed() == []


@pytest.mark.parametrize("version", ["", "../../up", "1/2", "-1", ".1", "a" * 65, "1 2", "1\n"])
def test_a_version_that_cannot_be_a_file_is_refused(version, store, make):
    with pytest.raises(PackageError, match="cannot be a file"):
        store.install(make(version))
    assert store.installed() == []


def test_versions_are_in_natural_order():
    ordered = [
        "0.9",
        "1",
        "1.0-alpha",
        "1.0-rc2",
        "1.0-rc10",
        "1.0",
        "1.0b",
        "1.0.1",
        "1.2",
        "1.10",
    ]
    ordered += ["2024-05-01", "2024-05-10", "2024-11-02"]
    scrambled = sorted(ordered, key=lambda text: text[::-1])
    assert sorted(scrambled, key=natural) == sorted(ordered, key=natural)
    for older, newer in [
        ("1.9", "1.10"), ("2.0-rc1", "2.0"), ("2.0-rc2", "2.0-rc10"), ("2.0", "2.0.1"),
        ("2.0", "2.0b"), ("2024-05-01", "2024-11-02"), ("r9", "r10"),
    ]:  # fmt: skip
        assert natural(older) < natural(newer)


def test_a_package_is_found_by_name_version_and_digest(store, make):
    old, new = store.install(make("1.9")), store.install(make("1.10"))
    other = store.install(make("7", name="tiny-two"))
    assert [f"{one.name}@{one.version}" for one in store.installed()] == [
        "tiny@1.9", "tiny@1.10", "tiny-two@7",
    ]  # fmt: skip
    for text, found in [
        ("tiny", new), ("tiny@1.9", old), ("tiny-two", other), (old.content_sha256[:8], old),
        (old.content_sha256[:20].upper(), old), (new.content_sha256, new),
    ]:  # fmt: skip
        assert store.find(text) == found
    wrong = old.content_sha256[:12] + ("0" * 52)
    for text in ("tin", "tiny@2", old.content_sha256[:7], wrong, "", "@", "tiny@"):
        with pytest.raises(PackageError) as raised:
            store.find(text)
        assert "tiny@1.9" in one_line(raised)


def test_another_content_of_a_version_is_refused_or_kept_beside_it(store, make):
    first = store.install(make("1"))
    with pytest.raises(PackageError, match="give a new content a new version"):
        store.install(make("1", terms="other"))
    second = store.install(make("1", terms="other"), force=True)
    for text in ("tiny", "tiny@1"):
        with pytest.raises(PackageError) as raised:
            store.find(text)
        line = one_line(raised)
        assert first.content_sha256[:12] in line
        assert second.content_sha256[:12] in line
    assert store.find(first.content_sha256[:8]) == first
    signed = store.install(make("1", terms="other", signer=Signer(Ed25519PrivateKey.generate())))
    assert store.find(second.content_sha256[:8]) == signed  # --force was for the content
    newer = store.install(make("2"))
    assert store.find("tiny") == newer


def test_a_signed_copy_is_kept_beside_the_unsigned_one_and_stands_for_it(store, make):
    bare = store.install(make())
    before = bare.path.read_bytes()
    signer = Signer(Ed25519PrivateKey.generate())
    signed = store.install(make(signer=signer))
    assert bare.path.read_bytes() == before  # a worker may be started from it again
    assert signed.path != bare.path
    assert signed.content_sha256 == bare.content_sha256
    assert store.find("tiny@1") == signed
    assert store.holding(bare.content_sha256, bare.file_sha256) == bare
    assert store.holding(bare.content_sha256, "0" * 64) == signed
    (row,) = [row for row in rows(store) if row.where == "store"]
    assert row.signed_by == f"release {signer.public.hex()[:12]}"
    bare.path.unlink()
    again = store.install(make())  # installed last, and the signed one stands all the same
    assert again.path == bare.path
    assert store.find("tiny@1") == store.holding(bare.content_sha256) == signed
    assert len(store.remove("tiny")) == 2
    assert store.installed() == []


def test_of_two_signed_files_the_last_one_stands_and_a_false_signature_does_not(store, make):
    store.install(make())
    signers = [Signer(Ed25519PrivateKey.generate()) for _ in range(2)]
    signed = [store.install(make(signer=signer)) for signer in signers]
    assert store.find("tiny") == signed[1]
    forged = make(signer=signers[0])
    held = load(forged).appended["edge.signature"].replace("release", "nobody!")
    forged.write_bytes(packages.replace(forged.read_bytes(), "edge.signature", held))
    store.install(forged)
    assert store.find("tiny") == signed[1]


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[40] ^= 1
    path.unlink()  # it is read-only
    path.write_bytes(data)


def test_an_installed_file_is_read_only(store, make):
    assert not store.install(make()).path.stat().st_mode & 0o222


def test_a_damaged_file_is_replaced_in_place_by_installing_it_again(store, make):
    package = store.install(make())
    store.record("cell-1", "start", who="x", new=package)
    damage(package.path)
    with pytest.raises(PackageError, match=str(package.path)):
        store.holding(package.content_sha256, package.file_sha256)
    assert store.install(make()) == package
    assert [one.path for one in store.files()] == [package.path]
    assert store.holding(package.content_sha256, package.file_sha256) == package
    damage(package.path)
    signed = store.install(make(signer=Signer(Ed25519PrivateKey.generate())))
    assert signed.path == package.path


def test_a_damaged_file_is_passed_over_and_listed_where_another_stands_for_it(store, make):
    bare = store.install(make())
    signed = store.install(make(signer=Signer(Ed25519PrivateKey.generate())))
    damage(signed.path)
    assert store.find("tiny") == bare
    assert store.holding(bare.content_sha256, signed.file_sha256) == bare
    listed = [row for row in rows(store) if row.where == "store"]
    assert [(row.path, bool(row.trouble)) for row in listed] == [
        (str(bare.path), False), (str(signed.path), True),
    ]  # fmt: skip
    damage(bare.path)
    with pytest.raises(PackageError):
        store.holding(bare.content_sha256)
    assert len(store.remove("tiny@1")) == 2


def test_no_digit_is_passed_over_when_something_is_removed(store, make):
    package = store.install(make())
    digest = package.content_sha256
    for wrong in (digest[:12] + "ffffffff", digest[:63] + "0", digest[:63] + "1"):
        if digest.startswith(wrong):
            continue
        with pytest.raises(PackageError, match="no package"):
            store.remove(wrong)
    assert store.remove(digest[:20].upper()) == [package.path]


def test_an_altered_file_is_named_and_can_be_removed(store, make):
    path = store.install(make()).path
    damage(path)
    (path.parent / "by-hand.onnx").write_bytes(b"")
    with pytest.raises(PackageError) as raised:
        store.find("tiny")
    assert str(path) in one_line(raised)
    troubles = [row.trouble for row in rows(store) if row.trouble]
    assert len(troubles) == 2
    assert str(path) in troubles[0]
    assert "by-hand.onnx" in troubles[1]
    assert [line for line in table(rows(store)) if line.startswith("TROUBLE")]
    assert store.remove("tiny@1") == [path]


def test_a_file_under_anothers_name_is_refused(store, make):
    path = store.install(make()).path
    wrong = path.with_name(path.name.replace("1-", "2-", 1))
    path.rename(wrong)
    with pytest.raises(PackageError, match="not what it says"):
        store.find("tiny@2")


def test_the_list_has_the_zoo_once(store):
    shipped = {row.content_sha256 for row in rows(store)}
    assert len(shipped) == len(packages.zoo_index())
    store.install(packages.zoo_index()["synthetic-part"][0])
    listed = rows(store)
    assert {row.content_sha256 for row in listed} == shipped
    assert [row.where for row in listed].count("store") == 1
    assert len(table(listed)) == len(listed) + 1


# ---- stations ----


def test_a_stations_steps(store, make):
    one, two, three = (store.install(make(version)) for version in "123")

    def step(verb, new=None, **more):
        store.record("cell-1", verb, who="ada (7), pid 8", model="tiny", new=new, **more)
        state = store.state("cell-1")
        names = (state.active, state.previous, state.shadow)
        return tuple(ref.version if ref else "" for ref in names)

    before = Counts(parts=1000, rejects=50)
    assert step("start", one) == ("1", "", "")
    assert step("activate", two, reason="new lamp", probation=before) == ("2", "1", "")
    assert store.state("cell-1").probation == before
    assert step("shadow", three) == ("2", "1", "3")
    assert step("keep") == ("2", "1", "3")
    assert store.state("cell-1").probation is None
    assert step("promote") == ("3", "2", "")
    assert step("activate", three) == ("3", "2", "")  # again is no reason to forget the way back
    assert step("rollback", probation=before) == ("2", "", "")
    assert store.state("cell-1").probation is None
    with pytest.raises(PackageError, match="no package to go back to"):
        step("rollback")
    with pytest.raises(PackageError, match="no shadow to promote"):
        step("promote")
    assert step("shadow", three) == ("2", "", "3")
    assert step("activate", three) == ("3", "2", "")  # it is the active one now
    assert step("shadow", one) == ("3", "2", "1")
    assert step("shadow") == ("3", "2", "")
    history = store.state("cell-1").history
    assert [change.verb for change in history][:4] == ["start", "activate", "shadow", "keep"]
    assert history[1].reason == "new lamp"
    assert history[1].who == "ada (7), pid 8"
    assert history[1].old.startswith("tiny@1 ")
    assert history[1].new.startswith("tiny@2 ")
    assert store.state("cell-1").since <= history[-1].at_utc
    assert (history[-1].old[:6], history[-1].new) == ("tiny@1", "")


def test_a_package_that_has_not_passed_its_probation_is_no_way_back(store, make):
    one, two, three = (store.install(make(version)) for version in "123")
    counts = Counts(parts=1000, rejects=50)
    for new in (one, two, three):
        store.record("cell-1", "activate", who="x", model="tiny", new=new, probation=counts)
    state = store.state("cell-1")
    assert (state.active.version, state.previous.version) == ("3", "1")


def test_what_served_before_is_installed_so_that_it_can_serve_again(store, make):
    zoo, new = load(make("1")), store.install(make("2"))
    state = store.record("cell-1", "activate", who="x", model="tiny", new=new, old=zoo)
    assert state.previous.version == "1"
    assert store.find("tiny@1").file_sha256 == zoo.file_sha256
    assert store.record("cell-1", "rollback", who="x").active.version == "1"


def test_what_a_station_uses_stays(store, make):
    for version in "1234":
        store.install(make(version))
    store.record("cell-1", "activate", who="x", new=store.find("tiny@1"))
    store.record("cell-1", "activate", who="x", new=store.find("tiny@2"))
    store.record("cell-1", "shadow", who="x", new=store.find("tiny@3"))
    for version, use in [("1", "previous"), ("2", "active"), ("3", "shadow")]:
        with pytest.raises(PackageError, match=f"is {use} at cell-1: it stays"):
            store.remove(f"tiny@{version}")
    with pytest.raises(PackageError, match=r"can be: .* name one"):
        store.remove("tiny")
    store.remove("tiny@4")
    assert [one.version for one in store.installed()] == ["1", "2", "3"]


def test_a_way_back_that_is_gone_is_refused_before_it_is_written(store, make):
    store.record("cell-1", "activate", who="x", new=load(make("1")))
    store.record("cell-1", "activate", who="x", new=load(make("2")))
    store.find("tiny@1").path.unlink()
    with pytest.raises(PackageError, match=r"tiny@1 .* is not in"):
        store.record("cell-1", "rollback", who="x")
    assert store.state("cell-1").active.version == "2"


def test_a_state_for_another_model_begins_anew_and_keeps_its_history(store, make):
    store.record("cell-1", "activate", who="x", model="tiny", new=load(make("1")))
    other = load(make("1", name="other"))
    state = store.record("cell-1", "activate", who="x", model="other", new=other)
    assert (state.model, state.previous) == ("other", None)
    assert len(state.history) == 2
    assert store.record("cell-1", "keep", who="x").model == "other"  # whoever does not know it


def test_history_is_bounded(store, make):
    ref = station_state.ref_of(load(make()))
    state = StationState(station="cell-1", model="tiny")
    for _ in range(KEPT_CHANGES + 7):
        state = station_state.after(state, "activate", at_ns=0, who="x", new=ref)
    assert len(state.history) == KEPT_CHANGES


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b'{"station": "cell-1"}', b'{"station": "cell-1", "model": 3}', b"\xff\xfe",
     b'{"station": "cell-2", "model": "m"}', b'{"station": "cell-1", "model": "m", "format": 9}',
     b'{"station": "cell-1", "model": "m", "later": 1}', b"[" * 5000],
)  # fmt: skip
def test_a_damaged_state_is_one_line_that_names_the_file(data, store):
    path = store.folder / "stations" / "cell-1.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(data)
    with pytest.raises(EdgeError) as raised:
        store.state("cell-1")
    assert str(path) in one_line(raised)


def test_a_damaged_state_is_trouble_in_the_list_and_keeps_everything_installed(store, make):
    package = store.install(make("1"))
    store.record("cell-1", "activate", who="x", new=package)
    for name in ("cell-0", "no name"):
        (store.folder / "stations" / f"{name}.json").write_bytes(b"{")
    listed = rows(store)
    (tiny,) = (row for row in listed if row.name == "tiny")
    assert tiny.used == ["active at cell-1"]
    troubles = [row for row in listed if row.trouble]
    assert [(row.where, row.name) for row in troubles] == [
        ("station", "cell-0.json"), ("station", "no name.json"),
    ]  # fmt: skip
    assert "cell-0.json: damaged" in table(listed)[-2]
    store.install(make("2"))
    with pytest.raises(EdgeError, match="damaged"):
        store.remove("tiny@2")  # who knows whether that station has it


@pytest.mark.parametrize("name", ["", "../x", "a/b", "a" * 61, "ä"])
def test_a_state_has_a_stations_name(name, store):
    with pytest.raises(ConfigError):
        store.state(name)


def test_a_start_is_written_down_once_and_only_where_there_is_a_store(store, make):
    package = load(make("1"))
    store.started("cell-1", package, model="tiny")
    assert not store.folder.exists()
    store.install(make("1"))
    store.started("cell-1", package, model=str(make("1")))
    assert store.state("cell-1") is None
    for _ in range(3):
        store.started("cell-1", store.find("tiny"), model="tiny")
    state = store.state("cell-1")
    assert [change.verb for change in state.history] == ["start"]
    assert state.active.version == "1"


def test_an_address_names_one_file_and_no_other(store, make):
    package = store.install(make("1"))
    assert at_address(address(package)) == package
    other = store.install(make("2"))
    digest = package.file_sha256
    for text in (
        "", str(package.path), f"{package.path}#", f"{package.path}#{other.file_sha256}",
        f"tiny.onnx#{digest}", f"/nowhere.onnx#{digest}",
    ):  # fmt: skip
        with pytest.raises(PackageError) as raised:
            at_address(text)
        one_line(raised)


# ---- files ----

WRITER = """
import sys
import time
from models.store import Store
store = Store(__import__("pathlib").Path(sys.argv[1]))
package = store.find("tiny")
print("begun", flush=True)
for number in range(int(sys.argv[2])):
    store.record("cell-1", "activate", who=sys.argv[3], new=package, reason=str(number))
"""


def writer(store: Store, steps: int, who: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", WRITER, str(store.folder), str(steps), who]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


def test_processes_take_turns_and_no_step_is_lost(store, make):
    store.install(make())
    writers = [writer(store, 10, f"writer {number}") for number in range(4)]
    assert [process.communicate() and process.returncode for process in writers] == [0] * 4
    history = store.state("cell-1").history
    assert len(history) == 40
    for number in range(4):
        own = [change.reason for change in history if change.who == f"writer {number}"]
        assert own == [str(step) for step in range(10)]


def test_a_writer_that_is_killed_leaves_a_whole_state_and_no_lock(store, make):
    store.install(make())
    for pause_ms in (1, 4, 9, 23):
        process = writer(store, 10_000, "killed")
        process.stdout.readline()
        time.sleep(pause_ms / 1000)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        if (state := store.state("cell-1")) is not None:
            assert state.active.version == "1"
    beside = store.folder / "stations" / ".cell-1.json.part"
    beside.write_bytes(b"half")
    assert store.record("cell-1", "activate", who="after", new=store.find("tiny"))
    assert not beside.exists()
    assert store.strays() == []


def test_a_store_that_is_being_changed_is_waited_for_only_so_long(store, make, monkeypatch):
    store.install(make())
    monkeypatch.setattr(store_files, "WAIT_S", 0)
    with store_files.changing(store.folder), pytest.raises(EdgeError, match="another process"):
        store.record("cell-1", "start", who="x", new=store.find("tiny"))


def test_a_folder_that_cannot_be_a_store_is_one_line(tmp_path, make):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(EdgeError) as raised:
        Store(tmp_path / "file").install(make())
    assert str(tmp_path / "file") in one_line(raised)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_root_leaves_another_users_store_alone(store, make):
    store.install(make("1"))
    os.chown(store.folder, 65_534, -1)
    with pytest.raises(EdgeError, match="change it as that user"):
        store.install(make("2"))
    assert [one.version for one in store.installed()] == ["1"]


@pytest.mark.parametrize(
    ("option", "variables", "expected"),
    [
        ("/a/b", {"EDGE_STORE": "/c"}, "/a/b"),
        ("", {"EDGE_STORE": "/c", "XDG_DATA_HOME": "/d"}, "/c"),
        ("", {"XDG_DATA_HOME": "/d"}, "/d/edge/models"),
        ("", {"XDG_DATA_HOME": "not/absolute", "HOME": "/h"}, "/h/.local/share/edge/models"),
        ("", {"HOME": "/h"}, "/h/.local/share/edge/models"),
    ],
)
def test_where_the_store_lies(option, variables, expected, tmp_path, monkeypatch):
    for name in ("EDGE_STORE", "XDG_DATA_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(store_files, "SERVICE_FOLDER", tmp_path / "absent")
    assert Store.at(option).folder == Path(expected)
    if not option and "EDGE_STORE" not in variables:
        monkeypatch.setattr(store_files, "SERVICE_FOLDER", tmp_path)
        assert Store.at().folder == tmp_path / "models"
