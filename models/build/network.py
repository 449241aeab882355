"""The network: a plain stack of convolutions over the stacked views, ending in a logit map.

    views (n, v, H, W) in 0..1 -> 8x8/4 -> 3x3/2 -> 3x3 ... -> 1x1 -> (n, 1, H/8, W/8)

Every convolution but the last has a batch norm and a ReLU, both gone after folding, so that
the INT8 graph is a chain of QLinearConv without anything between (docs/models.md, the probe).
"""

from __future__ import annotations

from typing import Any

from edge.core.errors import ConfigError
from models import package
from models.build.recipe import Network


def network(spec: Network, views: int) -> Any:
    """A torch.nn.Sequential of the spec, randomly initialised; see the module for shapes."""
    from torch import nn

    layers: list[Any] = []

    def add(fan_in: int, fan_out: int, kernel: int, stride: int) -> int:
        padding = (kernel - stride + 1) // 2
        layers.append(nn.Conv2d(fan_in, fan_out, kernel, stride, padding, bias=False))
        layers.append(nn.BatchNorm2d(fan_out))
        layers.append(nn.ReLU())
        return fan_out

    width = add(views, spec.stem, 8, 4)
    for place, channels in enumerate(spec.channels):
        width = add(width, channels, 3, 2 if place == 0 else 1)
    head = nn.Conv2d(width, 1, 1)
    # Nearly every cell is good: starting there saves the first epochs from learning it.
    nn.init.constant_(head.bias, -4.0)
    return nn.Sequential(*layers, head)


def start_from(module: Any, twin: str, pictures: Any) -> None:
    """Give the network the weights of a package's FP32 twin, in place.

    The twin's batch norms are folded, so they are set anew from a batch of pictures
    (n, v, H, W) in 0..1: the network then computes what the twin does. ConfigError if the
    twin's layers are not the recipe's.
    """
    import onnx
    import torch
    from onnx import numpy_helper

    graph = onnx.load_from_string(package.find(twin).model_bytes()).graph
    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    names = [node.name for node in graph.node if node.op_type == "Conv"]
    convolutions = [layer for layer in module if type(layer).__name__ == "Conv2d"]
    wanted = [tuple(layer.weight.shape) for layer in convolutions]
    given = [held[f"{name}.weight"].shape for name in names]
    if given != wanted:
        raise ConfigError(f"training.start {twin}: layers {given}, the recipe has {wanted}")
    at = pictures
    with torch.no_grad():
        for layer in module:
            kind = type(layer).__name__
            if kind == "Conv2d":
                name = names[convolutions.index(layer)]
                bias = torch.from_numpy(held[f"{name}.bias"].copy())
                layer.weight.copy_(torch.from_numpy(held[f"{name}.weight"].copy()))
                at = layer(at)
            elif kind == "BatchNorm2d":
                mean, spread = at.mean((0, 2, 3)), at.std((0, 2, 3)) + 1e-3
                layer.running_mean.copy_(mean)
                layer.running_var.copy_(spread**2)
                layer.weight.copy_(spread)
                layer.bias.copy_(mean + bias)
                at = at + bias[:, None, None]
            else:
                at = layer(at)
        convolutions[-1].bias.copy_(bias)
