"""Certificates: about this package or refused, what a station asks of them, how they are told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from edge import signing
from edge.core import config
from edge.core.config import CertificateOptions, EngineOptions, TileOptions
from edge.core.errors import ConfigError, PackageError
from models import certificate, package, signature
from models.calibrate import Counts
from models.certificate import Certificate, Data, Promise, certificate_text
from models.describe import describe

ZOO = package.find("synthetic-part")
LIMITS = ZOO.manifest.thresholds
HELD = Certificate(
    content_sha256=ZOO.content_sha256,
    pass_below=LIMITS.pass_below,
    fail_from=LIMITS.fail_from,
    confidence=0.95,
    unit="picture",
    escape=Promise(asked=0.002, bound=0.00188),
    overkill=Promise(asked=0.02, bound=0.0191),
    uncaught=0.00188,
    failed=0.0191,
    defective=Counts(units=1600, passed=0, held=2, failed=1597, unfit=1),
    good=Counts(units=900, passed=895, held=1, failed=4, unfit=0),
    data=Data(
        name="parts", split="calib", pictures=2500, left_out=0,
        pictures_sha256="a" * 64, labels_sha256="b" * 64,
    ),
    provider="cpu",
    threads=2,
    library="onnxruntime 1.2.3",
    processor="a processor",
    who="quality",
    at="2026-01-31T12:00:00Z",
)  # fmt: skip


def loaded(tmp_path: Path, held: Certificate | str = HELD) -> package.Package:
    """The zoo's package with a certificate, or any text, appended."""
    text = held if isinstance(held, str) else certificate.encoded(held)
    path = tmp_path / "certified.onnx"
    path.write_bytes(package.append(ZOO.model_bytes(), certificate.KEY, text))
    return package.load(path)


def test_what_is_appended_comes_back_and_changes_no_content(tmp_path: Path) -> None:
    found = loaded(tmp_path)
    assert certificate.certificate(found) == HELD
    assert found.content_sha256 == ZOO.content_sha256
    assert found.manifest == ZOO.manifest
    assert certificate.certificate(ZOO) is None
    assert certificate_text(ZOO) == []


def other(**changes: Any) -> str:
    return certificate.encoded(msgspec.structs.replace(HELD, **changes))


