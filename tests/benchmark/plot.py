# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Draw the performance of a fleet as an SVG file for light and dark pages, narrow enough for a phone."""

from __future__ import annotations

import math
import typing as t
from pathlib import Path

from ansible_collections.wuying.workspace.tests.benchmark.fleet import PARALLEL, Line

WIDTH, HEIGHT, LEFT, TOP = 310, 200, 60, 50
PANEL = TOP + HEIGHT + 50
SERIES = ("directory", "Redis", "ceiling")
LICENCE = "\n".join(line[2:] for line in Path(__file__).read_text(encoding="utf-8").splitlines()[:3])
STYLE = """
text { font: 13px system-ui, sans-serif; fill: #1f2328; }
.page { fill: #ffffff; }
.title { font-weight: 600; }
.number { font-size: 12px; fill: #59636e; }
.grid { stroke: #d1d9e0; }
.line { fill: none; stroke-width: 2; }
.directory { stroke: #0969da; } circle.directory { fill: #0969da; }
.redis { stroke: #cf222e; } circle.redis { fill: #cf222e; }
.ceiling { stroke: #6e7781; } circle.ceiling { fill: #6e7781; }
path.ceiling { stroke-dasharray: 5 4; }
@media (prefers-color-scheme: dark) {
text { fill: #e6e8ea; }
.page { fill: #131416; }
.number { fill: #a4abb3; }
.grid { stroke: #3a4048; }
.directory { stroke: #6cb2f5; } circle.directory { fill: #6cb2f5; }
.redis { stroke: #ff8182; } circle.redis { fill: #ff8182; }
.ceiling { stroke: #a4abb3; } circle.ceiling { fill: #a4abb3; }
}
"""

Points = t.Dict[int, float]
"""A value for each number of sessions."""


def draw(lines: t.Sequence[Line]) -> str:
    """Return an SVG file with the throughput and the seconds per 1,000 sessions."""
    usual = [line for line in lines if line.parallel == PARALLEL]
    throughput: dict[str, Points] = {name: {} for name in SERIES}
    seconds: dict[str, Points] = {name: {} for name in SERIES}
    for line in usual:
        throughput[line.store][line.sessions] = line.rate
        seconds[line.store][line.sessions] = line.per_thousand
        known = throughput["ceiling"].get(line.sessions, line.ceiling)
        throughput["ceiling"][line.sessions] = (known + line.ceiling) / 2
    for sessions, rate in throughput["ceiling"].items():
        seconds["ceiling"][sessions] = 1000 / rate
    width, height = LEFT + WIDTH + 30, 2 * PANEL + 40
    return "\n".join(
        [
            f"<!--\n{LICENCE}\n-->",
            f'<svg role="img" width="{width}" height="{height}" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">',
            "<title>Throughput of one task by the number of stale sessions</title>",
            f"<style>{STYLE}</style>",
            f'<rect class="page" width="{width}" height="{height}"/>',
            *_panel(TOP, "Sessions a second", throughput),
            *_panel(TOP + PANEL, "Seconds per 1,000 sessions", seconds),
            *_legend([name for name in SERIES if throughput[name]]),
            "</svg>\n",
        ]
    )


def _panel(start: float, title: str, series: dict[str, Points]) -> list[str]:
    sizes = sorted({size for points in series.values() for size in points})
    top = _round_up(max(value for points in series.values() for value in points.values()))
    low, high = math.log10(sizes[0]), math.log10(max(sizes[-1], 10 * sizes[0]))
    shapes = [f'<text class="title" x="{LEFT}" y="{start - 20}">{title}</text>']
    for step in range(5):
        value, y = top * step / 4, start + HEIGHT * (1 - step / 4)
        shapes.append(
            f'<path class="grid" d="M{LEFT} {y:.1f}h{WIDTH}"/><text class="number" text-anchor="end" '
            f'x="{LEFT - 8}" y="{y + 4:.1f}">{value:,g}</text>'
        )

    def across(size: int) -> float:
        return LEFT + WIDTH * (math.log10(size) - low) / (high - low)

    for size in sizes:
        shapes.append(
            f'<text class="number" text-anchor="middle" x="{across(size):.1f}" y="{start + HEIGHT + 20}">{size:,}</text>'
        )
    shapes.append(
        f'<text class="number" text-anchor="middle" x="{LEFT + WIDTH / 2}" y="{start + HEIGHT + 40}">stale sessions in one task</text>'
    )
    for name, points in series.items():
        places = [(across(size), start + HEIGHT * (1 - value / top)) for size, value in sorted(points.items())]
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
        if places:
            shapes.append(f'<path class="line {name.lower()}" d="M{path}"/>')
        shapes += [f'<circle class="{name.lower()}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in places]
    return shapes


def _legend(names: list[str]) -> list[str]:
    y, shapes = 2 * PANEL + 20, []
    for left, name in zip(range(LEFT, LEFT + WIDTH, 115), names):
        shapes.append(
            f'<path class="line {name.lower()}" d="M{left} {y - 4}h28"/><text x="{left + 36}" y="{y}">{name}</text>'
        )
    return shapes


def _round_up(value: float) -> float:
    """Return the next larger number that is easy to divide by four."""
    unit = 10.0 ** math.floor(math.log10(value))
    steps = (1, 1.2, 1.6, 2, 2.4, 3.2, 4, 6, 8, 10)
    return next(step * unit for step in steps if step * unit >= value)
