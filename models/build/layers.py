"""The torch modules of the networks that a recipe can name; imported where torch is installed.

Each takes views (n, v, H, W) in 0..1 and returns its `Logits`. Batch norms and dropout are
gone after models/build/traced.py; what is left are convolutions, ReLUs, sums and doublings, which
the INT8 kernels have.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import nn


class Logits(NamedTuple):
    """What a network puts out, and what only its training asks for.

    map (n, 1, H/8, W/8); picture (n, 1, 1, 1), of the picture as a whole, or None; types
    (n, k, H/8, W/8) or None; apart (n, c, H/8, W/8), by how much a student errs, or None.
    """

    map: Any
    picture: Any
    types: Any
    apart: Any = None


# Nearly every cell is good: starting there saves the first epochs from learning it.
_RARE = -4.0


def convolution(fan_in: int, fan_out: int, kernel: int = 3, stride: int = 1) -> list[nn.Module]:
    """A convolution that keeps the size but for its stride, with batch norm and ReLU."""
    padding = (kernel - stride + 1) // 2
    return [
        nn.Conv2d(fan_in, fan_out, kernel, stride, padding, bias=False),
        nn.BatchNorm2d(fan_out),
        nn.ReLU(),
    ]


def stack(fan_in: int, channels: Sequence[int], stride: int = 1) -> nn.Sequential:
    """3x3 convolutions one after another; the first has the stride."""
    layers: list[nn.Module] = []
    for place, width in enumerate(channels):
        layers += convolution(fan_in, width, stride=stride if place == 0 else 1)
        fan_in = width
    return nn.Sequential(*layers)


class Heads(nn.Module):  # type: ignore[misc]  # torch ships no types that are seen here
    """The 1x1 convolutions behind a network's last map, and behind what its picture logit sees."""

    def __init__(self, width: int, whole: int = 0, types: int = 0) -> None:
        super().__init__()
        self.map = nn.Conv2d(width, 1, 1)
        nn.init.constant_(self.map.bias, _RARE)
        self.mean = nn.AdaptiveAvgPool2d(1)
        self.drop = nn.Dropout(0.2)
        self.picture = nn.Conv2d(whole, 1, 1) if whole else None
        self.types = nn.Conv2d(width, types, 1) if types else None

    def forward(self, last: Any, seen: Any) -> Logits:
        """last (n, width, h, w); seen (n, whole, h', w')."""
        whole = None if self.picture is None else self.picture(self.drop(self.mean(seen)))
        return Logits(self.map(last), whole, None if self.types is None else self.types(last))


class Context(nn.Module):  # type: ignore[misc]
    """Detail at 8 px a cell, context at 16 and 32 px, joined at 8 px.

    A flaw is told from the design around it by what repeats for some hundred pixels; layers at 16
    and 32 px see that far at a quarter and a sixteenth of the cost.
    """

    def __init__(
        self,
        views: int,
        stem: int,
        fine: Sequence[int],
        context: Sequence[int],
        wide: Sequence[int],
        tail: int,
        *,
        picture: bool,
        types: int,
    ) -> None:
        super().__init__()
        width = fine[-1]
        self.fine = nn.Sequential(*convolution(views, stem, 8, 4), *stack(stem, fine, stride=2))
        self.context = stack(width, context, stride=2)
        self.wide = stack(context[-1], [*wide, context[-1]], stride=2) if wide else None
        self.narrow = nn.Sequential(*convolution(context[-1], width, 1))
        self.twice = nn.Upsample(scale_factor=2)
        self.twice_wide = nn.Upsample(scale_factor=2)
        self.tail = stack(width, [width] * tail)
        self.heads = Heads(width, context[-1] if picture else 0, types)

    def forward(self, pixels: Any) -> Logits:
        """See the module."""
        fine = self.fine(pixels)
        around = self.context(fine)
        if self.wide is not None:
            around = around + self.twice_wide(self.wide(around))
        joined = fine + self.twice(self.narrow(around))
        found: Logits = self.heads(self.tail(joined), around)
        return found


class Plain(nn.Module):  # type: ignore[misc]
    """One 8x8 convolution of stride 4, then 3x3 ones, the first of which halves."""

    def __init__(
        self, views: int, stem: int, channels: Sequence[int], *, picture: bool, types: int
    ) -> None:
        super().__init__()
        self.body = nn.Sequential(*convolution(views, stem, 8, 4), *stack(stem, channels, stride=2))
        self.heads = Heads(channels[-1], channels[-1] if picture else 0, types)

    def forward(self, pixels: Any) -> Logits:
        """See the module."""
        last = self.body(pixels)
        found: Logits = self.heads(last, last)
        return found


