"""Every admitted operator puts out what was foretold, and what would be absurd is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from models.graph import operators
from models.graph.admitted import ADMITTED
from models.graph.messages import read

ort = pytest.importorskip("onnxruntime")

F = np.float32


def f(*dims: int) -> np.ndarray:
    """A picture of the run's input."""
    return np.linspace(0.1, 0.9, int(np.prod(dims)), dtype=F).reshape(dims)


def u8(*dims: int) -> np.ndarray:
    return (np.arange(int(np.prod(dims))) % 250).astype(np.uint8).reshape(dims)


class C:
    """A constant of the file."""

    def __init__(self, values: Any, dtype: Any = np.int64) -> None:
        self.array = np.asarray(values, dtype)


def cf(*dims: int) -> C:
    return C(f(*dims), F)


S, Z = C(0.02, F), C(3, np.uint8)  # a scale and a zero point
FS, FZ = C([0.02, 0.03], F), C([0, 0], np.int8)

PICTURE = f(1, 4, 9, 11)
UP = cf(4, 3, 3, 3)
UNARY = (
    "Abs Acos Asin Asinh Atan Ceil Celu Clip Cos Cosh Elu Erf Exp Floor HardSigmoid HardSwish "
    "Hardmax Identity IsInf IsNaN LeakyRelu Log LogSoftmax Mish Neg Reciprocal Relu Round "
    "Selu Shrink Sigmoid Sign Sin Sinh Softmax Softplus Softsign Sqrt Tan Tanh ThresholdedRelu "
    "Dropout Gelu Trilu"
)
JOINED = "Add Div Equal Greater GreaterOrEqual Less LessOrEqual Max Mean Min Mul Pow Sub Sum"
REDUCED = (
    "ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd "
    "ReduceSumSquare"
)
WINDOW = {"strides": [2, 1], "pads": [1, 0, 2, 1], "dilations": [1, 2]}
MS = "com.microsoft"
Q = [u8(1, 2, 8, 8), S, Z]

