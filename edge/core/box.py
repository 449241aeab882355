"""What a box is, as far as decisions and their times may depend on it."""

from __future__ import annotations

import platform
from contextlib import suppress
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

# The flavours of a library share one import name; the one installed is named as it is.
_LIBRARIES = (
    ("edge-inspection",),
    ("onnxruntime", "onnxruntime-openvino", "onnxruntime-gpu"),
    ("numpy",),
    ("opencv-python-headless", "opencv-python", "opencv-contrib-python-headless"),
    ("pyzmq",),
    ("msgspec",),
)
# How the extra `archive` gets here: by its lock, as everything else did.
INSTALL_ARCHIVE = ".venv/bin/pip install --require-hashes -r requirements/archive.txt"
# And the extra `report`.
INSTALL_REPORT = ".venv/bin/pip install --require-hashes -r requirements/report.txt"
# Those whose presence changes which kernels a runtime picks, widest first.
_INSTRUCTION_SETS = (
    "amx_int8",
    "avx512_vnni",
    "avx_vnni",
    "avx512bw",
    "avx512f",
    "avx2",
    "asimddp",
    "i8mm",
    "sve",
)


def fact(path: str | Path) -> str:
    """A fact of /sys or /proc; "" where this kernel does not have it."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip(" \n\0")
    except OSError:
        return ""


def cpuinfo() -> dict[str, str]:
    """/proc/cpuinfo of the last processor, by key."""
    pairs = (line.partition(":") for line in fact("/proc/cpuinfo").splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def cpu() -> str:
    """The processor's name."""
    return cpuinfo().get("model name") or platform.processor() or platform.machine()


def instruction_sets() -> tuple[str, ...]:
    """Those of the processor that a model's kernels are chosen by."""
    told = cpuinfo()
    flags = (told.get("flags") or told.get("Features") or "").split()
    return tuple(name for name in _INSTRUCTION_SETS if name in flags)


def libraries() -> dict[str, str]:
    """Versions by the name of the installed distribution; nothing is imported for it."""
    found = {"python": platform.python_version()}
    for flavours in _LIBRARIES:
        for name in flavours:
            with suppress(metadata.PackageNotFoundError):
                found[name] = metadata.version(name)
    found["compiled helper"] = "built" if find_spec("models._native") else "none"
    return found
