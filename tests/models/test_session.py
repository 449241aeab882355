"""One session: pictures in slots and outside, providers that copy, and no fallback unseen."""

from __future__ import annotations

import ctypes
import math
import os
import subprocess
import sys

import numpy as np
import onnxruntime as ort
import pytest

from edge.core.errors import EngineError
from edge.core.pool import ALIGN, FramePool
from models import package
from models.found import Found
from models.providers import PROVIDERS, Setup
from models.session import BoundSession, aligned, here, left_over, opened

GPU = ("TensorrtExecutionProvider", "CUDAExecutionProvider", "OpenVINOExecutionProvider")


class CopiesAtBind(ort.IOBinding):
    """As for a device: what is bound is a copy of what the memory holds at that moment."""

    def bind_input(self, name, device_type, device_id, element_type, shape, buffer_ptr):
        size = math.prod(shape) * np.dtype(element_type).itemsize
        copy = np.frombuffer(ctypes.string_at(buffer_ptr, size), np.uint8).copy()
        self.__dict__.setdefault("copies", {})[name] = copy
        super().bind_input(name, device_type, device_id, element_type, shape, copy.ctypes.data)


@pytest.fixture
def tiny(tiny_package):
    loaded = package.load(tiny_package)
    pool = FramePool.create(loaded.manifest.views, 3)
    yield loaded, pool
    pool.close()


def bound(tiny, **options) -> BoundSession:
    loaded, pool = tiny
    return BoundSession(loaded.model_bytes(), loaded.manifest.views, pool, "cpu", 1, **options)


def part(gray, force=0.0):
    return {"image": np.full((16, 16), gray, np.uint8), "force": np.full((12, 6), force, "f4")}


def test_a_picture_in_no_slot_gets_the_score_it_would_get_in_one(tiny):
    session, pool = bound(tiny), tiny[1]
    for slot, gray in enumerate((0, 51, 255)):
        pool.arrays(slot)["image"].fill(gray)
        session.run(slot)
        in_slot = float(session.outputs["score"][0])
        assert session.judge(part(gray)) == in_slot == pytest.approx(gray / 255)
    before = [pool.arrays(slot)["image"].copy() for slot in range(3)]
    session.judge(part(7, force=0.5))
    assert session.outputs["map"][0, 0] == session.outputs["score"][0]
    for slot in range(3):
        assert (pool.arrays(slot)["image"] == before[slot]).all()
    session.run(1)
    assert session.outputs["score"][0] == pytest.approx(0.2)


@pytest.mark.parametrize(
    "wrong",
    [
        {"image": np.zeros((16, 16), np.uint8)},
        part(0) | {"image": np.zeros((8, 8), np.uint8)},
        part(0) | {"image": np.zeros((16, 16), np.float32)},
    ],
)
def test_a_picture_that_is_no_view_is_not_judged(tiny, wrong):
    with pytest.raises((KeyError, ValueError, TypeError)):
        bound(tiny).judge(wrong)


def test_where_binding_copies_every_run_binds_anew(tiny, monkeypatch):
    monkeypatch.setattr(ort.InferenceSession, "io_binding", lambda self: CopiesAtBind(self))
    frozen, picture = bound(tiny), tiny[1].arrays(0)["image"]
    picture.fill(255)
    frozen.run(0)
    assert frozen.outputs["score"][0] == 0.0  # the trap: still the picture it was bound with
    monkeypatch.setitem(PROVIDERS, "cpu", PROVIDERS["cpu"]._replace(uploads=True))
    session = bound(tiny)
    for gray in (0, 255, 102):
        picture.fill(gray)
        session.run(0)
        assert session.outputs["score"][0] == pytest.approx(gray / 255)
        assert session.judge(part(255 - gray)) == pytest.approx(1 - gray / 255)


@pytest.mark.filterwarnings("ignore:Specified provider")  # ONNX Runtime's only word on it
def test_a_provider_that_did_not_start_is_no_session(tiny, monkeypatch):
    claims = Found(onnxruntime=(*GPU, "CPUExecutionProvider"), flavour="recorded")
    monkeypatch.setattr("models.session.here", lambda: claims)
    broken = PROVIDERS["openvino"]._replace(options=lambda setup: {"device_type": "GPU.7"})
    monkeypatch.setitem(PROVIDERS, "openvino", broken)
    with pytest.raises(EngineError, match=r"^provider openvino: "):
        opened(tiny[0].model_bytes(), "openvino", Setup(1))


def test_a_provider_that_takes_no_operator_is_no_session(tiny, monkeypatch):
    loaded = tiny[0]
    session = opened(loaded.model_bytes(), "cpu", Setup(1))
    assert left_over(session, "cpu") == 0
    for name in ("openvino", "tensorrt"):  # says it is active, and everything is on the CPU
        with pytest.raises(EngineError, match=f"provider {name}: takes none of this model's 7"):
            left_over(session, name)


@pytest.mark.parametrize("module", ["models.worker", "models.build.measure", "bench.latency.box"])
def test_importing_onnxruntime_leaves_no_telemetry_behind(tmp_path, module):
    places = {"XDG_CACHE_HOME": str(tmp_path), "HOME": str(tmp_path)}
    others = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
    # 1.31 writes its device id while it is imported, and its database within 0.1 s.
    code = f"import {module}, onnxruntime, threading; threading.Event().wait(0.3)"
    subprocess.run([sys.executable, "-c", code], env=others | places, check=True)
    assert not list(tmp_path.rglob("*"))


def here_names():
    built = ort.get_available_providers()
    return [name for name, row in PROVIDERS.items() if row.onnxruntime_name in built]


def test_every_provider_that_is_here_gives_the_same_scores(tiny):
    loaded, pool = tiny
    for name in here_names():
        if name in {"cuda", "tensorrt"} and not here().devices:
            continue
        session = BoundSession(loaded.model_bytes(), loaded.manifest.views, pool, name, 2)
        for gray in (0, 100, 200):
            pool.arrays(0)["image"].fill(gray)  # after it was bound
            session.run(0)
            assert session.outputs["score"][0] == pytest.approx(gray / 255, abs=1e-5)


def test_a_run_leaves_the_calling_thread_where_it_was_put(tiny):
    """OpenVINO's own pinning would set it free."""
    loaded, pool = tiny
    allowed = os.sched_getaffinity(0)
    for name in here_names():
        if PROVIDERS[name].uploads:
            continue
        session = BoundSession(loaded.model_bytes(), loaded.manifest.views, pool, name, 2)
        session.run(0)
        try:
            os.sched_setaffinity(0, {max(allowed)})
            session.run(0)
            assert os.sched_getaffinity(0) == {max(allowed)}
        finally:
            os.sched_setaffinity(0, allowed)


def test_the_session_s_own_arrays_begin_at_a_cache_line():
    for shape, dtype in (((3, 5), "uint8"), ((7,), "float32")):
        array = aligned(shape, dtype)
        assert (array.shape, array.dtype) == (shape, np.dtype(dtype))
        assert array.ctypes.data % ALIGN == 0
        assert not array.any()
