"""What a replica's description accepts and refuses, and in which words."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from events.language.deployments.endpoint_types import EndpointType
from events.language.deployments.serving import MAX_SERVING_BYTES, ServingSpec

MODEL: dict[str, Any] = {"name": "digits", "version": 3, "bundle": {"digest": "a" * 64, "size": 7}}


def spec(**changes: Any) -> ServingSpec:
    said = {"deployment_id": "digits.abc234", "model": MODEL, "endpoints": ["rest", "grpc"]}
    return ServingSpec.model_validate({**said, **changes})


def refusal(**changes: Any) -> str:
    with pytest.raises(ValidationError) as error:
        spec(**changes)
    return str(error.value)


def test_a_model_is_enough() -> None:
    served = spec()
    assert served.endpoints == (EndpointType.REST, EndpointType.GRPC)
    assert served.runtime.name is None
    assert not served.batching.enabled


def test_it_comes_back_from_its_json() -> None:
    served = spec(
        runtime={"name": "python", "class_name": "my.model:Model"},
        batching={"enabled": True, "max_size": 8, "timeout_ms": 0},
        processing={"pre": "def preprocess(inputs, parameters):\n    return inputs\n"},
        schemas={"request": [{"name": "x", "minimum": 0, "maximum": 16}]},
    )
    assert ServingSpec.model_validate_json(served.to_json()) == served


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("revision", {"revision": 0}),
        ("batching.max_size", {"batching": {"max_size": 0}}),
        ("batching.timeout_ms", {"batching": {"timeout_ms": -1}}),
        ("batching.timeout_ms", {"batching": {"timeout_ms": float("nan")}}),
        ("processing.time_limit_seconds", {"processing": {"time_limit_seconds": 0}}),
        ("processing.pre", {"processing": {"pre": "x" * 40_000}}),
        ("monitoring.logging.sample", {"monitoring": {"logging": {"sample": 1.1}}}),
        ("health.path", {"health": {"path": "health"}}),
        ("health.path", {"health": {"path": "/a?b"}}),
        ("runtime.threads", {"runtime": {"threads": -1}}),
        ("runtime.class_name", {"runtime": {"name": "python", "class_name": "model.Model"}}),
        ("runtime.name", {"runtime": {"name": "../x"}}),
        ("limits.max_body_bytes", {"limits": {"max_body_bytes": 0}}),
        ("model.trusted_types.0", {"model": {**MODEL, "trusted_types": ["os; rm"]}}),
        ("endpoints.0", {"endpoints": ["soap"]}),
        ("endpoints", {"endpoints": []}),
    ],
)
def test_a_value_out_of_bounds_is_refused_by_its_path(field: str, changes: dict[str, Any]) -> None:
    assert f"\n{field}\n" in refusal(**changes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"runtime": {"name": "python"}}, "needs class_name; give module and class"),
        ({"runtime": {"name": "command"}}, "runtime command and backend go together"),
        ({"runtime": {"backend": {"arguments": ["serve"]}}}, "runtime command and backend go together"),
        ({"endpoints": ["rest", "rest"]}, "names a type twice"),
        ({"schemas": {"request": [{"name": "x", "minimum": 2, "maximum": 1}]}}, "minimum 2 is above maximum 1"),
        ({"schemas": {"response": [{"name": "y"}, {"name": "y"}]}}, "response has two rules for 'y'"),
    ],
)
def test_fields_that_contradict_each_other_are_refused_with_what_to_do(changes: dict[str, Any], words: str) -> None:
    assert words in refusal(**changes)


def test_it_fits_into_an_environment_variable() -> None:
    inputs = [{"name": f"{'column' * 20}{n}", "type": "float32"} for n in range(1_000)]
    words = refusal(model={**MODEL, "signature": {"inputs": inputs}})
    assert f"at most {MAX_SERVING_BYTES:,}; shorten" in words
