# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a fleet took, as a picture that follows dark and light."""

from __future__ import annotations

import math
import typing as t

from ansible_collections.wuying.workspace.tests.benchmark.fleet import PARALLEL, Line

WIDTH, HEIGHT, LEFT, TOP = 330, 220, 60, 50
GAP = LEFT + 40
SERIES = ("directory", "Redis", "ceiling")
STYLE = """
.wuying-speed { min-width: 42rem; width: 100%; }
.wuying-speed text { font: 13px system-ui, sans-serif; fill: #1f2328; }
.wuying-speed .title { font-weight: 600; }
.wuying-speed .number { font-size: 12px; fill: #59636e; }
.wuying-speed .grid { stroke: #d1d9e0; }
.wuying-speed .line { fill: none; stroke-width: 2; }
.wuying-speed .directory { stroke: #0969da; } .wuying-speed circle.directory { fill: #0969da; }
.wuying-speed .redis { stroke: #cf222e; } .wuying-speed circle.redis { fill: #cf222e; }
.wuying-speed .ceiling { stroke: #6e7781; } .wuying-speed circle.ceiling { fill: #6e7781; }
.wuying-speed path.ceiling { stroke-dasharray: 5 4; }
@media (prefers-color-scheme: dark) {
.wuying-speed text { fill: #f0f6fc; }
.wuying-speed .number { fill: #9198a1; }
.wuying-speed .grid { stroke: #3d444d; }
.wuying-speed .directory { stroke: #58a6ff; } .wuying-speed circle.directory { fill: #58a6ff; }
.wuying-speed .redis { stroke: #ff7b72; } .wuying-speed circle.redis { fill: #ff7b72; }
.wuying-speed .ceiling { stroke: #9198a1; } .wuying-speed circle.ceiling { fill: #9198a1; }
}
"""

Points = t.Dict[int, float]
"""A value for each number of sessions."""


def draw(lines: t.Sequence[Line]) -> str:
    """Draw, as SVG for light and dark, the throughput and the seconds per 1,000 sessions."""
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
    width, height = 2 * (LEFT + WIDTH) + GAP, TOP + HEIGHT + 85
    return "\n".join(
        [
            f'<svg class="wuying-speed" role="img" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">',
            "<title>Throughput of one task by the number of stale sessions</title>",
            f"<style>{STYLE}</style>",
            *_panel(LEFT, "Sessions a second", throughput),
            *_panel(LEFT + WIDTH + GAP, "Seconds per 1,000 sessions", seconds),
            *_legend([name for name in SERIES if throughput[name]]),
            "</svg>",
        ]
    )


def _panel(left: float, title: str, series: dict[str, Points]) -> list[str]:
    sizes = sorted({size for points in series.values() for size in points})
    top = _round_up(max(value for points in series.values() for value in points.values()))
    low, high = math.log10(sizes[0]), math.log10(max(sizes[-1], 10 * sizes[0]))
    shapes = [f'<text class="title" x="{left}" y="{TOP - 20}">{title}</text>']
    for step in range(5):
        value, y = top * step / 4, TOP + HEIGHT * (1 - step / 4)
        shapes.append(
            f'<path class="grid" d="M{left} {y:.1f}h{WIDTH}"/><text class="number" text-anchor="end" '
            f'x="{left - 8}" y="{y + 4:.1f}">{value:,g}</text>'
        )

    def across(size: int) -> float:
        return left + WIDTH * (math.log10(size) - low) / (high - low)

    for size in sizes:
        shapes.append(
            f'<text class="number" text-anchor="middle" x="{across(size):.1f}" y="{TOP + HEIGHT + 20}">{size:,}</text>'
        )
    shapes.append(
        f'<text class="number" text-anchor="middle" x="{left + WIDTH / 2}" y="{TOP + HEIGHT + 40}">stale sessions in one task</text>'
    )
    for name, points in series.items():
        places = [
            (across(size), TOP + HEIGHT * (1 - value / top))
            for size, value in sorted(points.items())
        ]
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
        if places:
            shapes.append(f'<path class="line {name.lower()}" d="M{path}"/>')
        shapes += [
            f'<circle class="{name.lower()}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in places
        ]
    return shapes


def _legend(names: list[str]) -> list[str]:
    y = TOP + HEIGHT + 70
    labels = {"ceiling": "the ceiling: prepared requests, sent over as many connections"}
    shapes, left = [], LEFT
    for name in names:
        shapes.append(
            f'<path class="line {name.lower()}" d="M{left} {y - 4}h28"/><text x="{left + 36}" y="{y}">{labels.get(name, name)}</text>'
        )
        left += 130
    return shapes


def _round_up(value: float) -> float:
    """Return the next number that divides well by four."""
    unit = 10.0 ** math.floor(math.log10(value))
    steps = (1, 1.2, 1.6, 2, 2.4, 3.2, 4, 6, 8, 10)
    return next(step * unit for step in steps if step * unit >= value)