# operator (with #, what is different about it) -> inputs, attributes; "domain", "set" and "outs"
# are the test's own.
CASES: dict[str, tuple[list[Any], dict[str, Any]]] = {
    **{name: ([PICTURE], {}) for name in UNARY.split()},
    **{name: ([f(2, 1, 5), cf(3, 1)], {}) for name in JOINED.split()},
    **{name: ([PICTURE, C([-1, 1])], {"keepdims": 0, "set": 18}) for name in REDUCED.split()},
    **{f"{name}#old": ([PICTURE], {"axes": [2], "set": 12}) for name in REDUCED.split()},
    "ReduceSum": ([PICTURE, C([-1, 1])], {}),
    "ReduceSum#none": ([PICTURE], {"noop_with_empty_axes": 1}),
    "Acosh": ([f(3) + 1], {}),
    "Atanh": ([f(3)], {}),
    "And": ([f(3) > 0, f(2, 3) > 0], {}),
    "ArgMax": ([PICTURE], {"axis": 2}),
    "ArgMin": ([PICTURE], {"keepdims": 0}),
    "AveragePool": ([PICTURE], {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}),
    "AveragePool#sticks": (
        [f(1, 1, 6, 7)],
        {"kernel_shape": [2, 2], "strides": [3, 3], "pads": [1, 1, 1, 1], "ceil_mode": 1},
    ),
    "BatchNormalization": ([PICTURE, cf(4), cf(4), cf(4), cf(4)], {}),
    "Cast": ([PICTURE], {"to": TensorProto.UINT8}),
    "CastLike": ([PICTURE, C(1)], {"set": 18}),
    "Clip#from": ([PICTURE, C(0.2, F), None], {}),
    "Concat": ([f(1, 2, 5), f(1, 3, 5)], {"axis": -2}),
    "Constant": ([], {"value_ints": [3, 4]}),
    "Constant#tensor": ([], {"value": numpy_helper.from_array(f(2, 3))}),
    "ConstantOfShape": ([C([2, 3])], {}),
    "Conv": ([PICTURE, cf(6, 2, 3, 3)], {"group": 2, **WINDOW}),
    "Conv#same": ([PICTURE, cf(6, 4, 4, 4)], {"auto_pad": "SAME_UPPER", "strides": [2, 3]}),
    "Conv#valid": ([PICTURE, cf(6, 4, 4, 4)], {"auto_pad": "VALID"}),
    "Conv#line": ([f(1, 2, 9), cf(3, 2, 5)], {}),
    "ConvInteger": ([u8(1, 4, 9, 9), C(u8(3, 4, 3, 3), np.uint8)], {}),
    "ConvTranspose": (
        [PICTURE, cf(4, 3, 3, 2)],
        {"strides": [2, 3], "pads": [1, 0, 0, 1], "output_padding": [1, 0], "group": 2},
    ),
    "ConvTranspose#same": ([PICTURE, UP], {"auto_pad": "SAME_LOWER", "strides": [2, 3]}),
    "ConvTranspose#told": ([PICTURE, UP], {"output_shape": [18, 22], "strides": [2, 2]}),
    "CumSum": ([PICTURE, C(1)], {}),
    "DepthToSpace": ([PICTURE], {"blocksize": 2}),
    "DequantizeLinear": ([u8(2, 5), S, Z], {}),
    "DynamicQuantizeLinear": ([PICTURE], {"outs": 3}),
    "Expand": ([f(3, 1), C([2, 1, 6])], {}),
    "Flatten": ([PICTURE], {"axis": 2}),
    "Flatten#end": ([PICTURE], {"axis": 4}),
    "Gather": ([PICTURE, C([[0, 1], [2, 0]])], {"axis": 1}),
    "GatherElements": ([f(3, 3), C([[0, 1]])], {"axis": 1}),
    "Gemm": ([f(4, 3), cf(5, 4), cf(5)], {"transA": 1, "transB": 1}),
    "GlobalAveragePool": ([PICTURE], {}),
    "GlobalLpPool": ([PICTURE], {}),
    "GlobalMaxPool": ([PICTURE], {}),
    "GroupNormalization": ([PICTURE, cf(4), cf(4)], {"num_groups": 2, "set": 21}),
    "GRU": ([f(5, 1, 3), cf(1, 12, 3), cf(1, 12, 4)], {"hidden_size": 4, "outs": 2}),
    "InstanceNormalization": ([PICTURE, cf(4), cf(4)], {}),
    "LayerNormalization": ([f(2, 3, 8), cf(8)], {"outs": 3}),
    "LpNormalization": ([f(2, 4)], {}),
    "LpPool": ([PICTURE], {"kernel_shape": [3, 3]}),
    "LRN": ([PICTURE], {"size": 3}),
    "LSTM": (
        [f(5, 2, 3), cf(2, 16, 3), cf(2, 16, 4)],
        {"hidden_size": 4, "direction": "bidirectional", "outs": 3},
    ),
    "MatMul": ([f(2, 1, 3, 4), cf(5, 4, 6)], {}),
    "MatMul#vector": ([f(4), cf(2, 4, 6)], {}),
    "MatMul#to vector": ([f(2, 3, 4), cf(4)], {}),
    "MatMulInteger": ([u8(3, 4), C(u8(4, 5), np.uint8)], {}),
    "MaxPool": ([PICTURE], {"kernel_shape": [2, 3], **WINDOW, "outs": 2, "pads": [1, 0, 1, 1]}),
    "MaxPool#ceil": ([PICTURE], {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}),
    "MeanVarianceNormalization": ([PICTURE], {}),
    "Mod": ([f(3), cf(3)], {"fmod": 1}),
    "Not": ([f(3) > 0], {}),
    "OneHot": ([np.array([0, 2]), C(4), C([0, 1], F)], {"axis": 0}),
    "Or": ([f(3) > 0, f(3) > 1], {}),
    "Pad": ([PICTURE, C([0, 0, 1, 2, 0, 0, -1, 4])], {}),
    "Pad#axes": ([PICTURE, C([1, 2]), C(0, F), C([2])], {"set": 18}),
    "PRelu": ([PICTURE, cf(4, 1, 1)], {}),
    "QLinearConv": (
        [u8(1, 4, 9, 9), S, Z, C(np.ones((2, 4, 3, 3)), np.int8), FS, FZ, S, Z],
        {"strides": [2, 2]},
    ),
    "QLinearMatMul": ([u8(3, 4), S, Z, C(u8(4, 5), np.uint8), S, Z, S, Z], {}),
    "QuantizeLinear": ([PICTURE, S, Z], {}),
    "Range": ([C(2), C(11), C(4)], {}),
    "Reshape": ([PICTURE, C([0, -1, 3])], {}),
    "Resize": ([PICTURE, C([], F), C([1, 1, 1.5, 2.7], F)], {"mode": "linear"}),
    "Resize#sizes": ([PICTURE, C([], F), C([], F), C([1, 4, 20, 3])], {}),
    "Resize#axes": ([PICTURE, None, None, C([20, 3])], {"axes": [2, 3], "set": 18}),
    "Resize#old": ([PICTURE, C([1, 1, 2, 2], F)], {"set": 10}),
    "RNN": ([f(5, 1, 3), cf(1, 4, 3), cf(1, 4, 4)], {"hidden_size": 4, "outs": 2}),
    "ScatterElements": ([f(3, 3), C([[1, 0, 2]]), cf(1, 3)], {}),
    "ScatterND": ([f(8), C([[4], [3]]), cf(2)], {}),
    "Shape": ([PICTURE], {"start": 1, "end": -1}),
    "Size": ([PICTURE], {}),
    "Slice": ([PICTURE, C([1, -1]), C([100, -100]), C([1, -2]), C([2, -3])], {}),
    "Slice#all": ([f(3, 7), C([0, 1]), C([2, 5])], {}),
    "Slice#old": ([PICTURE], {"starts": [1, 2], "ends": [3, 99], "axes": [1, 3], "set": 9}),
    "SpaceToDepth": ([f(1, 2, 4, 6)], {"blocksize": 2}),
    "Split": ([PICTURE, C([1, 3])], {"axis": 1, "outs": 2}),
    "Split#even": ([PICTURE], {"axis": 1, "outs": 2}),
    "Split#uneven": ([f(1, 7)], {"axis": -1, "num_outputs": 3, "outs": 3, "set": 18}),
    "Squeeze": ([f(1, 3, 1, 2), C([-2])], {}),
    "Squeeze#all": ([f(1, 3, 1, 2)], {}),
    "Tile": ([f(2, 3), C([3, 1])], {}),
    "TopK": ([PICTURE, C([3])], {"axis": -1, "outs": 2}),
    "Transpose": ([PICTURE], {"perm": [0, 3, 1, 2]}),
    "Transpose#back": ([f(2, 3, 4)], {}),
    "Unsqueeze": ([f(3, 4), C([0, -1])], {}),
    "Upsample": ([PICTURE, C([1, 1, 2, 3], F)], {"set": 9}),
    "Upsample#old": ([PICTURE], {"scales": [1.0, 1.0, 2.0, 3.5], "set": 7}),
    "Where": ([f(3, 1) > 0.5, f(4), cf(3, 4)], {}),
    "Xor": ([f(3) > 0, f(3) > 1], {}),
    "BiasGelu": ([f(2, 4), cf(4)], {"domain": MS}),
    "DequantizeLinear#ms": ([u8(2, 5), S, Z], {"domain": MS}),
    "DynamicQuantizeMatMul": ([f(3, 4), C(u8(4, 5), np.uint8), S, Z], {"domain": MS}),
    "FastGelu": ([f(2, 4)], {"domain": MS}),
    "FusedConv": ([PICTURE, cf(6, 4, 3, 3)], {"domain": MS, "activation": "Relu"}),
    "FusedGemm": ([f(4, 3), cf(3, 4), cf(4)], {"domain": MS, "activation": "Relu"}),
    "FusedMatMul": ([f(2, 4, 3), cf(2, 5, 4)], {"domain": MS, "transA": 1, "transB": 1}),
    "Gelu#ms": ([f(2, 4)], {"domain": MS}),
    "MatMulIntegerToFloat": ([u8(3, 4), C(u8(4, 5), np.uint8), S, S], {"domain": MS}),
    "QGemm": ([u8(3, 4), S, Z, C(u8(4, 5), np.uint8), S, Z], {"domain": MS}),
    "QLinearAdd": ([u8(2, 1, 5), S, Z, C(u8(3, 1), np.uint8), S, Z, S, Z], {"domain": MS}),
    "QLinearAveragePool": ([*Q, S, Z], {"domain": MS, "kernel_shape": [2, 2], "strides": [2, 2]}),
    "QLinearConcat": ([S, Z, *Q, *Q], {"domain": MS, "axis": 1}),
    "QLinearGlobalAveragePool": ([*Q, S, Z], {"domain": MS}),
    "QLinearLeakyRelu": ([*Q, S, Z], {"domain": MS}),
    "QLinearMul": ([u8(2, 1, 5), S, Z, C(u8(3, 1), np.uint8), S, Z, S, Z], {"domain": MS}),
    "QLinearSigmoid": ([*Q, S, Z], {"domain": MS}),
    "QLinearSoftmax": ([*Q, S, Z], {"domain": MS, "opset": 13}),
    "QuantizeLinear#ms": ([PICTURE, S, Z], {"domain": MS}),
    "QuickGelu": ([f(2, 4)], {"domain": MS}),
}  # fmt: skip


