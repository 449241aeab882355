"""A package sealed again with other limits: graph, envelope and gate stay as they are.

Other limits make other decisions, so what comes out is another content with a version of its own,
and unsigned. Figures go, since the build measured them at the old limits; `extra.made_of` says
which package to ask for them. The pictures that set the limits join those that it has seen.

Of the golden set, parts that lie within the stated delta of a new limit go: on them the rounding
that the gate admits would be a flip. What a person expects of limit and challenge samples must hold
at the new limits, or no package is made, since no station would serve it.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec

from edge.core.errors import PackageError
from models import golden
from models.manifest import Figures, Manifest, Pictures, Thresholds
from models.package import Package, seal, unsealed


class Relimited(NamedTuple):
    """The new file's bytes, and how many parts of the golden set it has of how many."""

    data: bytes
    kept: int
    had: int


def relimited(
    package: Package, limits: Thresholds, *, version: str, seen: Iterable[bytes]
) -> Relimited:
    """A package with these limits; seen: SHA-256 of each picture that they were chosen on.

    PackageError where the golden set asks for other verdicts.
    """
    held = golden.load(package)
    parts = list(_kept(held, limits, package)) if held else []
    manifest = _manifest(package, limits, version, seen)
    text = golden.encoded(parts) if parts else ""
    data = seal(unsealed(package.model_bytes()), manifest, text)
    return Relimited(data, len(parts), len(held.parts) if held else 0)


def _manifest(
    package: Package, limits: Thresholds, version: str, seen: Iterable[bytes]
) -> Manifest:
    old = package.manifest
    digests = sorted(old.pictures.digests() | frozenset(seen))
    origin = f"{old.name}@{old.version} {package.content_sha256}"
    return msgspec.structs.replace(
        old,
        version=version,
        thresholds=limits,
        figures=Figures(),
        pictures=Pictures(
            sha256=base64.b64encode(b"".join(digests)).decode(), seeds=old.pictures.seeds
        ),
        extra={**old.extra, "made_of": origin},
    )


def _kept(held: golden.Golden, limits: Thresholds, package: Package) -> Iterator[golden.Part]:
    """The parts that can stay; where the first of a run of differences goes, the next is whole."""
    key: list[golden.Array] | None = None
    is_keys_own = True
    for number, part in enumerate(held.parts):
        if not part.keyed:
            key, is_keys_own = None, False
        if not _stays(part, limits, package):
            continue
        if not part.keyed:
            is_keys_own = True
        if is_keys_own:  # itself the key of its run, or its key is there
            yield part
            continue
        arrays = held.picture(number)
        views = [arrays[view.name] for view in held.views]
        yield golden.part_of(
            views, key, name=part.name, fp32=part.fp32, own=part.own,
            kind=part.kind, expected=part.expected,
        )  # fmt: skip
        key = key or views


def _stays(part: golden.Part, limits: Thresholds, package: Package) -> bool:
    """Whether the gate may hold a part against sessions; PackageError where none could pass."""
    if part.expected is None:
        ends = (limits.pass_below, limits.fail_from)
        return min(abs(part.fp32 - end) for end in ends) > package.manifest.gate.max_score_delta
    verdict = limits.verdict(part.own)
    if verdict is not part.expected:
        raise PackageError(
            f"{package.path}: {part.kind} sample {part.name} scores {part.own:.4f}, {verdict} at "
            f"PASS below {limits.pass_below:g}, FAIL from {limits.fail_from:g}, where "
            f"{part.expected} is expected: no station would serve it"
        )
    return True
