"""GraphQL's schema of a model: names that GraphQL can have, and types by the signature."""

from __future__ import annotations

import pytest
from graphql import GraphQLError, get_introspection_query

from forgelog.serve.graphql_door import MAX_SELECTIONS, MAX_TOKENS, _parsed, check_graphql, names_of
from forgelog.serve.problems import ServingError
from forgelog.serve.schema import TensorSchema


def test_names_that_graphql_can_not_have_are_changed_and_stay_apart() -> None:
    given = ["x", "dense_1:0", "dense_1/0", "0", "__type", "id", "größe", ""]
    found = names_of(tuple(TensorSchema(name, "FP32", (-1,)) for name in given), ("id",))
    assert list(found) == ["x", "dense_1_0", "dense_1_0_2", "_0", "type", "id_2", "gr__e", "tensor"]
    assert [each.name for each in found.values()] == given


def test_what_tools_ask_of_a_schema_is_taken() -> None:
    assert _parsed(None, {"query": get_introspection_query(schema_description=True, input_value_deprecation=True)})


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("{" + "model { name } " * MAX_SELECTIONS + "}", "the query has 500 fields, fragments and directives, and"),
        ("{ model " + "@skip(if: false) " * MAX_SELECTIONS + "{ name } }", "at most 250 are taken; send several"),
        ("{" + "...F " * MAX_SELECTIONS + "} fragment F on Query { model { name } }", "at most 250 are taken"),
        ("{ infer(x: [" + "0 " * MAX_TOKENS + "]) { y } }", "more than 10,000 tokens; give tensors as variables"),
        ("query (" + "$a: Int " * MAX_TOKENS + ") { model { name } }", "more than 10,000 tokens"),
        ("{ model " * 100_000, "nested too deeply"),
        ("{", "Syntax Error"),
    ],
)
def test_a_query_that_takes_long_to_read_is_refused(query: str, words: str) -> None:
    """300 requests in one query kept a replica from everybody else for 14 seconds."""
    with pytest.raises(GraphQLError) as refused:
        _parsed(None, {"query": query})
    assert words in refused.value.message


@pytest.mark.parametrize(
    ("content_type", "body", "words"),
    [
        ("application/json", b'{"query": "{ model { name } }", "operationName": null}', ""),
        ("Application/JSON ; charset=utf-8", b'{"query": "{ model { name } }"}', ""),
        (
            "multipart/form-data; boundary=x",
            b"",
            "content-type is 'multipart/form-data; boundary=x'; send the query as",
        ),
        ("", b"{}", "content-type is ''"),
        ("application/json", b"{", "the body is no JSON"),
        ("application/json", b'{"query": "", "variables": {"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}}", "no JSON"),
        ("application/json", b'[{"query": "{ model { name } }"}]', "the body should be a JSON object with query"),
        ("application/json", b'{"query": "a", "query": "b"}', "'query' is given twice"),
        ("application/json", b'{"query": 3}', "query should be a text"),
        ("application/json", b"{}", "query should be a text"),
    ],
)
def test_a_body_that_is_no_query_is_refused(content_type: str, body: bytes, words: str) -> None:
    if not words:
        check_graphql(content_type, body)
        return
    with pytest.raises(ServingError) as refused:
        check_graphql(content_type, body)
    assert words in refused.value.message
