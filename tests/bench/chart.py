"""The copy benchmark as an SVG: a bar for each way, by size; legible on light and dark pages."""

from __future__ import annotations

from collections.abc import Mapping
from xml.sax.saxutils import escape

_WIDTH, _LEFT, _BAR, _GAP, _TOP = 760, 250, 15, 5, 34
_STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#24292f}.t{font-weight:600}.o{fill:#1a7f37}.b{fill:#8c959f}"
    "@media(prefers-color-scheme:dark){text{fill:#e6edf3}.o{fill:#3fb950}.b{fill:#6e7681}}"
)


def draw(results: Mapping[str, Mapping[str, float]]) -> str:
    """`results` are seconds, by size and way; the ratios are to each size's first way."""
    parts: list[str] = []
    y = 0
    for size, ways in results.items():
        longest, first = max(ways.values()), next(iter(ways.values()))
        parts.append(f'<text class="t" x="8" y="{y + 20}">{size}, seconds (ratio to pg_dump | psql)</text>')
        y += _TOP
        for name, seconds in ways.items():
            length = max(1.0, (_WIDTH - _LEFT - 110) * seconds / longest)
            kind = "o" if name.startswith("ours") else "b"
            parts.append(
                f'<text x="{_LEFT - 8}" y="{y + 12}" text-anchor="end">{escape(name)}</text>'
                f'<rect class="{kind}" x="{_LEFT}" y="{y}" width="{length:.1f}" height="{_BAR}" rx="2"/>'
                f'<text x="{_LEFT + length + 6:.1f}" y="{y + 12}">{seconds:.1f} ({seconds / first:.2f})'
                "</text>"
            )
            y += _BAR + _GAP
        y += 10
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {y}" role="img" '
        f'aria-label="Time to copy a database, by way and size"><style>{_STYLE}</style>\n{body}\n</svg>\n'
    )
