"""What a model can run on: one row a provider, asked for by name and never substituted."""

from __future__ import annotations

from typing import Any, NamedTuple

from edge.core.errors import EngineError


class Provider(NamedTuple):
    """An execution provider: its name in ONNX Runtime, its options, the extra that brings it."""

    onnxruntime_name: str
    options: dict[str, Any]
    extra: str


PROVIDERS = {
    "cpu": Provider("CPUExecutionProvider", {}, "cpu"),
    "openvino": Provider("OpenVINOExecutionProvider", {"device_type": "CPU"}, "openvino"),
    "cuda": Provider("CUDAExecutionProvider", {}, "gpu"),
    "tensorrt": Provider("TensorrtExecutionProvider", {}, "gpu"),
}


def require(name: str, available: list[str]) -> Provider:
    """The provider asked for, or EngineError: an unknown name, or one this installation lacks.

    available: ONNX Runtime's own names, as models.session.available() gives them.
    """
    if name not in PROVIDERS:
        raise EngineError(f"provider {name}: unknown; allowed: {' | '.join(PROVIDERS)}")
    provider = PROVIDERS[name]
    if provider.onnxruntime_name not in available:
        here = [short for short, row in PROVIDERS.items() if row.onnxruntime_name in available]
        raise EngineError(
            f"provider {name}: not in this installation (extra `{provider.extra}` brings it); "
            f"available: {' | '.join(here) or 'none'}"
        )
    return provider
