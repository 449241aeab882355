"""The style of the page: light and dark by the reader's setting, always light on paper.

Blue, grey and green differ in lightness and in their dashes too; vermilion is for overruns alone.
The stages are viridis, dark to light along the way, the session in the grey of its line.
"""

from __future__ import annotations

from edge.page.style import fills, sheet

_LIGHT = """
--latency: #0a5ea8; --session: #7d8590; --overhead: #1a8a63; --late: #cf4400; --band: #e9f1f8;
"""
_DARK = """
--latency: #62aee8; --session: #a0a8b1; --overhead: #4fc596; --late: #ff7d45; --band: #1d2a36;
"""
_STAGES = (
    *("#482475", "#414487", "#355f8d", "var(--session)", "#2a788e"),
    *("#21918c", "#35b779", "#84d44b", "#d2e21b"),
)
_RULES = """
h1 { margin: 0 0 16px; }
h2 { margin: 40px 0 8px; }
h3 { overflow-wrap: anywhere; }
p { max-width: 76ch; }
.verdict { color: var(--ink); font-size: 17px; font-weight: 600; margin: 0 0 4px; }
.verdict.late { color: var(--late); }
.partial { color: var(--ink); font-weight: 600; padding: 8px 12px; border: 2px dashed var(--axis); }
thead th { white-space: nowrap; }
.words td:last-child, .words th:last-child, .facts td, .facts thead th {
  text-align: left; white-space: normal; overflow-wrap: anywhere; }
.facts { width: 100%; }
.facts th[scope=row] { white-space: nowrap; color: var(--soft); }
.facts b { color: var(--ink); font-weight: 600; }
.bar { fill: var(--latency); }
.bar:hover, .stage:hover { opacity: .7; }
.latency { stroke: var(--latency); stroke-width: 2; }
.session { stroke: var(--session); stroke-width: 2; stroke-dasharray: 7 4; }
.overhead { stroke: var(--overhead); stroke-width: 2; stroke-dasharray: 2 3; }
.upper { stroke: var(--latency); stroke-width: 1.4; stroke-dasharray: 6 3; }
.line { stroke: var(--session); stroke-width: 1.6; }
.dots { stroke: var(--latency); stroke-width: 2.6; stroke-linecap: round; }
.range { stroke: var(--latency); stroke-width: 1.6; stroke-linecap: round; opacity: .4; }
svg path.late, svg rect.late { fill: var(--late); stroke: var(--page); stroke-width: .6; }
svg path.unheard { fill: var(--page); stroke: var(--late); stroke-width: 1.4; }
.stage { stroke: var(--page); stroke-width: 1; }
i { margin-right: 7px; }
@media print { .verdict { break-inside: avoid; } }
"""

STYLE = sheet(
    _LIGHT,
    _DARK,
    _RULES + fills({f"s{number}": colour for number, colour in enumerate(_STAGES)}),
)
