"""What runs a stage's transformations: they are compiled to DuckDB's SQL, and DuckDB or Spark runs it.

`compile` makes a plan of a stage and the columns of its inputs, without data. `open_connection` opens a DuckDB that can
read what is allowed and nothing else, and `run` runs a plan in it.
"""

from forgelog.pipelines.engine.compiling import compile, compile_transformations
from forgelog.pipelines.engine.connection import allow, lock, open_connection, spilled_bytes
from forgelog.pipelines.engine.errors import explained
from forgelog.pipelines.engine.functions import Functions, imported
from forgelog.pipelines.engine.plan import Plan, Relation
from forgelog.pipelines.engine.running import Ran, describe, estimate, explain, run, run_plan

__all__ = [
    "Functions",
    "Plan",
    "Ran",
    "Relation",
    "allow",
    "compile",
    "compile_transformations",
    "describe",
    "estimate",
    "explain",
    "explained",
    "imported",
    "lock",
    "open_connection",
    "run",
    "run_plan",
    "spilled_bytes",
]
