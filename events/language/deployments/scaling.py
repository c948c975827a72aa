"""How many replicas a deployment has: the policy, what a decision sees, and the decision with all its numbers."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError
from pydantic import AfterValidator, Field, StringConstraints, model_validator

from events.language.base import Model
from events.language.common import Identifier, Timestamp, shown, utc
from events.language.jobs.spec_monitoring import MetricName

MAX_REPLICAS = 1_000
"""Most replicas that a deployment may be told to have."""

ReplicaCount = Annotated[int, Field(ge=0, le=MAX_REPLICAS)]


class ScalingMetric(StrEnum):
    """By what the number of replicas is decided."""

    CPU = "cpu"
    """Percent of the CPUs that replicas asked for, on average."""
    MEMORY = "memory"
    """Percent of the memory that replicas asked for, on average."""
    GPU = "gpu"
    """How busy the replicas' GPUs are in percent, on average."""
    RPS = "rps"
    """Requests per second and replica."""
    LATENCY = "latency"
    """95th percentile of latency in milliseconds."""
    CUSTOM = "custom"
    """A metric that replicas report, on average."""


class ScalingTarget(Model):
    """The value of a metric at which the number of replicas is right. Of several targets the most demanding counts."""

    metric: ScalingMetric
    value: float = Field(gt=0, le=1e12)
    """In the metric's unit: percent, requests per second and replica, milliseconds, or the custom metric's own."""
    custom: Annotated[str, StringConstraints(max_length=200)] = ""
    """The name of the custom metric; empty for the others."""

    @model_validator(mode="after")
    def _fits(self) -> ScalingTarget:
        if (self.metric is ScalingMetric.CUSTOM) != bool(self.custom):
            raise ValueError("custom is needed for the metric 'custom', as its name, and must be empty for the others")
        if self.metric in (ScalingMetric.MEMORY, ScalingMetric.GPU) and self.value > 100:
            raise ValueError(f"value is {self.value:g} percent of {self.metric}; give at most 100")
        return self

    @property
    def name(self) -> str:
        """The metric's name, the custom one's own."""
        return self.custom or str(self.metric)


class ScalingBehavior(Model):
    """How fast the number of replicas may change in one direction."""

    cooldown_seconds: float = Field(default=0.0, ge=0, le=86_400)
    """Least seconds since the last change in the same direction; downwards also since the last one upwards."""
    step_replicas: ReplicaCount = 0
    """Most replicas of one change; 0: any number, if `step_percent` is 0 too."""
    step_percent: float = Field(default=0.0, ge=0, le=10_000)
    """Most of one change in percent of the replicas; of the two bounds the higher one counts."""


def _cron(value: str) -> str:
    try:
        CronSim(value, utc(0.0))
    except CronSimError as error:
        raise ValueError(
            f"{shown(value)} is no cron expression: {str(error).lower()}; give minute, hour, day of month, month, "
            "day of week, such as '0 8 * * MON-FRI'"
        ) from None
    if len(value.split()) != 5:
        raise ValueError(
            f"{shown(value)} has seconds; give five fields: minute, hour, day of month, month, day of week"
        )
    return value


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (KeyError, OSError, ValueError):
        raise ValueError(
            f"{shown(value)} is no time zone; give an IANA name such as 'Europe/Berlin', or 'UTC'"
        ) from None
    return value


CronExpression = Annotated[str, StringConstraints(min_length=9, max_length=200), AfterValidator(_cron)]
"""Five fields as in Debian's cron, names of months and days allowed."""

ZoneName = Annotated[str, StringConstraints(min_length=1, max_length=64), AfterValidator(_zone)]
"""A time zone of the IANA database."""


class ScalingSchedule(Model):
    """Other bounds at certain times. Of several that hold at a time, the last one in the list counts."""

    name: Identifier
    cron: CronExpression
    """When it begins."""
    zone: ZoneName = "UTC"
    """The zone of `cron`. Where clocks change, a time that is left out counts as the next one that exists."""
    duration_seconds: float = Field(ge=60, le=604_800)
    """How long it holds from each begin."""
    min_replicas: ReplicaCount | None = None
    """None: the policy's."""
    max_replicas: Annotated[int, Field(ge=1, le=MAX_REPLICAS)] | None = None
    """None: the policy's."""

    @model_validator(mode="after")
    def _says_something(self) -> ScalingSchedule:
        if self.min_replicas is None and self.max_replicas is None:
            raise ValueError("min_replicas and max_replicas are both left out; give one of them")
        if self.min_replicas is not None and self.max_replicas is not None and self.min_replicas > self.max_replicas:
            raise ValueError(f"min_replicas {self.min_replicas} is above max_replicas {self.max_replicas}")
        return self


