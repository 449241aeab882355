"""The style of the page: light and dark by the reader's setting, always light on A4 paper.

The colours of what became of a part differ in lightness too; vermilion is for what is wrong.
"""

from __future__ import annotations

from edge.page.style import fills, sheet

_LIGHT = """
--tile: #f4f6f8; --accepted: #b5cfe4; --rejected: #0a5ea8; --reworked: #1a8a63; --held: #d99a00;
--wrong: #cf4400; --lost: #1b1f24; --unknown: #7d8590;
"""
_DARK = """
--tile: #1e2329; --accepted: #35566f; --rejected: #62aee8; --reworked: #4fc596; --held: #e3b341;
--wrong: #ff7d45; --lost: #e4e7ea; --unknown: #a0a8b1;
"""
_FILLS = {
    **{kind: kind for kind in ("accepted", "rejected", "reworked", "held", "lost", "unknown")},
    **dict.fromkeys(("defaulted", "escapes", "defect", "overruns", "fault"), "wrong"),
    **dict.fromkeys(("caught", "good", "verdict"), "rejected"),
    **dict.fromkeys(("parts", "undecided"), "unknown"),
}

_RULES = """
@page { size: A4; margin: 12mm; }
h1 { margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { margin: 36px 0 8px; }
p { max-width: 80ch; }
p.period { color: var(--ink); font-size: 16px; }
ul.look { margin: 8px 0 12px; padding: 10px 12px 10px 30px; border-left: 4px solid var(--wrong);
  background: var(--tile); overflow-wrap: anywhere; }
ul.look.fine { border-left-color: var(--reworked); padding-left: 14px; list-style: none; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(128px, 1fr)); gap: 8px;
  margin: 12px 0; }
.tiles div { background: var(--tile); padding: 8px 12px; border-top: 3px solid var(--axis); }
.tiles b { display: block; font-size: 22px; line-height: 1.25; font-weight: 600;
  white-space: nowrap; }
.tiles span { display: block; font-size: 12px; line-height: 1.35; color: var(--soft); }
.tiles div.wrong { border-top-color: var(--wrong); }
.tiles div.wrong b { color: var(--wrong); }
tbody tr.sum { border-bottom: 2px solid var(--axis); }
tr.sum th, tr.sum td { font-weight: 600; }
tr.wrong td, tr.wrong th { color: var(--wrong); font-weight: 600; }
.words td, .words th { text-align: left; overflow-wrap: anywhere; }
.words th[scope=row], .words .short { white-space: nowrap; }
.words { width: 100%; }
code { font: 12px ui-monospace, "DejaVu Sans Mono", monospace; overflow-wrap: anywhere; }
.limit { stroke: var(--ink); stroke-width: 1.6; stroke-dasharray: 7 4; }
.p50 { stroke: var(--rejected); stroke-width: 2.2; }
.p99 { stroke: var(--reworked); stroke-width: 2; stroke-dasharray: 6 3; }
.most { stroke: var(--unknown); stroke-width: 1.6; stroke-dasharray: 2 3; }
svg rect:hover { opacity: .7; }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(200px, 1fr));
  gap: 14px; margin: 8px 0; }
figure { margin: 0; min-width: 0; }
figure svg { background: var(--tile); border: 1px solid var(--rule); }
figure .region { fill: none; stroke: var(--wrong); stroke-width: 2;
  vector-effect: non-scaling-stroke; }
figure .absent { background: var(--tile); border: 1px dashed var(--axis); padding: 28px 10px;
  font-size: 12px; color: var(--soft); overflow-wrap: anywhere; }
figcaption { font-size: 12px; line-height: 1.4; overflow-wrap: anywhere; padding-top: 4px; }
i { margin-right: 6px; }
@media print { body { font-size: 12px; } h3, thead, h2 + p, h3 + p { break-after: avoid; }
  .wide, figure, .tiles, ul.look { break-inside: avoid; }
  th, td { padding-left: 10px; } table { font-size: 11px; }
  .tiles { grid-template-columns: repeat(5, 1fr); } .tiles b { font-size: 18px; }
  .pictures { grid-template-columns: repeat(4, 1fr); }
  .grid { grid-template-columns: 1fr 1fr; } }
"""

STYLE = sheet(
    _LIGHT,
    _DARK,
    _RULES + fills({kind: f"var(--{name})" for kind, name in _FILLS.items()}),
)
