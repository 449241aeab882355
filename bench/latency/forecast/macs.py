"""What a graph costs before it is run: multiply-accumulates and bytes of every operator.

Nodes and weights are read from the file's own bytes (models/protobuf.py). Shapes come from ONNX
Runtime, asked to load the graph with every value named as an output; nothing is run, and every
operator that it can run has its shapes, the ones of its own optimiser among them.
"""

from __future__ import annotations

import tempfile
from math import prod
from pathlib import Path

import msgspec
import onnxruntime as ort
from msgspec.structs import replace

from bench.latency.forecast.nodes import Node, Tensor, outputs_named, parse
from edge.core.errors import PackageError
from models.protobuf import FormatError
from models.session import session_options

_BYTES = {"uint8": 1, "int8": 1, "bool": 1, "float16": 2, "float": 4, "int32": 4}
_CONVOLUTIONS = ("Conv", "FusedConv", "NhwcFusedConv", "ConvInteger", "QLinearConv")
_MATRICES = "MatMul FusedMatMul MatMulInteger DynamicQuantizeMatMul MatMulIntegerToFloat Gemm"
# Operators that multiply: which input is the second factor, the weights of a convolution.
_PLACES = {
    **dict.fromkeys((*_CONVOLUTIONS, "ConvTranspose", *_MATRICES.split(), "FusedGemm"), 1),
    **dict.fromkeys(("QLinearConv", "QLinearMatMul", "QGemm"), 3),
}
# What else the graphs of inspection networks use, by how it costs: nothing but bookkeeping, bytes
# moved, one simple step an element, a transcendental function, a window, a change of type.
_OTHERS = {
    "free": "Reshape Squeeze Unsqueeze Flatten Identity Shape Constant Dropout",
    "move": "Transpose ReorderInput ReorderOutput Concat QLinearConcat Slice Split Pad Expand Tile "
    "Gather DepthToSpace SpaceToDepth ConstantOfShape NhwcTranspose",
    "plain": "Relu LeakyRelu PRelu Clip Add Sub Mul Div Min Max Abs Neg Sqrt Sum Mean Where Equal "
    "Less Greater Not And Or BatchNormalization QLinearAdd QLinearMul QLinearLeakyRelu "
    "QLinearSigmoid HardSigmoid Floor Ceil Round",
    "curve": "Sigmoid Tanh Exp Log Erf Pow Gelu FastGelu QuickGelu BiasGelu HardSwish Softplus Elu "
    "Softmax LogSoftmax LayerNormalization SkipLayerNormalization InstanceNormalization "
    "QLinearSoftmax Silu Mish",
    "window": "MaxPool AveragePool QLinearAveragePool NhwcMaxPool",
    "reduce": "GlobalAveragePool GlobalMaxPool QLinearGlobalAveragePool ReduceMax ReduceMean "
    "ReduceSum ReduceMin ReduceL2 ReduceProd ArgMax QLinearReduceMean",
    "resize": "Resize Upsample",
    "convert": "QuantizeLinear DequantizeLinear Cast DynamicQuantizeLinear",
}
_KIND = {operator: kind for kind, names in _OTHERS.items() for operator in names.split()}
# A convolution with fewer channels in than this gathers its window in pieces of a few bytes; one
# with fewer out leaves lanes of the vector unit empty.
LANES = 16


class Work(msgspec.Struct, frozen=True):
    """One operator: what it has to do; kind is the family whose rates it runs at.

    macs is the textbook count, executed the one with channels rounded up to vector lanes;
    outputs in elements; rows are pieces of picture rows gathered; weights, read and written bytes.
    """

    name: str
    operator: str
    kind: str
    macs: int = 0
    executed: int = 0
    outputs: int = 0
    rows: int = 0
    weights: int = 0
    read: int = 0
    written: int = 0
    known: bool = True


class Graph(msgspec.Struct, frozen=True):
    """The operators of a graph in their order, and its weights."""

    work: tuple[Work, ...]
    parameters: int  # elements of all constants
    parameter_bytes: int

    @property
    def macs(self) -> int:
        return sum(node.macs for node in self.work)

    @property
    def activation_bytes(self) -> int:
        """Read and written by all operators, weights left out."""
        return sum(node.read + node.written for node in self.work)

    @property
    def unknown(self) -> tuple[str, ...]:
        """Operators counted as memory traffic only, because nothing else is known of them."""
        return tuple(sorted({node.operator for node in self.work if not node.known}))


def graph(model: bytes) -> Graph:
    """Count a serialised model as it is; PackageError where ONNX Runtime does not take it."""
    try:
        nodes, constants = parse(model)
    except FormatError as fault:
        raise PackageError(f"not an ONNX graph: {fault}") from None
    tensors = constants | _shapes(model, nodes)
    work = tuple(_work(node, tensors, constants) for node in nodes)
    elements = [_elements(tensor) for tensor in constants.values()]
    sizes = [_size(tensor) for tensor in constants.values()]
    return Graph(work, sum(elements), sum(sizes))


