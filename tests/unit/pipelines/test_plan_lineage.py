"""Where the columns of what a stage gave come from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import narwhals as nw
from hypothesis import given, settings
from hypothesis import strategies as st

from events.language.pipelines.columns import Column
from events.language.pipelines.lineage import LineageEdges
from forgelog.pipelines.engine import compile_transformations
from forgelog.pipelines.lineage.columns import column_lineage
from forgelog.pipelines.lineage.plans import lineage_of
from tests.unit.pipelines.staging import Stage, chain

ORDERS = "FROM (VALUES (1, 'ann', 5.0, 0.1)) AS o(id, customer, price, discount)"
CUSTOMERS = "FROM (VALUES ('ann', 'Bern')) AS c(name, city)"


def revenue(priced: nw.LazyFrame[Any], customers: nw.LazyFrame[Any]) -> nw.LazyFrame[Any]:
    return priced.join(customers, left_on="customer", right_on="name").select(
        "city", total=nw.col("amount") * 2, order=nw.col("id")
    )


def in_memory(priced: Any) -> Any:
    return priced


def staged(tmp_path: Path) -> Stage:
    functions = {"revenue": revenue, "in_memory": in_memory}
    return Stage(tmp_path, {"orders": ORDERS, "customers": CUSTOMERS}, functions)


PRICED = {
    "id": "priced",
    "input": "orders",
    "map": {
        "columns": [{"name": "amount", "expression": "price * (1 - discount)"}],
        "drop": ["discount"],
    },
}


def said(edges: LineageEdges) -> dict[str, set[str]]:
    assert not edges.unresolved
    found: dict[str, set[str]] = {}
    for edge in edges.columns:
        found.setdefault(edge.column, set()).add(f"{edge.dataset}.{edge.source}")
    return found


def test_a_lazy_frames_columns_are_known_through_what_is_before_and_after_it(tmp_path: Path) -> None:
    ran = staged(tmp_path).ran(
        PRICED,
        {"id": "r", "custom": {"python": {"module": "code", "function": "revenue"}}},
        {"aggregate": {"group_by": ["city"], "columns": [{"name": "best", "expression": "max(total)"}]}},
    )
    edges = lineage_of(ran)
    assert said(edges) == {"city": {"customers.city"}, "best": {"orders.price", "orders.discount"}}
    assert set(edges.tables) == {"orders", "customers"}


def test_what_a_function_computed_in_python_is_unresolved_with_the_tables_that_it_took(tmp_path: Path) -> None:
    step = {"id": "m", "custom": {"python": {"module": "code", "function": "in_memory", "frame": "arrow"}}}
    stage = staged(tmp_path)
    edges = lineage_of(stage.ran(PRICED, step))
    assert edges.unresolved == "m: m is what the function in_memory gave"
    assert edges.tables == ("orders",)


def test_without_transformations_each_column_is_the_inputs(tmp_path: Path) -> None:
    stage = Stage(tmp_path, {"orders": ORDERS})
    assert said(lineage_of(stage.ran())) == {
        name: {f"orders.{name}"} for name in ("id", "customer", "price", "discount")
    }


def test_a_kept_relations_columns_are_known(tmp_path: Path) -> None:
    edges = lineage_of(staged(tmp_path).ran({**PRICED, "cache": "memory"}, {"map": {"keep": ["amount"]}}))
    assert said(edges) == {"amount": {"orders.price", "orders.discount"}}


# Chains of which it is known by construction what each column comes from.

NAMES = ("a", "b", "c", "d")


@st.composite
def chains(draw: st.DrawFn) -> tuple[list[dict[str, Any]], dict[str, set[str]]]:
    """Transformations of a table with the columns a to d, and the truth."""
    truth = {name: {name} for name in NAMES}
    steps: list[dict[str, Any]] = []
    for number in range(draw(st.integers(1, 6))):
        columns = list(truth)
        some = draw(st.lists(st.sampled_from(columns), min_size=1, max_size=3, unique=True))
        sources = set().union(*(truth[name] for name in some))
        new = draw(st.sampled_from([f"n{number}", columns[0]]))
        kind = draw(st.sampled_from(["compute", "keep", "rename", "filter", "sort", "window", "aggregate", "sql"]))
        match kind:
            case "compute":
                steps.append({"map": {"columns": [{"name": new, "expression": " + ".join(some)}]}})
                truth[new] = sources
            case "keep":
                steps.append({"map": {"keep": some}})
                truth = {name: truth[name] for name in some}
            case "rename":
                steps.append({"map": {"rename": [{"name": some[0], "to": f"r{number}"}]}})
                truth = {f"r{number}" if name == some[0] else name: of for name, of in truth.items()}
            case "filter":
                steps.append({"filter": {"where": f"{some[0]} > 0"}})
            case "sort":
                steps.append({"sort": {"by": [{"expression": some[0]}]}})
            case "window":
                window = {"partition_by": some[1:], "columns": [{"name": new, "expression": f"max({some[0]})"}]}
                steps.append({"window": window})
                truth[new] = sources
            case "aggregate":
                groups = [name for name in some[1:] if name != new]
                computed = [{"name": new, "expression": f"sum({some[0]})"}]
                steps.append({"aggregate": {"group_by": groups, "columns": computed}})
                truth = {**{name: truth[name] for name in groups}, new: truth[some[0]]}
            case "sql":
                before = f"t{number}" if number else "t"
                extra = f"greatest({', '.join(some)}) AS s{number}"
                steps.append({"custom": {"sql": f"WITH x AS (FROM {before}) SELECT *, {extra} FROM x"}})
                truth[f"s{number}"] = sources
    return steps, truth


@settings(max_examples=60, deadline=None)
@given(chains())
def test_any_chain_has_the_edges_that_it_was_made_with(made: tuple[list[dict[str, Any]], dict[str, set[str]]]) -> None:
    steps, truth = made
    schemas = {"t": tuple(Column(name=name, type="DOUBLE") for name in NAMES)}
    plan = compile_transformations(chain(*steps), ("t",), schemas, {})
    assert plan.columns is not None
    assert [column.name for column in plan.columns] == list(truth)
    edges = column_lineage(plan.sql, schemas, plan.columns)
    assert said(edges) == {name: {f"t.{source}" for source in of} for name, of in truth.items()}
