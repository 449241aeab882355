"""The golden set: what it holds, what is refused of it, and what its gate lets serve."""

from __future__ import annotations

import base64
import math
import tracemalloc
import zlib
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
import pytest

from edge.core.errors import PackageError
from edge.core.pool import FramePool
from edge.core.types import Verdict, ViewSpec
from models import golden, package
from models.build import measure
from models.describe import describe
from models.envelope import Gauge
from models.manifest import Thresholds
from models.session import BoundSession

VIEWS = (
    ViewSpec("image", "picture", "uint8", (8, 6)),
    ViewSpec("force", "samples", "float32", (4, 2)),
)
BAND = Thresholds(pass_below=0.3, fail_from=0.6)
PICTURES = [
    [np.full((8, 6), 10 * n, np.uint8), np.full((4, 2), 0.5 * n, np.float32)] for n in range(3)
]


def parts(*fp32: float, **more: Any) -> list[golden.Part]:
    """One part a score; the package's own is 0.01 above it. All but the first are keyed."""
    return [
        golden.part_of(
            PICTURES[n % 3], PICTURES[0] if n else None, name=f"p{n}", fp32=s, own=s + 0.01, **more
        )
        for n, s in enumerate(fp32)
    ]


def opened(held: list[golden.Part]) -> golden.Golden:
    return golden.opened(golden.encoded(held).encode(), VIEWS, "tiny")


def session(loaded: package.Package) -> BoundSession:
    manifest = loaded.manifest
    pool = FramePool.create(manifest.views, 1)
    return BoundSession(loaded.model_bytes(), manifest.views, pool, "cpu", 2)


@pytest.fixture(params=["synthetic-part", "deeppcb", "synthetic-part-fp32", "deeppcb-fp32"])
def shipped(request: pytest.FixtureRequest) -> package.Package:
    return package.find(request.param)


def test_what_was_put_in_comes_out_in_any_order() -> None:
    held = opened(parts(0.1, 0.4, 0.9))
    for number, arrays in enumerate(held.pictures()):
        for name, wanted in zip(("image", "force"), PICTURES[number], strict=True):
            assert arrays[name].tobytes() == wanted.tobytes()
            assert held.picture(number)[name].tobytes() == wanted.tobytes()
    assert [part.fp32 for part in held.parts] == [0.1, 0.4, 0.9]


def packed_as(container: object) -> bytes:
    return base64.b64encode(msgspec.msgpack.encode(container))


ONE = msgspec.to_builtins(parts(0.1)[0], builtin_types=(bytes,))
VIEW = ONE[6][0]


def with_field(place: int, value: object) -> list[object]:
    return [*ONE[:place], value, *ONE[place + 1 :]]


HOSTILE = {
    "damaged": (
        b"no base64 !",
        b"\xff\xfe",
        packed_as({"format": 1}),
        packed_as([1, []]),
        packed_as([1, [ONE] * (golden.MAX_PARTS + 1)]),
        packed_as([1, [ONE], 3]),
        packed_as([1, [with_field(1, "gold")]]),
        packed_as([1, [with_field(6, [VIEW] * 9)]]),
        base64.b64encode(b"\x92\x01\xdd\xff\xff\xff\xff"),  # says four thousand million parts
        base64.b64encode(b"\x92\x01\x91\x97\xa0\xa6golden\xc0\xcb"),  # ends in a number
    ),
    "format 2": (packed_as([2, [ONE]]),),
    "not finite": tuple(
        packed_as([1, [with_field(place, value)]])
        for place, value in ((3, math.nan), (4, math.inf))
    ),
    "1 views, the package has 2": (packed_as([1, [with_field(6, [VIEW])]]),),
    "a difference without": (packed_as([1, [with_field(5, True)]]),),
    "golden part with a verdict": (packed_as([1, [with_field(2, "pass")]]),),
    "limit part without a verdict": (packed_as([1, [with_field(1, "limit")]]),),
}  # fmt: skip


