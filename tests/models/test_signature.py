"""Signatures: whoever altered, added or took a part of a signed package is seen."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from edge import signing
from edge.core import config
from edge.core.config import EngineOptions
from edge.core.errors import ConfigError, PackageError
from edge.core.types import ViewSpec
from edge.signing import Signer
from models import package, signature
from models.manifest import Manifest, Outputs, Thresholds
from models.package import Package

UTC_NS = 1_700_000_000_123_456_789


def sealed(name: str, version: str = "1", scale: float = 1.0) -> bytes:
    """A package that puts out the scaled mean of a picture."""
    nodes = [
        helper.make_node("Cast", ["image"], ["gray"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["gray"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "scale"], ["score"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, [1, 1, 8, 8])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, [1])],
        [numpy_helper.from_array(np.array([scale], np.float32), "scale")],
    )
    opsets = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    manifest = Manifest(
        name=name,
        version=version,
        views=(ViewSpec("image", "picture", "uint8", (8, 8)),),
        outputs=Outputs(map=None),
        thresholds=Thresholds(pass_below=0.2, fail_from=0.8),
    )
    return package.seal(model.SerializeToString(), manifest)


SEALED = sealed("tiny")


class Plant(NamedTuple):
    """A folder with two keys, and a package's file."""

    folder: Path
    ours: Signer
    theirs: Signer

    def loaded(self, data: bytes) -> Package:
        path = self.folder / "tiny.onnx"
        path.write_bytes(data)
        return package.load(path)

    def signed(self, data: bytes = SEALED, signer: Signer | None = None, who: str = "") -> bytes:
        return signature.sign(self.loaded(data), signer or self.ours, who=who, utc_ns=UTC_NS)

    @property
    def trusted(self) -> list[str]:
        return [self.ours.public.hex()]


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    ours, theirs = (signing.make(tmp_path / name, PackageError) for name in ("ours", "theirs"))
    signing.publish(ours, tmp_path / "ours.pub", PackageError)
    return Plant(tmp_path, ours, theirs)


def refused(plant: Plant, data: bytes) -> str:
    with pytest.raises(PackageError) as caught:
        signature.check(plant.loaded(data), plant.trusted)
    line = str(caught.value)
    assert str(plant.folder / "tiny.onnx") in line
    assert "\n" not in line
    return line


def test_a_signed_package_is_by_whom_it_says(plant: Plant) -> None:
    loaded = plant.loaded(plant.signed(who="quality, plant 2"))
    found = signature.check(loaded, plant.trusted)
    assert found.public == plant.ours.public.hex()
    assert (found.who, found.at) == ("quality, plant 2", "2023-11-14T22:13:20Z")
    assert loaded.content_sha256 == plant.loaded(SEALED).content_sha256


def test_an_unsigned_package_and_another_key_are_refused(plant: Plant) -> None:
    assert "not signed; allowed" in refused(plant, SEALED)
    theirs = refused(plant, plant.signed(signer=plant.theirs, who="someone"))
    assert f"signed by {plant.theirs.public.hex()} (someone); allowed" in theirs
    assert signature.signed(plant.loaded(SEALED)) is None


def test_signing_again_replaces_the_signature(plant: Plant) -> None:
    twice = plant.signed(plant.signed(signer=plant.theirs))
    assert signature.check(plant.loaded(twice), plant.trusted)
    assert len(twice) == len(plant.signed())
    assert plant.signed(plant.signed()) == plant.signed()


def test_a_signature_of_another_package_does_not_hold(plant: Plant) -> None:
    mark = plant.loaded(plant.signed()).appended["edge.signature"]
    for other in (sealed("tiny", "2"), sealed("other"), sealed("tiny", scale=2.0)):
        assert "altered" in refused(plant, package.append(other, "edge.signature", mark))


