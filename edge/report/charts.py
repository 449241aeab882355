"""The two charts, drawn by matplotlib as SVG that needs nothing else."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from edge.core.box import INSTALL_REPORT
from edge.core.errors import ConfigError
from edge.report.figures import WANTED_OVERKILL, Curve
from edge.report.judge import Judged
from models.manifest import Thresholds

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_GOOD, _DEFECT, _LIMIT = "#0a5ea8", "#cf4400", "#1b1f24"
_BINS = 50
_NEAR = 0.1  # of the good pictures: how far the enlarged part of the curve goes


def need_matplotlib() -> None:
    """ConfigError, saying what to install, where matplotlib is not there."""
    try:
        import matplotlib  # noqa: F401 - half a second, before minutes of judging
    except ImportError:
        raise ConfigError(
            f"this report needs matplotlib (extra `report`): {INSTALL_REPORT}"
        ) from None


def roc(curve: Curve, points: Sequence[tuple[str, float, float]]) -> str:
    """The whole curve, and its beginning enlarged, as an <img>.

    points: what to mark, as (name, share of good pictures, share of defective ones).
    """
    figure, axes = _figure(2)
    x, y = [100 * one.good for one in curve.points], [100 * one.defect for one in curve.points]
    for place, ax in enumerate(axes):
        ax.plot(x, y, color=_DEFECT, linewidth=1.6)
        ax.axvline(100 * WANTED_OVERKILL, color=_LIMIT, linewidth=0.8, linestyle=":")
        for mark, (name, good, defect) in zip("os", points, strict=False):
            ax.plot(
                100 * good, 100 * defect, mark, label=name, color=_GOOD, markersize=7, clip_on=False
            )
        ax.set_xlabel("good pictures failed, %")
        ax.set_ylabel("defective pictures failed, %")
        ax.set_xlim(0, 100 if place == 0 else 100 * _NEAR)
        ax.set_ylim(0, 101)
        ax.grid(color="#d9dee4", linewidth=0.6)
    axes[1].set_title(f"the first {100 * _NEAR:g} % (dotted: {100 * WANTED_OVERKILL:g} %)")
    axes[0].set_title("ROC curve")
    axes[0].legend(loc="lower right", frameon=False)
    return _image(figure, "roc", "ROC curve: defective pictures failed over good ones failed")


def scores(found: Sequence[Judged], limits: Thresholds) -> str:
    """How many pictures of each kind have which score, with the limits, as an <img>."""
    figure, (ax,) = _figure(1)
    kinds = [
        [one.score for one in found if one.score is not None and one.defect is defect]
        for defect in (False, True)
    ]
    every = [score for kind in kinds for score in kind]
    low, high = min([0.0, *every]), max([1.0, *every])
    edges = [low + (high - low) * place / _BINS for place in range(_BINS + 1)]
    for kind, name, colour in zip(kinds, ("good", "defective"), (_GOOD, _DEFECT), strict=True):
        ax.hist(kind, bins=edges, label=name, color=colour, alpha=0.6)
    ax.axvline(limits.pass_below, color=_LIMIT, linewidth=1.2, label="PASS below")
    ax.axvline(limits.fail_from, color=_LIMIT, linewidth=1.2, linestyle="--", label="FAIL from")
    ax.set_yscale("log")
    ax.set_ylim(bottom=0.7)
    ax.set_xlabel("score")
    ax.set_ylabel("pictures (log)")
    ax.set_title("Scores")
    figure.legend(frameon=False, ncols=4, loc="outside lower center")
    return _image(figure, "scores", "Histogram of the scores of good and defective pictures")


def _figure(columns: int) -> tuple[Figure, list[Axes]]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.4), layout="constrained")
    FigureCanvasAgg(figure)  # never a window, whatever the machine has
    made: Any = figure.subplots(1, columns, squeeze=False)
    return figure, list(made[0])


def _image(figure: Figure, name: str, said: str) -> str:
    """As SVG without date and random names: the same figures give the same bytes."""
    import matplotlib

    file = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": name}):
        figure.savefig(file, format="svg", metadata={"Date": None})
    data = base64.b64encode(file.getvalue()).decode("ascii")
    return f'<img class="chart" alt="{said}" src="data:image/svg+xml;base64,{data}">'
