"""What of a box decides whether a provider can run on it, and which answers are still about it."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from glob import glob
from importlib import metadata

import msgspec

from edge.core import box
from edge.core.errors import EngineError
from edge.core.process import python_module

# What each provider's own library asks for, by major version; alternatives apart by "|".
CUDA = ("libcudart.so.12|libcudart.so.13", "libcublas.so.12|libcublas.so.13", "libcudnn.so.9")
TENSORRT = ("libnvinfer.so.10", "libnvonnxparser.so.10")
DRIVER = "libcuda.so.1"
LIBRARIES = (DRIVER, *CUDA, *TENSORRT)

FLAVOURS = ("onnxruntime", "onnxruntime-openvino", "onnxruntime-gpu")
# A PC's driver, a Jetson's two, and Windows' Linux.
_DEVICES = ("/dev/nvidia[0-9]*", "/dev/nvhost-gpu", "/dev/nvgpu/*/power", "/dev/dxg")
_DRIVERS = ("/sys/module/nvidia/version", "/etc/nv_tegra_release")
# Name, library, the function that tells its version, and whether that writes it to a pointer.
_VERSIONS = (
    ("cuda of the driver", DRIVER, "cuDriverGetVersion", True),
    ("cuda", CUDA[0], "cudaRuntimeGetVersion", True),
    ("cudnn", CUDA[2], "cudnnGetVersion", False),
    ("tensorrt", TENSORRT[0], "getInferLibVersion", False),
)


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """onnxruntime: its own names of the providers it was built with; flavour: which of its
    distributions, with its version. devices: NVIDIA's device files, card: what they are of.
    driver: its version. libraries: those of LIBRARIES that can be loaded, and versions of some,
    each behind its name; both looked for only where there is a device.
    """

    onnxruntime: tuple[str, ...]
    flavour: str = ""
    devices: tuple[str, ...] = ()
    card: str = ""
    driver: str = ""
    libraries: tuple[str, ...] = ()
    versions: tuple[tuple[str, str], ...] = ()


def here(onnxruntime: Sequence[str]) -> Found:
    """This box; onnxruntime: as models.session.available() gives them.

    On a box with a GPU its libraries are loaded into this process; `survey` asks another one.
    """
    devices = tuple(path for pattern in _DEVICES for path in sorted(glob(pattern)))
    return Found(
        onnxruntime=tuple(onnxruntime),
        flavour=flavour(),
        devices=devices,
        card=_card() if devices else "",
        driver=_driver() if devices else "",
        libraries=tuple(filter(_library, LIBRARIES)) if devices else (),
        versions=_versions() if devices else (),
    )


def survey(timeout_s: float = 60.0) -> Found:
    """This box, looked at by a process of its own, so that the caller's stays without libraries.

    EngineError where ONNX Runtime cannot be imported, or a library it loads does not return.
    """
    try:
        done = subprocess.run(
            python_module("models.survey"),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise EngineError(f"looking for providers took over {timeout_s:g} s") from None
    try:
        return msgspec.json.decode(done.stdout.splitlines()[-1], type=Found)
    except (msgspec.MsgspecError, IndexError):
        said = done.stderr.decode(errors="replace").strip().splitlines() or ["no word"]
        raise EngineError(f"ONNX Runtime cannot be asked for its providers: {said[-1]}") from None


def flavour() -> str:
    """ONNX Runtime's installed distribution and its version; "" where there is none."""
    for name in FLAVOURS:
        with suppress(metadata.PackageNotFoundError):
            return f"{name} {metadata.version(name)}"
    return ""


def _library(names: str) -> ctypes.CDLL | None:
    for name in names.split("|"):
        with suppress(OSError):
            return ctypes.CDLL(name)
    return None


def _driver() -> str:
    told = next((text for text in map(box.fact, _DRIVERS) if text), "")
    return " ".join(told.split()[:5])


def _card() -> str:
    """The first GPU's name, from its driver or the board's description."""
    for path in sorted(glob("/proc/driver/nvidia/gpus/*/information")):
        told = dict(line.split(":", 1) for line in box.fact(path).splitlines() if ":" in line)
        return told.get("Model", "").strip()
    return box.fact("/proc/device-tree/model")


def _versions() -> tuple[tuple[str, str], ...]:
    """Of the libraries that choose kernels and can read engines, as they say it themselves."""
    found = []
    for key, names, function, by_pointer in _VERSIONS:
        if (library := _library(names)) is not None and hasattr(library, function):
            value = ctypes.c_int()
            if by_pointer:
                getattr(library, function)(ctypes.byref(value))
            else:
                value.value = getattr(library, function)()
            found.append((key, str(value.value)))
    return tuple(found)