@pytest.mark.parametrize("reason", HOSTILE)
def test_a_hostile_set_is_refused_in_one_line(reason: str) -> None:
    tracemalloc.start()
    for text in HOSTILE[reason]:
        with pytest.raises(PackageError, match=reason) as caught:
            golden.opened(text, VIEWS, "tiny")
        assert "\n" not in str(caught.value)
        assert "tiny: golden set" in str(caught.value)
    assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
    tracemalloc.stop()


def test_more_pictures_than_a_start_may_inflate_are_refused() -> None:
    big = (ViewSpec("image", "picture", "uint8", (16384, 16384)),)
    text = packed_as([1, [with_field(6, [VIEW])] * 9])
    with pytest.raises(PackageError, match="over 2 GiB of pictures"):
        golden.opened(text, big, "tiny")


def test_a_view_that_inflates_to_something_else_is_refused_when_it_is_read() -> None:
    for view, data, reason in (
        (0, b"\x00" + zlib.compress(bytes(100 * 2**20)), "part 0, image: not the 48 bytes"),
        (1, golden.part_of([np.full((4, 2), np.nan, np.float32)], name="", fp32=0, own=0).views[0],
         "part 0, force: values that are not finite"),
    ):  # fmt: skip
        views = list(ONE[6])
        views[view] = data
        held = golden.opened(packed_as([1, [with_field(6, views)]]), VIEWS, "tiny")
        with pytest.raises(PackageError, match=reason):
            next(held.pictures())


JUDGED = {
    # scores, tolerance -> flips, unexpected, refusal
    "as built": ([0.11, 0.41, 0.91], 0.02, 0, 0, ""),
    "noise below the delta": ([0.119, 0.4, 0.881], 0.02, 0, 0, ""),
    "one too far": ([0.11, 0.41, 0.87], 0.02, 0, 0, "up to 0.0300 from FP32, at most 0.0200"),
    "into the band": ([0.3, 0.41, 0.91], 0.5, 1, 0, "1 of 3 verdicts flipped"),
    "out of the band": ([0.11, 0.61, 0.91], 0.5, 1, 0, "1 of 3 verdicts flipped"),
    "not a number": ([0.11, math.nan, 0.91], 0.5, 1, 0, "up to inf from FP32"),
}


@pytest.mark.parametrize("case", JUDGED)
def test_parity(case: str) -> None:
    scores, tolerance, flips, unexpected, refusal = JUDGED[case]
    parity = golden.judge(opened(parts(0.1, 0.4, 0.9)), scores, BAND, tolerance)
    assert (parity.pictures, parity.flips, parity.unexpected) == (3, flips, unexpected)
    assert (refusal in parity.refusal) if refusal else parity.refusal == ""
    assert "\n" not in parity.refusal
    assert msgspec.json.encode(parity)


@pytest.mark.parametrize("kind", ["limit", "challenge"])
def test_a_sample_counts_by_the_verdict_a_person_gave_it(kind: Any) -> None:
    held = opened(parts(0.1) + parts(0.59, kind=kind, expected=Verdict.FAIL))
    right = golden.judge(held, [0.1, 0.99], BAND, 0.02)
    assert (right.refusal, right.flips, right.max_score_delta) == ("", 0, 0.0)
    wrong = golden.judge(held, [0.1, 0.59], BAND, 0.02)
    assert wrong.unexpected == 1
    assert "1 limit or challenge samples judged wrongly" in wrong.refusal


def test_the_table_shows_what_is_wrong_first() -> None:
    fp32 = [n / 100 for n in range(29)]
    scores = [*fp32[:-1], 0.31]
    table = golden.judge(opened(parts(*fp32)), scores, BAND, 0.02).table()
    assert len(table) == 1 + golden.WORST_ROWS
    assert "p28" in table[1]
    assert "flip, delta" in table[1]
    assert all("<-" not in line for line in table[2:])