def optimised(model: bytes) -> bytes:
    """The model as ONNX Runtime makes it before running it: fused, and laid out for this CPU."""
    with tempfile.TemporaryDirectory(prefix="edge-predict-") as folder:
        path = Path(folder) / "optimised.onnx"
        options = session_options(1)
        options.optimized_model_filepath = str(path)
        _session(model, options)
        return path.read_bytes()


def _session(model: bytes, options: ort.SessionOptions) -> ort.InferenceSession:
    try:
        return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its own exceptions share no base, and the file is a person's
        line = " ".join(str(error).split())[:200]
        raise PackageError(f"ONNX Runtime does not take the graph: {line}") from None


def _shapes(model: bytes, nodes: tuple[Node, ...]) -> dict[str, Tensor]:
    """Element type and shape of every value; no shape where a size is not fixed."""
    options = session_options(1)
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    names = dict.fromkeys(name for node in nodes for name in node.outputs if name)
    session = _session(model + outputs_named(names), options)
    found = {}
    for value in (*session.get_inputs(), *session.get_outputs()):
        sizes = tuple(value.shape)
        fixed = all(isinstance(size, int) and size >= 0 for size in sizes)
        element = value.type.removeprefix("tensor(").removesuffix(")")
        found[value.name] = Tensor(element, sizes if fixed else None)
    return found


def _work(node: Node, tensors: dict[str, Tensor], constants: dict[str, Tensor]) -> Work:
    ins = [tensors.get(name) for name in node.inputs]
    outs = [tensors.get(name) for name in node.outputs if name]
    weights = sum(_size(constants.get(name)) for name in node.inputs)
    work = Work(
        name=node.name,
        operator=node.operator,
        kind="",
        weights=weights,
        read=sum(map(_size, ins)) - weights,
        written=sum(map(_size, outs)),
        outputs=_elements(outs[0]) if outs else 0,
    )
    precision = "int8" if any(t and t.element in ("uint8", "int8") for t in ins) else "fp32"
    counted = None if node.nested else _counted(node, ins, outs)
    if counted is not None:
        family, macs, executed, rows = counted
        kind = f"{precision} {family}"
        return replace(work, kind=kind, macs=macs, executed=executed, rows=rows)
    kind = _KIND.get(node.operator, "")
    shaped = all(t is not None and t.shape is not None for t in outs)
    known = bool(kind) and shaped and not node.nested
    if kind in ("free", "convert"):
        return replace(work, kind=kind, known=known)
    return replace(work, kind=f"{precision} {kind or 'plain'}", known=known)


def _counted(
    node: Node, ins: list[Tensor | None], outs: list[Tensor | None]
) -> tuple[str, int, int, int] | None:
    """(family, MACs, MACs executed, rows gathered) of an operator that has any."""
    place = _PLACES.get(node.operator)
    if place is None or len(ins) <= place or not outs:
        return None
    first, second, out = (t.shape if t else None for t in (ins[0], ins[place], outs[0]))
    if first is None or second is None or out is None:
        return None
    if node.operator == "ConvTranspose":
        macs = prod(first) * prod(second[1:])
        return "dense", macs, macs, 0
    if node.operator in _CONVOLUTIONS:
        return _convolution(node, second, out)
    depth = first[-2] if node.integer("transA") and len(first) > 1 else first[-1]
    across, macs = out[-1] if out else 1, prod(out) * depth
    return "matrix", macs, macs // max(1, across) * _up(across), 0


def _convolution(
    node: Node, weights: tuple[int, ...], out: tuple[int, ...]
) -> tuple[str, int, int, int]:
    """Weights are [out, in of a group, kernel ...], also where the pictures are channels last."""
    channels, depth, window = weights[0], weights[1], weights[2:]
    places, macs = prod(out) // channels, prod(out) * prod(weights[1:])
    rows = places * (window[0] if window else 1)
    if node.integer("group", 1) > 1:
        return ("depthwise" if depth == 1 else "grouped"), macs, macs, rows
    executed = places * _up(channels) * prod(weights[1:])
    if depth < LANES:
        return "few inputs", macs, executed, rows
    if channels < LANES:
        return "few outputs", macs, executed, rows
    return ("pointwise" if prod(window) == 1 else "dense"), macs, executed, rows


def _up(channels: int) -> int:
    return -(-channels // LANES) * LANES


def _elements(tensor: Tensor | None) -> int:
    return prod(tensor.shape) if tensor and tensor.shape is not None else 0


def _size(tensor: Tensor | None) -> int:
    return _elements(tensor) * _BYTES.get(tensor.element, 8) if tensor else 0
