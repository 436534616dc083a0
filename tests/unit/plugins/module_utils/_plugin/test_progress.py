# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lines that a long task logs."""

from __future__ import annotations

from ansible_collections.wuying.workspace.plugins.module_utils._plugin.progress import Progress
from ansible_collections.wuying.workspace.plugins.module_utils._runtime import signals


class Task:
    """A task whose sessions take so many seconds each."""

    def __init__(self, seconds: float) -> None:
        self.lines: list[str] = []
        self.seconds, self.now = seconds, 0.0
        self.progress = Progress(self.lines.append, lambda: self.now)
        self.counts = {"total": 0, "refreshed": 0, "failed": 0}

    def process(self, sessions: int) -> list[str]:
        """Process sessions, and return the lines."""
        for _session in range(sessions):
            self.now += self.seconds
            self.counts["total"] += 1
            self.counts["refreshed"] += 1
            self.progress.step(self.counts)
        return self.lines


def test_a_long_task_logs_a_line_for_each_tenth():
    task = Task(1)
    task.progress.begin(200)
    lines = task.process(200)
    assert len(lines) == 10
    assert lines[0] == "20 of 200 sessions processed in 20 seconds: refreshed 20"
    assert lines[-1] == "200 of 200 sessions processed in 3 minutes 20 seconds: refreshed 200"


def test_a_short_task_logs_nothing():
    task = Task(0.01)
    task.progress.begin(200)
    assert task.process(200) == []


def test_the_first_seconds_of_a_long_task_log_nothing():
    task = Task(0.125)
    task.progress.begin(100)
    assert [line.split()[0] for line in task.process(100)] == ["40", "50", "60", "70", "80", "90", "100"]


def test_a_few_slow_sessions_log_a_line_each():
    task = Task(60)
    task.progress.begin(3)
    assert len(task.process(3)) == 3


def test_sessions_that_were_not_due_are_not_counted():
    task = Task(1)
    assert task.process(50) == []
    task.progress.begin(10)
    assert task.process(1) == ["1 of 10 sessions processed in 51 seconds: refreshed 51"]


def test_a_stopped_task_logs_its_counts_once(monkeypatch):
    monkeypatch.setattr(signals, "_received", [2])
    task = Task(10)
    task.progress.begin(10)
    task.process(9)
    task.counts["failed"] = 1
    task.progress.end(task.counts)
    last = "9 of 10 sessions processed in 1 minute 30 seconds: refreshed 9, failed 1"
    assert task.lines == [f"Stopped by a signal. {last}"]


def test_a_task_that_was_not_stopped_logs_nothing_at_its_end():
    task = Task(0.01)
    task.progress.begin(10)
    task.process(10)
    task.progress.end(task.counts)
    assert task.lines == []
