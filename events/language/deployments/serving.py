"""What a replica serves and how: the whole of what a model server (`forgelog.serve`) reads.

`ServingSpec` travels as JSON in the environment variable ``FORGELOG_SERVING`` of a replica's process. Its parts are
what a deployment's endpoints say of processing, batching, schemas, monitoring and health. How requests get to a replica
is the router's: see `events.language.deployments.routing`.
"""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints, model_validator

from events.language.base import Model
from events.language.common import Identifier, OptionalIdentifier
from events.language.deployments.drift import TrainingData
from events.language.deployments.endpoint_types import EndpointType
from events.language.experiments.registry.models import (
    ModelFormat,
    ModelName,
    ModelSignature,
    Quantization,
    VersionNumber,
)
from events.language.objects import ObjectRef

MAX_SERVING_BYTES = 120_000
"""Longest `ServingSpec` as JSON: Linux takes environment variables of up to 128 KiB."""

REPORT_PATH = "/forgelog/report"
"""Where a model server tells its node's agent a `ReplicaReport`. Callers do not get there."""

MAX_SCRIPT = 32_768
"""Most characters of a script."""

Script = Annotated[str, StringConstraints(max_length=MAX_SCRIPT)]
"""Python source text; empty for none."""

UrlPath = Annotated[str, StringConstraints(pattern=r"^/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*$", max_length=500)]
"""The path of a URL, such as ``/v2/health/ready``; no query."""

OptionalUrlPath = Annotated[str, StringConstraints(pattern=r"^$|^/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*$", max_length=500)]

TensorName = Annotated[str, StringConstraints(min_length=1, max_length=250)]

PythonName = Annotated[
    str,
    StringConstraints(pattern=r"^([A-Za-z_][A-Za-z0-9_]*)(\.[A-Za-z_][A-Za-z0-9_]*)*$", max_length=250),
    Field(examples=["sklearn.tree._tree.Tree"]),
]
"""A module or a class by its full name."""

RuntimeName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,62}$"), Field(examples=["onnx"])]
"""A name of the entry points ``forgelog.runtimes``. Forgelog's own are ``onnx``, ``sklearn``, ``torchscript``,
``mlflow``, ``python`` and ``command``."""

UNSERVED_FORMATS = frozenset({ModelFormat.SAFETENSORS, ModelFormat.SAVED_MODEL})
"""Formats that no runtime serves unless it is named."""


ClassPath = Annotated[
    str,
    StringConstraints(pattern=r"^$|^[A-Za-z_][A-Za-z0-9_.]*:[A-Za-z_][A-Za-z0-9_]*$", max_length=500),
    Field(examples=["model:Model"]),
]


class OptimizationLevel(StrEnum):
    """How far the runtime may rewrite a model to make it fast."""

    NONE = "none"
    """The model runs as its file says."""
    BASIC = "basic"
    """What gives the same numbers: constants are folded, unused nodes left out."""
    EXTENDED = "extended"
    """Nodes are fused too; numbers may differ in their last digits."""
    ALL = "all"
    """The layout of memory is changed too."""


class ServingDevice(StrEnum):
    """Where a model computes."""

    AUTO = "auto"
    """A GPU if the replica has one and the runtime can use it, else the CPU."""
    CPU = "cpu"
    GPU = "gpu"
    """The replica does not get ready without one."""


class CommandBackend(Model):
    """A program of the user's that serves a model; the model server stands in front of it.

    It is started beside the model server, with the model's folder in ``FORGELOG_MODEL`` and the port that it is to
    listen on, at 127.0.0.1, in ``FORGELOG_BACKEND_PORT``.
    """

    arguments: Annotated[
        tuple[Annotated[str, StringConstraints(min_length=1, max_length=4096)], ...], Field(min_length=1, max_length=64)
    ]
    """The program and its arguments; no shell reads them."""
    infer_path: UrlPath = "/v2/models/model/infer"
    """Takes a request of the Open Inference Protocol v2 as JSON by POST, and answers so. Requests for paths that the
    model server does not know go to the program as they are."""
    health_path: UrlPath = "/v2/health/ready"
    """Answers GET with 200 when the program is ready."""