class PredictiveScaling(Model):
    """Replicas ahead of the load, by the same time of past days. It only raises the least number of replicas."""

    quantile: float = Field(default=0.9, ge=0.5, le=0.999)
    """The prediction is one that this share of the past loads did not exceed."""
    max_error_percent: float = Field(default=30.0, gt=0, le=1000)
    """The prediction is left aside while yesterday's was wrong by more, on average."""
    lead_seconds: float = Field(default=60.0, ge=0, le=3600)
    """It looks ahead as long as 95 of 100 replicas take to start, and this much longer."""


class AutoScalingPolicy(Model):
    """How the number of replicas follows the load."""

    min_replicas: ReplicaCount = 1
    """With 0, the last replica ends after `idle_seconds` without a request, and the next request starts one."""
    max_replicas: Annotated[int, Field(ge=1, le=MAX_REPLICAS)]
    targets: tuple[ScalingTarget, ...] = Field(default=(), max_length=16)
    """Without any, only schedules, idleness and waiting requests decide."""
    tolerance_percent: float = Field(default=10.0, ge=0, le=100)
    """A load that differs from what the replicas are for by no more than this changes nothing."""
    stable_seconds: float = Field(default=60.0, ge=6, le=3600)
    """The load is its mean over this time."""
    panic_seconds: float = Field(default=6.0, ge=1, le=600)
    """In a panic it is its mean over this time, and the number of replicas never falls."""
    panic_ratio: float = Field(default=2.0, ge=1.1, le=100)
    """A panic begins when the load of `panic_seconds` needs so many times the replicas that are ready."""
    idle_seconds: float = Field(default=300.0, ge=1, le=86_400)
    up: ScalingBehavior = ScalingBehavior()
    down: ScalingBehavior = ScalingBehavior(cooldown_seconds=60.0)
    predictive: PredictiveScaling | None = None
    schedules: tuple[ScalingSchedule, ...] = Field(default=(), max_length=50)

    @model_validator(mode="after")
    def _fits(self) -> AutoScalingPolicy:
        if self.min_replicas > self.max_replicas:
            raise ValueError(f"min_replicas {self.min_replicas} is above max_replicas {self.max_replicas}")
        if self.panic_seconds > self.stable_seconds:
            raise ValueError("panic_seconds is above stable_seconds; give a shorter time, such as a tenth of it")
        for kind, names in (
            ("targets", [target.name for target in self.targets]),
            ("schedules", [schedule.name for schedule in self.schedules]),
        ):
            if len(names) != len(set(names)):
                raise ValueError(f"two {kind} have the same name; give each once")
        if self.predictive is not None and all(target.metric is not ScalingMetric.RPS for target in self.targets):
            raise ValueError("predictive needs a target for 'rps': it predicts requests per second")
        for schedule in self.schedules:
            low, high = self.bounds(schedule)
            if low > high:
                raise ValueError(f"in schedule {schedule.name!r} the least number of replicas, {low}, is above {high}")
        return self

    def bounds(self, schedule: ScalingSchedule) -> tuple[int, int]:
        """The least and the highest number of replicas while a schedule holds."""
        low = self.min_replicas if schedule.min_replicas is None else schedule.min_replicas
        high = self.max_replicas if schedule.max_replicas is None else schedule.max_replicas
        return low, high


class MetricLoad(Model):
    """The value of one target's metric."""

    name: MetricName
    """As `ScalingTarget.name`."""
    stable: float | None = Field(default=None, ge=-1e300, le=1e300)
    """Mean over the stable window: for rps of the whole deployment, for latency the percentile, else the mean of the
    replicas. None: not known, since nobody reported it."""
    panic: float | None = Field(default=None, ge=-1e300, le=1e300)
    """The same over the panic window."""


