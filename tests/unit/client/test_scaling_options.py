"""What `forgelog autoscale` makes of its options."""

from __future__ import annotations

import pytest

from events.language.deployments.scaling import AutoScalingPolicy
from forgelog.cli.scaling import policy
from forgelog.errors import InvalidInput


def test_options_change_what_is_set_and_nothing_else() -> None:
    known = AutoScalingPolicy(max_replicas=4, targets=({"metric": "cpu", "value": 60},)).model_dump(mode="json")
    changed = policy(known, {"min": 0, "scale": ["rps=50", "queue_length=10"]})
    found = AutoScalingPolicy.model_validate(changed)
    assert (found.min_replicas, found.max_replicas) == (0, 4)
    assert [(target.name, target.value) for target in found.targets] == [("rps", 50), ("queue_length", 10)]
    predictive = AutoScalingPolicy.model_validate(policy(changed, {"predictive": True}))
    assert predictive.predictive is not None
    plain = policy(predictive.model_dump(mode="json"), {"predictive": False})
    assert AutoScalingPolicy.model_validate(plain) == found


@pytest.mark.parametrize("text", ["rps", "rps=", "=50", "rps=fast", "rps=0", "rps=-1", "rps=nan", "rps=inf"])
def test_what_is_no_target_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="give METRIC=NUMBER, such as rps=50"):
        policy({"max_replicas": 2}, {"scale": [text]})


def test_a_first_policy_needs_its_bound() -> None:
    with pytest.raises(InvalidInput, match="--max: is missing"):
        policy(None, {"scale": ["rps=50"]})
