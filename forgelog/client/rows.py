"""The answers of the client: dicts whose keys are attributes too, with the types of both. An enum is its word
(``running``), a time an aware `datetime`, a duration its seconds.

Generated from the queries of `proto/` by `make proto`: change them there, not here.
"""

from __future__ import annotations

from datetime import datetime

from forgelog.client.plain import Answer


class TaskTally(Answer, message="forgelog.jobs.v1.TaskTally"):
    """How many tasks are where."""

    total: int
    pending: int
    queued: int
    scheduled: int
    running: int
    completed: int
    failed: int
    cancelled: int
    ready: int
    """Of those that run: tasks of a service that may be called."""


class JobRow(Answer, message="forgelog.jobs.v1.Job"):
    """A job in short."""

    job_id: str
    project: str
    owner: str
    name: str
    queue: str
    priority: str
    status: str
    """The furthest any live task is; how they ended when all have."""
    tasks: TaskTally
    labels: dict[str, str]
    attempts: int
    """Attempts that were queued, of all tasks."""
    restarts: int
    """Restarts that count against the restart policy, of all tasks."""
    cancel_requested: bool
    node_id: str
    """Where a task of it was placed last."""
    exit_code: int | None
    """What `forgelog run` exits with; unset until the job has ended, and when it was cancelled before any of it
    ran."""
    reason: str
    """Why it waits, was tried again or ended, as far as there is something to say."""
    submitted_at: datetime
    queued_at: datetime | None
    not_before: datetime | None
    """End of the back-off of the last retry."""
    started_at: datetime | None
    """Of its first process."""
    ended_at: datetime | None
    updated_at: datetime | None
    waits_for: list[str]
    """Jobs whose end it waits for."""


class TaskRow(Answer, message="forgelog.jobs.v1.Task"):
    """One task of a job: its current attempt."""

    task: int
    status: str
    attempt: int
    node_id: str
    allocation_id: str
    pid: int
    gpus: list[int]
    """Indices of its GPUs on the node."""
    exit_code: int | None
    signal: int | None
    exit_reason: str
    message: str
    cpu_seconds: float
    """Of the last ended attempt, its descendants included."""
    max_rss_bytes: int
    queued_at: datetime | None
    not_before: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    ready: bool | None
    """Of a running task of a service: whether it may be called. Unset for every other one."""
    unready_reason: str
    """Why it may not be called, as far as its node has said so."""
    readiness_changed_at: datetime | None
    """When its node found that it may be called, or may not."""
    address: str
    """Where it is called while it runs: the address of its node, and the number of each of its ports."""
    ports: dict[str, int]


class AttemptRow(Answer, message="forgelog.jobs.v1.TaskAttempt"):
    """One run of a task."""

    task: int
    attempt: int
    node_id: str
    allocation_id: str
    pid: int
    started_at: datetime | None
    ended_at: datetime | None
    exit_code: int | None
    signal: int | None
    exit_reason: str
    message: str
    output_missing_bytes: int
    """Bytes of its output that are not kept: lost, or beyond the limit."""
    cpu_seconds: float
    """What it used, once it has ended: see TaskUsage."""
    wall_seconds: float
    gpu_seconds: float
    stdout_bytes: int | None
    """What it printed, as its node read it: bytes, and their BLAKE3 (empty for no bytes). Left out until it has
    ended, and where it is not known: see TaskExit."""
    stdout_digest: str | None
    stderr_bytes: int | None
    stderr_digest: str | None


class OutputRow(Answer, message="forgelog.jobs.v1.AttemptOutputs"):
    """The files that a job keeps of one run of a task."""

    task: int
    attempt: int
    node_id: str
    digest: str
    """BLAKE3 of the manifest, an object; empty if no file is kept."""
    size: int
    """Bytes of the manifest."""
    files: int
    total_bytes: int
    """Of all files together."""
    left_out: int
    """Things that a pattern fits and that could not be kept."""
    message: str
    """Why something, or all, is not kept."""
    kept_at: datetime | None


class JobAnswer(Answer, message="forgelog.jobs.v1.GetJobResponse"):
    """What `forgelog.jobs.v1.GetJobResponse` holds."""

    job: JobRow
    spec: Answer
    """As it was submitted, defaults filled in."""


class LogPiece(Answer, message="forgelog.jobs.v1.FollowLogsResponse"):
    """A piece of one stream of one task."""

    task: int
    attempt: int
    stream: str
    offset: int
    """Bytes of this stream before `data`."""
    data: bytes
    time: datetime
    """When the node agent read it."""
    eof: bool
    """The stream has ended; `data` may be empty."""
    truncated: bool
    """Output beyond the limit of a task was dropped from here on."""
    cursor: str
    """To go on from here."""
    missing_bytes: int
    """Bytes that are not here: lost before `data`; at the stream's end, all that was printed beyond the limit."""
    text: str
    """`data` as text; a character that is torn waits for its rest."""


class QueueRow(Answer, message="forgelog.scheduling.v1.Queue"):
    """What `forgelog.scheduling.v1.Queue` holds."""

    queue: str
    policy: str
    status: str
    waiting_jobs: int
    """Jobs with waiting tasks."""
    waiting_tasks: int
    placed_tasks: int
    """Tasks that hold or are about to get an allocation."""
    updated_at: datetime | None


class EntryRow(Answer, message="forgelog.scheduling.v1.Entry"):
    """Tasks of one attempt of a job that wait."""

    queue: str
    job_id: str
    project: str
    owner: str
    name: str
    tasks: str
    """Such as "0-3,7"."""
    task_count: int
    attempt: int
    priority: str
    resources: Answer
    """What each task needs."""
    submitted_at: datetime
    queued_at: datetime | None
    not_before: datetime | None
    """Not placed before (back-off of a retry)."""
    position: int
    """Place of its job in the queue, from 1."""
    message: str
    """Why it could not be placed when it was last tried; empty before."""
    reasons: list[Answer]


class PlacementRow(Answer, message="forgelog.scheduling.v1.PlacedTasks"):
    """A decision: these tasks on this node."""

    queue: str
    job_id: str
    allocation_id: str
    node_id: str
    tasks: str
    attempt: int
    score: float
    waited_seconds: float
    decided_at: datetime
    status: str
    """`pending` until resources has answered."""
    reason: str
    """Why resources rejected it."""


class WhyAnswer(Answer, message="forgelog.scheduling.v1.ExplainJobResponse"):
    """What `forgelog.scheduling.v1.ExplainJobResponse` holds."""

    entries: list[EntryRow]
    """What waits of it; none when nothing does."""
    placements: list[PlacementRow]
    """Its last decisions, newest first; at most 100."""
    message: str
    """One line for people."""
    dependencies: list[Answer]
    """The jobs that it waits for, as the method `dependencies` gives them."""


