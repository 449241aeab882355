"""The ONNX Runtime session of a worker, bound once to every slot of the pool.

Inputs are bound to the slots' own memory: a frame written there later is seen without another
bind and without a copy. Outputs land in arrays allocated here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime as ort

from edge.core.errors import EngineError, PackageError
from edge.core.pool import FramePool, View
from edge.core.types import ViewSpec
from models import providers

_ELEMENT = {"tensor(uint8)": "uint8", "tensor(float)": "float32"}


def available() -> list[str]:
    """ONNX Runtime's names of the providers in this installation."""
    return list(ort.get_available_providers())


class BoundSession:
    """One model on one provider over all slots of a pool."""

    def __init__(
        self,
        model: bytes,
        views: tuple[ViewSpec, ...],
        pool: FramePool,
        provider: str,
        threads: int,
        cpus: tuple[int, ...] = (),
    ) -> None:
        """cpus: where the session's helper threads run, one each; the caller's thread is its own.

        EngineError where the provider is not active, PackageError where inputs do not fit."""
        row = providers.require(provider, available())
        ort.disable_telemetry_events()  # a factory box reports to nobody
        self._session = ort.InferenceSession(
            model, session_options(threads, cpus), providers=[(row.onnxruntime_name, row.options)]
        )
        if self._session.get_providers()[0] != row.onnxruntime_name:
            raise EngineError(f"provider {provider}: ONNX Runtime fell back to another one")
        _check_inputs(self._session.get_inputs(), views)
        self.outputs: dict[str, View] = {
            node.name: np.zeros(_static(node.name, node.shape), _element(node))
            for node in self._session.get_outputs()
        }
        self._bindings = [self._bind(pool, views, slot) for slot in range(pool.slots)]

    def run(self, slot: int) -> None:
        """Judge the slot's views; the results are in `outputs` until the next run."""
        self._session.run_with_iobinding(self._bindings[slot])

    def _bind(self, pool: FramePool, views: tuple[ViewSpec, ...], slot: int) -> Any:
        binding, arrays = self._session.io_binding(), pool.arrays(slot)
        shapes = {node.name: node.shape for node in self._session.get_inputs()}
        for view in views:
            array = arrays[view.name]
            binding.bind_input(
                view.name, "cpu", 0, array.dtype.type, shapes[view.name], array.ctypes.data
            )
        for name, output in self.outputs.items():
            binding.bind_output(
                name, "cpu", 0, output.dtype.type, list(output.shape), output.ctypes.data
            )
        return binding


def session_options(threads: int, cpus: tuple[int, ...] = ()) -> ort.SessionOptions:
    """How every session here runs, on a station and in a build's measurements.

    cpus: for the helper threads, one each (there are threads - 1); fewer leave all to the kernel.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.use_deterministic_compute = True
    options.log_severity_level = 3
    helpers = threads - 1
    pinned = 0 < helpers <= len(cpus)
    # Helpers that look for work during a run save a wake-up an operator (2.3 ms instead of 2.7 for
    # 41 small operators on 2 cores), and sleep as soon as it returns: between two parts the cores
    # are the deadline loop's. Only where each has a processor: left to the kernel, a helper woken
    # after a pause lands on its caller's and waits there, or spins: 5.1 or 6.9 ms after 50 ms of
    # rest, 2.9 with each on its own.
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if pinned else "0")
    if pinned:
        options.add_session_config_entry("session.force_spinning_stop", "1")
        places = ";".join(str(cpu + 1) for cpu in cpus[:helpers])  # counted from 1 there
        options.add_session_config_entry("session.intra_op_thread_affinities", places)
    return options


def _check_inputs(nodes: list[Any], views: tuple[ViewSpec, ...]) -> None:
    """Every input is a view of the manifest, of the same element type and count."""
    if sorted(node.name for node in nodes) != sorted(view.name for view in views):
        names = ", ".join(node.name for node in nodes)
        raise PackageError(f"the graph's inputs ({names}) are not the manifest's views")
    for view in views:
        node = next(node for node in nodes if node.name == view.name)
        same_count = np.prod(_static(node.name, node.shape)) == np.prod(view.shape)
        if _element(node) != view.dtype or not same_count:
            raise PackageError(f"input {view.name}: {node.type} {node.shape} is not {view.shape}")


def _static(name: str, shape: list[Any]) -> list[int]:
    if not all(isinstance(size, int) and size > 0 for size in shape):
        raise PackageError(f"{name}: shape {shape} is not fixed")
    return shape


def _element(node: Any) -> str:
    if node.type not in _ELEMENT:
        raise PackageError(f"{node.name}: {node.type}; allowed: {' | '.join(_ELEMENT)}")
    return _ELEMENT[node.type]
