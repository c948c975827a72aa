"""GraphQL's schema of a model: names that GraphQL can have, and types by the signature."""

from __future__ import annotations

from forgelog.serve.graphql_door import names_of
from forgelog.serve.schema import TensorSchema


def test_names_that_graphql_can_not_have_are_changed_and_stay_apart() -> None:
    given = ["x", "dense_1:0", "dense_1/0", "0", "__type", "id", "größe", ""]
    found = names_of(tuple(TensorSchema(name, "FP32", (-1,)) for name in given), ("id",))
    assert list(found) == ["x", "dense_1_0", "dense_1_0_2", "_0", "type", "id_2", "gr__e", "tensor"]
    assert [each.name for each in found.values()] == given