class ReasonsRow(Answer, message="forgelog.deployments.v1.DeploymentReasons"):
    """Why a deployment has as many replicas as it has, and why its last rollout went as it did."""

    deployment_id: str
    """At most 128 characters."""
    project: str
    """At most 127 characters."""
    replicas_reason: str
    """Why their number was changed last."""
    replicas_changed_at: datetime | None
    scaling: Answer
    """The last decision of its scaling policy that changed the number."""
    standing: Answer
    """What would have been decided at `observed_at`, and what keeps it from another number."""
    standing_summary: str
    observed_at: datetime | None
    rollout_reason: str
    """What happened to a rollout last, and why."""
    rollout_changed_at: datetime | None
    judgement: Answer
    """The last look at a canary."""
    judgement_summary: str
    judged_at: datetime | None
    crash_reason: str
    """Of which replica a process ended by itself last, and how."""
    crashed_at: datetime | None
    firing: list[Answer]
    """Alerts that fire now. At most 100 entries."""
    updated_at: datetime | None


class ServingMetricsRow(Answer, message="forgelog.deployments.v1.ModelServingMetrics"):
    """A deployment's requests, those of one revision or of all, that began in a window of time. What nothing is
    known of is None."""

    deployment_id: str
    """At most 128 characters."""
    revision: int
    """0: of all revisions, and of requests that were answered before one was chosen. 0 to 1000000000."""
    window_start: datetime | None
    window_seconds: int
    """0 to 9007199254740992."""
    total_requests: int
    """0 to 9007199254740992."""
    successful_requests: int
    """0 to 9007199254740992."""
    failed_requests: int
    """By the deployment's fault. 0 to 9007199254740992."""
    refused_requests: int
    """By their callers'. 0 to 9007199254740992."""
    cancelled_requests: int
    """0 to 9007199254740992."""
    requests_per_second: float
    """The mean over the whole window. 0 to 1000000000000.0."""
    average_latency_ms: float | None
    """Of requests that succeeded, as are the other latencies. 0 to 1000000000000.0."""
    p50_latency_ms: float | None
    """Within 1 %, as are the other percentiles. 0 to 1000000000000.0."""
    p95_latency_ms: float | None
    """0 to 1000000000000.0."""
    p99_latency_ms: float | None
    """0 to 1000000000000.0."""
    max_latency_ms: float | None
    """0 to 1000000000000.0."""
    average_preprocessing_ms: float | None
    """0 to 1000000000000.0."""
    average_queue_ms: float | None
    """0 to 1000000000000.0."""
    average_inference_ms: float | None
    """0 to 1000000000000.0."""
    average_postprocessing_ms: float | None
    """0 to 1000000000000.0."""
    error_rate: float | None
    """The share of requests that failed. 0 to 1."""
    timeout_rate: float | None
    """The share of requests that were not answered in time. 0 to 1."""
    request_bytes: int
    """0 to 8 PiB."""
    response_bytes: int
    """0 to 8 PiB."""
    cpu_percent: float | None
    """Of what the replicas asked for, on average. 0 to 1000000000000.0."""
    memory_percent: float | None
    """0 to 1000000000000.0."""
    gpu_percent: float | None
    """0 to 1000000000000.0."""
    replica_seconds: float
    """How long its replicas ran in the window, all together. 0 to 1000000000000.0."""
    estimated_cost: float | None
    """What its replicas cost in the window, by the platform's prices of an hour of a CPU and of a GPU; None
    where there are none. 0 to 1000000000000.0."""
    drift: float | None
    """The highest population stability index of a column against the training data; None where fewer than 200
    values of each were counted. 0 to 1000000000000.0."""
    drift_column: str
    """The column that has it. At most 250 characters."""


class DriftRow(Answer, message="forgelog.deployments.v1.DeploymentDrift"):
    """What a deployment's model was asked in a time, beside its training data."""

    deployment_id: str
    """At most 128 characters."""
    revision: int
    """0 to 1000000000."""
    dataset: str
    """The training data; empty where none is known, `reason` says why. At most 500 characters."""
    reason: str
    window_start: datetime | None
    window_end: datetime | None
    columns: list[Answer]
    """The highest index first."""


class NodeRow(Answer, message="forgelog.resources.v1.Node"):
    """A node in short."""

    node_id: str
    pool: str
    status: str
    hostname: str
    role: str
    capacity: Answer
    """What jobs may use."""
    allocated: Answer
    """What allocations hold."""
    free: Answer
    """What is left; 0 where the node has shrunk below what is held. An exclusive job leaves a rest that nobody
    can have."""
    gpu_models: dict[str, int]
    """Name of each GPU model → how many."""
    labels: dict[str, str]
    """The agent's and the operators', these going first."""
    taints: list[Answer]
    """The agent's and the operators'."""
    hold_reason: str
    """Why an operator cordoned or drained it; empty when it is neither, or nothing was said."""
    held: bool
    """Whether an operator holds it (cordon, drain), also while it is lost."""
    running_allocations: int
    running_tasks: int
    """Tasks that hold something."""
    exclusive_job: str
    """Job that has the node for itself; empty when it is shared."""
    registered_at: datetime | None
    """The agent's last start."""
    lost_at: datetime | None
    """Unset unless it is lost."""
    boot_id: str
    agent_id: str
    address: str
    """By which tasks of services are called on it; empty where its agent tells none."""
    port_range: Answer
    """From which services get their ports on it."""


class AllocationRow(Answer, message="forgelog.resources.v1.Allocation"):
    """Tasks' hold on a node's resources."""

    allocation_id: str
    job_id: str
    project: str
    pool: str
    node_id: str
    status: str
    tasks: str
    """All it was bound for: "0-3,7"."""
    rest: str
    """Those that still hold their share; empty when none does."""
    stopping: str
    """Those of `rest` that were asked to stop."""
    attempt: int
    resources: Answer
    """Of each task. Unset when it was rejected."""
    devices: list[Answer]
    """Devices each task got."""
    created_at: datetime | None
    """When it was bound or rejected."""
    stop_requested_at: datetime | None
    released_at: datetime | None
    """When its last task's share was given back."""
    reason: str
    """Why it was rejected, asked to stop, or lost."""


class NodeAnswer(Answer, message="forgelog.resources.v1.GetNodeResponse"):
    """What `forgelog.resources.v1.GetNodeResponse` holds."""

    node: NodeRow
    spec: Answer
    """What its agent announced."""
    gpus: list[Answer]
    allocations: list[AllocationRow]
    """Those that hold something, oldest first; at most 10000."""


class PoolRow(Answer, message="forgelog.resources.v1.PoolSummary"):
    """What `forgelog.resources.v1.PoolSummary` holds."""

    pool: str
    nodes: int
    by_status: list[Answer]
    """Statuses that some node has."""
    total: Answer
    """Of every node that is not lost."""
    allocated: Answer
    free: Answer
    """On nodes that take work."""
    gpu_models: dict[str, int]
    """Name of each GPU model → how many, on nodes that are not lost."""
    running_allocations: int
    running_tasks: int


