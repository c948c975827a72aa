"""What canaries, scaling and alerts may be set to, and what is said of what they may not."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from events.language.deployments.alerts import AlertChannel, AlertSettings, DeploymentAlert
from events.language.deployments.canary import CanaryPolicy
from events.language.deployments.scaling import AutoScalingPolicy, ScalingSchedule, ScalingTarget


def test_policies_need_little() -> None:
    assert CanaryPolicy().percentages == (10, 25, 50, 75)
    assert CanaryPolicy(steps=(1, 5)).percentages == (1, 5)
    policy = AutoScalingPolicy(max_replicas=8)
    assert (policy.min_replicas, policy.up.cooldown_seconds, policy.down.cooldown_seconds) == (1, 0, 60)


@pytest.mark.parametrize("kind", [CanaryPolicy, AutoScalingPolicy])
def test_a_policy_survives_the_wire(kind: Any) -> None:
    fields = {"max_replicas": 3} if kind is AutoScalingPolicy else {"steps": (5, 50)}
    assert kind.model_validate_json(kind(**fields).to_json()) == kind(**fields)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"steps": (25, 10)}, "steps is not ascending"),
        ({"steps": (10, 10)}, "steps is not ascending"),
        ({"steps": (100,)}, "steps.0\n.*less than or equal to 99"),
        ({"interval_seconds": 0}, "interval_seconds"),
        ({"min_requests": 10}, "min_requests"),
        ({"max_slowdown": 0.9}, "max_slowdown"),
        ({"max_failure_increase": float("nan")}, "max_failure_increase"),
    ],
)
def test_a_canary_policy_that_can_not_be(fields: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        CanaryPolicy(**fields)


RPS = ScalingTarget(metric="rps", value=50)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"min_replicas": 5, "max_replicas": 4}, "min_replicas 5 is above max_replicas 4"),
        ({"max_replicas": 0}, "max_replicas"),
        ({"max_replicas": 1001}, "max_replicas"),
        ({"max_replicas": 4, "panic_seconds": 61}, "panic_seconds is above stable_seconds"),
        ({"max_replicas": 4, "targets": (RPS, RPS)}, "two targets have the same name"),
        ({"max_replicas": 4, "predictive": {}}, "predictive needs a target for 'rps'"),
        ({"max_replicas": 4, "targets": ({"metric": "custom", "value": 1},)}, "custom is needed"),
        ({"max_replicas": 4, "targets": ({"metric": "cpu", "value": 1, "custom": "x"},)}, "custom is needed"),
        ({"max_replicas": 4, "targets": ({"metric": "gpu", "value": 120},)}, "120 percent of gpu"),
        ({"max_replicas": 4, "targets": ({"metric": "queue", "value": 1},)}, "targets.0.metric"),
        (
            {
                "max_replicas": 4,
                "schedules": ({"name": "day", "cron": "0 8 * * *", "duration_seconds": 60, "min_replicas": 5},),
            },
            "in schedule 'day' the least number of replicas, 5, is above 4",
        ),
    ],
)
def test_a_scaling_policy_that_can_not_be(fields: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        AutoScalingPolicy(**fields)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"cron": "8 a.m. every day now"}, "is no cron expression: bad hour"),
        ({"cron": "0 8 * * * MON"}, "has seconds; give five fields"),
        ({"cron": "0 8 30 2 *"}, "bad day-of-month"),
        ({"cron": "*/0 * * * *"}, "is no cron expression"),
        ({"zone": "Europe/Entenhausen"}, "is no time zone; give an IANA name"),
        ({"zone": "../etc/passwd"}, "is no time zone"),
        ({"zone": "Europe"}, "is no time zone"),
        ({"min_replicas": None}, "min_replicas and max_replicas are both left out"),
        ({"min_replicas": 3, "max_replicas": 2}, "min_replicas 3 is above max_replicas 2"),
        ({"duration_seconds": 0}, "duration_seconds"),
    ],
)
def test_a_schedule_that_can_not_be(fields: dict[str, Any], problem: str) -> None:
    good = {
        "name": "day",
        "cron": "0 8 * * MON-FRI",
        "zone": "Europe/Berlin",
        "duration_seconds": 3600,
        "min_replicas": 2,
    }
    assert ScalingSchedule(**good).zone == "Europe/Berlin"
    with pytest.raises(ValidationError, match=problem):
        ScalingSchedule(**good | fields)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"type": "error_rate", "threshold": 101}, "is a percentage: give 0 to 100"),
        ({"type": "latency", "threshold": -1}, "is never below 0"),
        ({"type": "drift", "threshold": 0.2, "percentile": 50}, "percentile is for alerts of the type 'latency' only"),
        ({"type": "resource", "threshold": 90}, "resource is needed for alerts of the type 'resource'"),
        ({"type": "latency", "threshold": 90, "resource": "cpu"}, "must be left out of others"),
        ({"type": "latency", "threshold": 1, "consecutive": 0}, "consecutive"),
        ({"type": "latency", "threshold": 1, "window_seconds": 1}, "window_seconds"),
        ({"type": "latency", "threshold": 1, "comparison": "equal"}, "comparison"),
    ],
)
def test_an_alert_that_can_not_be(fields: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        DeploymentAlert(name="slow", **fields)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"kind": "webhook", "target": "example.org"}, "target is no URL"),
        ({"kind": "webhook", "target": "https://me:secret@example.org/"}, "target has a user or a password"),
        ({"kind": "email", "target": "team"}, "target is no mail address"),
        ({"kind": "email", "target": "a@b\r\nBcc: c@d"}, "target is no mail address"),
        ({"kind": "log", "target": "x"}, "target must be empty"),
        ({"kind": "email", "target": "a@b", "secret": "s"}, "secret is for the kind 'webhook' only"),
    ],
)
def test_a_channel_that_can_not_be(fields: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        AlertChannel(name="team", **fields)


def test_alerts_tell_channels_that_exist() -> None:
    slow = {"name": "slow", "type": "latency", "threshold": 100, "channels": ("team",)}
    team = {"name": "team", "kind": "webhook", "target": "https://example.org/hook", "secret": "hook"}
    assert AlertSettings(alerts=(slow,), channels=(team,)).alerts[0].enabled
    with pytest.raises(ValidationError, match="alert 'slow' names channel 'team'; add it to channels"):
        AlertSettings(alerts=(slow,))
    with pytest.raises(ValidationError, match="two alerts have the same name"):
        AlertSettings(alerts=(slow, slow), channels=(team,))
    with pytest.raises(ValidationError, match="two channels have the same name"):
        AlertSettings(channels=(team, team))