class PaddedConvolution(nn.Conv2d):  # type: ignore[misc]
    """A convolution padded as TensorFlow's "same": of an odd rest, right and bottom get more."""

    def __init__(
        self, fan_in: int, fan_out: int, kernel: int, stride: int, groups: int = 1
    ) -> None:
        super().__init__(fan_in, fan_out, kernel, stride, 0, groups=groups, bias=False)
        rest = kernel - stride
        self.sides = (rest // 2, rest - rest // 2, rest // 2, rest - rest // 2)

    def forward(self, pixels: Any) -> Any:
        """As nn.Conv2d."""
        return super().forward(nn.functional.pad(pixels, self.sides))


class Inverted(nn.Module):  # type: ignore[misc]
    """An inverted residual: widen, convolve each channel alone, narrow (Sandler et al., 2018)."""

    def __init__(self, fan_in: int, fan_out: int, kernel: int, stride: int, factor: int) -> None:
        super().__init__()
        wide, layers = fan_in * factor, list[nn.Module]()
        if factor != 1:
            layers += [nn.Conv2d(fan_in, wide, 1, bias=False), _norm(wide), nn.ReLU6()]
        layers += [
            PaddedConvolution(wide, wide, kernel, stride, wide),
            _norm(wide),
            nn.ReLU6(),
            nn.Conv2d(wide, fan_out, 1, bias=False),
            _norm(fan_out),
        ]
        self.layers = nn.Sequential(*layers)
        self.residual = stride == 1 and fan_in == fan_out

    def forward(self, pixels: Any) -> Any:
        """(n, fan_in, h, w) -> (n, fan_out, h / stride, w / stride)."""
        out = self.layers(pixels)
        return pixels + out if self.residual else out


# EfficientNet-Lite0 up to 16 px a cell (Tan and Le, 2019; Lite: no squeeze, ReLU6): repeats,
# kernel, stride, factor, channels in and out.
_LITE0 = (
    (1, 3, 1, 1, 32, 16),
    (2, 3, 2, 6, 16, 24),
    (2, 5, 2, 6, 24, 40),
    (3, 3, 2, 6, 40, 80),
    (3, 5, 1, 6, 80, 112),
)
_AT_8_PX, _AT_16_PX = 2, 4


class Lite0(nn.Module):  # type: ignore[misc]
    """The first stages of EfficientNet-Lite0, five at most."""

    def __init__(self, views: int, stages: int = len(_LITE0)) -> None:
        super().__init__()
        self.stem = nn.Sequential(PaddedConvolution(views, 32, 3, 2), _norm(32), nn.ReLU6())
        self.stages = nn.ModuleList(
            nn.Sequential(
                *(
                    Inverted(fan_in if place == 0 else out, out, kernel, stride_of, factor)
                    for place, stride_of in enumerate([stride] + [1] * (repeats - 1))
                )
            )
            for repeats, kernel, stride, factor, fan_in, out in _LITE0[:stages]
        )

    def forward(self, pixels: Any) -> list[Any]:
        """The maps behind each stage."""
        at = self.stem(pixels)
        seen = []
        for stage in self.stages:
            at = stage(at)
            seen.append(at)
        return seen

    def take(self, weights: dict[str, Any]) -> None:
        """Take the ImageNet weights, by order: the package names them otherwise.

        Gray in 0..1 instead of colour in (0..255 - 127) / 128: the sum over the colours, and the
        rest into the first batch norm. At the border the padding is black now and was gray. Where
        there are more views than the picture, every other filter begins with what sets it apart
        from them.
        """
        body = {key: value for key, value in weights.items() if not key.startswith(_LITE0_TAIL)}
        given = iter(value for value in body.values() if value.ndim == 4)
        norms = iter(key[: -len(".weight")] for key, value in body.items() if _is_norm(key, value))
        with torch.no_grad():
            for module in [*self.stem.modules(), *self.stages.modules()]:
                if isinstance(module, nn.Conv2d):
                    weight = next(given)
                    if weight.shape[1] == 3:  # the stem
                        weight = _gray_stem(weight, module.in_channels)
                        stem_shift = weight.sum((1, 2, 3)) * (127 / 128)
                        weight = weight * (255 / 128)
                    module.weight.copy_(weight)
                elif isinstance(module, nn.BatchNorm2d):
                    name = next(norms)
                    for part in ("weight", "bias", "running_mean", "running_var"):
                        getattr(module, part).copy_(body[f"{name}.{part}"])
            self.stem[1].running_mean.add_(stem_shift)


def _gray_stem(colour: Any, views: int) -> Any:
    """The first filters (n, 3, k, k) for gray views (n, views, k, k): the picture, then others."""
    gray = colour.sum(1, keepdim=True)
    rest = -gray.expand(-1, views - 1, -1, -1) / max(1, views - 1)
    rest = torch.where(torch.arange(len(gray))[:, None, None, None] % 2 == 0, rest, 0.0)
    return torch.cat([gray, rest], 1)


class Encoder(nn.Module):  # type: ignore[misc]
    """EfficientNet-Lite0, read at 8 and at 16 px a cell, joined at 8."""

    def __init__(self, views: int, width: int, *, picture: bool, types: int) -> None:
        super().__init__()
        self.encoder = Lite0(views)
        self.from_8 = nn.Conv2d(_LITE0[_AT_8_PX][-1], width, 1)
        self.from_16 = nn.Conv2d(_LITE0[_AT_16_PX][-1], width, 1)
        self.twice = nn.Upsample(scale_factor=2)
        self.tail = stack(width, [width])
        self.heads = Heads(width, _LITE0[-1][-1] if picture else 0, types)

    def forward(self, pixels: Any) -> Logits:
        """See the module."""
        seen = self.encoder(pixels)
        joined = self.from_8(seen[_AT_8_PX]) + self.twice(self.from_16(seen[_AT_16_PX]))
        found: Logits = self.heads(self.tail(joined), seen[_AT_16_PX])
        return found


class Student(nn.Module):  # type: ignore[misc]
    """A small network that tells what EfficientNet-Lite0 says of good surface, and where it errs.

    The encoder stays as it came. The student learns to say at each 8 px cell what stage 3 does, on
    good pictures alone, so it errs where something is new to it; in the manner of EfficientAD
    (Batzner, Heckler, Koenig, 2024). What its errors mean, labels say.
    """

    def __init__(
        self, views: int, stem: int, channels: Sequence[int], *, picture: bool, types: int
    ) -> None:
        super().__init__()
        width = _LITE0[_AT_8_PX][-1]
        self.encoder = Lite0(views, _AT_8_PX + 1).requires_grad_(requires_grad=False)
        self.even = nn.Sequential(nn.Conv2d(width, width, 1, bias=False), nn.BatchNorm2d(width))
        self.student = nn.Sequential(
            *convolution(views, stem, 8, 4),
            *stack(stem, channels, stride=2),
            nn.Conv2d(channels[-1], width, 1),
        )
        self.sides = nn.Sequential(nn.Conv2d(width, 2 * width, 1, bias=False), nn.ReLU())
        self.heads = Heads(2 * width, 2 * width if picture else 0, types)
        # Neither is learnt: the channels as they are, and each error as two numbers that are never
        # negative, too much and too little.
        same = torch.eye(width)[:, :, None, None]
        with torch.no_grad():
            self.even[0].weight.copy_(same)
            self.sides[0].weight.copy_(torch.cat([same, -same]))
        for layer in (self.even, self.sides):
            layer.requires_grad_(requires_grad=False)

    def train(self, mode: bool = True) -> Student:
        """As nn.Module; the encoder's batch norms keep what they came with."""
        super().train(mode)
        self.encoder.eval()
        return self

    def forward(self, pixels: Any) -> Logits:
        """See the module. The student says the negative, so that a sum tells them apart."""
        apart = self.even(self.encoder(pixels)[_AT_8_PX]) + self.student(pixels)
        errors = self.sides(apart.detach())
        found: Logits = self.heads(errors, errors)
        return Logits(found.map, found.picture, found.types, apart)


_LITE0_TAIL = ("_conv_head", "_bn1", "_fc")


def _is_norm(key: str, value: Any) -> bool:
    return bool(key.endswith(".weight") and value.ndim == 1)


def _norm(channels: int) -> Any:
    return nn.BatchNorm2d(channels, eps=1e-3)