class EventRow(Answer, message="forgelog.log.v1.LoggedEvent"):
    """What `forgelog.log.v1.LoggedEvent` holds."""

    context: str
    position: str
    """Such as events.jobs/3@1042."""
    id: str
    type: str
    subject: str
    time: datetime
    project: str
    actor: str
    correlation_id: str
    causation_id: str
    cause: str
    """Position of the command or event that led to this one; empty for the platform's own initiative."""
    data: Answer
    """The body as JSON."""
    aggregate: str
    """Kind of the aggregate that the subject is, such as job. Empty where that is not known."""
    origin: str
    """The aggregate that ordered what this is about, as context/kind/id; empty where a person or an agent asked
    for it."""


class PointsDigest(Answer, message="forgelog.experiments.v1.GetPointsDigestResponse"):
    """What `forgelog.experiments.v1.GetPointsDigestResponse` holds."""

    points: int
    series: int
    digest: str
    """BLAKE3 over all points of all series in order, in hexadecimal digits."""


class CapturedRunRow(Answer, message="forgelog.experiments.v1.CapturedRun"):
    """What a run ran, as queries tell of it."""

    run_id: str
    """At most 128 characters."""
    capture: Answer
    captured_at: datetime | None


class RunSealAnswer(Answer, message="forgelog.experiments.v1.GetRunSealResponse"):
    """What `forgelog.experiments.v1.GetRunSealResponse` holds."""

    seal: Answer
    late_points: int
    """Points that came after the seal."""
    found: Answer
    """What is stored of the points that had come by the seal. Left out unless it was asked for."""
    intact: bool | None
    """Whether that is what was sealed."""


class RunResultsAnswer(Answer, message="forgelog.experiments.v1.GetRunResultsResponse"):
    """What `forgelog.experiments.v1.GetRunResultsResponse` holds."""

    run_id: str
    metrics: list[MetricRow]
    """The last value of each metric, by key."""
    best_checkpoint: str
    """A file or folder of the run; empty if its program has named none."""
    model_versions: list[str]
    """Versions of models that were made of the run, oldest first."""
    compute_hours: float
    """From the start of its process to its end; 0 until it has ended, and where the platform did not run it."""
    cpu_hours: float
    """Of CPUs that its process used, and of GPUs that it was given."""
    gpu_hours: float
    estimated_cost: float | None
    """By the prices of the settings. Left out where there are none."""


class ExperimentResultsAnswer(Answer, message="forgelog.experiments.v1.GetExperimentResultsResponse"):
    """What `forgelog.experiments.v1.GetExperimentResultsResponse` holds."""

    experiment_id: str
    best_run_id: str
    """Empty if no run has the metric, or none was named; NaN is no value of it."""
    best_value: float
    best_model_version: str
    """Of the versions of models that were made of its runs, one of the best run that has any."""
    best_model_value: float
    """The value of that version's run."""
    compute_hours: float
    """Of all its runs that are not deleted: as of a run."""
    cpu_hours: float
    gpu_hours: float
    estimated_cost: float | None
    """By the prices of the settings. Left out where there are none."""


class CheckResult(Answer, message="forgelog.experiments.v1.CheckResult"):
    """How a run that has ended does by one of its experiment's practices."""

    name: str
    metric: str
    """Empty for a check of data. At most 250 characters."""
    passed: bool
    finding: str
    """In words, with the value that was found."""
    column: str
    """Of a check of data; empty for the whole dataset. At most 250 characters."""


class PurgePlan(Answer, message="forgelog.experiments.v1.PlanPurgeResponse"):
    """What `forgelog.experiments.v1.PlanPurgeResponse` holds."""

    purgeable: list[Answer]
    more: bool
    """Whether there is more than the limit."""


class LoggedModelRow(Answer, message="forgelog.experiments.v1.LoggedModel"):
    """A model that was logged, as queries tell of it."""

    model_id: str
    """At most 128 characters."""
    project: str
    """At most 127 characters."""
    experiment_id: str
    """Empty until an experiment has taken it. At most 128 characters."""
    name: str
    """At most 250 characters."""
    model_type: str
    """What its program says that it is, such as `agent`. At most 250 characters."""
    source_run_id: str
    """The run that made it. At most 128 characters."""
    status: str
    reason: str
    """Why it failed."""
    owner: str
    """Who logged it."""
    params: dict[str, str]
    tags: dict[str, str]
    """At most 1000 entries."""
    created_at: datetime | None
    updated_at: datetime | None
    deleted_at: datetime | None
    purged_at: datetime | None
    """When what it held was given up. Also told as of an earlier time, since that is gone then, too."""
    metrics: list[MetricRow]
    """Of all runs that measured it, by key."""


class EndpointKeyRow(Answer, message="forgelog.deployments.v1.EndpointKey"):
    """A key of a deployment's endpoints, without its token."""

    deployment_id: str
    """At most 128 characters."""
    key_id: str
    project: str
    """At most 127 characters."""
    name: str
    """Whom or what it is for."""
    endpoints: list[str]
    """Those that it opens; all when empty."""
    issued_by: str
    """Who asked for it, and alone may have its token."""
    issued_at: datetime | None
    expires_at: datetime | None
    issuer: str
    """`iss` of its token."""
    public_key_id: str
    """Which of the issuer's public keys checks it: `kid` of its token."""
    revoked_at: datetime | None
    revoked_by: str
    reason: str
    """Why it was revoked."""


class NoticeDeliveryRow(Answer, message="forgelog.common.v1.NoticeDelivery"):
    """One notice on one channel, and what became of it."""

    notice_id: str
    """Of the event that it tells of; the same for each try, and on each channel. At most 128 characters."""
    channel: str
    """As its name is among the channels that were set then. At most 128 characters."""
    kind: str
    """How it is told: `log`, `webhook` or `email`."""
    project: str
    aggregate: str
    """What it is about: `deployment`, `pipeline` or `dataset`."""
    subject: str
    """The id of that. At most 128 characters."""
    name: str
    type: str
    """Such as `alert.fired` or `run.failed`."""
    severity: str
    """`info`, `warning` or `critical`."""
    summary: str
    """What is told, in a sentence."""
    state: str
    tries: int
    """How often it was tried. 0 to 2147483647."""
    error: str
    """What was wrong with the last try."""
    happened_at: datetime | None
    tried_at: datetime | None
    """When it was tried last."""
    due_at: datetime | None
    """When it is tried next."""
    delivered_at: datetime | None


