"""The style that pages share: light and dark by the reader's setting, always light on paper."""

from __future__ import annotations

_LIGHT = "--page: #ffffff; --ink: #1b1f24; --soft: #59636e; --rule: #d9dee4; --axis: #8c959f;"
_DARK = "--page: #15181c; --ink: #e4e7ea; --soft: #9aa4ae; --rule: #30363d; --axis: #6a737d;"
_RULES = """
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
  font-variant-numeric: tabular-nums; }
main { max-width: 1068px; margin: 0 auto; padding: 24px 24px 64px; }
h1 { font-size: 22px; line-height: 1.3; }
h2 { font-size: 17px; padding-top: 12px; border-top: 1px solid var(--rule); }
h3 { font-size: 14px; margin: 12px 0 4px; }
p { margin: 4px 0 12px; color: var(--soft); overflow-wrap: anywhere; }
.grid { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(440px, 100%), 1fr));
  gap: 8px 20px; }
.grid > div, .wide { min-width: 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13px; margin: 8px 0 12px; }
th, td { padding: 3px 0 3px 18px; text-align: right; vertical-align: top; font-weight: 400; }
th:first-child { padding-left: 0; text-align: left; }
thead th { color: var(--soft); border-bottom: 1px solid var(--axis); }
tbody tr { border-bottom: 1px solid var(--rule); }
.numbers td, .numbers th { white-space: nowrap; }
svg { display: block; width: 100%; height: auto; }
svg text { font-size: 11px; fill: var(--ink); paint-order: stroke; stroke: var(--page);
  stroke-width: 3px; stroke-linejoin: round; }
svg .name { fill: var(--soft); }
svg path, svg polyline { fill: none; }
.axis { stroke: var(--axis); stroke-width: 1; }
.rule { stroke: var(--rule); stroke-width: 1; }
.mark { stroke: var(--ink); stroke-width: 1; stroke-dasharray: 2 3; }
i { display: inline-block; width: 10px; height: 10px; }
"""
# Last, so that nothing but what is for paper comes after it.
_PRINT = """
@media print { main { max-width: none; padding: 0; } h2 { break-after: avoid; }
  svg, tr { break-inside: avoid; } .scroll { overflow: visible; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
"""


def sheet(light: str, dark: str, rules: str) -> str:
    """A page's style: its own colours by name, in both lights, and its own rules."""
    light, dark = f"{_LIGHT} {light}", f"{_DARK} {dark}"
    return (
        f":root {{ color-scheme: light dark; {light} }}\n"
        f"@media (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}\n"
        f"@media print {{ :root {{ color-scheme: light; {light} }} }}{_RULES}{rules}{_PRINT}"
    )


def fills(colours: dict[str, str]) -> str:
    """Rules that fill the marks of each kind, and its swatch, with its colour."""
    return "\n".join(
        f"svg .{kind} {{ fill: {colour}; }} i.{kind} {{ background: {colour}; }}"
        for kind, colour in colours.items()
    )
