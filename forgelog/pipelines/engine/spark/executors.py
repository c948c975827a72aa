"""Executors of a Spark of the worker's own: processes beside the driver, which share the stage's CPUs and memory."""

from __future__ import annotations

import atexit
import os
import secrets
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from forgelog.pipelines.problems import StageError

LEAST_MEMORY_BYTES = 512 << 20
"""Of a driver and of an executor. With less Spark starts none."""


@dataclass(frozen=True, slots=True)
class Shares:
    """What each process gets."""

    executors: int
    cores: int
    """Of each executor."""
    memory_bytes: int
    """Of each executor, and of the driver."""

    @property
    def master(self) -> str:
        """As Spark calls it."""
        return f"local-cluster[{self.executors},{self.cores},{self.memory_bytes >> 20}]"

    @property
    def settings(self) -> dict[str, str]:
        """Spark's own."""
        memory = f"{self.memory_bytes >> 20}m"
        return {
            "spark.driver.memory": memory,
            "spark.executor.memory": memory,
            "spark.executor.cores": str(self.cores),
            "spark.master.ui.port": "0",
            "spark.worker.ui.port": "0",
            "spark.authenticate": "true",  # its ports are open to whoever is on this machine
        }


def shares(executors: int, cores: int, memory_bytes: int) -> Shares:
    """How CPUs and memory are divided. Pure. Raises StageError if there is too little memory."""
    each = memory_bytes // (executors + 1)
    if each < LEAST_MEMORY_BYTES:
        wanted = (executors + 1) * LEAST_MEMORY_BYTES >> 20
        problem = f"is {executors}: with their driver they need {wanted} MiB, and Spark has {memory_bytes >> 20} here"
        raise StageError(
            "executors",
            problem,
            "give the stage more memory, half of which Spark has, or ask fewer",
        )
    return Shares(executors, max(1, cores // executors), each)


def make_home(spark: Path, scratch: Path) -> Path:
    """A home of Spark in `scratch` that has what the installed one `spark` has. Removed when this process ends.

    Executors write where it is, and its settings are the one way to give the driver a secret that no argument shows.
    """
    home = Path(tempfile.mkdtemp(prefix="spark-home-", dir=scratch))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    for entry in spark.iterdir():
        if entry.name not in ("conf", "work"):
            (home / entry.name).symlink_to(entry)
    (home / "conf").mkdir(mode=0o700)
    descriptor = os.open(home / "conf" / "spark-defaults.conf", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w") as file:
        file.write(f"spark.authenticate.secret {secrets.token_hex(32)}\n")
    return home
