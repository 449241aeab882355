"""What is built for a box is found by whoever serves there: `prepare`, a start, an activation."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import msgspec
import pytest

from edge import crews, packages
from edge.__main__ import main
from edge.core.config import EngineOptions, Station, SyntheticOptions, TileOptions
from edge.core.pool import FramePool
from models import choose, found, package
from models.choose import chosen
from models.exchange import WorkerPlan
from models.found import LIBRARIES, Found
from models.rated import Rated
from models.tiles import shown

MODEL = package.find("synthetic-part")
TILES = TileOptions(frame_px=(608, 896))
INTEL = Found(
    onnxruntime=("OpenVINOExecutionProvider", "CPUExecutionProvider"), flavour="recorded 1"
)
PC = Found(
    onnxruntime=("TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"),
    flavour="recorded 1",
    devices=("/dev/nvidia0",),
    driver="570.86.10",
    libraries=LIBRARIES,
)


class Box:
    """A recorded box, the folders in which trials built something, and with how many threads."""

    def __init__(self, monkeypatch, seen: Found) -> None:
        self.built: dict[str, tuple[Path, int]] = {}
        monkeypatch.setattr(found, "survey", lambda: seen)
        for user in (crews, packages):
            monkeypatch.setattr(user, "survey", lambda: seen)
        recorded = partial(chosen, found=seen, tryout=self.tried)
        monkeypatch.setattr(
            packages, "chosen", lambda *what, **how: recorded(*what, **how | recorded.keywords)
        )
        monkeypatch.setitem(choose.prepared.__kwdefaults__, "tryout", self.tried)

    def tried(self, model, provider, threads, *, runs, cache, **how) -> Rated:
        if cache:
            self.built[provider] = cache, threads
            (cache / "engine").write_text("x")
        times = {"runs": 5000, "p50_ms": 0.1, "p99_ms": 0.1, "p99_upper_ms": 0.1} if runs else {}
        rated = Rated(provider=provider, threads=threads, max_score_delta=0.0, flips=0)
        return msgspec.structs.replace(rated, **times)


@pytest.fixture(params=[None, TILES], ids=["whole", "tiled"])
def station(request, tmp_path):
    def made(provider) -> Station:
        engine = EngineOptions(
            model="synthetic-part", provider=provider, threads=3, cache=str(tmp_path / "cache"),
            tiles=request.param,
        )  # fmt: skip
        return Station(camera=SyntheticOptions(), engine=engine)

    return made


def workers_look_in(chain) -> dict[str, Path]:
    plans = [msgspec.json.decode(crew.command(0, False)[-1], type=WorkerPlan) for crew in chain]
    return {plan.provider: Path(plan.cache) for plan in plans if plan.cache}


@pytest.mark.parametrize(
    ("seen", "asked", "builds"),
    [
        (INTEL, "openvino", "openvino"),
        (INTEL, ("openvino", "cpu"), "openvino"),
        (INTEL, ("cpu", "openvino"), "openvino"),
        (INTEL, ("tensorrt", "openvino", "cpu"), "openvino"),
        (INTEL, "auto", "openvino"),
        (PC, ("tensorrt", "cpu"), "tensorrt"),
        (PC, ("cpu", "tensorrt"), "tensorrt"),
        (PC, "auto", "tensorrt"),
    ],
)
def test_the_start_prepare_and_an_activation_have_one_entry_in_the_cache(
    monkeypatch, station, seen, asked, builds
):
    box, cell = Box(monkeypatch, seen), station(asked)
    model = shown(MODEL, cell.engine.tiles)
    pool = FramePool.create(model.manifest.views, 4, model.manifest.outputs.map_shape)
    try:
        providers = packages.admitted(cell, model, lambda line: None)
        built, threads = box.built.pop(builds)
        assert threads == (1 if cell.engine.tiles and builds == "openvino" else 3)
        chain = crews.crews_of(model, providers.names, cell, pool)
        assert workers_look_in(chain) == {builds: built}

        way = packages.Way(cell, Path(), pool, crews.WORKER, providers)
        assert workers_look_in(way.crews(model, False)[0]) == {builds: built}
        assert box.built.get(builds, (built, threads)) == (built, threads)
    finally:
        pool.close()

    tiled = ["--tiled"] if cell.engine.tiles else []
    how = ["--provider", builds, "--threads", "3", "--cache", cell.engine.cache, "--again", *tiled]
    monkeypatch.setattr("sys.argv", ["edge", "model", "prepare", "synthetic-part", *how])
    box.built.clear()
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    assert box.built == {builds: (built, threads)}