class DeploymentRow(Answer, message="forgelog.deployments.v1.Deployment"):
    """A deployment."""

    deployment_id: str
    """At most 128 characters."""
    project: str
    """At most 127 characters."""
    name: str
    owner: str
    """Who created it."""
    status: str
    reason: str
    """Why it is degraded or has failed."""
    spec: Answer
    """As it was wanted last, with the number of replicas that is wanted now."""
    revision: int
    """The one that is in place; 0 before there is one. 0 to 2147483647."""
    newest_revision: int
    """0 to 2147483647."""
    wanted: int
    """How many replicas it is to have. 0 to 1000."""
    ready: int
    """How many are ready. 0 to 2147483647."""
    model: Answer
    """What the revision in place serves."""
    rollout_revision: int
    """The one that is rolled out now; 0 if none is. 0 to 2147483647."""
    rollout_strategy: str | None
    rollout_step: int
    """0 to 2147483647."""
    rollout_weight: int
    """The share of requests, in basis points, that the step is to give the revision. 0 to 2147483647."""
    rollout_paused: bool
    rollout_reason: str
    """Why the last rollout was paused or rolled back."""
    rules: Answer
    """Which requests go to which revision whatever its weight."""
    routing_number: int
    """Of the newest routing table. At least 0."""
    created_at: datetime | None
    updated_at: datetime | None
    terminated_at: datetime | None


class DeploymentRevisionRow(Answer, message="forgelog.deployments.v1.DeploymentRevision"):
    """A revision of a deployment: what it was to be then."""

    deployment_id: str
    """At most 128 characters."""
    revision: int
    """0 to 2147483647."""
    project: str
    """At most 127 characters."""
    spec: Answer
    changed: list[str]
    """What is different from the revision before, such as `resources.cpus`."""
    note: str
    """What was changed and why, as its author wrote."""
    deployer: str
    """Who made it."""
    source_revision: int
    """The earlier revision that it repeats; 0 if it undoes nothing. 0 to 2147483647."""
    status: str
    reason: str
    """Why it was rejected or rolled back."""
    model: Answer
    """What it serves."""
    crashes: int
    """How often processes of its replicas have ended by themselves. 0 to 2147483647."""
    created_at: datetime | None
    updated_at: datetime | None
    started_at: datetime | None
    """When its rollout began."""
    ended_at: datetime | None
    """When its rollout was complete or was rolled back."""


class ReplicaRow(Answer, message="forgelog.deployments.v1.Replica"):
    """A replica of a deployment."""

    deployment_id: str
    """At most 128 characters."""
    replica: int
    """0 to 2147483647."""
    project: str
    """At most 127 characters."""
    revision: int
    """0 to 2147483647."""
    job_id: str
    """At most 128 characters."""
    status: str
    reason: str
    """Why it is not ready, or goes."""
    attempt: int
    """Which run of its process; 0 before the first. 0 to 2147483647."""
    node_id: str
    address: str
    ports: dict[str, int]
    """By name."""
    crashes: int
    """How often its process has ended by itself. 0 to 2147483647."""
    requested_at: datetime | None
    updated_at: datetime | None
    started_at: datetime | None
    """When its process started last."""
    first_started_at: datetime | None
    """When it had a process first: it has kept what it was given since."""
    ready_at: datetime | None
    """Since when it is ready."""
    ended_at: datetime | None


class RoutingRow(Answer, message="forgelog.deployments.v1.Routing"):
    """What routers do now for a deployment."""

    deployment_id: str
    """At most 128 characters."""
    project: str
    """At most 127 characters."""
    routing: Answer
    changed_at: datetime | None


class InferenceRequestRow(Answer, message="forgelog.deployments.v1.InferenceRequest"):
    """A request that a router passed on or answered itself. Times of a replica are None where it did not tell
    them."""

    request_id: str
    """What the router gave it: `x-request-id` of the request that the replica gets. At most 128 characters."""
    trace_id: str
    """Of the trace that it is a part of (W3C Trace Context); empty where it is not traced."""
    router: str
    """At most 128 characters."""
    deployment_id: str
    """At most 128 characters."""
    endpoint: str
    """At most 250 characters."""
    endpoint_type: str | None
    revision: int
    """0: it was answered before a revision was chosen for it. 0 to 1000000000."""
    model: str
    """At most 250 characters."""
    model_version: int
    """0 to 9007199254740992."""
    replica_id: str
    """At most 250 characters."""
    started_at: datetime | None
    """When its first byte came."""
    latency_ms: float
    """From its first byte to its answer's last. 0 to 1000000000000.0."""
    replica_ms: float | None
    """From when the replica was sent it to the last byte of the replica's answer. 0 to 1000000000000.0."""
    request_bytes: int
    """Of its body. 0 to 8 PiB."""
    response_bytes: int
    """0 to 8 PiB."""
    preprocessing_ms: float | None
    """0 to 1000000000000.0."""
    queue_ms: float | None
    """How long it waited for its batch. 0 to 1000000000000.0."""
    inference_ms: float | None
    """How long the model computed its batch. 0 to 1000000000000.0."""
    postprocessing_ms: float | None
    """0 to 1000000000000.0."""
    batch_id: str
    """The replica and the number of its batch there; empty where it came into none. At most 250 characters."""
    batch_requests: int
    """How many requests were in its batch. 0 to 9007199254740992."""
    batch_rows: int
    """0 to 9007199254740992."""
    outcome: str
    status: int
    """Of HTTP; 0 if nothing was answered. 0 to 999."""
    grpc_status: int | None
    """0 to 99."""
    error_type: str | None
    error_message: str
    """What the replica said of it, redacted as the deployment's request log is; or the router's own reason. At
    most 500 characters."""
    attempts: int
    """How many replicas were asked; 0 if none was. 0 to 9007199254740992."""
    cpu_ms: float | None
    """CPU time of the replica while its batch was computed, ÷ the batch's requests. 0 to 1000000000000.0."""
    memory_bytes: int | None
    """Resident memory of the replica then, ÷ the batch's requests. 0 to 8 PiB."""
    gpu_ms: float | None
    """The same of the time in which its GPU computed; None without a GPU. 0 to 1000000000000.0."""


class RunArtifactRow(Answer, message="forgelog.experiments.v1.RunArtifact"):
    """A file of a run or of a logged model, or a folder that has some, as queries tell of it."""

    run_id: str
    """The run that has it. At most 128 characters."""
    path: str
    is_folder: bool
    digest: str
    """BLAKE3 of the file's bytes, by which they are fetched (`/v1/objects`); empty for a folder."""
    size: int
    """Bytes; of a folder those of all files in it. 0 to 9223372036854775807."""
    logged_at: datetime | None
    """When it was logged last; of a folder the newest of it."""
    model_id: str
    """The logged model that has it. At most 128 characters."""