class RuntimeSettings(Model):
    """What runs a model, and how."""

    name: RuntimeName | None = None
    """None: ``python`` for a class that is named, else as the version's format and its files ask for."""
    quantization: Quantization = Quantization.NONE
    """In which numbers the model is: the runtime sets itself up for them."""
    optimization: OptimizationLevel = OptimizationLevel.ALL
    threads: Annotated[int, Field(ge=0, le=1024)] = 0
    """Threads that compute one batch; 0: as many as the replica has CPUs."""
    device: ServingDevice = ServingDevice.AUTO
    class_name: ClassPath = ""
    """Of ``python``: module and class of the model's files, such as ``model:Model``."""
    backend: CommandBackend | None = None
    """Of ``command``: the program."""

    @model_validator(mode="after")
    def _complete(self) -> RuntimeSettings:
        if self.name == "python" and not self.class_name:
            raise ValueError("runtime python needs class_name; give module and class, such as model:Model")
        if (self.name == "command") != (self.backend is not None):
            raise ValueError("runtime command and backend go together; give both or neither")
        return self


def runtime_by_format(settings: RuntimeSettings, model_format: ModelFormat) -> str:
    """The runtime that settings name or a version's format asks for; empty where its files say which."""
    if settings.name:
        return settings.name
    if settings.class_name:
        return "python"
    return {ModelFormat.ONNX: "onnx", ModelFormat.TORCHSCRIPT: "torchscript"}.get(model_format, "")


class ServedModel(Model):
    """The version of a model that a replica serves."""

    name: ModelName
    """What requests call it."""
    version: VersionNumber
    version_id: OptionalIdentifier = ""
    bundle: ObjectRef
    """The manifest of its files in the object store."""
    format: ModelFormat = ModelFormat.OTHER
    file: Annotated[str, StringConstraints(max_length=1024)] = ""
    """The file that the runtime loads, by its path in the bundle; empty: the only one that it can load."""
    signature: ModelSignature = ModelSignature()
    """What requests are checked against; empty: what the model's own file says."""
    trusted_types: tuple[PythonName, ...] = Field(default=(), max_length=500)
    """Of skops: types of the file that may be made, since somebody looked at them."""
    trust_pickle: bool = False
    """Whether files may be loaded that run what their author wrote (pickle, joblib)."""


class EndpointBatching(Model):
    """How requests that come together are computed together.

    A batch closes when it has `max_size` rows or when its oldest request has waited `timeout_ms`.
    """

    enabled: bool = False
    max_size: Annotated[int, Field(ge=1, le=4096)] = 32
    """Most rows of a batch: the sum of its requests' first dimensions."""
    timeout_ms: Annotated[float, Field(ge=0, le=10_000)] = 2.0
    """Milliseconds; 0 takes what waits and waits for no more."""


class EndpointProcessing(Model):
    """Python that runs in the model server before and after the model.

    `pre` defines ``preprocess(inputs, parameters)``, `post` defines ``postprocess(outputs, parameters)``; both take and
    give a dict of numpy arrays by name.
    """

    pre: Script = ""
    post: Script = ""
    time_limit_seconds: Annotated[float, Field(gt=0, le=300)] = 5.0
    """Of each script and each request. A request over it is answered 504."""


class TensorRule(Model):
    """Which values a tensor of a request or an answer may have, besides its type and shape."""

    name: TensorName
    minimum: float | None = None
    maximum: float | None = None
    allow_nan: bool = False
    """Whether NaN and infinities may be among its values."""

    @model_validator(mode="after")
    def _ordered(self) -> TensorRule:
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise ValueError(f"minimum {self.minimum:g} is above maximum {self.maximum:g}; exchange them")
        return self


class EndpointSchemas(Model):
    """What is asked of the values of requests and answers. Types and shapes are those of the model's signature."""

    request: tuple[TensorRule, ...] = Field(default=(), max_length=1_000)
    """A request that breaks one is answered 400 before it waits for the model."""
    response: tuple[TensorRule, ...] = Field(default=(), max_length=1_000)
    """An answer of the model that breaks one becomes an error 500."""

    @model_validator(mode="after")
    def _one_each(self) -> EndpointSchemas:
        for field, rules in (("request", self.request), ("response", self.response)):
            if twice := next((name for name, count in Counter(rule.name for rule in rules).items() if count > 1), ""):
                raise ValueError(f"{field} has two rules for {twice!r}; give one for each tensor")
        return self


class RequestLogging(Model):
    """Which requests a replica writes down, in its own output, and what is left out of them."""

    sample: Annotated[float, Field(ge=0, le=1)] = 0.0
    """The share of requests that is written down."""
    errors: bool = True
    """Whether every request that failed by the server's or the model's fault is written down, whatever `sample` is."""
    requests: bool = False
    """Whether the inputs are written down."""
    responses: bool = False
    """Whether the outputs are written down."""
    redact: tuple[Annotated[str, StringConstraints(min_length=1, max_length=500)], ...] = Field(
        default=(), max_length=100
    )
    """Names of tensors and of parameters whose values are replaced by ``[redacted]``; ``*`` for any text in a name."""
    redact_patterns: tuple[Annotated[str, StringConstraints(min_length=1, max_length=500)], ...] = Field(
        default=(), max_length=50
    )
    """Regular expressions: what they find in any text is replaced by ``[redacted]``."""
    max_bytes: Annotated[int, Field(ge=100, le=1_000_000)] = 10_000
    """Longest entry; a longer one has no values."""


