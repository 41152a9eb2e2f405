"""A bar chart on a logarithmic scale, as SVG text."""

from __future__ import annotations

import math
from collections.abc import Mapping
from html import escape

_COLOURS = ("#2b6cb0", "#dd8452", "#55a868", "#8172b3")
_LEFT, _WIDTH, _BAR, _GAP = 110, 520, 18, 14


def draw(title: str, groups: Mapping[str, Mapping[str, float]]) -> str:
    """Bars of each name, one a group; groups have a colour each. ValueError when there is nothing above zero."""
    values = [value for group in groups.values() for value in group.values() if value > 0]
    if not values:
        raise ValueError("a chart needs a value above zero")
    names = list(dict.fromkeys(name for group in groups.values() for name in group))
    lowest, highest = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)) + 1e-9)
    scale = _WIDTH / max(highest - lowest, 1)
    height = 60 + len(names) * (len(groups) * _BAR + _GAP) + 30
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_LEFT + _WIDTH + 80} {height}" role="img" '
        f'font-family="sans-serif" font-size="12"><title>{escape(title)}</title>',
        f'<rect width="100%" height="100%" fill="#ffffff"/><text x="10" y="20" font-size="14">{escape(title)}</text>',
    ]
    for number, how in enumerate(groups):
        x = _LEFT + number * 180.0
        parts.append(f'<rect x="{x}" y="32" width="12" height="12" fill="{_COLOURS[number % len(_COLOURS)]}"/>')
        parts.append(f'<text x="{x + 18}" y="42">{escape(how)}</text>')
    for power in range(lowest, highest + 1):
        x = _LEFT + (power - lowest) * scale
        parts.append(f'<line x1="{x:.0f}" y1="54" x2="{x:.0f}" y2="{height - 26}" stroke="#dddddd"/>')
        parts.append(f'<text x="{x:.0f}" y="{height - 10}" text-anchor="middle">{10.0**power:g}</text>')
    y = 60.0
    for name in names:
        parts.append(
            f'<text x="{_LEFT - 8}" y="{y + len(groups) * _BAR / 2 + 4}" text-anchor="end">{escape(name)}</text>'
        )
        for number, group in enumerate(groups.values()):
            if group.get(name, 0) > 0:
                length = max((math.log10(group[name]) - lowest) * scale, 1)
                colour = _COLOURS[number % len(_COLOURS)]
                parts.append(f'<rect x="{_LEFT}" y="{y}" width="{length:.0f}" height="{_BAR - 3}" fill="{colour}"/>')
                parts.append(f'<text x="{_LEFT + length + 5:.0f}" y="{y + _BAR - 6}">{group[name]:,.1f}</text>')
            y += _BAR
        y += _GAP
    return "\n".join([*parts, "</svg>", ""])