class MetricRow(Answer, message="forgelog.experiments.v1.Metric"):
    """A series of a run in short."""

    run_id: str
    key: str
    model_id: str
    """Empty for the run's own."""
    dataset: str
    value: float
    """The last value, by step, then time, then value."""
    step: int
    time: datetime
    min: float | None
    """The smallest value that is not NaN, and the first step that has it. Unset if there is none."""
    min_step: int | None
    max: float | None
    """The largest value that is not NaN, and the first step that has it. Unset if there is none."""
    max_step: int | None
    first_step: int
    count: int
    """Points, those that are NaN among them."""
    nans: int
    arrived_at: datetime | None
    """When the newest of its points arrived."""


class PointRow(Answer, message="forgelog.experiments.v1.Point"):
    """What `forgelog.experiments.v1.Point` holds."""

    step: int
    time: datetime
    """With milliseconds."""
    value: float


class ExperimentRow(Answer, message="forgelog.experiments.v1.Experiment"):
    """A question that runs are to answer, as queries tell of it."""

    experiment_id: str
    """At most 128 characters."""
    project: str
    """At most 127 characters."""
    name: str
    """1 to 200 characters."""
    description: str
    owner: str
    """Who made it."""
    team: str
    framework: str | None
    experiment_type: str
    """Such as `classification`."""
    status: str
    reason: str
    """Why it was set to this status, if somebody said so."""
    hyperparameters: Answer
    """What its runs are configured with where they say nothing else."""
    random_seed: int | None
    """What its runs begin their random numbers with where they say nothing else. 0 to 9223372036854775807."""
    visibility: str
    collaborators: list[str]
    tags: dict[str, str]
    labels: list[str]
    created_at: datetime | None
    updated_at: datetime | None
    deleted_at: datetime | None
    practices: Answer
    """What its runs are looked at for when they have ended."""
    template_id: str
    """The template that it was made of; empty for none. At most 128 characters."""
    template_version: int
    """As it was then; 0 without a template. 0 to 1000000."""
    sources: Answer
    """What each of its runs reads and goes on from."""
    purged_at: datetime | None
    """When it was purged: it can't be restored, and its name is free."""
    search_space: Answer
    """What its tunings search where they say nothing else."""
    launch: Answer
    """How its runs are launched."""
    runs: dict[str, int]
    """Its runs by status. This and what follows are there where one experiment was asked for."""
    job_ids: list[str]
    """The jobs of runs that run or wait, the newest first."""
    model_versions: int
    """How many its runs made."""


class ExperimentRunRow(Answer, message="forgelog.experiments.v1.ExperimentRun"):
    """One execution of an experiment, as queries tell of it."""

    run_id: str
    """At most 128 characters."""
    project: str
    """At most 127 characters."""
    experiment_id: str
    """Empty until an experiment takes it. At most 128 characters."""
    number: int
    """Which run of its experiment; 0 until that takes it. 0 to 1000000000."""
    name: str
    owner: str
    parent_run_id: str
    """At most 128 characters."""
    status: str
    reason: str
    """Why it ended so."""
    job_id: str
    """At most 128 characters."""
    task: int
    """0 to 9999."""
    attempt: int
    """Of its process; 0 where it has none that the platform knows. 0 to 1000000."""
    exit_code: int | None
    """Of its process, once that has ended. 0 to 255."""
    node_id: str
    """At most 128 characters."""
    started_at: datetime | None
    ended_at: datetime | None
    updated_at: datetime | None
    deleted_at: datetime | None
    reproduces: str
    """The run that it does again; empty if none. At most 128 characters."""
    cpu_seconds: float
    """What its process, and those below that, used of CPUs; 0 until it has ended, and where the platform did not
    run it. At least 0."""
    wall_seconds: float
    """From the start of its process to its end. At least 0."""
    gpu_seconds: float
    """The same for each GPU that it was given. At least 0."""
    best_checkpoint: str
    """File or folder of the run, as its program says; empty for none."""
    purged_at: datetime | None
    """When what it held was given up. Also told as of an earlier time, since that is gone then, too."""
    params: dict[str, str]
    """These four where one run was asked for, and in searches."""
    tags: dict[str, str]
    metrics: dict[str, float]
    """Key → the last value, of the run's own."""
    inputs: list[Answer]
    """The datasets that it reads."""
    checks: list[CheckResult]
    """Of a run that has ended, how it does by its experiment's practices, where one run was asked for."""


class ExperimentInputRow(Answer, message="forgelog.experiments.v1.ExperimentInput"):
    """A dataset that runs of an experiment read."""

    experiment_id: str
    name: str
    digest: str
    role: str
    """What it is used for."""


class RegisteredModelRow(Answer, message="forgelog.experiments.v1.RegisteredModel"):
    """A name that versions are published under, as queries tell of it."""

    model_id: str
    """At most 128 characters."""
    project: str
    """At most 127 characters."""
    name: str
    """1 to 200 characters."""
    owner: str
    """Who registered it."""
    description: str
    """At most 10000 characters."""
    card: str
    """At most 100000 characters."""
    access: str
    allowed: list[str]
    """Who may change it if it is `restricted`, besides its owner."""
    approval_rules: list[Answer]
    tags: dict[str, str]
    """At most 1000 entries."""
    latest: int
    """Number of the newest version; 0 before there is one. 0 to 1000000000."""
    aliases: dict[str, int]
    """Alias → version."""
    environments: dict[str, int]
    """Environment → the version that is live there."""
    created_at: datetime | None
    updated_at: datetime | None
    deleted_at: datetime | None


class ModelVersionRow(Answer, message="forgelog.experiments.v1.ModelVersion"):
    """A version of a model, as queries tell of it."""

    bundle: Answer
    """The manifest of its files (`events.objects.manifest`), in the object store before the version is made."""
    source_run_id: str
    """The run that made it. At most 128 characters."""
    artifact_path: str
    """The file or folder of that run that it is. At most 1024 characters."""
    source_uri: str
    """Where its files were taken from, as the client that published it said, such as `models:/digits/3`. At most
    2048 characters."""
    logged_model_id: str
    """The logged model that it was made of. At most 128 characters."""
    checkpoint_id: str
    """The checkpoint that it was made of. At most 128 characters."""
    framework: str | None
    architecture: str
    """Such as `resnet50`. At most 200 characters."""
    parameters: int | None
    """How many weights it has. 0 to 1152921504606846975."""
    model_format: str | None
    """Default other."""
    optimization: str
    """What was done to make it fast, such as `graph fusion`. At most 200 characters."""
    quantization: str | None
    """Default none."""
    signature: Answer
    metrics: Answer
    parents: list[Answer]
    """At most 100 entries."""
    version_id: str
    """At most 128 characters."""
    model_id: str
    """At most 128 characters."""
    project: str
    """At most 127 characters."""
    name: str
    """The model's, as it is now."""
    number: int
    """1 to 1000000000."""
    status: str
    reason: str
    """Why it is damaged."""
    warnings: list[str]
    """What was seen in its files that one should know."""
    files: int
    """0 to 2147483647."""
    size_bytes: int
    """Of all files; 0 until they were looked at, as is `files`. 0 to 9223372036854775807."""
    compression: str
    """How its largest file is compressed, such as `gzip`; empty if it is not."""
    stage: str | None
    """Default none."""
    aliases: list[str]
    environments: list[str]
    """Where it is live."""
    notes: str
    """At most 10000 characters."""
    tags: dict[str, str]
    """At most 1000 entries."""
    experiment_id: str
    """Of its run. At most 128 characters."""
    job_id: str
    """Of its run. At most 128 characters."""
    created_by: str
    created_at: datetime | None
    updated_at: datetime | None
    checked_at: datetime | None
    deleted_at: datetime | None


