"""Tests end the processes of their tasks, and no others."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta

from events.language.jobs import TaskStart
from tests import PATIENCE
from tests.integration.cluster import end_tree


def test_a_process_that_has_only_got_a_task_s_number_lives() -> None:
    process = subprocess.Popen(["sleep", "600"])
    try:
        now = datetime.now(UTC)
        end_tree(_task(process.pid, now - timedelta(hours=1)))
        assert process.poll() is None
        end_tree(_task(process.pid, now))
        assert process.wait(PATIENCE) == -9
    finally:
        process.kill()


def _task(pid: int, started_at: datetime) -> TaskStart:
    return TaskStart(task=0, attempt=1, allocation_id="a", pid=pid, started_at=started_at)
