"""Every filter that MLflow's own parser reads is read alike by ours: same names, operators and values."""

from __future__ import annotations

from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st
from mlflow.exceptions import MlflowException
from mlflow.utils.search_utils import SearchUtils

from events.queries.expressions import Comparison, Expression, Group, parse_filter

KINDS = {
    **dict.fromkeys(("metric", "metrics"), "metric"),
    **dict.fromkeys(("parameter", "parameters", "param", "params"), "parameter"),
    **dict.fromkeys(("tag", "tags"), "tag"),
    **dict.fromkeys(("", "attribute", "attributes", "attr", "run"), "attribute"),
    **dict.fromkeys(("dataset", "datasets"), "dataset"),
}

names = st.sampled_from(
    [
        "metrics.acc",
        "metric.`val acc`",
        "params.lr",
        'parameter."a/b"',
        "tags.mlflow.user",
        'tags."git branch"',
        "tag.`x y`",
        "attributes.status",
        "attributes.`Run name`",
        "run.run_name",
        "start_time",
        "run_id",
        "`run name`",
        "Created",
        "dataset.name",
        "attr.artifact_uri",
    ]
)
operators = st.sampled_from(
    ["=", "!=", "<", "<=", ">", ">=", "LIKE", "ilike", "IN", "not in", "is null", "IS NOT NULL"]
)
values = st.sampled_from(
    ["'a'", '"b c"', "'%x_'", "1", "-2.5", "3e-4", "0.1", "('a')", "('a', 'b')", '("c","d")', "''", ""]
)
spaces = st.sampled_from([" ", "  ", "\n"])
comparisons = st.builds(
    lambda name, a, operator, b, value: f"{name}{a}{operator}{b}{value}", names, spaces, operators, spaces, values
)
filters = st.lists(comparisons, min_size=1, max_size=3).flatmap(
    lambda parts: st.sampled_from([" and ", " AND ", "\nand "]).map(lambda word: word.join(parts))
)


def flat(expression: Expression | None) -> list[dict[str, Any]]:
    if isinstance(expression, Group):
        assert expression.word == "and"
        return [each for part in expression.parts for each in flat(part)]
    assert isinstance(expression, Comparison)
    value = expression.value
    return [
        {
            "type": KINDS[expression.name.kind],
            "key": expression.name.key,
            "comparator": expression.operator,
            "value": float(value) if isinstance(value, int | float) else value,
        }
    ]


def theirs(text: str) -> list[dict[str, Any]] | None:
    try:
        found = SearchUtils.parse_search_filter(text)
    except MlflowException:
        return None
    for each in found:
        if isinstance(each["value"], tuple) and "IN" not in each["comparator"].upper():
            return None  # run_id = ('a'), which it reads and then fails at
        each["comparator"] = " ".join(each["comparator"].lower().split())
        if each["type"] == "metric" or isinstance(each["value"], int | float):
            each["value"] = float(each["value"])
    return found


@given(filters)
def test_what_mlflow_reads_is_read_alike(text: str) -> None:
    expected = theirs(text)
    assume(expected)
    assert flat(parse_filter(text)) == expected