class LiveVersionRow(Answer, message="forgelog.experiments.v1.LiveVersion"):
    """A time in which a version had an alias, a stage, or an environment."""

    model_id: str
    """At most 128 characters."""
    period: int
    """Counts them within the model. 1 to 2147483647."""
    project: str
    """At most 127 characters."""
    slot: str
    """`alias:champion`, `environment:production`, `stage:staging`. At most 300 characters."""
    version_id: str
    """At most 128 characters."""
    number: int
    """1 to 1000000000."""
    actor: str
    """Who set it."""
    reason: str
    promotion_id: str
    """At most 128 characters."""
    began_at: datetime | None
    ended_at: datetime | None
    """None: it still is so."""


class PromotionRow(Answer, message="forgelog.experiments.v1.Promotion"):
    """A request to set a version live in an environment, as queries tell of it."""

    promotion_id: str
    """At most 128 characters."""
    model_id: str
    """At most 128 characters."""
    version_id: str
    """At most 128 characters."""
    project: str
    """At most 127 characters."""
    number: int
    """1 to 1000000000."""
    environment: str
    status: str
    reason: str
    """Why it is asked for."""
    outcome: str
    """Why it was rejected or refused."""
    requested_by: str
    approved_by: list[str]
    requested_at: datetime | None
    ended_at: datetime | None


class DatasetVersionRow(Answer, message="forgelog.experiments.v1.DatasetVersion"):
    """A version of a dataset, as queries tell of it."""

    bundle: Answer
    """Managed by the platform: the manifest of its files, in the object store before the version is made."""
    digest: str
    """External: what tells its content from others. Of a managed one it is the bundle's. At most 128 characters."""
    source: str
    """Where it is, or came from: a URI or a path. At most 2000 characters."""
    data_format: str | None
    """Default other."""
    samples: int | None
    """0 to 9223372036854775807."""
    features: int | None
    """0 to 2147483647."""
    size_bytes: int | None
    """Of an external one; those of a managed one are counted. 0 to 9223372036854775807."""
    splits: dict[str, int]
    """Name (`train`, `validation`, `test`) → samples; together they are `samples`. At most 100 entries."""
    columns: dict[str, str]
    """The schema: name → type. At most 2000 entries."""
    statistics: dict[str, Answer]
    """By column. At most 2000 entries."""
    preprocessing: list[Answer]
    """In their order. At most 100 entries."""
    parents: list[str]
    """Ids of the versions that it was made of. At most 100 entries."""
    source_run_id: str
    """The run that made it. At most 128 characters."""
    version_id: str
    """At most 128 characters."""
    project: str
    """At most 127 characters."""
    name: str
    """1 to 200 characters."""
    number: int
    """1 to 1000000000."""
    status: str
    reason: str
    """Why it is damaged."""
    description: str
    """At most 10000 characters."""
    tags: dict[str, str]
    """At most 1000 entries."""
    files: int
    """0 until they were looked at. 0 to 2147483647."""
    created_by: str
    created_at: datetime | None
    updated_at: datetime | None
    checked_at: datetime | None


class ExperimentTemplateRow(Answer, message="forgelog.experiments.v1.ExperimentTemplate"):
    """A template, as queries tell of it."""

    description: str
    """At most 10000 characters."""
    framework: str | None
    architecture: str
    """The model's shape, such as `resnet50`; an experiment's `architecture.model_type` where that says none. At
    most 200 characters."""
    experiment_type: str
    """At most 100 characters."""
    hyperparameters: Answer
    resources: Answer
    """What a job of it needs."""
    files: list[Answer]
    """At most 200 entries."""
    practices: Answer
    search_space: Answer
    """What tunings of an experiment search where they say nothing else."""
    template_id: str
    """At most 128 characters."""
    project: str
    """At most 127 characters."""
    name: str
    version: int
    """1 to 1000000."""
    owner: str
    """Who saved it first."""
    uses: int
    """How many experiments were made of it. 0 to 2147483647."""
    ratings: int
    """How many people rated it. 0 to 2147483647."""
    rating: float
    """The mean of their stars; 0 without any. 0 to 5."""
    created_at: datetime | None
    updated_at: datetime | None
    """When it was saved last."""
    deleted_at: datetime | None


class TemplateRatingRow(Answer, message="forgelog.experiments.v1.TemplateRating"):
    """What somebody thinks of a template."""

    template_id: str
    """At most 128 characters."""
    rater: str
    project: str
    """At most 127 characters."""
    stars: int
    """1 to 5."""
    comment: str
    rated_at: datetime | None


class HyperparameterTuningJobRow(Answer, message="forgelog.experiments.v1.HyperparameterTuningJob"):
    """A search for the hyperparameters that do best, as queries tell of it."""

    tuning_id: str
    """At most 128 characters."""
    project: str
    """At most 127 characters."""
    number: int
    """1 to 1000000000."""
    name: str
    owner: str
    """Who made it."""
    directions: list[str]
    """One for each objective."""
    limits: Answer
    early_stopping: Answer
    plan: Answer
    """How the platform searches; None: its clients do."""
    job: Answer
    """What each trial runs as a job of its own; None: programs take trials up."""
    objectives: list[Answer]
    """The metrics that the trials' jobs log, one for each direction. Empty: who runs a trial tells its values."""
    status: str
    reason: str
    """Why it ended."""
    trials: int
    """All that there are. 0 to 16777216."""
    completed: int
    """0 to 16777216."""
    pruned: int
    """0 to 16777216."""
    failed: int
    """0 to 16777216."""
    best_trial: int | None
    """The completed trial with the best value, the earliest of equals. None with several objectives, of which
    none alone is best. 0 to 16777215."""
    best_value: str | None
    """At most 32 characters."""
    adopted: int
    """Trials of other tunings that its search knows. 0 to 2147483647."""
    user_attributes: dict[str, str]
    system_attributes: dict[str, str]
    created_at: datetime | None
    updated_at: datetime | None
    ended_at: datetime | None
    deleted_at: datetime | None
    experiment_id: str
    """The experiment that it is of; empty for none. At most 128 characters."""
    experiment: str
    """That experiment's name, as it was when the tuning was made."""


