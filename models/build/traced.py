"""A trained torch module -> the operators of its float graph, batch norms folded, in plain arrays.

torch.fx writes down what `forward` calls; what comes out knows neither torch nor ONNX, so that the
export can be held against hand-made operators where torch is not installed.
"""

from __future__ import annotations

import operator
from typing import Any, Literal, NamedTuple

import numpy as np

from models.build.datasets import Array

PIXELS = "pixels"
Kind = Literal["conv", "relu", "relu6", "add", "double", "mean"]


class Step(NamedTuple):
    """One operator: `double` repeats every cell twice along both sides, `mean` leaves one cell.

    weight (out, in / groups, k, k) and bias (out,) float32 of a convolution; pads are top, left,
    bottom, right.
    """

    kind: Kind
    name: str
    inputs: tuple[str, ...]
    weight: Array | None = None
    bias: Array | None = None
    stride: int = 1
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    groups: int = 1


class Traced(NamedTuple):
    """Operators in order, from `pixels` (1, views, H, W) in 0..1, and where the logits are.

    map (1, 1, h, w); picture (1, 1, 1, 1), of the picture as a whole, if the network has one;
    types (1, k, h, w), if it tells defects apart.
    """

    steps: tuple[Step, ...]
    map: str
    picture: str | None = None
    types: str | None = None

    @property
    def heads(self) -> tuple[str, ...]:
        """The convolutions that put out logits: they stay in float."""
        ends = {self.map, self.picture, self.types}
        return tuple(step.name for step in self.steps if step.kind == "conv" and step.name in ends)


def traced(module: Any) -> Traced:
    """Follow a network of models/build/network.py, in eval mode."""
    from torch import fx, nn

    from models.build.layers import Logits, PaddedConvolution

    class Leaves(fx.Tracer):  # type: ignore[misc]  # torch ships no types that are seen here
        def is_leaf_module(self, m: Any, module_qualified_name: str) -> bool:
            leaf = isinstance(m, PaddedConvolution)
            return leaf or super().is_leaf_module(m, module_qualified_name)

    graph, modules = Leaves().trace(module), dict(module.named_modules())
    at: dict[Any, str] = {}
    steps: list[Step] = []
    outputs: tuple[Any, ...] = ()
    for node in graph.nodes:
        if node.op == "placeholder":
            at[node] = PIXELS
        elif node.op == "call_function" and node.target is Logits:
            outputs = node.args[:3]  # the rest is asked for in training alone
        elif node.op == "call_module" and isinstance(modules[node.target], nn.BatchNorm2d):
            steps[-1] = _with_norm(steps[-1], modules[node.target])
            at[node] = at[node.args[0]]
        elif (node.op == "call_method" and node.target == "detach") or (
            node.op == "call_module" and isinstance(modules[node.target], nn.Dropout)
        ):
            at[node] = at[node.args[0]]
        elif node.op != "output":
            inputs = tuple(at[arg] for arg in node.args if isinstance(arg, fx.Node))
            at[node] = node.name
            steps.append(_step(node, modules.get(str(node.target)), inputs))
    names = [None if node is None else at[node] for node in outputs]
    return Traced(tuple(steps), str(names[0]), *names[1:])


def _step(node: Any, module: Any, inputs: tuple[str, ...]) -> Step:
    """One call of `forward`; TypeError for one that the export does not know."""
    kind = type(module).__name__ if node.op == "call_module" else node.target
    if kind in ("Conv2d", "PaddedConvolution"):
        weight = module.weight.detach().double().numpy()
        bias = np.zeros(len(weight)) if module.bias is None else module.bias.detach().double()
        left, right, top, bottom = (
            module.sides
            if kind == "PaddedConvolution"
            else (module.padding[1],) * 2 + (module.padding[0],) * 2
        )
        return Step(
            "conv",
            node.name,
            inputs,
            weight.astype(np.float32),
            np.asarray(bias, np.float32),
            module.stride[0],
            (top, left, bottom, right),
            module.groups,
        )
    kinds: dict[object, Kind] = {
        "ReLU": "relu",
        "ReLU6": "relu6",
        "Upsample": "double",
        "AdaptiveAvgPool2d": "mean",
        operator.add: "add",
    }
    if kind not in kinds:
        raise TypeError(f"{node.format_node()}: not an operator that the export knows")
    return Step(kinds[kind], node.name, inputs)


def _with_norm(step: Step, norm: Any) -> Step:
    """A convolution with the batch norm behind it folded in."""
    assert step.weight is not None, "a batch norm follows a convolution"
    assert step.bias is not None
    gain = norm.weight.detach().double() / (norm.running_var.double() + norm.eps).sqrt()
    shift = (norm.bias.detach().double() - norm.running_mean.double() * gain).numpy()
    weight = step.weight.astype(np.float64) * gain.numpy()[:, None, None, None]
    bias = step.bias * gain.numpy() + shift
    return step._replace(weight=weight.astype(np.float32), bias=bias.astype(np.float32))
