"""The style of the page: light and dark by the reader's setting, always light on A4 paper.

The colours of what became of a part differ in lightness too; vermilion is for what is wrong.
"""

from __future__ import annotations

_LIGHT = """
--page: #ffffff; --ink: #1b1f24; --soft: #59636e; --rule: #d9dee4; --axis: #8c959f;
--tile: #f4f6f8; --accepted: #b5cfe4; --rejected: #0a5ea8; --reworked: #1a8a63; --held: #d99a00;
--wrong: #cf4400; --lost: #1b1f24; --unknown: #7d8590;
"""
_DARK = """
--page: #15181c; --ink: #e4e7ea; --soft: #9aa4ae; --rule: #30363d; --axis: #6a737d;
--tile: #1e2329; --accepted: #35566f; --rejected: #62aee8; --reworked: #4fc596; --held: #e3b341;
--wrong: #ff7d45; --lost: #e4e7ea; --unknown: #a0a8b1;
"""
_FILLS = {
    **{kind: kind for kind in ("accepted", "rejected", "reworked", "held", "lost", "unknown")},
    **dict.fromkeys(("defaulted", "escapes", "defect", "overruns", "fault"), "wrong"),
    **dict.fromkeys(("caught", "good", "verdict"), "rejected"),
    **dict.fromkeys(("parts", "undecided"), "unknown"),
}

STYLE = (
    f":root {{ color-scheme: light dark; {_LIGHT} }}\n"
    f"@media (prefers-color-scheme: dark) {{ :root {{ {_DARK} }} }}\n"
    f"@media print {{ :root {{ color-scheme: light; {_LIGHT} }} }}\n"
    + """
@page { size: A4; margin: 12mm; }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
  font-variant-numeric: tabular-nums; }
main { max-width: 1068px; margin: 0 auto; padding: 24px 24px 64px; }
h1 { font-size: 22px; line-height: 1.3; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 17px; margin: 36px 0 8px; padding-top: 12px; border-top: 1px solid var(--rule); }
h3 { font-size: 14px; margin: 12px 0 4px; }
p { margin: 4px 0 12px; max-width: 80ch; color: var(--soft); overflow-wrap: anywhere; }
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
.grid { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(440px, 100%), 1fr));
  gap: 8px 20px; }
.grid > div, .wide { min-width: 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13px; margin: 8px 0 12px; }
th, td { padding: 3px 0 3px 18px; text-align: right; vertical-align: top; font-weight: 400; }
th:first-child { padding-left: 0; text-align: left; }
thead th { color: var(--soft); border-bottom: 1px solid var(--axis); }
tbody tr { border-bottom: 1px solid var(--rule); }
tbody tr.sum { border-bottom: 2px solid var(--axis); }
tr.sum th, tr.sum td { font-weight: 600; }
tr.wrong td, tr.wrong th { color: var(--wrong); font-weight: 600; }
.numbers td, .numbers th { white-space: nowrap; }
.words td, .words th { text-align: left; overflow-wrap: anywhere; }
.words th[scope=row], .words .short { white-space: nowrap; }
.words { width: 100%; }
code { font: 12px ui-monospace, "DejaVu Sans Mono", monospace; overflow-wrap: anywhere; }
svg { display: block; width: 100%; height: auto; }
svg text { font-size: 11px; fill: var(--ink); paint-order: stroke; stroke: var(--page);
  stroke-width: 3px; stroke-linejoin: round; }
svg .name { fill: var(--soft); }
svg path { fill: none; }
.axis { stroke: var(--axis); stroke-width: 1; }
.rule { stroke: var(--rule); stroke-width: 1; }
.mark { stroke: var(--ink); stroke-width: 1; stroke-dasharray: 2 3; }
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
@media print { main { max-width: none; padding: 0; } body { font-size: 12px; }
  h2, h3, thead, h2 + p, h3 + p { break-after: avoid; }
  .wide, svg, tr, figure, .tiles, ul.look { break-inside: avoid; }
  .scroll { overflow: visible; } th, td { padding-left: 10px; } table { font-size: 11px; }
  .tiles { grid-template-columns: repeat(5, 1fr); } .tiles b { font-size: 18px; }
  .pictures { grid-template-columns: repeat(4, 1fr); }
  .grid { grid-template-columns: 1fr 1fr; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
"""
    + "\n".join(
        f"svg .{kind} {{ fill: var(--{name}); }} i.{kind} {{ background: var(--{name}); }}"
        for kind, name in _FILLS.items()
    )
    + "\ni { display: inline-block; width: 10px; height: 10px; margin-right: 6px; }\n"
)
