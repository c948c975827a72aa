"""The pipeline's own functions in Spark's SQL: the same arrays go in and come out."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import Any

from events.language.pipelines.transformations import UserFunction
from forgelog.pipelines.engine.functions import of_arity, vectorized
from forgelog.pipelines.engine.sql import type_name
from forgelog.pipelines.problems import StageError


def register(session: Any, function: UserFunction, code: Callable[..., Any], field: str) -> None:
    """Lets Spark's queries call a function.

    Its module goes to executors by value, so that they need no copy of the pipeline's code.

    Raises:
        StageError: it has no arguments, or its result has a type that Spark does not have.
    """
    from pyspark import cloudpickle
    from pyspark.sql.functions import arrow_udf
    from sqlglot import exp

    if not function.arguments:
        raise StageError(f"{field}.arguments", "are none, which Spark can't call by arrays", "give it one")
    for name in {code.__module__, "forgelog.pipelines.engine.functions", "forgelog.pipelines.problems"}:
        if name in sys.modules and name != "__main__" and inspect.ismodule(sys.modules[name]):
            cloudpickle.register_pickle_by_value(sys.modules[name])
    returns = exp.DataType.build(type_name(function.returns, f"{field}.returns"), dialect="duckdb").sql("spark")
    call = of_arity(vectorized(function, code, field), len(function.arguments), annotated=True)
    made = arrow_udf(call, returns)
    if not function.deterministic:
        made = made.asNondeterministic()
    session.udf.register(function.name, made)
