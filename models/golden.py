"""The golden set: parts that travel with a package, and the scores it must give them.

Before a package, a provider or a driver serves, the session that will serve judges these parts.
Each carries the FP32 network's score and the package's own on the reference CPU provider:

    golden     within the stated delta of the FP32 score, and the FP32 score's verdict
    limit      the verdict that a person gave this borderline part, whatever the score
    challenge  the verdict that a person gave this known good or known bad part

What "zero flips" can mean. A provider that rounds in another order gives another score, and on a
part whose score lies on a limit the last bit decides: refusing for that would refuse every
provider but the one of the build. A part far from the limits, on the other hand, saturates: its
score hardly moves when the sums behind it are wrong. So the set's third nearest the limits
(models/build/golden.py) lies beyond the stated delta from each of them, and as little beyond as
could be found. A score within the delta then never flips, and a flip is never noise: it is a
delta that is broken, where it costs a verdict. INDETERMINATE is a verdict like the others, so a
band has two limits. A score that is not a number is a flip and an infinite delta.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

from edge.core.errors import PackageError
from edge.core.types import Verdict, ViewSpec
from models.lossless import LosslessError, packed, unpacked
from models.manifest import Thresholds
from models.package import Package

FORMAT = 1
MAX_PARTS = 4096
MAX_INFLATED_BYTES = 2 * 2**30  # of all parts together, one after the other
WORST_ROWS = 12

Array = npt.NDArray[Any]
Kind = Literal["golden", "limit", "challenge"]


class Part(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One golden part: what it is called, what it must score, and its views, packed.

    fp32 is the FP32 network's score, own that of the package itself on the reference CPU
    provider when it was built. expected is the verdict a person gave a limit or challenge
    sample. A keyed part's views are differences from the last part that is not keyed.
    """

    name: Annotated[str, Meta(max_length=200)]
    kind: Kind
    expected: Verdict | None
    fp32: float
    own: float
    keyed: bool
    views: Annotated[tuple[bytes, ...], Meta(max_length=8)]


