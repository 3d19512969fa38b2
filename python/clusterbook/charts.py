"""Charts without further packages: images that read on light and dark pages, with a text for those who don't see them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ._html import BUSY, NOTE, display_width, pad
from ._picture import label, svg

__all__ = ["Chart", "bars"]

WIDTH = 680


class Chart:
    """An image with its text."""

    def __init__(self, inline: str, alone: str, text: str) -> None:
        self.svg = alone
        self.text = text
        self._inline = inline

    def __repr__(self) -> str:
        return self.text

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        return {"text/html": self._inline, "image/svg+xml": self.svg, "text/plain": self.text}


def bars(
    values: Mapping[str, float] | Iterable[tuple[str, float]],
    *,
    title: str = "",
    unit: str = "",
    reference: Mapping[str, float] | None = None,
    spread: Mapping[str, tuple[float, float]] | None = None,
    note: str = "",
) -> Chart:
    """Horizontal bars, one for each value. `reference` draws dashed lines across all of them, for example a peak. `spread` draws, on the
    bar with that name, the least and the most that was measured. `note` stands below."""
    ranges = {str(name): (float(least), float(most)) for name, (least, most) in (spread or {}).items()}
    rows = [
        (str(name), float(value))
        for name, value in (values.items() if isinstance(values, Mapping) else values)
    ]
    lines = [(str(name), float(value)) for name, value in (reference or {}).items()]
    ends = [end for pair in ranges.values() for end in pair]
    if any(value != value or value < 0 for value in [value for _, value in rows + lines] + ends):
        raise ValueError("bars show numbers from 0 on")
    if unknown := sorted(set(ranges) - {name for name, _ in rows}):
        raise ValueError(f"there is no bar for the spread of {', '.join(unknown)}")
    most = max([value for _, value in rows + lines] + ends, default=0.0) or 1.0

    def amount(name: str, value: float) -> str:
        between = f" ({number(ranges[name][0])}–{number(ranges[name][1])})" if name in ranges else ""
        return f"{number(value)}{between} {unit}".strip()

    said = ", ".join(f"{name} {amount(name, value)}" for name, value in rows + lines)
    alt = f"{title}: {said}" if title else said

    def draw(alone: bool) -> str:
        left = 16 + 7.2 * min(32, max([display_width(name) for name, _ in rows], default=0))
        scale = (WIDTH - left - (170 if ranges else 110)) / most
        y = 12.0
        body = []
        if title:
            body.append(label(4, 18, title, 15, font_weight="600"))
            y = 34.0
        top = y
        for name, value in rows:
            body.append(label(left - 8, y + 17, name, 12, text_anchor="end"))
            body.append(
                f'<rect x="{left:g}" y="{y + 3:g}" width="{max(1.0, value * scale):.1f}" height="20" rx="3" fill="{BUSY}"/>'
            )
            end = value
            if name in ranges:
                least, end = ranges[name][0], max(value, ranges[name][1])
                first, last = left + least * scale, left + ranges[name][1] * scale
                body.append(
                    f'<path d="M{first:.1f} {y + 13:g}H{last:.1f}M{first:.1f} {y + 8:g}v10M{last:.1f} {y + 8:g}v10" '
                    'stroke="currentColor" stroke-width="1.5" fill="none"/>'
                )
            body.append(label(left + end * scale + 6, y + 17, amount(name, value), 12))
            y += 30
        for index, (name, value) in enumerate(lines):
            x = left + value * scale
            body.append(
                f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top:g}" y2="{y + 4 + 15 * index:g}" stroke="{NOTE}" stroke-width="2" '
                'stroke-dasharray="5 4"/>'
            )
            text = f"{name} {number(value)} {unit}".strip()
            end = x > WIDTH / 2
            body.append(label(x, y + 16 + 15 * index, text, 12, text_anchor="end" if end else "start"))
        y += 15 * len(lines) + (6 if lines else 0)
        if note:
            for line in note.splitlines():
                y += 17
                body.append(label(4, y, line, 12, fill_opacity=".75"))
        return svg(WIDTH, y + 10, alt, body, alone)

    names = max([display_width(name) for name, _ in rows + lines], default=0)
    text = [title] if title else []
    for name, value in rows:
        text.append(f"{pad(name, names)}  {'█' * max(1, round(40 * value / most))} {amount(name, value)}")
    for name, value in lines:
        text.append(
            f"{pad(name, names)}  {'┄' * max(1, round(40 * value / most))} {number(value)} {unit}".rstrip()
        )
    if note:
        text.append(note)
    return Chart(f"<div>{draw(False)}</div>", draw(True), "\n".join(text))


def number(value: float) -> str:
    """A number with as many digits as it is read with."""
    if value == 0 or 0.01 <= abs(value) < 100_000:
        return f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{value:.2e}"
