"""What a model can run on: one row a provider, asked for by name and never substituted.

Whatever ONNX Runtime is told, and whatever makes a provider available or not, is in this table,
so that it can be tested against recorded boxes (tests/models/test_providers.py). A row names
ONNX Runtime's provider and the extra of this project that brings it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from edge.core.errors import EngineError
from models.found import CUDA, DRIVER, TENSORRT, Found

REFERENCE = "cpu"  # the provider on which a package's limits were set


class Setup(NamedTuple):
    """How one session is to run on its provider.

    precision: the package's own, of weights and activations. cache: a folder for the provider's
    engines or blobs (models/cache.py); None keeps none. device: of several alike, counted from 0.
    """

    threads: int
    precision: str = "int8"
    cache: Path | None = None
    device: int = 0


class Provider(NamedTuple):
    """One row. options: for ONNX Runtime, of a Setup; lacks: why it cannot run here, "" if it can.

    behind: ONNX Runtime's providers for operators that this one does not know, before the CPU's.
    uploads: inputs are copied to a device for every run. own_threads: `threads` are its own, the
    session's are idle. builds: something on disk that later starts load (engines, blobs).
    keep_warm_s: longest pause without a run before it gets slow; None where none makes it so.
    """

    onnxruntime_name: str
    extra: str
    options: Callable[[Setup], dict[str, str]]
    lacks: Callable[[Found], str]
    behind: tuple[str, ...] = ()
    uploads: bool = False
    own_threads: bool = True
    builds: bool = False
    keep_warm_s: float | None = None


def _cpu(setup: Setup) -> dict[str, str]:
    return {}


def _openvino(setup: Setup) -> dict[str, str]:
    # FP32 is said because a processor with bf16 would be used with bf16, and other scores. Its own
    # pinning moves the calling thread in every run and leaves it free on all processors after,
    # so that a worker would lose the one that the station gave it.
    options = {
        "load_config": '{"CPU": {"ENABLE_CPU_PINNING": "NO"}}',
        "device_type": "CPU",
        "precision": "FP32",
        "num_of_threads": str(setup.threads),
        "num_streams": "1",
    }
    return options | ({"cache_dir": str(setup.cache)} if setup.cache else {})


def _cuda(setup: Setup) -> dict[str, str]:
    # No TF32: its 10 bits of mantissa are another network. A search for the quickest convolution
    # would pick by a stopwatch, and so other kernels, and scores, at every start.
    return {
        "device_id": str(setup.device),
        "use_tf32": "0",
        "cudnn_conv_algo_search": "HEURISTIC",
        "arena_extend_strategy": "kSameAsRequested",
    }


def _tensorrt(setup: Setup) -> dict[str, str]:
    # Quantised graphs carry their own scales; without this switch TensorRT refuses them.
    options = {
        "device_id": str(setup.device),
        "trt_fp16_enable": "0",
        "trt_int8_enable": "1" if setup.precision == "int8" else "0",
        "trt_force_sequential_engine_build": "1",
    }
    if setup.cache:
        options |= {
            "trt_engine_cache_enable": "1",
            "trt_engine_cache_path": str(setup.cache),
            "trt_timing_cache_enable": "1",
            "trt_timing_cache_path": str(setup.cache),
        }
    return options


def _lacks_nothing(found: Found) -> str:
    return ""


def _lacks_cuda(found: Found) -> str:
    if not found.devices:
        return "no NVIDIA device in /dev: there is no GPU, or its driver is not loaded"
    if not found.driver:
        return f"{found.devices[0]} is there, but its driver tells no version; install the driver"
    return _missing(found, (DRIVER,), "the driver whole") or _missing(
        found, CUDA, "CUDA and cuDNN 9 (pip: nvidia-cudnn-cu12, nvidia-cublas-cu12)"
    )


def _lacks_tensorrt(found: Found) -> str:
    return _lacks_cuda(found) or _missing(found, TENSORRT, "TensorRT 10 (pip: tensorrt-cu12)")


def _missing(found: Found, libraries: Sequence[str], what: str) -> str:
    lacking = [name.partition("|")[0] for name in libraries if name not in found.libraries]
    return f"{', '.join(lacking)} cannot be loaded; install {what}" if lacking else ""


PROVIDERS = {
    "cpu": Provider("CPUExecutionProvider", "cpu", _cpu, _lacks_nothing, own_threads=False),
    "openvino": Provider(
        "OpenVINOExecutionProvider", "openvino", _openvino, _lacks_nothing, builds=True
    ),
    # A GPU lowers its clocks in a pause: TensorRT took 18 ms instead of 1 after 10 s of rest, with
    # locked clocks and a warm-up (onnxruntime#13366).
    "cuda": Provider(
        "CUDAExecutionProvider", "gpu", _cuda, _lacks_cuda, uploads=True, keep_warm_s=1.0
    ),
    "tensorrt": Provider(
        "TensorrtExecutionProvider",
        "gpu",
        _tensorrt,
        _lacks_tensorrt,
        behind=("CUDAExecutionProvider",),
        uploads=True,
        builds=True,
        keep_warm_s=1.0,
    ),
}


def reason(name: str, found: Found) -> str:
    """Why a provider cannot run here, with how to get it; "" where it can. The name is known."""
    row = PROVIDERS[name]
    if row.onnxruntime_name not in found.onnxruntime:
        return (
            f"not in this installation ({found.flavour or 'no ONNX Runtime'}); "
            f"extra `{row.extra}` brings it, in a virtual environment of its own: "
            f"sh deploy/venv.sh .venv-{row.extra} requirements/{row.extra}.txt"
        )
    return row.lacks(found)


def available(found: Found) -> list[str]:
    """The providers that can run here, by their names, in the table's order."""
    return [name for name in PROVIDERS if not reason(name, found)]


def require(name: str, found: Found) -> Provider:
    """The provider asked for, or EngineError: an unknown name, or one that cannot run here."""
    if name not in PROVIDERS:
        raise EngineError(f"provider {name}: unknown; allowed: {' | '.join(PROVIDERS)}")
    if lacking := reason(name, found):
        here = " | ".join(available(found)) or "none"
        raise EngineError(f"provider {name}: {lacking}; available: {here}")
    return PROVIDERS[name]
