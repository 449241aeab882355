"""How a picture of any size becomes a view: the package's `Fit`, applied while writing the slot.

Everything ends in one pass that writes the slot. OpenCV allocates quietly when a destination
does not suit it, so each call is checked to have used the one it was given.
"""

from __future__ import annotations

from typing import Any, assert_never

import cv2
import numpy as np
import numpy.typing as npt

from edge.core.types import ViewSpec

Array = npt.NDArray[Any]
Scratch = dict[tuple[int, ...], Array]

_TO = {  # (channels of the picture, channels of the view) -> OpenCV's conversion
    (1, 3): cv2.COLOR_GRAY2BGR,
    (3, 1): cv2.COLOR_BGR2GRAY,
    (4, 1): cv2.COLOR_BGRA2GRAY,
    (4, 3): cv2.COLOR_BGRA2BGR,
}


class UnfitError(Exception):
    """A picture or sample window that the view cannot take; the part becomes BAD_FRAME."""


def fit_into(picture: Array, spec: ViewSpec, out: Array, *, scratch: Scratch | None = None) -> None:
    """Write a picture into a view as the package asks; raises UnfitError, `out` then undefined.

    picture: uint8 (H, W) gray, (H, W, 3) BGR or (H, W, 4) BGRA. out: the slot's view,
    uint8 of spec.shape. pad and crop keep the scale and the centre (an odd pixel goes to the
    bottom or right); resize averages when it shrinks and interpolates when it enlarges.
    scratch: kept by the caller between calls, for the one case that needs an intermediate
    picture (resize together with a change of channels).
    """
    if picture.dtype != np.uint8 or picture.ndim not in (2, 3) or not picture.size:
        raise UnfitError(f"a picture of {picture.dtype} {picture.shape}, not 8-bit gray or colour")
    height, width = picture.shape[:2]
    fit, (view_height, view_width) = spec.fit, spec.shape[:2]
    if fit.sizes and (height, width) not in fit.sizes:
        admitted = ", ".join(f"{w}x{h}" for h, w in fit.sizes)
        raise UnfitError(f"{width}x{height} px, view {spec.name} admits {admitted}")
    match fit.mode:
        case "exact":
            if (height, width) != (view_height, view_width):
                raise UnfitError(_wrong_size(width, height, spec, "exactly"))
            _convert(picture, out)
        case "pad":
            if height > view_height or width > view_width:
                raise UnfitError(_wrong_size(width, height, spec, "at most"))
            top, left = (view_height - height) // 2, (view_width - width) // 2
            out[:top], out[top + height :] = fit.fill, fit.fill
            band = out[top : top + height]
            band[:, :left], band[:, left + width :] = fit.fill, fit.fill
            _convert(picture, band[:, left : left + width])
        case "crop":
            if height < view_height or width < view_width:
                raise UnfitError(_wrong_size(width, height, spec, "at least"))
            top, left = (height - view_height) // 2, (width - view_width) // 2
            _convert(picture[top : top + view_height, left : left + view_width], out)
        case "resize":
            _resize(picture, out, {} if scratch is None else scratch)
        case _:
            assert_never(fit.mode)


def samples_into(samples: Array, spec: ViewSpec, out: Array) -> None:
    """Write a finite window of samples, float32 of spec.shape, into a view; raises UnfitError."""
    if samples.dtype != np.float32 or samples.shape != spec.shape:
        raise UnfitError(
            f"samples of {samples.dtype} {samples.shape}, view {spec.name} takes "
            f"float32 {spec.shape}"
        )
    if not np.isfinite(samples).all():
        raise UnfitError(f"samples of view {spec.name} are not all finite")
    np.copyto(out, samples)


def _wrong_size(width: int, height: int, spec: ViewSpec, how: str) -> str:
    return f"{width}x{height} px, view {spec.name} takes {how} {spec.shape[1]}x{spec.shape[0]}"


def _channels(array: Array) -> int:
    return array.shape[2] if array.ndim == 3 else 1


def _convert(picture: Array, out: Array) -> None:
    """Copy with the change of channels that out's shape asks for."""
    given, wanted = _channels(picture), _channels(out)
    if given == wanted:
        np.copyto(out, picture.reshape(out.shape))
        return
    code = _TO.get((given, wanted))
    if code is None:
        raise UnfitError(f"a picture of {given} channels for a view of {wanted}")
    _check_used(cv2.cvtColor(picture, code, dst=out), out)


def _resize(picture: Array, out: Array, scratch: Scratch) -> None:
    height, width = out.shape[:2]
    shrinks = picture.shape[0] > height or picture.shape[1] > width
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    given, wanted = _channels(picture), _channels(out)
    if given == wanted:
        _check_used(cv2.resize(picture, (width, height), dst=out, interpolation=how), out)
        return
    shape = (height, width) if given == 1 else (height, width, given)
    between = scratch.setdefault(shape, np.empty(0, np.uint8))
    if between.shape != shape:
        between = scratch[shape] = np.empty(shape, np.uint8)
    _check_used(cv2.resize(picture, (width, height), dst=between, interpolation=how), between)
    _convert(between, out)


def _check_used(result: Array, out: Array) -> None:
    """OpenCV returns another array when it could not use the destination: then copy."""
    if result is not out and not np.shares_memory(result, out):
        np.copyto(out, result.reshape(out.shape))
