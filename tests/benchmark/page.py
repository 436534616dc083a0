# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What was measured, as a page of the documentation."""

from __future__ import annotations

import textwrap
import typing as t
from pathlib import Path

from ansible_collections.wuying.workspace.tests.benchmark import plot
from ansible_collections.wuying.workspace.tests.benchmark.fleet import Line
from ansible_collections.wuying.workspace.tests.benchmark.tasks import Rate

LICENCE = "".join(
    f"  {line[2:]}" for line in Path(__file__).read_text(encoding="utf-8").splitlines(True)[:3]
)
HEAD = f"""\
..
{LICENCE}
..
  This page is written by the benchmark: make benchmark ARGS=--write-docs

.. _ansible_collections.wuying.workspace.docsite.speed:

What a fleet costs
==================

Measured on a machine with two processors, which the service's emulator shares with the task, with stores on its disk. Redis writes each change to the disk
before it answers. ``make benchmark`` measures the same on your machine, and ``tests/benchmark/README.md`` says what exactly.

Stale sessions in one task
--------------------------

*The ceiling* is what Python's ``requests`` sends at most, in one process, over as many connections, to the same emulator, with every request prepared and
signed beforehand. It decides nothing and keeps nothing. With ``max_parallel`` 8 and more a task uses three processes, with 4 two, with 2 one. The
ceiling depends on it too: the more threads a process has, the more they wait for each other.

"""
FLEET = """
With ``max_parallel: 8`` and, of 10,000 sessions, also with less and more. The memory is that of all processes of the task together. All is current when the
same task runs again at once: then nothing is sent, and no HTTP library is loaded.

"""
LOOPS = """
A task for all, or a loop
-------------------------

Whole runs of ``ansible-playbook`` with a directory store. Most of what a loop takes is Ansible's own start of a module, again for each item.

"""
TERMS = """
Many terms of a lookup
----------------------

All tokens are current. The store is opened once for a lookup, however many terms it has.

"""


def write(lines: t.Sequence[Line], rates: t.Sequence[Rate], terms: t.Mapping[int, float]) -> str:
    """Return the page, in reStructuredText."""
    picture = (
        f'<div class="wuying-speed-frame" style="overflow-x: auto">\n{plot.draw(lines)}\n</div>'
    )
    fleet = [
        (
            line.store,
            f"{line.sessions:,}",
            str(line.parallel),
            f"{line.rate:,.0f}",
            f"{line.share:.0%}",
            f"{line.peak:.0f}",
            f"{line.current:.2f}",
        )
        for line in lines
    ]
    columns = (
        "Store",
        "Sessions",
        "``max_parallel``",
        "Exchanged a second",
        "Of the ceiling",
        "Memory in MiB",
        "Seconds when all is current",
    )
    loops = [(rate.name, f"{rate.rate:,.1f}", f"{rate.to_uri:,.1f}") for rate in rates]
    lookups = [(f"{count:,}", f"{1000 * seconds:.2f}") for count, seconds in terms.items()]
    return "".join(
        (
            HEAD,
            f".. raw:: html\n\n{textwrap.indent(picture, '    ')}\n",
            FLEET,
            table(columns, fleet),
            LOOPS,
            table(("What", "Sessions a second", "To a loop of ``uri`` tasks"), loops),
            TERMS,
            table(("Terms", "Milliseconds a term"), lookups),
        )
    )


def table(head: t.Sequence[str], rows: t.Sequence[t.Sequence[str]]) -> str:
    """Return a table."""
    cells = [
        f"   {'*' if column == 0 else ' '} - {cell}"
        for row in (head, *rows)
        for column, cell in enumerate(row)
    ]
    return "\n".join((".. list-table::", "   :header-rows: 1", "", *cells, ""))
