"""What is watched while a job runs, and who is told: a part of `JobSpec`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints, model_validator

from events.language.base import Model
from events.language.common import DisplayName, Identifier

MetricName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_./-]{0,199}$")]
"""A metric's name, such as ``train/loss`` or ``gpu_utilization``."""


class LogLevel(StrEnum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"


class MetricKind(StrEnum):
    """How a metric's values add up."""

    GAUGE = "gauge"
    """A level: the last value counts."""
    COUNTER = "counter"
    """Only grows."""
    HISTOGRAM = "histogram"
    """A distribution."""


class CustomMetric(Model):
    """A number the job prints or reports."""

    name: MetricName
    kind: MetricKind = MetricKind.GAUGE
    unit: Annotated[str, StringConstraints(max_length=30)] = ""
    """UCUM unit, such as ``s``, ``By`` or ``1``."""
    pattern: Annotated[str, StringConstraints(max_length=500)] = ""
    """Regular expression with one group that finds the value in the output; empty when the job reports it itself."""


class Comparison(StrEnum):
    ABOVE = "above"
    BELOW = "below"
    EQUAL = "equal"
    ABSENT = "absent"
    """No value arrived."""


class AlertSeverity(StrEnum):
    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class AlertRule(Model):
    """Tells channels when a metric stays beyond a threshold."""

    name: DisplayName
    metric: MetricName
    comparison: Comparison = Comparison.ABOVE
    threshold: float | None = Field(default=None, ge=-1e300, le=1e300)
    for_seconds: float = Field(default=60.0, ge=0, le=86_400)
    """How long it must hold."""
    severity: AlertSeverity = AlertSeverity.WARNING
    channels: tuple[Identifier, ...] = Field(default=(), max_length=16)
    """Names of the channels that are told; all when empty."""

    @model_validator(mode="after")
    def _threshold_fits(self) -> AlertRule:
        if (self.comparison is Comparison.ABSENT) != (self.threshold is None):
            raise ValueError("threshold is needed for every comparison but 'absent', which has none")
        return self


class ChannelKind(StrEnum):
    EMAIL = "email"
    SLACK = "slack"
    WEBHOOK = "webhook"


class JobMoment(StrEnum):
    """When a channel is told about a job."""

    STARTED = "started"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    RETRIED = "retried"
    ALERT = "alert"


class NotificationChannel(Model):
    """Someone to tell."""

    name: Identifier
    kind: ChannelKind
    target: Annotated[str, StringConstraints(min_length=1, max_length=2000)]
    """Address, Slack channel or URL."""
    secret: Annotated[str, StringConstraints(max_length=128)] = ""
    """Secret that holds the channel's token."""
    when: tuple[JobMoment, ...] = Field(default=(), max_length=6)
    """Told of a failure and of alerts when empty."""


class Profiler(StrEnum):
    """What records where time goes."""

    PYTHON = "python"
    """Sampling of Python stacks."""
    PERF = "perf"
    """Linux perf."""
    TORCH = "torch"
    """PyTorch's own."""
    NSYS = "nsys"
    """NVIDIA Nsight Systems."""


class Profiling(Model):
    """A recording of a part of the run."""

    profiler: Profiler = Profiler.PYTHON
    start_after_seconds: float = Field(default=60.0, ge=0, le=2_592_000)
    duration_seconds: float = Field(default=30.0, gt=0, le=86_400)


class JobMonitoring(Model):
    """What is watched while a job runs, and who is told."""

    interval_seconds: float = Field(default=10.0, ge=1, le=3600)
    """Between two samples."""
    track_gpu: bool = True
    """Utilization, memory, power and temperature of its GPUs."""
    track_memory: bool = True
    track_network: bool = True
    """Bytes received and sent."""
    track_disk: bool = True
    custom_metrics: tuple[CustomMetric, ...] = Field(default=(), max_length=200)
    alerts: tuple[AlertRule, ...] = Field(default=(), max_length=100)
    notifications: tuple[NotificationChannel, ...] = Field(default=(), max_length=16)
    log_level: LogLevel = LogLevel.INFO
    """Handed to the job as ``FORGELOG_LOG_LEVEL``."""
    log_retention_days: int = Field(default=30, ge=1, le=3650)
    profiling: Profiling | None = None

    @model_validator(mode="after")
    def _channels_exist(self) -> JobMonitoring:
        names = [channel.name for channel in self.notifications]
        if len(names) != len(set(names)):
            raise ValueError("two notifications have the same name; each needs its own")
        for rule in self.alerts:
            for channel in rule.channels:
                if channel not in names:
                    raise ValueError(f"alert {rule.name!r} names channel {channel!r}; add it to notifications")
        return self
