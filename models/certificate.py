"""The certificate: what a package's limits were proven to keep to, appended behind the seal.

    edge.certificate = a Certificate as JSON

A certificate changes no limit. PASS and FAIL limits are the manifest's, always: `edge model
calibrate` seals a package anew with the limits it chose, and the certificate that it appends names
that content and repeats those limits. One of another content, or of other limits, is refused. So
whoever appends a certificate to a file can lie about what was proven, but not alter a verdict; the
signature (models/signature.py), which covers the certificate, says who vouches for it.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal, Protocol

import msgspec
from msgspec import Meta

from edge.core.config import CertificateOptions, TileOptions
from edge.core.errors import PackageError
from models.calibrate import Counts, at_most, percent
from models.package import Package

KEY = "edge.certificate"
FORMAT = 1
POPULATION = "parts like those in calib"
OUTSIDE = "designs, products and conditions that were not in it are outside"

Unit = Literal["picture", "group"]
_Rate = Annotated[float, Meta(ge=0, le=1)]
_Count = Annotated[int, Meta(ge=0)]
_Digest = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
_Line = Annotated[str, Meta(max_length=200)]


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A part of the certificate."""


class Promise(_Part, frozen=True, kw_only=True):
    """A rate of units: the largest that was asked for, and the one that the data bound."""

    asked: _Rate
    bound: _Rate

    @property
    def is_kept(self) -> bool:
        return self.bound <= self.asked


class Data(_Part, frozen=True, kw_only=True):
    """The pictures that the limits were chosen on.

    pictures_sha256 is of their digests, sorted (the manifest lists them); labels_sha256 of one line
    a picture, sorted: digest, label, unit. left_out: good pictures of defective units.
    """

    name: _Line
    split: _Line
    pictures: _Count
    left_out: _Count
    pictures_sha256: _Digest
    labels_sha256: _Digest


class Certificate(_Part, frozen=True, kw_only=True):
    """What was proven of a package's limits, on which units, and by what.

    escape is of defective units that pass, overkill of good units that fail or are held; uncaught
    and failed bound defective units that pass or are held, and good units that fail. Each bound
    holds by itself with `confidence`.
    """

    format: int = FORMAT
    content_sha256: _Digest
    pass_below: float
    fail_from: float
    confidence: Annotated[float, Meta(gt=0, lt=1)]
    unit: Unit
    escape: Promise
    overkill: Promise
    uncaught: _Rate
    failed: _Rate
    defective: Counts
    good: Counts
    data: Data
    population: _Line = POPULATION
    outside: _Line = OUTSIDE
    provider: _Line
    threads: _Count
    library: _Line
    processor: _Line
    who: _Line
    at: Annotated[str, Meta(max_length=40)]


class Wanted(Protocol):
    """What a station asks of its packages (edge/core/config.py, EngineOptions)."""

    @property
    def certificate(self) -> CertificateOptions | None: ...

    @property
    def providers(self) -> tuple[str, ...]: ...

    @property
    def tiles(self) -> TileOptions | None: ...


def certificate(package: Package) -> Certificate | None:
    """A package's certificate, None without one; PackageError where it is not about this package.

    Says nothing about who wrote it.
    """
    payload = package.appended.get(KEY)
    if payload is None:
        return None
    try:
        held = msgspec.json.decode(payload, type=Certificate)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise PackageError(f"{package.path}: its certificate is malformed: {error}") from None
    limits = package.manifest.thresholds
    if held.format != FORMAT:
        why = f"of format {held.format}, this runtime reads {FORMAT}"
    elif held.content_sha256 != package.content_sha256:
        why = f"of another content, {held.content_sha256}"
    elif (held.pass_below, held.fail_from) != (limits.pass_below, limits.fail_from):
        why = f"of other limits, PASS below {held.pass_below:g}, FAIL from {held.fail_from:g}"
    elif not (_adds_up(held) and _is_plain(held)):
        why = "malformed: counts that do not add up, or not plain text"
    else:
        return held
    raise PackageError(f"{package.path}: its certificate is {why}")


def encoded(held: Certificate) -> str:
    """The payload of the appended entry."""
    return msgspec.json.encode(held).decode()


