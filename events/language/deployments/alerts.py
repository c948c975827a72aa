"""What of a deployment alarms, who is told and what else is done: the settings, and what an alert fired on."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints, model_validator

from events.language.base import Model
from events.language.common import Identifier
from events.language.deployments.scaling import ReplicaCount
from events.language.jobs.spec_monitoring import AlertSeverity


class AlertType(StrEnum):
    """What a window's value is."""

    LATENCY = "latency"
    """A percentile of latency, milliseconds."""
    ERROR_RATE = "error_rate"
    """Percent of the requests that failed or were turned away for want of capacity."""
    RESOURCE = "resource"
    """Percent of a resource that replicas use, the mean over replicas."""
    AVAILABILITY = "availability"
    """Percent of the wanted replicas that are ready, the mean over the window. 100 if none is wanted."""
    DRIFT = "drift"
    """The highest population stability index of a column that the model is asked, against its training data, of any
    revision. A window with fewer than 200 values of a column has none of that."""


class AlertComparison(StrEnum):
    """When a value breaches the threshold."""

    ABOVE = "above"
    AT_LEAST = "at_least"
    BELOW = "below"
    AT_MOST = "at_most"


class AlertResource(StrEnum):
    """What replicas were given of."""

    CPU = "cpu"
    MEMORY = "memory"
    GPU = "gpu"


class DeploymentAlert(Model):
    """A condition that is looked at window by window."""

    name: Identifier
    type: AlertType
    threshold: float = Field(ge=-1e12, le=1e12)
    """In the unit of `type`."""
    comparison: AlertComparison = AlertComparison.ABOVE
    window_seconds: float = Field(default=60.0, ge=5, le=86_400)
    consecutive: int = Field(default=1, ge=1, le=100)
    """Windows in a row that must breach. A window without a value (no request, no report) counts neither way."""
    percentile: float | None = Field(default=None, gt=0, lt=100)
    """Of latency; 95 when left out."""
    resource: AlertResource | None = None
    """Needed for ``resource``, and for nothing else."""
    severity: AlertSeverity = AlertSeverity.WARNING
    enabled: bool = True
    channels: tuple[Identifier, ...] = Field(default=(), max_length=16)
    """Names of the channels that are told; all when empty."""
    scale_by: ReplicaCount = 0
    """Replicas that are added when it fires, up to the policy's highest number."""
    rollback: bool = False
    """Whether a rollout that is under way then is rolled back."""

    @model_validator(mode="after")
    def _threshold_fits(self) -> DeploymentAlert:
        if self.type in (AlertType.ERROR_RATE, AlertType.AVAILABILITY) and not 0 <= self.threshold <= 100:
            raise ValueError(f"threshold is {self.threshold:g}; {self.type} is a percentage: give 0 to 100")
        if self.type in (AlertType.LATENCY, AlertType.RESOURCE, AlertType.DRIFT) and self.threshold < 0:
            raise ValueError(f"threshold is {self.threshold:g}; {self.type} is never below 0")
        if self.percentile is not None and self.type is not AlertType.LATENCY:
            raise ValueError("percentile is for alerts of the type 'latency' only; leave it out")
        if (self.resource is None) == (self.type is AlertType.RESOURCE):
            raise ValueError("resource is needed for alerts of the type 'resource', and must be left out of others")
        return self


class AlertChannelKind(StrEnum):
    """How someone is told."""

    LOG = "log"
    """A line in the service's log."""
    WEBHOOK = "webhook"
    """An HTTP POST with the alert as JSON, by https://www.standardwebhooks.com."""
    EMAIL = "email"
    """A mail over the SMTP server of the platform's settings."""


class AlertChannel(Model):
    """Someone to tell when an alert fires and when it is over."""

    name: Identifier
    kind: AlertChannelKind
    target: Annotated[str, StringConstraints(max_length=2000)] = ""
    """The URL or the mail address; empty for ``log``."""
    secret: Annotated[str, StringConstraints(max_length=128)] = ""
    """Name of the secret that a webhook's requests are signed with (HMAC with SHA-256)."""

    @model_validator(mode="after")
    def _target_fits(self) -> AlertChannel:
        if self.kind is AlertChannelKind.WEBHOOK and not self.target.startswith(("http://", "https://")):
            raise ValueError("target is no URL; give one that begins with https:// or http://")
        if self.kind is AlertChannelKind.WEBHOOK and "@" in self.target.split("/", 3)[2]:
            raise ValueError("target has a user or a password, and all that read events would see it; use secret")
        if self.kind is AlertChannelKind.EMAIL and not (
            "@" in self.target.strip("@") and self.target.isprintable() and " " not in self.target
        ):
            raise ValueError("target is no mail address; give one such as team@example.org")
        if self.kind is AlertChannelKind.LOG and self.target:
            raise ValueError("target must be empty for the kind 'log'")
        if self.secret and self.kind is not AlertChannelKind.WEBHOOK:
            raise ValueError("secret is for the kind 'webhook' only; leave it out")
        return self


class AlertSettings(Model):
    """All alerts of a deployment, and the channels that they tell."""

    alerts: tuple[DeploymentAlert, ...] = Field(default=(), max_length=100)
    channels: tuple[AlertChannel, ...] = Field(default=(), max_length=16)

    @model_validator(mode="after")
    def _names_fit(self) -> AlertSettings:
        names = [alert.name for alert in self.alerts]
        if len(names) != len(set(names)):
            raise ValueError("two alerts have the same name; each needs its own")
        channels = [channel.name for channel in self.channels]
        if len(channels) != len(set(channels)):
            raise ValueError("two channels have the same name; each needs its own")
        for alert in self.alerts:
            for channel in alert.channels:
                if channel not in channels:
                    raise ValueError(f"alert {alert.name!r} names channel {channel!r}; add it to channels")
        return self


class AlertFinding(Model):
    """What an alert fired on: `breached` of the same alert and windows says the same."""

    alert: DeploymentAlert
    windows: tuple[float, ...] = Field(min_length=1, max_length=100)
    """The values of the last windows that had one, the newest last; all of them breach."""
    column: Annotated[str, StringConstraints(max_length=250)] = ""
    """Of ``drift``: the column that has the last value."""