class LoadForecast(Model):
    """What the load is predicted to be when a replica that is asked for now will be ready."""

    rps: float = Field(ge=0, le=1e12)
    """Requests per second of the whole deployment, at the policy's quantile."""
    error_percent: float | None = Field(default=None, ge=0, le=1e12)
    """Mean error of yesterday's predictions; None while there is no whole day of them."""


class ScalingInputs(Model):
    """All that a decision sees."""

    at: Timestamp
    policy: AutoScalingPolicy
    replicas: ReplicaCount
    """The wanted number as it is."""
    ready: ReplicaCount
    """Those that take requests."""
    starting: ReplicaCount = 0
    """Those that were asked for and are not ready yet: they count, so that they are not asked for twice."""
    loads: tuple[MetricLoad, ...] = Field(default=(), max_length=16)
    watched_seconds: float = Field(ge=0, le=1e10)
    """How long loads have been followed without a gap: before a whole stable window nothing is taken away."""
    held: int = Field(default=0, ge=0, le=1_000_000)
    """Requests that wait for the first replica."""
    idle_seconds: float | None = Field(default=None, ge=0, le=1e10)
    """Since the last request; None: not known."""
    since_up_seconds: float | None = Field(default=None, ge=0, le=1e10)
    """Since the last change upwards; None: there was none."""
    since_down_seconds: float | None = Field(default=None, ge=0, le=1e10)
    since_panic_seconds: float | None = Field(default=None, ge=0, le=1e10)
    """Since the load was last one of a panic."""
    forecast: LoadForecast | None = None


class MetricNeed(Model):
    """How many replicas one metric asks for."""

    name: MetricName
    stable: float = Field(ge=0, le=1e15)
    """By the stable window, before rounding up."""
    panic: float = Field(default=0.0, ge=0, le=1e15)
    """By the panic window; 0 where it is not known."""


class ScalingReason(StrEnum):
    """What made the number of replicas what it is."""

    STEADY = "steady"
    """The load needs what there is."""
    LOAD = "load"
    """A metric over the stable window."""
    PANIC = "panic"
    """A metric over the panic window."""
    DEMAND = "demand"
    """Requests wait and no replica is there."""
    IDLE = "idle"
    """No request came for the policy's time."""
    FORECAST = "forecast"
    """The predicted load."""
    MINIMUM = "minimum"
    """The least number of replicas, of the policy or of a schedule."""
    MAXIMUM = "maximum"
    """The highest number."""


class ScalingLimit(StrEnum):
    """What keeps the number of replicas from what the load asks for."""

    NONE = "none"
    TOLERANCE = "tolerance"
    """The difference is too small."""
    COOLDOWN = "cooldown"
    """The last change is too recent."""
    PANIC = "panic"
    """Nothing is taken away in a panic and soon after."""
    STEP = "step"
    """One change goes no further."""
    UNKNOWN = "unknown"
    """A metric is not known, or not for the whole stable window: nothing is taken away."""
    MINIMUM = "minimum"
    MAXIMUM = "maximum"
    NOT_IDLE = "not_idle"
    """The last replica stays until there was no request for the policy's time."""


class ScalingDecision(Model):
    """A decision. `decide` of the same inputs gives the same decision."""

    inputs: ScalingInputs
    replicas: ReplicaCount
    """The wanted number from now on."""
    reason: ScalingReason
    metric: Annotated[str, StringConstraints(max_length=200)] = ""
    """The metric that the reason is about; empty where it is about none."""
    limit: ScalingLimit = ScalingLimit.NONE
    needs: tuple[MetricNeed, ...] = Field(default=(), max_length=16)
    needed: int = Field(ge=0, le=1 << 60)
    """What the load, the prediction and waiting requests ask for, before bounds and behaviour."""
    forecast_replicas: int = Field(default=0, ge=0, le=1 << 60)
    """What the prediction asks for; 0 without one, and while it is left aside."""
    low: ReplicaCount
    """The least number at this time."""
    high: ReplicaCount
    """The highest number at this time."""
    schedule: Annotated[str, StringConstraints(max_length=128)] = ""
    """The schedule that holds; empty: none."""
    panicking: bool = False
