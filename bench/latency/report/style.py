"""The style of the page: light and dark by the reader's setting, always light on paper.

Blue, grey and green differ in lightness and in their dashes too; vermilion is for overruns alone.
The stages are viridis, dark to light along the way, the session in the grey of its line.
"""

from __future__ import annotations

_LIGHT = """
--page: #ffffff; --ink: #1b1f24; --soft: #59636e; --rule: #d9dee4; --axis: #8c959f;
--latency: #0a5ea8; --session: #7d8590; --overhead: #1a8a63; --late: #cf4400; --band: #e9f1f8;
"""
_DARK = """
--page: #15181c; --ink: #e4e7ea; --soft: #9aa4ae; --rule: #30363d; --axis: #6a737d;
--latency: #62aee8; --session: #a0a8b1; --overhead: #4fc596; --late: #ff7d45; --band: #1d2a36;
"""
_STAGES = (
    *("#482475", "#414487", "#355f8d", "var(--session)", "#2a788e"),
    *("#21918c", "#35b779", "#84d44b", "#d2e21b"),
)

STYLE = (
    f":root {{ color-scheme: light dark; {_LIGHT} }}\n"
    f"@media (prefers-color-scheme: dark) {{ :root {{ {_DARK} }} }}\n"
    f"@media print {{ :root {{ color-scheme: light; {_LIGHT} }} }}\n"
    + """
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
  font-variant-numeric: tabular-nums; }
main { max-width: 1068px; margin: 0 auto; padding: 24px 24px 64px; }
h1 { font-size: 22px; line-height: 1.3; margin: 0 0 16px; }
h2 { font-size: 17px; margin: 40px 0 8px; padding-top: 12px; border-top: 1px solid var(--rule); }
h3 { font-size: 14px; margin: 12px 0 4px; overflow-wrap: anywhere; }
p { margin: 4px 0 12px; max-width: 76ch; color: var(--soft); overflow-wrap: anywhere; }
.verdict { color: var(--ink); font-size: 17px; font-weight: 600; margin: 0 0 4px; }
.verdict.late { color: var(--late); }
.partial { color: var(--ink); font-weight: 600; padding: 8px 12px; border: 2px dashed var(--axis); }
.grid { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(440px, 100%), 1fr));
  gap: 8px 20px; }
.grid > div, .wide { min-width: 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13px; margin: 8px 0 12px; }
th, td { padding: 3px 0 3px 18px; text-align: right; vertical-align: top; font-weight: 400; }
th:first-child { padding-left: 0; text-align: left; }
thead th { color: var(--soft); border-bottom: 1px solid var(--axis); white-space: nowrap; }
tbody tr { border-bottom: 1px solid var(--rule); }
.numbers td, .numbers th { white-space: nowrap; }
.words td:last-child, .words th:last-child, .facts td, .facts thead th {
  text-align: left; white-space: normal; overflow-wrap: anywhere; }
.facts { width: 100%; }
.facts th[scope=row] { white-space: nowrap; color: var(--soft); }
.facts b { color: var(--ink); font-weight: 600; }
svg { display: block; width: 100%; height: auto; }
svg text { font-size: 11px; fill: var(--ink); paint-order: stroke; stroke: var(--page);
  stroke-width: 3px; stroke-linejoin: round; }
svg .name { fill: var(--soft); }
svg path, svg polyline { fill: none; }
.axis { stroke: var(--axis); stroke-width: 1; }
svg .grid { stroke: var(--rule); stroke-width: 1; }
.bar { fill: var(--latency); }
.bar:hover, .stage:hover { opacity: .7; }
.mark { stroke: var(--ink); stroke-width: 1; stroke-dasharray: 2 3; }
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
i { display: inline-block; width: 10px; height: 10px; margin-right: 7px; }
@media print { main { max-width: none; padding: 0; } h2 { break-after: avoid; }
  svg, tr, .verdict { break-inside: avoid; } .scroll { overflow: visible; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
"""
    + "\n".join(
        f"svg .s{number} {{ fill: {colour}; }} i.s{number} {{ background: {colour}; }}"
        for number, colour in enumerate(_STAGES)
    )
)