class DriftMonitoring(Model):
    """Whether what the model is asked and answers is compared with what it was trained on, column by column."""

    enabled: bool = True
    """Where it is known what the version was trained on."""
    dataset: Annotated[str, StringConstraints(max_length=500)] = ""
    """The training data, such as ``pets/3``; the newest version without a number. Empty: what the run that made the
    version read, for training if it says so."""
    features: tuple[TensorName, ...] = Field(default=(), max_length=2_000)
    """The columns that the numbers of a row are, in their order, where one input has all of them. An input with one
    value a row is the column of its name by itself."""
    outputs: Annotated[dict[TensorName, TensorName], Field(max_length=100)] = Field(default_factory=dict)
    """Output → the column of the training data that has what it predicts, such as ``label: species``. An output with
    one value a row is the column of its name by itself."""

    @model_validator(mode="after")
    def _once(self) -> DriftMonitoring:
        if twice := next((name for name, count in Counter(self.features).items() if count > 1), ""):
            raise ValueError(f"features names {twice!r} twice; name each column once")
        return self


class EndpointMonitoring(Model):
    """What a replica says of its work."""

    metrics: bool = True
    """Whether ``GET /metrics`` gives counters and times in Prometheus' format."""
    timing: bool = True
    """Whether answers have the header ``Server-Timing``: the router's records of requests are made of it."""
    logging: RequestLogging = RequestLogging()
    drift: DriftMonitoring = DriftMonitoring()


class EndpointHealth(Model):
    """Where and how often a replica is asked whether it can serve."""

    path: OptionalUrlPath = ""
    """A path that answers as ``/v2/health/ready`` does, besides that one; empty for none."""
    interval_seconds: Annotated[float, Field(ge=0.1, le=3600)] = 2.0
    timeout_seconds: Annotated[float, Field(ge=0.1, le=600)] = 2.0
    failures: Annotated[int, Field(ge=1, le=100)] = 3
    """How many answers in a row must be wrong or late before the replica counts as not ready."""


class WarmUp(Model):
    """What a replica computes before it says that it is ready: the first request of a model is often the slowest."""

    requests: Annotated[int, Field(ge=0, le=1_000)] = 1
    """How many times the model computes zeros of its signature's shape, at one row and at a full batch."""
    required: bool = False
    """Whether the replica fails where they do. A model may refuse zeros and be fine."""


class ServingLimits(Model):
    """What one replica takes."""

    max_body_bytes: Annotated[int, Field(ge=1024, le=2 << 30)] = 64 << 20
    """Longest body of a request, and longest after it is inflated."""
    timeout_seconds: Annotated[float, Field(gt=0, le=86_400)] = 60.0
    """How long a request may take, its wait included; a longer one is answered 504."""
    max_waiting: Annotated[int, Field(ge=1, le=1_000_000)] = 1_000
    """How many requests may wait; another one is answered 503 with Retry-After."""
    drain_seconds: Annotated[float, Field(ge=0, le=3600)] = 30.0
    """How long a replica that is to stop goes on with what it has taken."""


class ServingSpec(Model):
    """What a replica serves and how."""

    deployment_id: Identifier
    revision: Annotated[int, Field(ge=1, le=1_000_000_000)] = 1
    model: ServedModel
    runtime: RuntimeSettings = RuntimeSettings()
    endpoints: tuple[EndpointType, ...] = Field(min_length=1, max_length=4)
    """How it can be asked."""
    batching: EndpointBatching = EndpointBatching()
    processing: EndpointProcessing = EndpointProcessing()
    schemas: EndpointSchemas = EndpointSchemas()
    monitoring: EndpointMonitoring = EndpointMonitoring()
    health: EndpointHealth = EndpointHealth()
    warm_up: WarmUp = WarmUp()
    limits: ServingLimits = ServingLimits()
    training: TrainingData | None = None
    """By which bins a replica counts what it is asked; None: it counts nothing."""

    @model_validator(mode="after")
    def _fits(self) -> ServingSpec:
        if len(set(self.endpoints)) < len(self.endpoints):
            raise ValueError("endpoints names a type twice; name each once")
        if (size := len(self.to_json())) > MAX_SERVING_BYTES:
            raise ValueError(
                f"has {size:,} bytes as JSON, and a replica is given at most {MAX_SERVING_BYTES:,}; shorten the "
                "scripts, the signature or trusted_types"
            )
        return self
