"""Which package a station begins with, and why."""

from __future__ import annotations

import msgspec
import onnx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge.core import config
from edge.core.config import EngineOptions, Station, SyntheticOptions
from edge.core.errors import ConfigError, PackageError
from edge.signing import Signer
from models import package as packages
from models.package import load, seal
from models.resolve import check_pin, installed, resolve
from models.signature import sign
from models.store import Store

ZOO = packages.zoo_index()


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture
def make(tiny_package, tmp_path):
    model = onnx.load(tiny_package)
    del model.metadata_props[:]
    manifest = load(tiny_package).manifest

    def made(version, name="tiny"):
        named = msgspec.structs.replace(manifest, name=name, version=version)
        path = tmp_path / f"{name}-{version}.onnx"
        path.write_bytes(seal(model.SerializeToString(), named))
        return path

    return made


def station(model, pin="") -> Station:
    engine = EngineOptions(model=str(model), content_sha256=pin)
    return Station(camera=SyntheticOptions(), engine=engine, name="cell-1")


def found(store, model, pin=""):
    package, why = resolve(station(model, pin), store)
    return package.manifest.version, why


def test_a_file_is_that_file_whatever_the_store_says(store, make):
    path = make("1")
    store.record("cell-1", "activate", who="x", model=str(path), new=load(make("2")))
    assert found(store, path) == ("1", "the file that engine.model names")
    assert found(store, path, load(path).content_sha256)[0] == "1"
    with pytest.raises(PackageError, match="wrong digest: pinned"):
        resolve(station(path, "0" * 64), store)


def test_without_a_store_a_name_is_the_zoos(store):
    assert found(store, "synthetic-part") == ("1", "from the zoo")
    assert found(store, "synthetic-part@1") == ("1", "from the zoo")
    for name in ("tiny", "synthetic-part@2"):
        with pytest.raises(PackageError) as raised:
            resolve(station(name), store)
        assert "\n" not in str(raised.value)
        assert name in str(raised.value)
    assert not store.folder.exists()


def test_the_newest_installed_is_taken_until_one_is_active(store, make):
    for version in ("1.9", "1.10"):
        store.install(make(version))
    assert found(store, "tiny") == ("1.10", "the newest that is installed")
    assert found(store, "tiny@1.9") == ("1.9", "installed")
    store.record("cell-1", "activate", who="x", model="tiny", new=store.find("tiny@1.9"))
    version, why = found(store, "tiny")
    assert version == "1.9"
    assert why.startswith("active since 20")
    other = msgspec.structs.replace(station("tiny"), name="cell-2")
    assert resolve(other, store)[0].manifest.version == "1.10"


def test_a_version_that_was_only_installed_is_not_taken_up_by_a_restart(store, make):
    store.install(make("1"))
    store.started("cell-1", resolve(station("tiny"), store)[0], model="tiny")
    store.install(make("2"))
    assert found(store, "tiny")[0] == "1"


def test_a_station_file_that_names_another_model_wins_over_the_state(store, make):
    store.record("cell-1", "activate", who="x", model="other", new=load(make("2")))
    store.install(make("3"))
    version, why = found(store, "tiny")
    assert version == "3"
    assert "was active for engine.model 'other'" in why


def test_a_signed_file_serves_though_the_unsigned_one_was_installed_last(store, make):
    signed, bare = make("1").with_name("signed.onnx"), make("1")
    signed.write_bytes(sign(load(bare), Signer(Ed25519PrivateKey.generate()), utc_ns=0))
    for file in (signed, bare):
        store.install(file)
    pin = load(bare).content_sha256
    for package, _ in (resolve(station("tiny"), store), resolve(station("tiny", pin), store)):
        assert package.file_sha256 == load(signed).file_sha256


def test_an_active_package_that_is_gone_stops_the_start(store, make):
    store.record("cell-1", "activate", who="x", model="tiny", new=load(make("2")))
    store.install(make("3"))
    store.find("tiny@2").path.unlink()
    with pytest.raises(PackageError, match=r"tiny@2 .*, active at cell-1, is not in"):
        resolve(station("tiny"), store)


def test_a_pin_is_what_is_found_or_nothing_is(store, make):
    old, new = (store.install(make(version)) for version in ("1", "2"))
    assert found(store, "tiny", old.content_sha256.upper())[0] == "1"
    store.record("cell-1", "activate", who="x", model="tiny", new=new)
    version, why = found(store, "tiny", old.content_sha256)
    assert version == "1"
    assert "is not what engine.content_sha256 pins" in why
    assert found(store, "tiny", new.content_sha256)[1].startswith("active since")
    foreign = store.install(make("1", name="foreign"))
    for name, pin in [
        ("tiny", "0" * 64),
        ("tiny", foreign.content_sha256),
        ("synthetic-part", "0" * 64),
    ]:
        with pytest.raises(PackageError) as raised:
            resolve(station(name, pin), store)
        assert "\n" not in str(raised.value)
    assert found(store, "synthetic-part", ZOO["synthetic-part"][1])[0] == "1"


def test_nothing_but_the_pinned_content_may_be_activated(make):
    package = load(make("1"))
    check_pin(EngineOptions(model="tiny"), package)
    check_pin(EngineOptions(model="tiny", content_sha256=package.content_sha256.upper()), package)
    with pytest.raises(PackageError, match=r"admits 000000000000 alone"):
        check_pin(EngineOptions(model="tiny", content_sha256="0" * 64), package)


def test_a_person_names_what_is_installed_and_the_zoos_is_installed_for_it(store, make):
    new = store.install(make("2"))
    assert installed("tiny", store) == new
    zoo = installed("synthetic-part", store)
    assert zoo.path.is_relative_to(store.folder)
    assert zoo.content_sha256 == ZOO["synthetic-part"][1]
    assert installed("synthetic-part", store) == zoo
    with pytest.raises(PackageError, match="a file is installed first"):
        installed(str(make("3")), store)
    with pytest.raises(PackageError, match="no package named 'nothing'"):
        installed("nothing", store)


@pytest.mark.parametrize(
    ("engine", "told"),
    [
        ('content_sha256 = "abc"', "engine.content_sha256"),
        ("store = 3", "engine.store"),
        ("probation = { parts = -1 }", "engine.probation.parts"),
        ("probation = { missed = 2.0 }", "engine.probation.missed"),
        (
            "probation = { limit = 2 }",
            "allowed: parts, missed, faults, more_rejects, fewer_rejects",
        ),
    ],
)
def test_the_station_files_keys(engine, told, tmp_path):
    path = tmp_path / "station.toml"
    path.write_text(f'[camera]\nsource = "synthetic"\n[engine]\nmodel = "m"\n{engine}\n')
    with pytest.raises(ConfigError) as raised:
        config.load(path, Station)
    assert told in str(raised.value)
