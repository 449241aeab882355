"""The table of providers against recorded boxes: what runs there, why not, and how it is asked."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from edge.core import config
from edge.core.errors import EngineError
from models import cache, package
from models.found import CUDA, DRIVER, FLAVOURS, LIBRARIES, TENSORRT, Found, here, survey
from models.providers import PROVIDERS, Setup, available, reason, require

GPU = ("TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider")
INTEL = Found(
    onnxruntime=("OpenVINOExecutionProvider", "CPUExecutionProvider"),
    flavour="onnxruntime-openvino 1.24.1",
)
BARE = Found(
    onnxruntime=("AzureExecutionProvider", "CPUExecutionProvider"), flavour="onnxruntime 1.31.1"
)
PC = Found(
    onnxruntime=GPU,
    flavour="onnxruntime-gpu 1.31.1",
    devices=("/dev/nvidia0",),
    card="NVIDIA RTX A2000",
    driver="570.86.10",
    libraries=LIBRARIES,
    versions=(("cuda", "12080"), ("tensorrt", "101300")),
)
JETSON = msgspec.structs.replace(
    PC, devices=("/dev/nvhost-gpu",), card="NVIDIA Jetson Orin NX", driver="# R36 (release),"
)


def without(found, *libraries):
    kept = tuple(name for name in found.libraries if name not in libraries)
    return msgspec.structs.replace(found, libraries=kept)


@pytest.mark.parametrize(
    ("found", "can", "lacks"),
    [
        (BARE, ["cpu"], {"openvino": "extra `openvino`", "cuda": "extra `gpu`"}),
        (INTEL, ["cpu", "openvino"], {"tensorrt": "(onnxruntime-openvino 1.24.1)"}),
        (PC, ["cpu", "cuda", "tensorrt"], {"openvino": "not in this installation"}),
        (JETSON, ["cpu", "cuda", "tensorrt"], {}),
        (without(PC, *TENSORRT), ["cpu", "cuda"], {"tensorrt": "libnvinfer.so.10, libnvonnx"}),
        (without(PC, "libcudnn.so.9"), ["cpu"], {"cuda": "libcudnn.so.9 cannot be loaded"}),
        (without(PC, *CUDA), ["cpu"], {"tensorrt": "libcudart.so.12, libcublas.so.12, libcudnn"}),
        (without(PC, DRIVER), ["cpu"], {"cuda": "libcuda.so.1 cannot be loaded"}),
        (msgspec.structs.replace(PC, driver=""), ["cpu"], {"cuda": "/dev/nvidia0 is there, but"}),
        (msgspec.structs.replace(PC, devices=()), ["cpu"], {"cuda": "no NVIDIA device in /dev"}),
        (Found(onnxruntime=()), [], {"cpu": "not in this installation (no ONNX Runtime)"}),
    ],
)  # fmt: skip
def test_what_a_recorded_box_can_run_and_what_it_lacks(found, can, lacks):
    assert available(found) == can
    for name, words in lacks.items():
        assert words in reason(name, found)
        with pytest.raises(EngineError, match=f"provider {name}: .*; available: "):
            require(name, found)
    for name in can:
        assert require(name, found) is PROVIDERS[name]


def test_an_unknown_provider_is_refused_with_the_allowed_ones():
    with pytest.raises(EngineError, match=r"provider abacus: unknown; allowed: cpu \| openvino"):
        require("abacus", PC)


@pytest.mark.parametrize(
    ("name", "setup", "options"),
    [
        ("cpu", Setup(4), {}),
        (
            "openvino",
            Setup(3),
            {"device_type": "CPU", "precision": "FP32", "num_of_threads": "3", "num_streams": "1"},
        ),
        ("openvino", Setup(1, cache=Path("/c")), {"num_of_threads": "1", "cache_dir": "/c"}),
        ("cuda", Setup(2), {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}),
        ("cuda", Setup(2, device=1), {"device_id": "1"}),
        ("tensorrt", Setup(2), {"trt_int8_enable": "1", "trt_fp16_enable": "0"}),
        ("tensorrt", Setup(2, "fp32"), {"trt_int8_enable": "0"}),
        (
            "tensorrt",
            Setup(2, cache=Path("/c")),
            {"trt_engine_cache_enable": "1", "trt_engine_cache_path": "/c"},
        ),
    ],
)  # fmt: skip
def test_what_onnx_runtime_is_told(name, setup, options):
    told = PROVIDERS[name].options(setup)
    assert told | options == told
    assert all(isinstance(value, str) for value in told.values())
    if setup.cache is None:
        assert not any("cache" in key for key in told)


def test_the_station_file_knows_the_same_names():
    assert tuple(PROVIDERS) == config.PROVIDERS
    for name, row in PROVIDERS.items():
        assert row.extra in {"cpu", "openvino", "gpu"}
        assert row.uploads == (name in {"cuda", "tensorrt"}) == (row.keep_warm_s is not None)
        assert not row.uploads or not row.behind or row.behind == ("CUDAExecutionProvider",)


PARTS = package.find("synthetic-part")


@pytest.mark.parametrize(
    ("name", "changed", "anew"),
    [
        ("tensorrt", {"driver": "580.1"}, True),
        ("tensorrt", {"card": "NVIDIA H200"}, True),
        ("tensorrt", {"versions": (("cuda", "12080"), ("tensorrt", "101400"))}, True),
        ("tensorrt", {"flavour": "onnxruntime-gpu 1.32.0"}, True),
        ("cpu", {"flavour": "onnxruntime-gpu 1.32.0"}, True),
        ("cpu", {"driver": "580.1", "card": "NVIDIA H200"}, False),  # nothing of it runs there
        ("openvino", {"driver": "580.1"}, False),
        ("cuda", {"libraries": LIBRARIES[:-1]}, False),
    ],
)
def test_an_answer_is_about_one_box_one_driver_and_one_library(name, changed, anew):
    before = cache.name(cache.key(PARTS, name, 2, PC))
    after = cache.name(cache.key(PARTS, name, 2, msgspec.structs.replace(PC, **changed)))
    assert (before != after) == anew
    assert cache.name(cache.key(PARTS, name, 2, PC)) == before


def test_an_answer_is_about_one_package_provider_and_number_of_threads(monkeypatch):
    other = msgspec.structs.replace(PARTS, content_sha256="0" * 64)
    keys = [
        cache.key(PARTS, "cpu", 2, PC),
        cache.key(PARTS, "cpu", 1, PC),
        cache.key(PARTS, "cuda", 2, PC),
        cache.key(other, "cpu", 2, PC),
    ]
    monkeypatch.setattr("edge.core.box.instruction_sets", lambda: ("avx2",))
    keys.append(cache.key(PARTS, "cpu", 2, PC))
    monkeypatch.setattr("edge.core.box.cpu", lambda: "another processor")
    keys.append(cache.key(PARTS, "cpu", 2, PC))
    assert len({cache.name(key) for key in keys}) == len(keys)


def test_this_box_looked_at_from_here_and_by_a_process_of_its_own():
    found = survey()
    assert found.flavour.split()[0] in FLAVOURS
    assert "cpu" in available(found)
    assert here(found.onnxruntime) == found


def test_a_survey_that_cannot_be_made_is_one_line(monkeypatch):
    monkeypatch.setattr("sys.executable", "/bin/false")
    with pytest.raises(EngineError, match="cannot be asked for its providers: no word"):
        survey()
