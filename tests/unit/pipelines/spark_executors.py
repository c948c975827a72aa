"""Opens a session of Spark with two executors in the folder that is named, and says what came of it (`test_spark`)."""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from pathlib import Path

import psutil

from forgelog.pipelines.engine.spark import open_session


def main(folder: Path) -> None:
    session = open_session(cores=2, memory_bytes=3 * 600 << 20, executors=2, scratch=folder)
    (total,) = session.range(1000).selectExpr("sum(id)").collect()[0]
    conf = Path(os.environ["SPARK_HOME"]) / "conf" / "spark-defaults.conf"
    secret = conf.read_text().split()[1]
    commands = []
    for each in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):  # of one that has just ended
            commands.append(" ".join(each.cmdline()))
    executors = [each for each in commands if "CoarseGrainedExecutorBackend" in each]
    found = {
        "executors": len(executors),
        "sum": total,
        "shown": sum(secret in each for each in commands),
        "mode": oct(conf.stat().st_mode & 0o777),
    }
    session.stop()
    print(json.dumps(found))


main(Path(sys.argv[1]))