def model(case: str) -> tuple[ModelProto, dict[str, np.ndarray]]:
    """The model of a case, its outputs without a type, and what to feed it."""
    given, attributes = CASES[case]
    attributes = dict(attributes)
    domain, outs = attributes.pop("domain", ""), attributes.pop("outs", 1)
    operator = case.partition("#")[0]
    newer = 20 if operator == "Gelu" and not domain else 18 if operator == "Mish" else 17
    opset = attributes.pop("set", newer)
    names, inputs, constants, feed = [], [], [], {}
    for place, item in enumerate(given):
        names.append(f"in{place}" if item is not None else "")
        if isinstance(item, C):
            constants.append(numpy_helper.from_array(item.array, names[-1]))
        elif item is not None:
            feed[names[-1]] = item
            kind = helper.np_dtype_to_tensor_dtype(item.dtype)
            inputs.append(helper.make_tensor_value_info(names[-1], kind, item.shape))
    outputs = [f"out{place}" for place in range(outs)]
    node = helper.make_node(operator, names, outputs, name="it", domain=domain, **attributes)
    wanted = [helper.make_empty_tensor_value_info(name) for name in outputs]
    graph = helper.make_graph([node], "case", inputs, wanted, constants)
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid(MS, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9), feed


def weighed(made: ModelProto, kinds: dict[str, tuple[Any, Any]]) -> dict[str, Any]:
    """Weigh a model whose outputs are given their types first."""
    del made.graph.output[:]
    for name, (kind, dims) in kinds.items():
        made.graph.output.append(helper.make_tensor_value_info(name, kind, dims))
    return operators.weighed(read(memoryview(made.graph.SerializeToString())))