class _Container(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    format: int
    parts: Annotated[list[Part], Meta(min_length=1, max_length=MAX_PARTS)]


class Golden(msgspec.Struct, frozen=True):
    """The golden set of one package; its pictures are unpacked as they are asked for."""

    name: str  # what a refusal calls it
    views: tuple[ViewSpec, ...]
    parts: tuple[Part, ...]

    def pictures(self) -> Iterator[dict[str, Array]]:
        """Each part's views by name, in order; PackageError for bytes that are no such view.

        One part is in memory at a time, and the one it is a difference from.
        """
        key: dict[str, Array] = {}
        for number, part in enumerate(self.parts):
            arrays = self._arrays(number, key)
            if not part.keyed:
                key = arrays
            yield arrays

    def picture(self, number: int) -> dict[str, Array]:
        """The views of one part by name, wherever it is in the set; errors as `pictures`."""
        first = number
        while self.parts[first].keyed:
            first -= 1
        key = self._arrays(first, {})
        return key if first == number else self._arrays(number, key)

    def _arrays(self, number: int, key: Mapping[str, Array]) -> dict[str, Array]:
        packed_views = zip(self.views, self.parts[number].views, strict=True)
        return {
            view.name: self._view(number, view, data, key.get(view.name))
            for view, data in packed_views
        }

    def _view(self, number: int, view: ViewSpec, data: bytes, key: Array | None) -> Array:
        try:
            array = unpacked(data, view.shape, view.dtype, key)
        except LosslessError as fault:
            raise _refusal(self.name, f"part {number}, {view.name}: {fault}") from None
        if view.dtype == "float32" and not np.isfinite(array).all():
            raise _refusal(self.name, f"part {number}, {view.name}: values that are not finite")
        return array


class Row(msgspec.Struct, frozen=True):
    """How one part was judged, beside how it should be; `wrong` says what is not right, or ""."""

    number: int
    name: str
    kind: Kind
    score: float
    fp32: float
    own: float
    delta: float
    verdict: Verdict
    wanted: Verdict
    wrong: str = ""


class Parity(msgspec.Struct, frozen=True):
    """What judging a golden set on one session came to.

    max_score_delta is the largest |score - fp32| of the golden parts, max_own_delta the largest
    difference of any part from the package's own scores on the reference CPU provider: what this
    provider adds by itself. flips counts golden parts with another verdict than their FP32 score
    has, unexpected the limit and challenge samples with another verdict than a person gave them.
    worst holds the wrong rows as far as there is room, then those with the largest delta.
    """

    name: str
    pictures: int
    max_score_delta: float
    max_own_delta: float
    flips: int
    unexpected: int
    tolerance: float
    worst: tuple[Row, ...]

    @property
    def refusal(self) -> str:
        """Why this session may not serve, in one line; "" if it may."""
        faults = []
        if not self.max_score_delta <= self.tolerance:
            faults.append(
                f"scores up to {self.max_score_delta:.4f} from FP32, "
                f"at most {self.tolerance:.4f} is admitted"
            )
        if self.flips:
            faults.append(f"{self.flips} of {self.pictures} verdicts flipped")
        if self.unexpected:
            faults.append(f"{self.unexpected} limit or challenge samples judged wrongly")
        return f"golden set of {self.name}: {'; '.join(faults)}" if faults else ""

    def table(self) -> list[str]:
        """The worst parts for a person, one line each under a heading."""
        lines = [
            f"{'part':>5} {'kind':9} {'score':>8} {'FP32':>8} {'delta':>8} "
            f"{'at build':>8}  {'verdict':13} {'should be':13} name"
        ]
        lines += [
            f"{row.number:5} {row.kind:9} {row.score:8.4f} {row.fp32:8.4f} {row.delta:8.4f} "
            f"{row.own:8.4f}  {row.verdict:13} {row.wanted:13} {row.name}"
            f"{'  <- ' + row.wrong if row.wrong else ''}"
            for row in self.worst
        ]
        return lines


def load(package: Package) -> Golden | None:
    """The golden set of a package, None where it has none; PackageError if it is malformed.

    Reads the package's file again: nobody keeps the pictures who does not judge them.
    """
    held = package.golden_bytes()
    if held is None:
        return None
    return opened(held, package.manifest.views, str(package.path))


def opened(text: bytes, views: tuple[ViewSpec, ...], name: str) -> Golden:
    """The golden set in an `edge.golden` entry; PackageError in one line if it is malformed.

    Nothing is allocated by what the entry claims: counts and sizes are checked first.
    """
    try:
        container = msgspec.msgpack.decode(base64.b64decode(text, validate=True), type=_Container)
    except (binascii.Error, msgspec.DecodeError, ValueError) as error:
        raise _refusal(name, f"damaged: {error}") from None
    if container.format != FORMAT:
        raise _refusal(name, f"format {container.format}; this runtime reads {FORMAT}")
    size = sum(math.prod(view.shape) * np.dtype(view.dtype).itemsize for view in views)
    if size * len(container.parts) > MAX_INFLATED_BYTES:
        raise _refusal(name, f"over {MAX_INFLATED_BYTES // 2**30} GiB of pictures")
    for number, part in enumerate(container.parts):
        if fault := _part_fault(part, number, len(views)):
            raise _refusal(name, f"part {number}: {fault}")
    return Golden(name, views, tuple(container.parts))


def _part_fault(part: Part, number: int, views: int) -> str:
    if not (math.isfinite(part.fp32) and math.isfinite(part.own)):
        return "a score that is not finite"
    if len(part.views) != views:
        return f"{len(part.views)} views, the package has {views}"
    if part.keyed and number == 0:
        return "a difference without a picture to differ from"
    if (part.expected is None) != (part.kind == "golden"):
        return f"a {part.kind} part {'without' if part.expected is None else 'with'} a verdict"
    return ""


def _refusal(name: str, fault: str) -> PackageError:
    return PackageError(f"{name}: golden set: {fault}")


def part_of(
    views: Sequence[Array],
    key: Sequence[Array] | None = None,
    *,
    name: str,
    fp32: float,
    own: float,
    kind: Kind = "golden",
    expected: Verdict | None = None,
) -> Part:
    """A part from its views, in the manifest's order, and those of its key where it has one."""
    keys: Sequence[Array | None] = key or [None] * len(views)
    data = tuple(packed(view, other) for view, other in zip(views, keys, strict=True))
    return Part(name, kind, expected, fp32, own, key is not None, data)


def encoded(parts: Sequence[Part]) -> str:
    """The text of an `edge.golden` entry."""
    raw = msgspec.msgpack.encode(_Container(FORMAT, list(parts)))
    return base64.b64encode(raw).decode()


def judge(
    golden: Golden, scores: Sequence[float], thresholds: Thresholds, tolerance: float
) -> Parity:
    """Hold scores, one a part in the set's order, against the set's own.

    tolerance: the largest admitted |score - fp32|, as the manifest's gate states it.
    """
    rows = [
        _row(number, part, float(score), thresholds, tolerance)
        for number, (part, score) in enumerate(zip(golden.parts, scores, strict=True))
    ]
    finite = all(math.isfinite(row.score) for row in rows)
    ranked = sorted(rows, key=lambda row: (not row.wrong, -row.delta, row.number))
    return Parity(
        name=golden.name,
        pictures=len(rows),
        max_score_delta=max((row.delta for row in rows if row.kind == "golden"), default=0.0),
        max_own_delta=max(abs(row.score - row.own) for row in rows) if finite else math.inf,
        flips=sum("flip" in row.wrong for row in rows),
        unexpected=sum("expected" in row.wrong for row in rows),
        tolerance=tolerance,
        worst=tuple(ranked[:WORST_ROWS]),
    )


def _row(number: int, part: Part, score: float, limits: Thresholds, tolerance: float) -> Row:
    finite = math.isfinite(score)
    delta = abs(score - part.fp32) if finite else math.inf
    verdict, reference = limits.verdict(score), limits.verdict(part.fp32)
    wrong = []
    if part.expected is not None:
        if not finite or verdict is not part.expected:
            wrong.append("expected otherwise")
    else:
        if not finite or verdict is not reference:
            wrong.append("flip")
        if delta > tolerance:
            wrong.append("delta")
    return Row(
        number=number,
        name=part.name,
        kind=part.kind,
        score=score,
        fp32=part.fp32,
        own=part.own,
        delta=delta,
        verdict=verdict,
        wanted=part.expected or reference,
        wrong=", ".join(wrong),
    )


def examine(package: Package, score_of: Callable[[Mapping[str, Array]], float]) -> Parity | None:
    """Judge a package's golden set with a session's own scoring; None where it has no set.

    score_of takes a part's views by name and returns its score.
    """
    golden = load(package)
    if golden is None:
        return None
    scores = [score_of(arrays) for arrays in golden.pictures()]
    limits = package.manifest.thresholds
    return judge(golden, scores, limits, package.manifest.gate.max_score_delta)
