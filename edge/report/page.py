"""The report as one HTML file that needs nothing else; readable on paper, the summary first."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape

from edge.historian.report.style import STYLE
from edge.page import frame
from edge.page.words import count, percent
from edge.report import charts, tables, words
from edge.report.figures import Figures, Shown
from edge.report.judge import Judged
from edge.report.worst import Look
from models.manifest import Thresholds

_RULES = """
p.alarm { color: #b00020; border: 2px solid #b00020; padding: 8px 12px; font-weight: 600;
  max-width: none; }
p.said { color: var(--ink); font-size: 16px; margin: 4px 0; }
p.note { color: var(--ink); border-left: 4px solid var(--held); padding-left: 10px; }
img { max-width: 100%; height: auto; }
img.chart { background: #fff; width: 100%; break-inside: avoid; }
.looks { display: grid; grid-template-columns: repeat(auto-fill, minmax(420px, 1fr)); gap: 14px; }
.looks figure { display: grid; grid-template-columns: 1fr 1fr; gap: 4px; break-inside: avoid; }
.looks figcaption { grid-column: 1 / 3; }
@media print { .looks { grid-template-columns: 1fr 1fr; } }
"""


def page(figures: Figures, found: Sequence[Judged], looks: Sequence[Look]) -> str:
    """The file's text. looks: those of the misses, then those of the false rejects."""
    ran = figures.ran
    title = f"Quality report: {ran.package} {ran.version} on {ran.footage}"
    title += f", split {ran.split}" * bool(ran.split)
    alarm = words.learned_from(figures)
    body = [
        f'<p class="alarm">{escape(alarm)}</p>' if alarm else "",
        f"<h1>{escape(title)}</h1>",
        *(f'<p class="said">{escape(line)}</p>' for line in words.summary(figures.pictures)),
        tables.summary(figures),
        *(f'<p class="note">{escape(line)}</p>' for line in words.notes(figures)),
        *_certificate(figures.certificate),
        *_groups(figures),
        "<h2>Defect types</h2>",
        tables.types(figures.by_type) if figures.by_type else "<p>No defective picture.</p>",
        *_scores(figures, found),
        *_fp32(figures),
        *_study(figures),
        *_looks(figures, looks),
        *_faults(figures),
        "<h2>What ran</h2>",
        tables.ran(figures),
        "<h2>What the words mean</h2>",
        tables.meanings(),
        "<p>PASS and FAIL are quality, not functional safety.</p>",
    ]
    return frame.page(title, STYLE + _RULES, body, pictures=True)


def _certificate(lines: Sequence[str]) -> list[str]:
    said = lines or ("no certificate: nothing is proven of these limits",)
    return ["<h2>Certificate</h2>", *(f"<p>{escape(line)}</p>" for line in said)]


def _groups(figures: Figures) -> list[str]:
    if not figures.by_group:
        return []
    shown = figures.by_group[: tables.MOST_GROUPS]
    more = len(figures.by_group) - len(shown)
    return [
        "<h2>Groups</h2>",
        f"<p>{escape(words.GROUPS)}</p>",
        tables.groups(shown),
        f"<p>and {count(more, 'group')} with fewer wrong pictures.</p>" if more else "",
    ]


def _scores(figures: Figures, found: Sequence[Judged]) -> list[str]:
    curve, ran = figures.curve, figures.ran
    lines = ["<h2>Scores</h2>"]
    if curve.auroc is None:
        lines.append("<p>Without pictures of both kinds there is no ROC curve.</p>")
    else:
        lines += [
            tables.curve(curve),
            charts.roc(curve, words.working_points(found, ran)),
        ]
    lines.append(
        charts.scores(found, Thresholds(pass_below=ran.pass_below, fail_from=ran.fail_from))
    )
    return lines


def _fp32(figures: Figures) -> list[str]:
    heading = "<h2>The package against its FP32 twin</h2>"
    if figures.fp32 is None:
        return [heading, f"<p>Not compared: {escape(figures.no_fp32)}.</p>"]
    return [heading, f"<p>{escape(words.FP32)}</p>", tables.fp32(figures.fp32)]


def _study(figures: Figures) -> list[str]:
    heading = "<h2>Repeated judgements (attribute MSA)</h2>"
    if figures.study is None:
        return [heading, f"<p>Not reckoned: {escape(figures.no_study)}.</p>"]
    said = (words.REPEATS, words.study(figures.study))
    return [heading, *(f"<p>{escape(line)}</p>" for line in said), tables.study(figures.study)]


def _looks(figures: Figures, looks: Sequence[Look]) -> list[str]:
    split = len(figures.misses)
    missed, rejected = looks[:split], looks[split:]
    return [
        "<h2>The worst misses</h2>",
        f"<p>{escape(words.MISSES)}</p>" if missed else "<p>No defective picture was missed.</p>",
        _figures(figures.misses, missed),
        "<h2>The worst false rejects</h2>",
        f"<p>{escape(words.REJECTS)}</p>" if rejected else "<p>No good picture was rejected.</p>",
        _figures(figures.false_rejects, rejected),
    ]


def _figures(shown: Sequence[Shown], looks: Sequence[Look]) -> str:
    made = "".join(_figure(one, look) for one, look in zip(shown, looks, strict=True))
    return f'<div class="looks">{made}</div>' if made else ""


def _figure(one: Shown, look: Look) -> str:
    said = escape(words.shown(one))
    return (
        f"<figure>{_jpeg(look.plain, one.name)}{_jpeg(look.seen, f'{one.name}, with its map')}"
        f"<figcaption>{said}</figcaption></figure>"
    )


def _jpeg(data: bytes, said: str) -> str:
    source = base64.b64encode(data).decode("ascii")
    return f'<img alt="{escape(said)}" src="data:image/jpeg;base64,{source}">'


def _faults(figures: Figures) -> list[str]:
    if not figures.faults:
        return []
    total = sum(one.defect + one.good for one in figures.faults)
    of = figures.pictures.defect + figures.pictures.good
    said = f"{count(total, 'picture')} of {of:,} ({percent(total / of)}): on a line, the default."
    return ["<h2>Without a verdict</h2>", f"<p>{escape(said)}</p>", tables.faults(figures.faults)]
