"""Spark as the engine of a stage: `open_session` opens it here or asks a Spark Connect server, and `run_plan` runs a
plan in it. Needs the extra ``spark``.

The plan is the one of DuckDB. Its queries are translated (`forgelog.pipelines.engine.portable`), with the same results
or a refusal that names what differs.
"""

from forgelog.pipelines.engine.spark.running import run_plan
from forgelog.pipelines.engine.spark.sessions import open_session

__all__ = ["open_session", "run_plan"]
