"""Runs a plan in Spark, between two relations of DuckDB: inputs go in as Parquet, and the result comes back as Parquet.

So every source, rule and sink is the same for both engines. The folder of these files must be one that Spark's
executors see too: a server elsewhere needs a shared file system.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from events.language.pipelines.columns import Column
from events.language.pipelines.transformations import CacheLevel
from forgelog.pipelines.described import described_column
from forgelog.pipelines.engine.frames import value_of
from forgelog.pipelines.engine.functions import Functions, arguments, found, imported, raised
from forgelog.pipelines.engine.plan import Plan, Relation, Schema
from forgelog.pipelines.engine.portable import read_by, refuse_types, spark_sql
from forgelog.pipelines.engine.running import Ran, execute
from forgelog.pipelines.engine.spark.frames import frame, taken
from forgelog.pipelines.engine.spark.udfs import register
from forgelog.pipelines.engine.sql import quoted
from forgelog.pipelines.problems import StageError


def run_plan(
    session: Any,
    connection: Any,
    plan: Plan,
    functions: Functions = imported,
    *,
    scratch: Path,
    shared: str = "",
    values: bool = False,
) -> Ran:
    """Runs a plan whose inputs are relations of a DuckDB connection. The result is one too.

    1. Writes the inputs that are read as Parquet, and makes them views of Spark.
    2. Makes each relation a view of Spark: of its translated query, or of what its function gives.
    3. Writes the result as Parquet, and makes it a view of the connection with the columns that DuckDB would give.

    scratch: a folder that the connection may read and write. shared: the same folder as Spark's executors call it, if
    that is another name. values: whether the function whose result is that of the plan may give a plain value.

    Raises:
        StageError: a query, a type or a function is not portable; the field names the transformation.
    """
    if plan.output in plan.inputs:
        return Ran(plan.output, plan, {}, {})
    state = _State(session, connection, plan, functions, scratch, shared or str(scratch), values)
    for function, path in plan.udfs:
        register(session, function, found(functions, function.module, function.function, path), path)
    try:
        for nth in range(len(plan.relations)):
            state.add(state.plan.relations[nth])
        state.give()
    finally:
        with _explained(""):
            state.clear()
    return Ran(plan.output, state.plan, {}, state.took, state.value)


@dataclass(slots=True)
class _State:
    session: Any
    connection: Any
    plan: Plan
    functions: Functions
    scratch: Path
    shared: str
    values: bool
    value: str = ""
    took: dict[str, tuple[str, ...]] = field(default_factory=dict)
    given: set[str] = field(default_factory=set)
    """Inputs that Spark has."""
    made: list[str] = field(default_factory=list)
    kept: list[Any] = field(default_factory=list)

    def add(self, relation: Relation) -> None:
        """Makes a relation a view of Spark."""
        # A client of Spark Connect hears of most errors only when it asks for columns, or makes the view.
        with _explained(f"{relation.path}.custom.spark" if relation.spark else relation.path):
            self._add(relation)

    def _add(self, relation: Relation) -> None:
        if relation.call:
            data = self.called(relation)
        elif relation.spark:
            place = f"{relation.path}.custom.spark"
            self.need(read_by(relation.spark, [*self.plan.inputs, *self.made], place))
            data = self.run(relation.spark, place, dict(relation.values))
        else:
            self.need(relation.reads)
            assert relation.columns is not None
            text = self.translated(relation)
            data = self.run(text, relation.path).toDF(*(column.name for column in relation.columns))
        hint = relation.hints.repartition
        if hint is not None:
            parts: list[Any] = [hint.partitions] if hint.partitions else []
            data = data.repartition(*parts, *(f"`{name}`" for name in hint.columns))
        if relation.cache is not CacheLevel.NONE:
            data = data.persist(_storage(relation.cache))
            self.kept.append(data)
        data.createOrReplaceTempView(relation.name)
        self.made.append(relation.name)
        if relation.call or relation.spark:
            columns = columns_of(data, relation.path)
            if relation.columns and columns != relation.columns:
                said = ", ".join(f"{column.name} {column.type}" for column in columns)
                place = "python.columns" if relation.call else "columns"
                raise StageError(
                    f"{relation.path}.custom.{place}", f"are not those of its result, which has {said}", "declare these"
                )
            self.plan = self.plan.with_columns(relation.name, columns)

    def translated(self, relation: Relation) -> str:
        schemas: dict[str, Schema] = {}
        for name in relation.reads:
            columns = self.plan.inputs[name] if name in self.plan.inputs else self.plan[name].columns
            assert columns is not None
            schemas[name] = columns
        names = {function.name for function, _ in self.plan.udfs}
        return spark_sql(relation.query, schemas, relation.path, names, relation.hints.broadcast)

    def called(self, relation: Relation) -> Any:
        settings, place = relation.call, f"{relation.path}.custom.python"
        assert settings is not None
        code = found(self.functions, settings.module, settings.function, place)
        before = [*self.plan.inputs]
        for other in self.plan.relations:
            if other.name == relation.name:
                break
            before.append(other.name)
        session = {"spark": self.session}
        named, values = arguments(code, replace(relation, values={**session, **relation.values}), before, place)
        self.took[relation.name] = tuple(named.values())
        self.need(named.values())
        frames = {arg: frame(self.session.table(name), settings.frame, place) for arg, name in named.items()}
        try:
            result = code(**frames, **values)
            if self.values and relation.name == self.plan.output:
                self.value = value_of(result, f"{place}.function") or ""
                result = [self.value] if self.value else result
            return taken(self.session, result, f"{place}.function")
        except StageError:
            raise
        except Exception as error:
            problem = f"{settings.function} raised {raised(error)}"
            raise StageError(f"{place}.function", problem, "mend the function") from error

    def need(self, names: Iterable[str]) -> None:
        """Gives Spark those of these relations that are inputs and that it has not."""
        for name in names:
            if name not in self.plan.inputs or name in self.given:
                continue
            refuse_types(self.plan.inputs[name], f"inputs.{name}")
            file = self.scratch / f"spark-in-{name}.parquet"
            path = str(file).replace("'", "''")
            listed = ", ".join(_written(column) for column in self.plan.inputs[name])
            copied = f"COPY (SELECT {listed} FROM {quoted(name)}) TO '{path}' (FORMAT parquet)"
            execute(self.connection, copied, f"inputs.{name}")
            with _explained(f"inputs.{name}"):
                self.session.read.parquet(f"{self.shared}/{file.name}").createOrReplaceTempView(name)
            self.given.add(name)

    def run(self, text: str, place: str, values: Mapping[str, Any] | None = None) -> Any:
        with _explained(place):
            return self.session.sql(text, args=values) if values else self.session.sql(text)

    def clear(self) -> None:
        """Leaves nothing that another stage of this session could read."""
        # What is kept first: to let go of it Spark Connect may analyze its query again, and that needs the views.
        for data in reversed(self.kept):
            data.unpersist()
        for name in (*self.made, *self.given):
            self.session.catalog.dropTempView(name)

    def give(self) -> None:
        relation = self.plan[self.plan.output]
        assert relation.columns is not None
        refuse_types(relation.columns, relation.path)
        folder = f"spark-out-{relation.name}"
        with _explained(relation.path):
            self.session.table(relation.name).write.mode("overwrite").parquet(f"{self.shared}/{folder}")
        # Names by place: Spark's files may write them in another case.
        path = str(self.scratch / folder).replace("'", "''")
        listed = ", ".join(
            f"CAST(#{nth} AS {column.type}) AS {quoted(column.name)}" for nth, column in enumerate(relation.columns, 1)
        )
        text = f"SELECT {listed} FROM read_parquet('{path}/*.parquet')"
        execute(self.connection, f"CREATE VIEW {quoted(relation.name)} AS {text}", relation.path)


def _written(column: Column) -> str:
    """An input's column as its file has it. Parquet has no HUGEINT, and DuckDB would write it as DOUBLE."""
    name = quoted(column.name)
    return f"CAST({name} AS DECIMAL(38, 0)) AS {name}" if column.type == "HUGEINT" else name


def columns_of(data: Any, place: str) -> Schema:
    """A data frame's columns with DuckDB's types."""
    from sqlglot import exp

    columns = []
    for each in data.schema.fields:
        kind = exp.DataType.build(each.dataType.simpleString(), dialect="spark").sql("duckdb")
        kind = _SPELLED.get(kind.upper(), kind.replace(", ", ","))
        columns.append(described_column(each.name, kind))
    refuse_types(tuple(columns), place)
    return tuple(columns)


_SPELLED = {"INT": "INTEGER", "TEXT": "VARCHAR", "REAL": "FLOAT", "TIMESTAMPTZ": "TIMESTAMP WITH TIME ZONE"}


@contextmanager
def _explained(place: str) -> Iterator[None]:
    """Errors of Spark as those of a stage's field."""
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException

    try:
        yield
    except (PySparkException, Py4JError) as error:
        text = " ".join(str(error).split())
        raise StageError(place, f"Spark says: {text[:600]}", "mend the transformation or the data") from None


def _storage(level: CacheLevel) -> Any:
    from pyspark import StorageLevel

    return StorageLevel.MEMORY_AND_DISK if level is CacheLevel.MEMORY else StorageLevel.DISK_ONLY