TEXT = certificate.encoded(HELD)
REFUSED = {
    "of another content": (other(content_sha256="0" * 64), "of another content, 0000"),
    "of a lower PASS limit": (other(pass_below=0.0), "of other limits, PASS below 0,"),
    "of a higher FAIL limit": (other(fail_from=0.99), "of other limits"),
    "of a later format": (other(format=2), "format 2, this runtime reads 1"),
    "counts that do not add up": (
        other(good=Counts(units=900, passed=900, held=1, failed=4, unfit=0)), "do not add up",
    ),
    "counts below 0": (
        other(good=Counts(units=900, passed=905, held=-5, failed=0, unfit=0)), "do not add up",
    ),
    "no units": (
        other(defective=Counts(units=0, passed=0, held=0, failed=0, unfit=0)), "do not add up",
    ),
    "a rate above 1": (TEXT.replace("0.00188", "1.5", 1), "malformed"),
    "a confidence of 1": (TEXT.replace('"confidence":0.95', '"confidence":1.0'), "malformed"),
    "an unknown key": (TEXT.replace('{"format"', '{"surprise":1,"format"', 1), "surprise"),
    "an unknown unit": (TEXT.replace('"picture"', '"lot"', 1), "malformed"),
    "a steered terminal": (other(who="\x1b[2Jquality"), "not plain text"),
    "not JSON": ("{", "malformed"),
    "deep": ("[" * 100_000, "malformed"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_certificate_that_is_not_about_this_package_is_refused(tmp_path: Path, case: str) -> None:
    payload, reason = REFUSED[case]
    found = loaded(tmp_path, payload)
    for asks in (certificate.certificate, certificate_text, describe):
        with pytest.raises(PackageError, match=r"certified\.onnx: its certificate is") as caught:
            asks(found)
        assert reason in str(caught.value)
        assert "\n" not in str(caught.value)


def test_the_certificate_of_a_copy_with_other_limits_does_not_come_along(tmp_path: Path) -> None:
    """Neither content nor limits can be swapped under a certificate that is carried over."""
    limits = msgspec.structs.replace(LIMITS, pass_below=LIMITS.fail_from)
    manifest = msgspec.structs.replace(ZOO.manifest, thresholds=limits)
    moved = package.seal(package.unsealed(ZOO.model_bytes()), manifest)
    path = tmp_path / "moved.onnx"
    path.write_bytes(package.append(moved, certificate.KEY, TEXT))
    with pytest.raises(PackageError, match="of another content"):
        certificate.certificate(package.load(path))


# ---- what a station asks for ----


def station(**asked: Any) -> EngineOptions:
    more = {name: asked.pop(name) for name in ("provider", "tiles") if name in asked}
    return EngineOptions(model="m", certificate=CertificateOptions(**asked), **more)


@pytest.mark.parametrize(
    ("wanted", "refusal"),
    [
        (station(escape=0.002, overkill=0.02), ""),
        (station(escape=0.00188, overkill=0.0191), ""),
        (station(escape=0.002), ""),
        (station(escape=0.002, overkill=0.02, confidence=0.9), ""),
        (
            station(escape=0.001, overkill=0.02),
            r"certified for escape at most 0.188 %, overkill at most 1.91 %, each 95 % sure "
            r"\(both 90 %\); engine.certificate asks for escape at most 0.1 %, overkill at most 2 "
            "%, 95 % sure",
        ),
        (station(escape=0.002, overkill=0.01), "asks for escape at most 0.2 %, overkill at most 1"),
        (station(escape=0.002, confidence=0.99), "asks for escape at most 0.2 %, 99 % sure"),
        (station(escape=0.002, provider="openvino"), 'openvino; allowed .* provider = "cpu"'),
        (station(escape=0.002, provider=("cpu", "openvino")), "may judge on openvino"),
        (station(escape=0.002, provider="auto"), "may judge on auto"),
        (station(escape=0.002, tiles=TileOptions(frame_px=(512, 512))), "not on frames cut"),
    ],
)
def test_a_station_asks_for_a_certificate(
    tmp_path: Path, wanted: EngineOptions, refusal: str
) -> None:
    found = loaded(tmp_path)
    if not refusal:
        certificate.admit(found, wanted)
        return
    with pytest.raises(PackageError, match=refusal) as caught:
        certificate.admit(found, wanted)
    assert "\n" not in str(caught.value)


def test_no_certificate_is_refused_only_where_one_is_asked_for() -> None:
    certificate.admit(ZOO, EngineOptions(model="m"))
    with pytest.raises(PackageError, match=r"no certificate; engine.certificate asks for escape"):
        certificate.admit(ZOO, station(escape=0.5))


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("overkill = 0.02", "engine.certificate.escape: missing"),
        ("escape = 0.0", "engine.certificate.escape: expected `float` > 0"),
        ("escape = 0.002\nconfidence = 1.0", "engine.certificate.confidence: expected"),
        ("escape = 0.002\nmissed = 1", "unknown key; allowed: escape, overkill, confidence"),
    ],
)
def test_a_station_file_that_asks_for_nonsense_is_refused_in_one_line(
    tmp_path: Path, line: str, told: str
) -> None:
    file = tmp_path / "station.toml"
    file.write_text(
        f'[camera]\nsource = "synthetic"\n[engine]\nmodel = "m"\n[engine.certificate]\n{line}\n'
    )
    with pytest.raises(ConfigError) as caught:
        config.load(file, config.Station)
    assert told in str(caught.value)


# ---- words ----


def test_a_certificate_in_words(tmp_path: Path) -> None:
    lines = certificate_text(loaded(tmp_path))
    assert all(line.isprintable() for line in lines)
    text = "\n".join(lines)
    for said in (
        "escape at most 0.188 %, overkill at most 1.91 %, each 95 % sure (both 90 %)",
        "asked: 0.2 %, 2 %: kept",
        "1600 defective, 0 passed, 2 held, 1597 failed, 1 unfit",
        "for parts like those in calib of parts; designs, products and conditions",
        "a" * 64,
        "cpu, 2 threads, onnxruntime 1.2.3",
        "2026-01-31T12:00:00Z, quality",
    ):
        assert said in text
    assert all(f"certificate     {line}" in describe(loaded(tmp_path)) for line in lines)
    assert "certificate     none" in describe(ZOO)


def test_what_was_asked_and_is_not_proven_is_said_so(tmp_path: Path) -> None:
    weak = msgspec.structs.replace(HELD, escape=Promise(asked=0.001, bound=0.00188), unit="group")
    first, _, units, *_ = certificate_text(loaded(tmp_path, weak))
    assert first.endswith("asked: 0.1 %, 2 %: NOT PROVEN")
    assert units.startswith("counted in groups (physical parts): ")


def test_a_signature_covers_the_certificate(tmp_path: Path) -> None:
    key = signing.make(tmp_path / "ours.key", PackageError)
    path = tmp_path / "signed.onnx"
    path.write_bytes(signature.sign(loaded(tmp_path), key, utc_ns=0))
    assert certificate.certificate(package.load(path)) == HELD
    signature.check(package.load(path), [key.public.hex()])
    better = other(escape=Promise(asked=0.002, bound=0.0001))
    path.write_bytes(package.replace(path.read_bytes(), certificate.KEY, better))
    with pytest.raises(PackageError, match="altered, or the signature was"):
        signature.signed(package.load(path))