class TrialRow(Answer, message="forgelog.experiments.v1.Trial"):
    """One try of a tuning, as queries tell of it."""

    tuning_id: str
    """At most 128 characters."""
    number: int
    """0 to 16777215."""
    status: str
    attempt: int | None
    """Which process works at it; it is 1 more whenever one was lost. 1 to 1000000. Default 1."""
    job_id: str
    """The job that runs it. At most 128 characters."""
    parameters: list[Answer]
    """In the order in which they were set."""
    objective_values: list[str]
    """One for each objective, once it has ended with values."""
    last_step: int | None
    """The last step that its present attempt has reported, and what. -9223372036854775808 to
    9223372036854775807."""
    last_value: str | None
    """At most 32 characters."""
    reason: str
    user_attributes: dict[str, str]
    system_attributes: dict[str, str]
    requested_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    updated_at: datetime | None
    params: dict[str, object]
    """Hyperparameter → its value, as the program has it."""
    intermediate: dict[int, float]
    """Step → what was reported, where one trial was asked for."""


class DeadLetterRow(Answer, message="forgelog.log.v1.DeadLetter"):
    """What `forgelog.log.v1.DeadLetter` holds."""

    position: str
    origin: str
    reason: str
    at: datetime | None
    key: str
    headers: dict[str, str]
    value: bytes
    replayed: bool


class BackfillRow(Answer, message="forgelog.pipelines.v1.Backfill"):
    """A backfill."""

    pipeline_id: str
    """At most 128 characters."""
    number: int
    """1 to 1000000000."""
    project: str
    """At most 127 characters."""
    range_start: datetime | None
    range_end: datetime | None
    cursor: datetime | None
    """The end of the last interval that was looked at."""
    max_parallel: int
    """0 to 2147483647."""
    rerun: str
    parameters: dict[str, str]
    """At most 200 entries."""
    status: str
    reason: str
    """Why it was cancelled."""
    intervals: int
    """How many lie in its time. 0 to 2147483647."""
    passed: int
    """How many of them needed no run. 0 to 2147483647."""
    runs: int
    """How many runs it has queued. 0 to 2147483647."""
    note: str
    author: str
    """Who started it."""
    started_at: datetime | None
    ended_at: datetime | None


class SlaMissRow(Answer, message="forgelog.pipelines.v1.SlaMiss"):
    """A promise that was not kept."""

    pipeline_id: str
    """At most 128 characters."""
    kind: str
    deadline: datetime | None
    run_id: str
    """Empty: no run had begun for the tick."""
    project: str
    """At most 127 characters."""
    tick: datetime | None
    """Of `finish_by`: the tick that was to be completed."""
    missed_at: datetime | None
    """When it was noticed."""


class DatasetRow(Answer, message="forgelog.pipelines.v1.Dataset"):
    """A dataset that pipelines write, or that lineage tells of."""

    dataset_id: str
    """At most 128 characters."""
    project: str
    """At most 127 characters."""
    name: str
    location: str
    """Where its data is; empty if nothing was published yet."""
    version: int
    """The newest published version; 0: none. 0 to 2147483647."""
    committed: int
    """The newest version. It waits to be published if it is not `version` and was not abandoned. 0 to
    2147483647."""
    pipeline_id: str
    """What made the newest published version."""
    run_id: str
    rows: int
    """Of the newest published version, as `bytes` and `columns`. At least 0."""
    bytes: int
    """At least 0."""
    columns: list[Answer]
    """At most 2000 entries."""
    schema_version: int
    """0 to 2147483647."""
    quality_score: float | None
    """Of the newest evaluation: the mean of its rules' pass rates. Missing if no rule was evaluated."""
    contract: Answer
    rules: list[Answer]
    stale: bool
    """Whether the newest published version is older than the contract allows."""
    anomalous: bool
    """Whether the newest published version has far more or fewer rows than those before it."""
    subscribers: list[str]
    """Pipelines that are told of its versions."""
    created_at: datetime | None
    updated_at: datetime | None
    published_at: datetime | None


class DataVersionRow(Answer, message="forgelog.pipelines.v1.DataVersion"):
    """A version of a dataset: who made it, of what, and how good it is."""

    dataset_id: str
    """At most 128 characters."""
    version: int
    """0 to 2147483647."""
    project: str
    """At most 127 characters."""
    status: str
    reason: str
    """Why it was abandoned."""
    pipeline_id: str
    pipeline_version: int
    """0 to 2147483647."""
    run_id: str
    stage_id: str
    attempt: int
    """0 to 2147483647."""
    rows: int
    """At least 0."""
    bytes: int
    """At least 0."""
    quarantined: int
    """Rows that rules have set aside. At least 0."""
    columns: list[Answer]
    """At most 2000 entries."""
    location: str
    quality_score: float | None
    outcomes: list[Answer]
    inputs: list[Answer]
    lineage: Answer
    transformations: list[Answer]
    median_rows: float | None
    """Of an anomaly: the median of the versions before it."""
    committed_at: datetime | None
    published_at: datetime | None


class DataSchemaRow(Answer, message="forgelog.pipelines.v1.DataSchema"):
    """A schema that a dataset has had, from a version on."""

    dataset_id: str
    """At most 128 characters."""
    schema_version: int
    """0 to 2147483647."""
    version: int
    """The first version that has it. 0 to 2147483647."""
    columns: list[Answer]
    """At most 2000 entries."""
    changes: list[Answer]
    """From the schema before it."""
    changed_at: datetime | None


class QualityCheckRow(Answer, message="forgelog.pipelines.v1.QualityCheck"):
    """What came of one rule in one evaluation."""

    run_id: str
    stage_id: str
    attempt: int
    """0 to 2147483647."""
    rule_id: str
    revision: int
    """Of a dataset's own rule; 0 of a rule of the stage. 0 to 2147483647."""
    pipeline_id: str
    dataset_id: str
    """Empty if the stage failed before its output asked to become a version."""
    version: int
    """The version that the output became; 0: none. 0 to 2147483647."""
    type: str
    severity: str
    threshold: float
    rows: int
    """At least 0."""
    passed: int
    """At least 0."""
    failed: int
    """At least 0."""
    pass_rate: float
    breached: bool
    stops: bool
    quarantined: int
    """At least 0."""
    evaluated_at: datetime | None


class RuleRecordRow(Answer, message="forgelog.pipelines.v1.RuleRecord"):
    """How a rule has done on a dataset so far."""

    dataset_id: str
    """At most 128 characters."""
    rule_id: str
    evaluations: int
    """At least 0."""
    breaches: int
    """At least 0."""
    failed: int
    """Rows that failed, of all evaluations. At least 0."""
    pass_rate: float | None
    """At the last evaluation. Default 1."""
    evaluated_at: datetime | None