def admit(package: Package, wanted: Wanted) -> None:
    """Do nothing, or raise PackageError where a station asks for more than a package proves.

    A certificate is of scores by one provider, of pictures judged whole: a station that asks for
    one judges so, and with that provider alone.
    """
    asked = wanted.certificate
    if asked is None:
        return
    rates = ", ".join(
        f"{what} at most {percent(rate)}"
        for what, rate in (("escape", asked.escape), ("overkill", asked.overkill))
        if rate < 1
    )
    wants = f"engine.certificate asks for {rates}, {percent(asked.confidence)} sure"
    name = f"{package.manifest.name} {package.manifest.version} ({package.path})"
    held = certificate(package)
    if held is None:
        raise PackageError(f"{name}: no certificate; {wants} (edge model calibrate)")
    if not is_enough(held, asked):
        raise PackageError(f"{name}: certified for {_proven(held)}; {wants}")
    others = [one for one in wanted.providers if one != held.provider]
    if others:
        raise PackageError(
            f"{name}: certified on provider {held.provider}, this station may judge on "
            f'{", ".join(others)}; allowed with engine.certificate: provider = "{held.provider}"'
        )
    if wanted.tiles is not None:
        raise PackageError(f"{name}: certified on single pictures, not on frames cut in tiles")


def is_enough(held: Certificate, asked: CertificateOptions) -> bool:
    """Whether what was proven is what is asked for, or more."""
    return (
        held.escape.bound <= asked.escape
        and held.overkill.bound <= asked.overkill
        and held.confidence >= asked.confidence
    )


def certificate_text(package: Package) -> list[str]:
    """What a package's limits were proven to keep to, in words; one fact a line, [] without one.

    PackageError as `certificate`.
    """
    held = certificate(package)
    return [] if held is None else told(held)


def told(held: Certificate) -> list[str]:
    """A certificate in words; one fact a line."""
    units = "pictures" if held.unit == "picture" else "groups (physical parts)"
    data = held.data
    left_out = f", {data.left_out} good ones of defective groups not counted" * bool(data.left_out)
    return [
        f"{_proven(held)}; asked: {percent(held.escape.asked)}, {percent(held.overkill.asked)}: "
        + ("kept" if held.escape.is_kept and held.overkill.is_kept else "NOT PROVEN"),
        f"PASS below {held.pass_below:g}, FAIL from {held.fail_from:g}; defective units that pass "
        f"or are held at most {at_most(held.uncaught)}, good units that fail at most "
        f"{at_most(held.failed)}",
        f"counted in {units}: {_counted(held.defective, 'defective')}; "
        f"{_counted(held.good, 'good')}",
        f"for {held.population} of {data.name}; {held.outside}",
        f"{data.pictures} pictures of split {data.split}{left_out}; sha256 {data.pictures_sha256}",
        f"scored on {held.provider}, {held.threads} threads, {held.library}, {held.processor}",
        f"{held.at}{f', {held.who}' if held.who else ''}",
    ]


def _proven(held: Certificate) -> str:
    together = 2 * held.confidence - 1  # at least, whatever the two have to do with each other
    both = f" (both {percent(together)})" if together > 0 else ""
    return (
        f"escape at most {at_most(held.escape.bound)}, overkill at most "
        f"{at_most(held.overkill.bound)}, each {percent(held.confidence)} sure{both}"
    )


def _counted(counts: Counts, kind: str) -> str:
    return (
        f"{counts.units} {kind}, {counts.passed} passed, {counts.held} held, "
        f"{counts.failed} failed, {counts.unfit} unfit"
    )


def _adds_up(held: Certificate) -> bool:
    return math.isfinite(held.pass_below + held.fail_from) and all(
        min(kind.passed, kind.held, kind.failed, kind.unfit) >= 0
        and kind.units == kind.passed + kind.held + kind.failed + kind.unfit > 0
        for kind in (held.defective, held.good)
    )


def _is_plain(held: Certificate) -> bool:
    """Nothing of it can steer a terminal."""
    data = held.data
    words = (held.population, held.outside, held.provider, held.library, held.processor)
    return all(text.isprintable() for text in (*words, held.who, held.at, data.name, data.split))
