"""The operators that a package may use: what an inspection network needs.

Nothing that loops, branches, draws random numbers or brings its own code. Each has the rule that
foretells how large its outputs are.
"""

from __future__ import annotations

from models.graph import layouts, shapes
from models.graph.shapes import (
    convolved,
    general_product,
    joined,
    multiplied,
    of_input,
    recurrent,
    same,
)
from models.graph.step import Rule
from models.graph.tensors import BOOL, FLOAT, INT32, INT64, UINT8

MS = "com.microsoft."


def _each(names: str, rule: Rule, prefix: str = "") -> dict[str, Rule]:
    return {prefix + name: rule for name in names.split()}


CONVOLUTIONS = (
    _each("Conv ConvInteger", convolved(0, 1))
    | _each("QLinearConv", convolved(0, 3))
    | _each("FusedConv", convolved(0, 1), MS)
    | _each("ConvTranspose", shapes.transposed_convolution)
)
POOLS = _each("MaxPool AveragePool LpPool", shapes.pooled) | _each(
    "QLinearAveragePool", shapes.pooled, MS
)
PRODUCTS = (
    _each("MatMul MatMulInteger", multiplied(0, 1))
    | _each("QLinearMatMul", multiplied(0, 3))
    | _each("FusedMatMul MatMulIntegerToFloat DynamicQuantizeMatMul", multiplied(0, 1), MS)
    | _each("Gemm", general_product(0, 1))
    | _each("FusedGemm", general_product(0, 1), MS)
    | _each("QGemm", general_product(0, 3), MS)
)
RECURRENCES = {"RNN": recurrent(1), "GRU": recurrent(3), "LSTM": recurrent(4)}
HEAVY = CONVOLUTIONS | POOLS | PRODUCTS | RECURRENCES

ADMITTED: dict[str, Rule] = {
    **HEAVY,
    **_each(
        "Abs Acos Acosh Asin Asinh Atan Atanh BatchNormalization Cast CastLike Ceil Celu Clip Cos "
        "Cosh CumSum DequantizeLinear Dropout Elu Erf Exp Floor Gelu "
        "GroupNormalization HardSigmoid HardSwish Hardmax Identity InstanceNormalization IsInf "
        "IsNaN LRN LeakyRelu Log LogSoftmax LpNormalization MeanVarianceNormalization Mish Neg "
        "Not PRelu QuantizeLinear Reciprocal Relu Round ScatterElements ScatterND Selu Shrink "
        "Sigmoid Sign Sin Sinh Softmax Softplus Softsign Sqrt Tan Tanh ThresholdedRelu Trilu",
        same,
    ),
    **_each(
        "BiasGelu DequantizeLinear FastGelu Gelu QLinearLeakyRelu QLinearSigmoid QLinearSoftmax "
        "QuantizeLinear QuickGelu",
        same,
        MS,
    ),
    **_each(
        "Add And Div Equal Greater GreaterOrEqual Less LessOrEqual Max Mean Min Mod Mul Or Pow Sub "
        "Sum Where Xor",
        joined(),
    ),
    **_each("QLinearAdd QLinearMul", joined(0, 3), MS),
    **_each("GlobalAveragePool GlobalMaxPool GlobalLpPool", shapes.pooled_whole),
    **_each("QLinearGlobalAveragePool", shapes.pooled_whole, MS),
    **_each(
        "ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd "
        "ReduceSum ReduceSumSquare",
        shapes.reduced,
    ),
    **_each("ArgMax ArgMin", shapes.best),
    **_each("LayerNormalization", shapes.normalised),
    **_each("Resize Upsample", shapes.resized),
    "Concat": layouts.concatenated,
    MS + "QLinearConcat": layouts.concatenated_quantised,
    "Constant": layouts.given_constant,
    "ConstantOfShape": layouts.filled,
    "DepthToSpace": layouts.depth_to_space,
    "DynamicQuantizeLinear": layouts.with_scale,
    "Expand": layouts.expanded,
    "Flatten": layouts.flattened,
    "Gather": layouts.gathered,
    "GatherElements": of_input(1),
    "OneHot": layouts.one_hot,
    "Pad": layouts.padded,
    "Range": layouts.ranged,
    "Reshape": layouts.reshaped,
    "Shape": layouts.told_shape,
    "Size": layouts.one_number,
    "Slice": layouts.sliced,
    "SpaceToDepth": layouts.space_to_depth,
    "Split": layouts.split,
    "Squeeze": layouts.squeezed,
    "Tile": layouts.tiled,
    "TopK": layouts.largest,
    "Transpose": layouts.transposed,
    "Unsqueeze": layouts.unsqueezed,
}

# Outputs have the element type of the first input, but for these: a type, or the input to ask.
_TRUTHS = "And Equal Greater GreaterOrEqual IsInf IsNaN Less LessOrEqual Not Or Xor"
TYPED = dict.fromkeys(_TRUTHS.split(" "), BOOL) | {
    "ArgMax": INT64,
    "ArgMin": INT64,
    "ConvInteger": INT32,
    "DynamicQuantizeLinear": UINT8,
    "MatMulInteger": INT32,
    "QuantizeLinear": UINT8,
    "Shape": INT64,
    "Size": INT64,
    MS + "QGemm": FLOAT,  # without a zero point to put out
    MS + "QuantizeLinear": UINT8,
}
TYPED_AS = {
    "CastLike": 1,
    "DequantizeLinear": 1,
    "OneHot": 2,
    "QLinearConv": 7,
    "QLinearMatMul": 7,
    "QuantizeLinear": 2,
    "Where": 1,
    MS + "DequantizeLinear": 1,
    MS + "DynamicQuantizeMatMul": 2,
    MS + "MatMulIntegerToFloat": 2,
    MS + "QGemm": 8,
    MS + "QLinearConcat": 1,
    MS + "QuantizeLinear": 2,
}
# Inputs that must be there although the operator's definition lets some out: kernels of
# com.microsoft look for them all the same, and ONNX Runtime 1.31 ends the process.
LEAST_INPUTS = {
    MS + name: least
    for least, names in {
        5: "QLinearAveragePool QLinearGlobalAveragePool QLinearLeakyRelu QLinearSigmoid "
        "QLinearSoftmax",
        6: "QGemm",
        8: "QLinearAdd QLinearMul",
    }.items()
    for name in names.split()
}
TYPED_SECOND = {"DynamicQuantizeLinear": FLOAT, "MaxPool": INT64, "TopK": INT64}
