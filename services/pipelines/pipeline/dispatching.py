"""Which worker does what next, and which workers there are to be. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from events.language.base import Event
from events.language.pipelines.enums import PipelineStatus, StagePhase, StageStatus
from events.language.pipelines.pipeline import PipelineSpec
from events.language.pipelines.run_events import FanOutPlanned, WorkerReleased
from events.language.pipelines.stages import MAX_TASKS, StageSpec, too_many_tasks
from events.language.pipelines.work import FailureKind, StageFailure
from services.pipelines.pipeline import launching
from services.pipelines.pipeline.failures import failed
from services.pipelines.pipeline.orders import order, phase_of
from services.pipelines.pipeline.state import Pipeline, Run, Stage, Worker

RANGE_SECONDS = 0.25
"""What a range of tasks is worth."""
FIRST_TASKS, MOST_TASKS = 16, 256
"""Of a range, before it is known how long a task takes, and at most."""
MOST_INPUT_BYTES = 2_500_000
"""Of an order, for what other stages have handed on. A batch of the log has 4 MiB."""
_OUTPUT_BYTES, _COLUMN_BYTES, _EDGE_BYTES = 200, 60, 90
"""What an output has about beside its rows, each of its columns, and each edge between columns."""
AHEAD = 2
"""Ranges that a worker has at a time: the next one is there when it is done with one."""


@dataclass(slots=True)
class Pool:
    """The workers while orders are given out."""

    state: Pipeline
    free: dict[str, Worker] = field(default_factory=dict)
    """Workers without anything to do."""
    room: dict[str, int] = field(default_factory=dict)
    """Worker that does ranges → how many more it may have."""
    short: int = 0
    """Stages, and ranges, that no worker is there for."""
    versions: list[int] = field(default_factory=list)
    """Of the stages that no worker is there for."""

    @classmethod
    def of(cls, state: Pipeline) -> Pool:
        pool = cls(state)
        for id, worker in state.workers.items():
            if not worker.ready or worker.released or worker.stopping is not None or worker.is_job or worker.watches:
                continue
            if not worker.assigned:
                pool.free[id] = worker
            elif all(each.first_task is not None for each in worker.assigned):
                pool.room[id] = AHEAD - len(worker.assigned)
        return pool

    def take(self, version: int, wanted: str = "", own: tuple[str, str] = ("", "")) -> str:
        """A free worker for a stage of this version, `wanted` if it is free; empty if there is none."""
        for id in [wanted] if wanted in self.free else self.free:
            worker = self.free[id]
            if (worker.run_id, worker.stage_id) == own and self.fits(worker, version):
                del self.free[id]
                return id
        return ""

    def fits(self, worker: Worker, version: int) -> bool:
        specs = self.state.specs
        return worker.version == version or (
            launching.environment(specs[worker.version]) == launching.environment(specs[version])
        )

    def miss(self, version: int) -> None:
        self.short += 1
        self.versions.append(version)


def dispatched(
    state: Pipeline, id: str, project: str, now: datetime, datasets: str, *, limited: bool = True
) -> list[Event]:
    """The orders that can be given now; and what workers are asked for. `limited`: no more stages of a run than there
    may be. Without that there is something at each time after one at which there is something."""
    if not any(run.ready or run.busy or run.retrying for _, run in state.live()):
        return []
    pool, found = Pool.of(state), list[Event]()
    for run_id, run in sorted(state.live(), key=lambda each: (each[1].rank, each[1].number)):
        found += _of_run(state, pool, id, project, run_id, run, now, datasets, len(found), limited)
    return [*found, *_requested(state, pool, id, project, now, datasets, found)]


def _of_run(
    state: Pipeline,
    pool: Pool,
    id: str,
    project: str,
    run_id: str,
    run: Run,
    now: datetime,
    datasets: str,
    before: int,
    limited: bool,
) -> Iterator[Event]:
    graph, spec = state.graph(run.version), state.spec_of(run)
    names = {"run_id": run_id, "pipeline_id": id}
    for stage_id in run.busy:
        stage = run.stages[stage_id]
        if stage.tasks is not None:
            if run.status is PipelineStatus.RUNNING:
                yield from _ranges(state, pool, names, run, stage_id)
        elif waits_for_worker(stage):
            yield from _one(state, pool, project, names, run, graph.stages[stage_id], stage, datasets, before)
    if run.status is not PipelineStatus.RUNNING and run.stopping is None:
        return
    room = spec.execution.max_parallel_stages - len(run.busy) if limited else len(graph.stages)
    waiting = [each for each in run.retrying if (run.stages[each].retry_at or now) <= now]
    waiting += [each for each in run.ready if _admitted(graph.stages[each], run.stages[each])]
    for stage_id in waiting:
        stage_spec, stage = graph.stages[stage_id], run.stages[stage_id]
        unlimited = phase_of(stage_spec, stage) is StagePhase.RESOLVE
        if room <= 0 and not unlimited:
            continue
        room -= not unlimited
        if (size := _input_bytes(stage_spec, run)) > MOST_INPUT_BYTES:
            yield _too_much(state, run, {**names, "stage_id": stage_id}, size, now)
            continue
        if stage.tasks is not None:
            yield from _ranges(state, pool, names, run, stage_id)
            continue
        yield from _one(state, pool, project, names, run, stage_spec, stage, datasets, before)


def _input_bytes(spec: StageSpec, run: Run) -> int:
    """About how many bytes an order has for what other stages have handed on."""
    found = 0
    for given in spec.inputs.values():
        outputs = run.stages[given.stage].outputs if given.stage else []
        found += sum(_OUTPUT_BYTES + len(each.inline) + len(each.value) for each in outputs)
        found += sum(
            _COLUMN_BYTES * len(each.columns) + _EDGE_BYTES * len(each.lineage.columns) for each in outputs[:1]
        )
    return found


def _too_much(state: Pipeline, run: Run, names: dict[str, str], size: int, now: datetime) -> Event:
    problem = f"what the stages before it handed on needs {size:,} bytes in its order, which has at most"
    remedy = "let tasks do more each, so that they are fewer, or let the stages before it write datasets"
    return _hopeless(state, run, names, now, "inputs", f"{problem} {MOST_INPUT_BYTES:,}", remedy)


def _admitted(spec: StageSpec, stage: Stage) -> bool:
    return not spec.condition or stage.admitted


def waits_for_worker(stage: Stage) -> bool:
    """Whether a stage amid its work is to be given to a worker: not while its dataset decides, or is told."""
    if stage.worker or (stage.tasks is not None and (stage.tasks.running or not stage.tasks.waiting)):
        return False
    if stage.commit is None:
        return True
    return stage.dataset_version > 0 and not stage.published


def _one(
    state: Pipeline,
    pool: Pool,
    project: str,
    names: dict[str, str],
    run: Run,
    spec: StageSpec,
    stage: Stage,
    datasets: str,
    before: int,
) -> Iterator[Event]:
    """The order of a stage, or what has to be there first."""
    amid = stage.status is StageStatus.RUNNING
    attempt = stage.attempt if amid else stage.attempt + 1
    if spec.job is not None:
        worker = launching.own_job_id(names["run_id"], spec.id, attempt, 0, project)
        job = launching.stage_job(names["pipeline_id"], run, spec)
        yield order(state, names, run, spec, stage, worker, attempt, job=job)
        return
    own = ("", "")
    if launching.has_own(state.spec_of(run), spec, stage):
        own = (names["run_id"], spec.id)
        there = any((each.run_id, each.stage_id) == own and not each.released for each in state.workers.values())
        if not there and stage.dataset_version:
            own = ("", "")  # any worker can publish
        elif not there:
            number = state.last_worker + 1 + before
            yield launching.own_worker(
                state, names["pipeline_id"], project, names["run_id"], run, spec.id, number, datasets
            )
            return
    worker = pool.take(run.version, own=own)
    if worker:
        yield order(state, names, run, spec, stage, worker, attempt)
    elif own == ("", ""):
        pool.miss(run.version)


def planned(state: Pipeline, id: str, now: datetime) -> list[Event]:
    """The tasks of stages whose number is known without a look at data. A stage that would have too many fails."""
    found: list[Event] = []
    for run_id, run in state.live():
        graph = state.graph(run.version)
        if run.status is not PipelineStatus.RUNNING:
            continue
        for stage_id in run.ready:
            spec, stage = graph.stages[stage_id], run.stages[stage_id]
            if spec.for_each is None or stage.tasks is not None or not _admitted(spec, stage):
                continue
            if phase_of(spec, stage) is StagePhase.RESOLVE:
                continue
            count = spec.for_each.known or _rows(spec, run)
            if count > MAX_TASKS:
                names = {"run_id": run_id, "pipeline_id": id, "stage_id": stage_id}
                found.append(_hopeless(state, run, names, now, "for_each.input", *too_many_tasks(count)))
                continue
            found.append(
                FanOutPlanned(run_id=run_id, pipeline_id=id, stage_id=stage_id, attempt=stage.attempt + 1, count=count)
            )
    return found


def _hopeless(
    state: Pipeline, run: Run, names: dict[str, str], now: datetime, field: str, problem: str, remedy: str
) -> Event:
    """The end of a stage that another attempt would not help."""
    failure = StageFailure(kind=FailureKind.ERROR, field=field, problem=problem, remedy=remedy)
    return failed(state, run, names, failure, now, retried=False)


def _rows(spec: StageSpec, run: Run) -> int:
    """Rows of the output that tasks are made of."""
    assert spec.for_each is not None
    given = spec.inputs[spec.for_each.input]
    return sum(output.rows for output in run.stages[given.stage].outputs)


def _ranges(state: Pipeline, pool: Pool, names: dict[str, str], run: Run, stage_id: str) -> Iterator[Event]:
    """Ranges of a stage's tasks for workers that have room."""
    spec, stage = state.graph(run.version).stages[stage_id], run.stages[stage_id]
    tasks = stage.tasks
    assert tasks is not None
    attempt = stage.attempt if stage.status is StageStatus.RUNNING else stage.attempt + 1
    waiting = [list(each) for each in tasks.waiting]
    most = spec.parallelism or len(state.workers) + 1
    users = dict.fromkeys(each.worker for each in tasks.running.values())
    with_room = [each for each in users if pool.room.get(each, 0) > 0]
    while waiting:
        while with_room and not pool.room[with_room[-1]]:
            with_room.pop()
        worker = with_room[-1] if with_room else ""
        if not worker and len(users) < most:
            worker = pool.take(run.version)
            if worker:
                pool.room[worker] = AHEAD
                users[worker] = None
                with_room.append(worker)
        if not worker:
            break
        pool.room[worker] -= 1
        first, last = waiting[0]
        end = min(last, first + _size(tasks.task_seconds, last - first + 1, max(1, len(users))) - 1)
        waiting[:1] = [[end + 1, last]] if end < last else []
        more = {"first_task": first, "last_task": end, "items": tasks.items}
        yield order(state, names, run, spec, stage, worker, attempt, **more)
    if waiting:
        left = sum(last - first + 1 for first, last in waiting)
        if tasks.task_seconds:
            left = -(-left // _size(tasks.task_seconds, left, 1))
        for _ in range(min(left, max(0, most - len(users)))):
            pool.miss(run.version)


def _size(seconds: float, left: int, workers: int) -> int:
    """Tasks of a range: worth `RANGE_SECONDS`, and so that there is something for each worker."""
    worth = FIRST_TASKS if seconds <= 0 else int(RANGE_SECONDS / seconds)
    return max(1, min(MOST_TASKS, worth, -(-left // workers)))


def _requested(
    state: Pipeline, pool: Pool, id: str, project: str, now: datetime, datasets: str, before: list[Event]
) -> Iterator[Event]:
    """Workers for what no worker is there for."""
    if not pool.short or (state.worker_retry_at is not None and now < state.worker_retry_at):
        return
    shared = [each for each in state.workers.values() if not each.stage_id and not each.watches and not each.released]
    coming = [each for each in shared if not each.ready]
    missed = Counter(pool.versions)
    room = max(state.specs[version].execution.max_workers for version in missed) - len(shared)
    idle = [worker_id for worker_id, each in pool.free.items() if not each.stage_id]
    number = state.last_worker + len(before)
    for version, stages in missed.items():
        fitting = [each for each in coming if pool.fits(each, version)][:stages]
        coming = [each for each in coming if each not in fitting]
        for _ in range(stages - len(fitting)):
            if room > 0:
                room -= 1
            elif idle:  # of another version: one that can do this would not be free any more
                yield WorkerReleased(pipeline_id=id, worker=idle.pop(0), reason="a newer version needs its place")
            else:
                break
            number += 1
            yield launching.shared_worker(state, id, project, version, number, datasets)


def idle(state: Pipeline, id: str, now: datetime) -> list[Event]:
    """Workers that have had nothing to do for long enough, or that no run has a use for."""
    return [
        WorkerReleased(pipeline_id=id, worker=worker_id, reason="it has nothing to do")
        for worker_id, worker in state.workers.items()
        if (until := idle_until(state, worker)) is not None and until <= now
    ]


def idle_until(state: Pipeline, worker: Worker) -> datetime | None:
    """When an idle worker is released; None if it is not idle."""
    if worker.released or worker.is_job or worker.watches or worker.assigned or worker.stopping is not None:
        return None
    if worker.stage_id:
        run = state.runs.get(worker.run_id)
        stage = run.stages.get(worker.stage_id) if run is not None else None
        needed = stage is not None and stage.status in (StageStatus.PENDING, StageStatus.RETRYING, StageStatus.RUNNING)
        return None if needed else worker.idle_since or worker.requested_at
    since = worker.idle_since if worker.ready else None
    if state.status is PipelineStatus.CANCELLED and not any(state.live()):
        return since or worker.requested_at
    if since is None:
        return None
    newest: PipelineSpec | None = state.spec
    assert newest is not None
    return since + timedelta(seconds=newest.execution.keep_warm_seconds)