class PipelineRow(Answer, message="forgelog.pipelines.v1.Pipeline"):
    """A pipeline, with its newest version."""

    pipeline_id: str
    """At most 128 characters."""
    project: str
    """At most 127 characters."""
    name: str
    owner: str
    """Who defined its newest version."""
    status: str
    reason: str
    """Why it is paused or retired."""
    version: int
    """The number of its newest version. 0 to 2147483647."""
    spec: Answer
    note: str
    parent: str
    """The pipeline that it was made from; empty if it was copied from none."""
    template: Answer
    """The template that it was made of; None: of none."""
    stages: int
    """How many stages it has. 0 to 2147483647."""
    runs: int
    """How many runs it has had. 0 to 2147483647."""
    last_run_status: str | None
    """How the run stands, or ended, that was queued or ended last."""
    last_run_at: datetime | None
    last_tick: datetime | None
    """When its schedule fired last."""
    skipped_ticks: int
    """How many ticks came and did not fire. 0 to 2147483647."""
    schedule_problem: str
    """Why its schedule can't be computed; empty: it can."""
    sla_misses: int
    """How many promises were not kept. 0 to 2147483647."""
    trigger_troubles: list[Answer]
    """Of triggers that start no runs now; the others do."""
    stream_progress: list[Answer]
    """How far inputs with windows are."""
    created_at: datetime | None
    updated_at: datetime | None
    retired_at: datetime | None


class PipelineVersionRow(Answer, message="forgelog.pipelines.v1.PipelineVersion"):
    """A version of a pipeline. It never changes."""

    pipeline_id: str
    """At most 128 characters."""
    version: int
    """0 to 2147483647."""
    project: str
    """At most 127 characters."""
    spec: Answer
    note: str
    parent: str
    template: Answer
    """The template that the pipeline was made of by then."""
    author: str
    defined_at: datetime | None


class PipelineRunRow(Answer, message="forgelog.pipelines.v1.PipelineRun"):
    """A run of a pipeline."""

    run_id: str
    """At most 128 characters."""
    pipeline_id: str
    """At most 128 characters."""
    number: int
    """0 to 2147483647."""
    project: str
    """At most 127 characters."""
    pipeline_version: int
    """0 to 2147483647."""
    status: str
    reason: str
    """Why it is paused, has failed or was cancelled."""
    trigger: str
    trigger_id: str
    requester: str
    """Who it acts for."""
    parameters: dict[str, str]
    """At most 200 entries."""
    interval_start: datetime | None
    interval_end: datetime | None
    debug: bool
    note: str
    stages: int
    """How many stages have begun or ended. 0 to 2147483647."""
    completed: int
    """0 to 2147483647."""
    failed: int
    """0 to 2147483647."""
    skipped: int
    """0 to 2147483647."""
    running: int
    """0 to 2147483647."""
    current_stages: list[str]
    """Those that are worked on."""
    retries: int
    """Attempts that failed and were tried again. 0 to 2147483647."""
    rows_read: int
    """Rows of its stages' inputs: see `StageMetrics`. At least 0."""
    rows_written: int
    """At least 0."""
    bytes_read: int
    """At least 0."""
    bytes_written: int
    """At least 0."""
    rejected_rows: int
    """Rows that rules have set aside. At least 0."""
    cpu_seconds: float
    """Of CPUs that its stages used."""
    memory_byte_seconds: float
    """Peak memory of each stage times its duration."""
    inputs: list[str]
    """Datasets, and places outside, that it has read."""
    outputs: list[str]
    """Datasets that it has written, each with its version: `clean-orders/3`."""
    queued_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    updated_at: datetime | None


class StageRunRow(Answer, message="forgelog.pipelines.v1.StageRun"):
    """A stage of a run that has begun, or was skipped."""

    run_id: str
    """At most 128 characters."""
    stage_id: str
    pipeline_id: str
    """At most 128 characters."""
    project: str
    """At most 127 characters."""
    status: str
    attempt: int
    """The last one. 0 to 2147483647."""
    reason: str
    """Why it was skipped, is tried again or has failed."""
    failure: Answer
    worker: str
    """The job that has, or had, the last attempt."""
    phase: str | None
    task_count: int
    """Of a stage that is done for each of something: how many there are. 0 to 2147483647."""
    tasks_completed: int
    """0 to 2147483647."""
    tasks_failed: int
    """0 to 2147483647."""
    metrics: Answer
    """Of the last attempt; where its log is, too."""
    output: Answer
    outcomes: list[Answer]
    """Of rules that were evaluated."""
    dataset_id: str
    """What it writes."""
    dataset_version: int
    """0 to 2147483647."""
    location: str
    cached_from: str
    """The run whose result was taken."""
    dispatched_at: datetime | None
    started_at: datetime | None
    retry_at: datetime | None
    ended_at: datetime | None
    updated_at: datetime | None


class PipelineWorkerRow(Answer, message="forgelog.pipelines.v1.PipelineWorker"):
    """A worker of a pipeline."""

    worker: str
    """The job that it is. At most 128 characters."""
    pipeline_id: str
    """At most 128 characters."""
    project: str
    """At most 127 characters."""
    pipeline_version: int
    """Whose code it has. 0 to 2147483647."""
    stage_id: str
    """Of a worker for one stage."""
    watches: bool
    """Whether it watches topics and files for triggers, and does no stage."""
    ready: bool
    reason: str
    """Why it has ended, or is to end."""
    requested_at: datetime | None
    started_at: datetime | None
    """When its process started."""
    ready_at: datetime | None
    released_at: datetime | None
    ended_at: datetime | None
    updated_at: datetime | None


class PipelineTemplateRow(Answer, message="forgelog.pipelines.v1.PipelineTemplate"):
    """A template of pipelines, as queries tell of it."""

    description: str
    """At most 4000 characters."""
    category: str
    definition: Answer
    """The pipeline; its parameters have the defaults that a use may replace."""
    sources: dict[str, Answer]
    """What a use must bind, by the names that it does so with. At most 100 entries."""
    sinks: dict[str, Answer]
    """At most 100 entries."""
    practices: Answer
    template_id: str
    """At most 128 characters."""
    project: str
    """At most 127 characters."""
    name: str
    """At most 57 characters."""
    revision: int
    """1 to 1000000."""
    owner: str
    """Who defined it first."""
    uses: int
    """How many pipelines were made of it; one that was made of it several times counts once. 0 to 2147483647."""
    ratings: int
    """How many people rated it. 0 to 2147483647."""
    rating: float
    """The mean of their stars; 0 without any. 0 to 5."""
    created_at: datetime | None
    updated_at: datetime | None
    """When its newest revision was defined."""
    deleted_at: datetime | None


class PipelineTemplateRatingRow(Answer, message="forgelog.pipelines.v1.PipelineTemplateRating"):
    """What somebody thinks of a template of pipelines."""

    template_id: str
    """At most 128 characters."""
    rater: str
    revision: int
    """The newest one then. 1 to 1000000."""
    stars: int
    """1 to 5."""
    comment: str
    rated_at: datetime | None
