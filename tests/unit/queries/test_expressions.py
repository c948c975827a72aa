"""What a filter or an order says is read in one way only, and what can't be read is told with its place."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.queries.expressions import (
    MAX_CHARACTERS,
    MAX_COMPARISONS,
    MAX_DEPTH,
    Comparison,
    Expression,
    ExpressionError,
    Group,
    Name,
    Order,
    parse_filter,
    parse_order,
    write,
)


def placeless(expression: Expression) -> Expression:
    """Without the places in the text."""
    if isinstance(expression, Group):
        return Group(expression.word, tuple(map(placeless, expression.parts)))
    name = expression.name
    return Comparison(Name(name.kind, name.key, 0), expression.operator, expression.value, 0)


def said(kind: str, key: str, operator: str, value: object) -> Comparison:
    return Comparison(Name(kind, key, 0), operator, value, 0)  # type: ignore[arg-type]


A, B, C = (said("", key, "=", 1) for key in "abc")


@pytest.mark.parametrize(
    ("text", "expression"),
    [
        ("a = 1", A),
        ("params.depth = '3'", said("params", "depth", "=", "3")),
        ('params."git branch" LIKE "main%"', said("params", "git branch", "like", "main%")),
        ("tags.`a ``b`` c` = 'it''s'", said("tags", "a `b` c", "=", "it's")),
        ("`metrics`.val/acc@5>=-1.5e-3", said("metrics", "val/acc@5", ">=", -0.0015)),
        ('tags.mlflow.parentRunId != "it\'s"', said("tags", "mlflow.parentRunId", "!=", "it's")),
        ("\"Run Name\" iLike '%'", said("", "Run Name", "ilike", "%")),
        ("run_id NOT  IN('a',\"b\" , 'c',)", said("", "run_id", "not in", ("a", "b", "c"))),
        ("tags.x is NOT null", said("tags", "x", "is not null", None)),
        ("tags.x IS NULL", said("tags", "x", "is null", None)),
        ("number > 999999999999999999999", said("", "number", ">", 1e21)),
        ("a=1 and b=1 or c=1", Group("or", (Group("and", (A, B)), C))),
        ("a=1 AND (b=1 OR c=1)", Group("and", (A, Group("or", (B, C))))),
        ("((a=1))", A),
        ("  ", None),
    ],
)
def test_it_is_read(text: str, expression: Expression | None) -> None:
    found = parse_filter(text)
    assert (found and placeless(found)) == expression


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("params.lr = fast", "at character 13: a number or a text in quotes was expected, found 'fast'"),
        (
            "params.lr == '1'",
            "at character 11: an operator was expected (=, !=, <, <=, >, >=, like, ilike, in, not in, ",
        ),
        ("params.lr = '1", "at character 13: the quote ' is not closed, found \"'1\""),
        ("params. = '1'", "at character 8: a key was expected behind the point"),
        ("params.lr", "at character 10: an operator was expected"),
        ("a = 1 xor b = 2", "at character 7: here 'and', 'or' or the end was expected, found 'xor b = 2'"),
        ("(a = 1", "at character 7: here 'and', 'or' or ')' was expected, found the end"),
        ("a = 1 and", "at character 10: a name was expected, such as params.depth or status, found the end"),
        ("a in ()", "at character 7: a text in quotes was expected, found ')'"),
        ("a in (1)", "at character 7: a text in quotes was expected, found '1)'"),
        ("a in 'x'", "at character 6: a list was expected"),
        ("a is 3", "at character 6: 'null' or 'not null' was expected behind 'is'"),
        ("a not like 'x'", "at character 7: 'in' was expected behind 'not'"),
        ("tags.`a`.b = 'x'", "at character 9: an operator was expected"),
        ("a = 1.2.3", "at character 5: a number or a text in quotes was expected"),
        ("a = 'x\0'", "at character 7: there is a NUL character; leave it out"),
        (f"{'(' * (MAX_DEPTH + 1)}a = 1", f"at character {MAX_DEPTH + 1}: more than {MAX_DEPTH} parentheses"),
        (" or ".join(["a=1"] * (MAX_COMPARISONS + 1)), f"there are more than {MAX_COMPARISONS} comparisons"),
        ("a" * (MAX_CHARACTERS + 1), f"it has {MAX_CHARACTERS + 1} characters; at most {MAX_CHARACTERS} are taken"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(text: str, problem: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse_filter(text)
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("start_time", Order(Name("", "start_time", 0), descending=False)),
        ("metrics.loss DESC", Order(Name("metrics", "loss", 0), descending=True)),
        ("params.`a b` asc ", Order(Name("params", "a b", 0), descending=False)),
    ],
)
def test_an_order_is_read(text: str, order: Order) -> None:
    assert parse_order(text) == order


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "at character 1: it is empty; name what to order by"),
        (
            "a, b",
            "at character 2: here 'asc', 'desc' or the end was expected; give each clause on its own, found ', b'",
        ),
    ],
)
def test_an_order_that_cannot_be_read(text: str, problem: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse_order(text)
    assert problem in str(caught.value)


texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
kinds = st.sampled_from(["", "params", "tag", "metrics", "größe_2"])
numbers = st.integers(-(10**18) + 1, 10**18 - 1) | st.floats(allow_nan=False, allow_infinity=False)
comparisons = st.one_of(
    st.builds(said, kinds, texts, st.sampled_from(["=", "!=", "<", "<=", ">", ">=", "like", "ilike"]), texts | numbers),
    st.builds(
        said, kinds, texts, st.sampled_from(["in", "not in"]), st.lists(texts, min_size=1, max_size=3).map(tuple)
    ),
    st.builds(said, kinds, texts, st.sampled_from(["is null", "is not null"]), st.none()),
)
expressions: st.SearchStrategy[Expression] = st.recursive(
    comparisons,
    lambda inner: st.builds(
        Group, st.sampled_from(["and", "or"]), st.lists(inner, min_size=2, max_size=3).map(lambda parts: tuple(parts))
    ),
    max_leaves=10,
)


@given(expressions)
def test_what_is_written_is_read_again(expression: Expression) -> None:
    found = parse_filter(write(expression))
    assert found is not None
    assert placeless(found) == expression


@given(st.text(st.sampled_from(" ().,'\"`=<>!-ab1\\%") | st.characters(), max_size=40))
def test_whatever_is_given_is_read_or_refused(text: str) -> None:
    try:
        found = parse_filter(text)
    except ExpressionError:
        return
    assert found is None or placeless(found) == placeless(parse_filter(write(found)) or found)