def test_each_shipped_package_keeps_to_its_golden_set(shipped: package.Package) -> None:
    parity = golden.examine(shipped, session(shipped).judge)
    assert parity is not None
    assert parity.refusal == ""
    assert parity.pictures >= 64
    assert parity.max_own_delta < 0.002  # where this is not the build's processor or library
    assert shipped.size < 2_000_000


def test_a_third_lies_near_the_limits_and_beyond_the_stated_delta(shipped: package.Package) -> None:
    held, limits = golden.load(shipped), shipped.manifest.thresholds
    stated = shipped.manifest.gate.max_score_delta
    assert held is not None
    both = (limits.pass_below, limits.fail_from)
    margins = sorted(min(abs(part.fp32 - limit) for limit in both) for part in held.parts)
    assert margins[0] > stated
    assert margins[len(margins) // 3] < 2 * stated
    verdicts = [limits.verdict(part.fp32) for part in held.parts]
    assert min(verdicts.count(Verdict.PASS), verdicts.count(Verdict.FAIL)) >= 12


def test_golden_parts_are_fit_to_judge() -> None:
    for name in ("synthetic-part", "deeppcb"):
        loaded = package.find(name)
        gauge, held = Gauge(loaded.manifest.views, loaded.manifest.envelope), golden.load(loaded)
        assert held is not None
        unfit = [gauge.unfit(arrays) for arrays in held.pictures()]
        assert sum(map(bool, unfit)) <= 1, unfit  # the envelope leaves 2 % out


BROKEN = {
    "a gray level more": lambda pixels: np.minimum(pixels.astype(int) + 1, 255),
    "a contrast of 0.99": lambda pixels: np.rint(pixels * 0.99),
    "a row lower": lambda pixels: np.roll(pixels, 1, 0),
    "the last picture again": lambda pixels: pixels * 0,
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_provider_that_computes_something_else_is_refused(fault: str) -> None:
    loaded = package.find("synthetic-part")
    running = session(loaded)

    def broken(arrays: Mapping[str, Any]) -> float:
        return running.judge(
            {name: BROKEN[fault](array).astype(np.uint8) for name, array in arrays.items()}
        )

    parity = golden.examine(loaded, broken)
    assert parity is not None
    assert parity.refusal


def test_a_package_without_a_set_loads_and_says_so(tmp_path: Any) -> None:
    loaded = package.find("synthetic-part")
    raw = package.unsealed(loaded.model_bytes())
    bare = tmp_path / "bare.onnx"
    bare.write_bytes(package.seal(raw, loaded.manifest))
    again = package.load(bare)
    assert golden.load(again) is None
    assert golden.examine(again, lambda arrays: 0.0) is None
    assert "golden set      none" in describe(again)
    assert "64 parts; scores within 0.02 of FP32" in describe(loaded)
    assert measure.scores(raw, ["image"], np.zeros((1, 1, 256, 256), np.uint8)).shape == (1,)


def test_two_sets_or_one_too_large_are_refused(tmp_path: Any, monkeypatch: Any) -> None:
    loaded = package.find("synthetic-part")
    raw, held = package.unsealed(loaded.model_bytes()), golden.encoded(parts(0.1))
    twice = package.entry(14, package.GOLDEN_KEY, held)
    with pytest.raises(PackageError, match=r"one edge\.golden entry"):
        package.seal(raw + twice, loaded.manifest, held)
    monkeypatch.setattr(package, "MAX_GOLDEN_BYTES", 10)
    with pytest.raises(PackageError, match=r"one edge\.golden entry"):
        package.seal(raw, loaded.manifest, held)


def test_the_set_is_covered_by_the_seal(tmp_path: Any) -> None:
    loaded = package.find("synthetic-part")
    data = bytearray(loaded.model_bytes())
    data[len(data) // 2] ^= 1  # in the middle of its text
    altered = tmp_path / "altered.onnx"
    altered.write_bytes(bytes(data))
    with pytest.raises(PackageError):
        package.load(altered)
