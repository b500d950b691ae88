"""A plot as SVG: panels that share their x axis, with one line per system."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 300, 220
"""Of one panel, pixels."""

LEFT, RIGHT, TOP, BOTTOM = 52, 14, 34, 34
"""Margins within a panel, pixels."""

LEGEND = 30

MARK, LETTER = 20, 7
"""Width of a line in the legend, and of a letter at most, pixels."""

COLOURS = {
    "engine": "#666666",
    "worker": "#0a7d4b",
    "worker-vllm": "#c2410c",
}

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Panel:
    """One quantity over the number of requests.

    Attributes:
        title: The quantity with its unit.
        lines: Points by system; both coordinates above zero, since both axes are logarithmic.
    """

    title: str
    lines: Mapping[str, Points]


@dataclass(frozen=True, slots=True)
class Axis:
    """A logarithmic axis.

    Attributes:
        least: Value at `start`.
        most: Value at `end`.
        start: Pixel.
        end: Pixel.
    """

    least: float
    most: float
    start: float
    end: float

    def place(self, value: float) -> float:
        """Return the pixel of a value."""
        span = math.log(self.most / self.least) or 1.0
        return self.start + (self.end - self.start) * math.log(value / self.least) / span


def draw(panels: Sequence[Panel], columns: int = 2) -> str:
    """Return the panels as an SVG document."""
    rows = math.ceil(len(panels) / columns)
    width, height = columns * WIDTH, rows * HEIGHT + LEGEND
    names = list(dict.fromkeys(name for panel in panels for name in panel.lines))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" font-family="sans-serif" font-size="11">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    x = LEFT
    for name in names:
        parts.append(_line([(x, 18), (x + MARK, 18)], name))
        parts.append(_text(x + MARK + 5, 22, name, "start"))
        x += MARK + 25 + LETTER * len(name)
    for number, panel in enumerate(panels):
        x, y = (number % columns) * WIDTH, LEGEND + (number // columns) * HEIGHT
        parts.append(f'<g transform="translate({x} {y})">')
        parts += _draw_panel(panel)
        parts.append("</g>")
    return "\n".join([*parts, "</svg>"]) + "\n"


def _draw_panel(panel: Panel) -> list[str]:
    points = [point for line in panel.lines.values() for point in line]
    parts = [_text(LEFT, 18, panel.title, "start", bold=True)]
    if not points:
        return parts
    xs = [x for x, _ in points]
    x_axis = Axis(min(xs), max(xs), LEFT, WIDTH - RIGHT)
    y_axis = _make_y_axis([y for _, y in points])
    for y in decades(y_axis.least, y_axis.most):
        pixel = y_axis.place(y)
        parts.append(
            f'<path d="M{LEFT} {pixel:.1f}H{WIDTH - RIGHT}" stroke="#dddddd" stroke-width="1"/>'
        )
        parts.append(_text(LEFT - 6, pixel + 4, f"{y:g}", "end"))
    parts += [
        _text(x_axis.place(x), HEIGHT - BOTTOM + 16, f"{x:g}", "middle") for x in sorted(set(xs))
    ]
    for name, line in panel.lines.items():
        placed = [(x_axis.place(x), y_axis.place(y)) for x, y in line]
        parts.append(_line(placed, name))
        parts += [
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{_colour(name)}"/>' for x, y in placed
        ]
    return parts


def _make_y_axis(values: Sequence[float]) -> Axis:
    marks = decades(min(values), max(values))
    return Axis(marks[0], marks[-1], HEIGHT - BOTTOM, TOP)


def decades(least: float, most: float) -> list[float]:
    """Return the marks of a logarithmic axis: 1, 2 and 5 times powers of ten.

    Args:
        least: The first mark is not above it.
        most: The last mark is not below it; there are at least two marks.
    """
    exponents = range(math.floor(math.log10(least)) - 1, math.ceil(math.log10(most)) + 2)
    marks = [step * 10.0**exponent for exponent in exponents for step in (1, 2, 5)]
    low = max(mark for mark in marks if mark <= least * 1.000001)
    high = min(mark for mark in marks if mark >= most * 0.999999 and mark > low)
    return [mark for mark in marks if low <= mark <= high]


def _line(points: Points, name: str) -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{path}" fill="none" stroke="{_colour(name)}" stroke-width="2"/>'


def _text(x: float, y: float, text: str, anchor: str, *, bold: bool = False) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{weight}>{escape(text)}</text>'


def _colour(name: str) -> str:
    return COLOURS.get(name, "#333333")