@pytest.mark.parametrize("case", CASES)
def test_an_operator_puts_out_what_was_foretold(case: str) -> None:
    made, feed = model(case)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(
        made.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in made.graph.output]
    found = dict(zip(names, session.run(names, feed), strict=True))
    kinds = {
        name: (helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in found.items()
    }
    known = weighed(made, kinds)
    assert {name: known[name].dims for name in names} == {n: a.shape for n, a in found.items()}
    assert known["out0"].element == kinds["out0"][0]


def test_every_admitted_operator_is_tried() -> None:
    tried = {
        f"{MS}.{case.partition('#')[0]}" if row[1].get("domain") else case.partition("#")[0]
        for case, row in CASES.items()
    }
    assert tried == set(ADMITTED)


LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"


@pytest.mark.parametrize("file", sorted(LIGHT.glob("*.onnx")), ids=lambda file: file.stem)
def test_the_networks_of_others_are_admitted(file: Path) -> None:
    if file.stem == "light_vgg19":
        pytest.skip("575 MB of weights, more than a package holds")
    made = onnx.load(file)
    known = operators.weighed(read(memoryview(made.graph.SerializeToString())))
    for output in made.graph.output:
        told = tuple(side.dim_value for side in output.type.tensor_type.shape.dim)
        assert known[output.name].dims == told
