"""The ONNX Runtime session of a worker, bound once to every slot of the pool.

On the host, inputs are bound to the slots' own memory: a frame written there later is seen
without another bind and without a copy. On a device they are not: ONNX Runtime copies an input
to the device when it is *bound* (IOBinding::BindInput), so an input bound once would show its
first picture for ever. There every run binds its inputs anew, which is the one upload a run
needs. Outputs land in arrays allocated here, on the host always.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from functools import cache
from typing import Any

import numpy as np
import onnxruntime as ort

from edge.core.errors import EngineError, PackageError
from edge.core.pool import ALIGN, FramePool, View
from edge.core.types import ViewSpec
from models import found, providers
from models.providers import PROVIDERS, Setup

_ELEMENT = {"tensor(uint8)": "uint8", "tensor(float)": "float32"}


@cache
def here() -> found.Found:
    """What of this box decides which providers can run here; looked up once a process."""
    names = available()
    if "CUDAExecutionProvider" in names and hasattr(ort, "preload_dlls"):
        with redirect_stdout(sys.stderr):  # it prints what it does not find
            ort.preload_dlls()  # CUDA from Python packages lies where no loader looks
    return found.here(names)


def available() -> list[str]:
    """ONNX Runtime's names of the providers in this installation."""
    return list(ort.get_available_providers())


def opened(
    model: bytes, provider: str, setup: Setup, options: ort.SessionOptions | None = None
) -> ort.InferenceSession:
    """A session on the provider asked for and on no other.

    EngineError where it cannot run here, or ONNX Runtime would have taken another in its place.
    """
    row = providers.require(provider, here())
    ort.disable_telemetry_events()  # a factory box reports to nobody; models/__init__.py has more
    asked = [
        (row.onnxruntime_name, row.options(setup)),
        *((name, {"device_id": str(setup.device)}) for name in row.behind),
        ("CPUExecutionProvider", {}),
    ]
    wanted = list(dict(asked).items())
    options = options or session_options(setup.threads)
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    try:
        # Without the last argument a provider that fails is replaced, and a line printed about it.
        session = ort.InferenceSession(model, options, wanted, enable_fallback=0)
    except Exception as error:  # its own exceptions have no common kind but this
        raise EngineError(f"provider {provider}: {' '.join(str(error).split())[:400]}") from None
    session.disable_fallback()
    if session.get_providers()[0] != row.onnxruntime_name:
        raise EngineError(
            f"provider {provider}: ONNX Runtime could not start it and fell back to "
            f"{session.get_providers()[0]}; `edge doctor` says what is missing"
        )
    return session


def left_over(session: ort.InferenceSession, provider: str) -> int:
    """How many operators of the model a provider does not take; they run on the CPU.

    ONNX Runtime calls a provider active that took none: EngineError then. 0 where ONNX Runtime
    is too old to tell (before 1.24).
    """
    if not hasattr(session, "get_provider_graph_assignment_info"):
        return 0
    taken = {"": 0, "CPUExecutionProvider": 0}  # "": by any other
    for part in session.get_provider_graph_assignment_info():
        name = part.ep_name if part.ep_name in taken else ""
        taken[name] += len(part.get_nodes())
    if PROVIDERS[provider].onnxruntime_name in taken:
        return 0
    if not taken[""]:
        raise EngineError(
            f"provider {provider}: takes none of this model's {taken['CPUExecutionProvider']} "
            "operators; all would run on the CPU"
        )
    return taken["CPUExecutionProvider"]


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
        *,
        setup: Setup | None = None,
        options: ort.SessionOptions | None = None,
    ) -> None:
        """cpus: where the session's helper threads run, one each; the caller's thread is its own.

        setup: in place of `threads`, where there is more to say; options: of a measurement that
        uses the session's threads otherwise than a station does.
        EngineError where the provider is not active, PackageError where inputs do not fit."""
        setup = setup or Setup(threads)
        row = providers.require(provider, here())
        # A provider with threads of its own leaves ONNX Runtime's helpers nothing but to wait.
        if row.own_threads:
            options = session_options(1)
        options = options or session_options(setup.threads, cpus)
        self._session = opened(model, provider, setup, options)
        self.left_over = left_over(self._session, provider)  # operators, to the CPU
        _check_inputs(self._session.get_inputs(), views)
        self._views, self._uploads = views, row.uploads
        self._shapes = {node.name: node.shape for node in self._session.get_inputs()}
        self.outputs: dict[str, View] = {
            node.name: aligned(tuple(_static(node.name, node.shape)), _element(node))
            for node in self._session.get_outputs()
        }
        self._slots = [pool.arrays(slot) for slot in range(pool.slots)]
        self._bindings = [self._bound(arrays) for arrays in self._slots]
        self._own: tuple[dict[str, View], Any] | None = None

    def run(self, slot: int) -> None:
        """Judge the slot's views; the results are in `outputs` until the next run."""
        if self._uploads:
            self._bind_inputs(self._bindings[slot], self._slots[slot])
        self._session.run_with_iobinding(self._bindings[slot])

    def judge(self, arrays: Mapping[str, View], score: str = "score") -> float:
        """The score of views that lie in no slot, copied in; the rest is in `outputs`.

        score: the name of the output. It is the same session with the same kernels as `run`.
        """
        if self._own is None:
            mine = {view.name: aligned(view.shape, view.dtype) for view in self._views}
            self._own = mine, self._bound(mine)
        mine, binding = self._own
        for name, array in mine.items():
            np.copyto(array, arrays[name], casting="no")
        if self._uploads:
            self._bind_inputs(binding, mine)
        self._session.run_with_iobinding(binding)
        return float(self.outputs[score][0])

    def _bound(self, arrays: dict[str, View]) -> Any:
        binding = self._session.io_binding()
        self._bind_inputs(binding, arrays)
        for name, output in self.outputs.items():
            binding.bind_output(
                name, "cpu", 0, output.dtype.type, list(output.shape), output.ctypes.data
            )
        return binding

    def _bind_inputs(self, binding: Any, arrays: dict[str, View]) -> None:
        for name, array in arrays.items():
            binding.bind_input(
                name, "cpu", 0, array.dtype.type, self._shapes[name], array.ctypes.data
            )


def aligned(shape: tuple[int, ...], dtype: str) -> View:
    """Zeros that begin where a slot's arrays would begin: at a cache line."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    room = np.zeros(size + ALIGN, np.uint8)
    skip = -room.ctypes.data % ALIGN
    return room[skip : skip + size].view(dtype).reshape(shape)


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