@pytest.mark.parametrize("field", ["public", "signature", "who", "at"])
def test_every_word_of_a_signature_is_signed(plant: Plant, field: str) -> None:
    mark = msgspec.json.decode(plant.loaded(plant.signed(who="a")).appended["edge.signature"])
    last = mark[field][-1]
    mark[field] = mark[field][:-1] + ("b" if last != "b" else "c")
    payload = msgspec.json.encode(mark).decode()
    assert "altered" in refused(plant, package.append(SEALED, "edge.signature", payload))


MALFORMED = {
    "not JSON": "abc",
    "nothing in it": "{}",
    "short": '{"public":"ab","signature":"cd","who":"","at":""}',
    "more than that": f'{{"public":"{"a" * 64}","signature":"{"a" * 128}","who":"","at":"","x":1}}',
    "long": f'{{"public":"{"a" * 64}","signature":"{"a" * 128}","who":"{"w" * 201}","at":""}}',
    "lines": f'{{"public":"{"a" * 64}","signature":"{"a" * 128}","who":"a\\nb","at":""}}',
    "deep": "[" * 100_000,
}


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_signature_is_refused(plant: Plant, case: str) -> None:
    assert "malformed" in refused(plant, package.append(SEALED, "edge.signature", MALFORMED[case]))


def test_a_certificate_is_covered_or_needs_a_new_signature(plant: Plant) -> None:
    certified = package.append(SEALED, "edge.certificate", '{"passed":true}')
    covered = plant.signed(certified)
    assert signature.check(plant.loaded(covered), plant.trusted)
    later = package.append(plant.signed(), "edge.certificate", '{"passed":true}')
    assert "certified after it was signed" in refused(plant, later)
    again = plant.signed(later)
    assert again == covered
    mark = plant.loaded(covered).appended["edge.signature"]
    without = package.append(SEALED, "edge.signature", mark)  # the certificate taken away
    assert "altered" in refused(plant, without)
    other = package.append(SEALED, "edge.certificate", '{"passed":false}')
    assert "altered" in refused(plant, package.append(other, "edge.signature", mark))


def test_every_altered_byte_of_a_signed_package_is_refused(plant: Plant) -> None:
    data = plant.signed()
    path = plant.folder / "tiny.onnx"
    for at in range(0, len(data), 7):
        altered = bytearray(data)
        altered[at] ^= 1 << at % 8
        path.write_bytes(altered)
        with pytest.raises(PackageError):
            signature.check(package.load(path), plant.trusted)


def test_who_signs_is_a_short_line(plant: Plant) -> None:
    for who in ("w" * 201, "two\nlines"):
        with pytest.raises(PackageError, match="printable characters"):
            plant.signed(who=who)


def test_a_station_admits_what_its_file_asks_for(plant: Plant) -> None:
    def asked(*trusted: str) -> EngineOptions:
        return EngineOptions(model="m", require_signature=bool(trusted), trusted=trusted)

    signature.admit(plant.loaded(SEALED), asked(), plant.folder)
    good = plant.loaded(plant.signed())
    for key in ("ours.pub", plant.ours.public.hex()):
        signature.admit(good, asked(plant.theirs.public.hex(), key), plant.folder)
    with pytest.raises(PackageError, match="allowed: signed by"):
        signature.admit(good, asked(plant.theirs.public.hex()), plant.folder)
    with pytest.raises(PackageError, match="not signed"):
        signature.admit(plant.loaded(SEALED), asked("ours.pub"), plant.folder)
    with pytest.raises(ConfigError, match=r"gone\.pub: the key cannot be read"):
        signature.admit(good, asked("gone.pub"), plant.folder)


@pytest.mark.parametrize("line", ["require_signature = true", 'trusted = ["a.pub"]'])
def test_a_station_file_that_asks_for_half_is_refused_in_one_line(
    tmp_path: Path, line: str
) -> None:
    file = tmp_path / "station.toml"
    file.write_text(f'[camera]\nsource = "synthetic"\n[engine]\nmodel = "m"\n{line}\n')
    with pytest.raises(ConfigError, match=r"engine.*require_signature and trusted need each other"):
        config.load(file, config.Station)
