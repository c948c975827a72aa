"""Watchers of a pipeline's triggers: which there are to be, what they are told, and what their reports mean. Pure.

1. An active or paused pipeline whose triggers name topics or files has a watcher, a job of its own (`WorkerRequested`
   that watches). Another one takes the place of one that is lost, or is for an older description.
2. Once it is ready it is told what to watch, and from where on (`TriggerWatched`).
3. What it reports waits for a run (`TopicAdvanced`, `FilesArrived`). A range of a partition must begin where the last
   one ended: of two watchers that live for a while one is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from events.language.base import Event
from events.language.common import ErrorCode, refused
from events.language.pipelines.arrivals import ArrivedFile, PartitionRange, identity_of
from events.language.pipelines.enums import PipelineStatus
from events.language.pipelines.pipeline import PipelineSpec
from events.language.pipelines.run_events import WorkerReleased
from events.language.pipelines.triggers import Trigger
from events.language.pipelines.watch_messages import (
    FilesArrived,
    ReportFilesArrived,
    ReportTopicAdvanced,
    ReportTriggerTrouble,
    TopicAdvanced,
    TriggerMended,
    TriggerReport,
    TriggerTroubled,
    TriggerWatched,
    TroubleKind,
)
from services.pipelines.pipeline import launching
from services.pipelines.pipeline.state import Pipeline
from services.pipelines.triggers.firing import LISTENING


def watched(state: Pipeline, id: str, project: str, now: datetime, datasets: str) -> list[Event]:
    """Watchers to be asked for, to be told and to be released."""
    wanted = _watches(state)
    found: list[Event] = []
    there = False
    for worker_id, worker in state.workers.items():
        if not worker.watches or worker.released:
            continue
        if not wanted or _other(state.specs[worker.version]) != wanted or there:
            reason = "another one watches" if wanted else "there is nothing to watch"
            found.append(WorkerReleased(pipeline_id=id, worker=worker_id, reason=reason))
            continue
        there = True
        if worker.ready:
            found += [
                _told(state, id, worker_id, worker.version, name)
                for name in [*state.triggers.topics, *state.triggers.files]
                if name not in worker.watching
            ]
    if wanted and not there and ((at := state.triggers.watch_at) is None or at <= now):
        found.append(launching.watcher(state, id, project, datasets))
    return found


def due(state: Pipeline) -> datetime | None:
    """When a watcher is to be asked for; None: not by time."""
    there = any(worker.watches and not worker.released for worker in state.workers.values())
    return state.triggers.watch_at if not there and _watches(state) else None


def _watches(state: Pipeline) -> tuple[Any, ...]:
    """What a watcher is to be made of and to watch; empty if none is needed."""
    if state.status not in LISTENING or state.spec is None:
        return ()
    return _other(state.spec)


def _other(spec: PipelineSpec) -> tuple[Any, ...]:
    triggers = tuple(each for each in spec.triggers if each.topic is not None or each.files is not None)
    return (triggers, launching.environment(spec)) if triggers else ()


def _told(state: Pipeline, id: str, worker: str, version: int, name: str) -> TriggerWatched:
    topic, files = state.triggers.topics.get(name), state.triggers.files.get(name)
    said: dict[str, Any] = {}
    if topic is not None:
        said["since"] = topic.since
        said["ranges"] = tuple(
            PartitionRange(partition=partition, start=topic.taken[partition], end=end)
            for partition, end in sorted(topic.ends.items())
        )
    elif files is not None:
        said = {"since": files.since, "known": tuple(files.known), "looked": files.looked}
    return TriggerWatched(pipeline_id=id, worker=worker, trigger=name, pipeline_version=version, **said)


def reported(state: Pipeline, command: TriggerReport) -> list[Event]:
    """What a watcher's report means. Raises Refused."""
    worker = state.workers.get(command.worker)
    trigger = _named(state, command.trigger)
    if worker is None or worker.released or command.trigger not in worker.watching or trigger is None:
        problem = f"is {command.worker!r}, which does not watch trigger {command.trigger!r} now"
        raise refused(ErrorCode.ABORTED, "worker", problem, "end: another one watches")
    match command:
        case ReportTopicAdvanced():
            return list(_advanced(state, command))
        case ReportFilesArrived():
            return list(_arrived(state, command))
    assert isinstance(command, ReportTriggerTrouble)
    return list(_troubled(state, command))


def _named(state: Pipeline, name: str) -> Trigger | None:
    given = state.spec.triggers if state.spec is not None else ()
    return next((each for each in given if each.name == name), None)


def _advanced(state: Pipeline, command: ReportTopicAdvanced) -> Iterator[Event]:
    topic = state.triggers.topics.get(command.trigger)
    if topic is None:
        raise refused(ErrorCode.ABORTED, "trigger", f"{command.trigger!r} watches no topic", "report what it watches")
    new = []
    for number, each in enumerate(command.ranges):
        end = topic.ends.get(each.partition)
        if end is not None and each.end <= end:
            continue  # it was told before
        if end is not None and each.start != end:
            what = "leaves out offsets" if each.start > end else "has offsets again that are known"
            problem = f"begins at {each.start} and partition {each.partition} is known up to {end}: it {what}"
            raise refused(ErrorCode.ABORTED, f"ranges[{number}].start", problem, "go on from there")
        new.append(each)
    if new:
        yield TopicAdvanced(
            pipeline_id=command.pipeline_id,
            trigger=command.trigger,
            topic=topic.topic,
            url=topic.url,
            ranges=tuple(new),
        )


def _arrived(state: Pipeline, command: ReportFilesArrived) -> Iterator[Event]:
    files = state.triggers.files.get(command.trigger)
    if files is None:
        raise refused(ErrorCode.ABORTED, "trigger", f"{command.trigger!r} watches no files", "report what it watches")
    new = {identity_of(each): each for each in command.files if identity_of(each) not in files.known}
    existing = tuple(each for each in dict.fromkeys(command.existing) if each not in files.known)
    gone = tuple(each for each in dict.fromkeys(command.gone) if each in files.known)
    looked = command.looked and not files.looked
    if new or existing or gone or looked:
        yield FilesArrived(
            pipeline_id=command.pipeline_id,
            trigger=command.trigger,
            files=tuple[ArrivedFile, ...](new.values()),
            existing=existing,
            looked=looked,
            gone=gone,
        )


def _troubled(state: Pipeline, command: ReportTriggerTrouble) -> Iterator[Event]:
    names: dict[str, Any] = {
        "pipeline_id": command.pipeline_id,
        "trigger": command.trigger,
        "kind": TroubleKind.SOURCE,
    }
    known = state.triggers.troubles.get(command.trigger, {}).get(TroubleKind.SOURCE.value, "")
    if command.reason == known:
        return
    yield TriggerTroubled(**names, reason=command.reason) if command.reason else TriggerMended(**names)


def held(state: Pipeline, id: str) -> Iterator[Event]:
    """Triggers whose records wait for a run that has failed, and those whose records do so no more."""
    for name, topic in state.triggers.topics.items():
        run = state.runs.get(topic.run)
        reason = ""
        if run is not None and run.status is PipelineStatus.FAILED:
            first = f"run {run.number} has failed, and later records wait for it: "
            reason = f"{first}retry it, or cancel it to go on without its records"
        names: dict[str, Any] = {"pipeline_id": id, "trigger": name, "kind": TroubleKind.RUN}
        if reason == state.triggers.troubles.get(name, {}).get(TroubleKind.RUN.value, ""):
            continue
        yield TriggerTroubled(**names, reason=reason) if reason else TriggerMended(**names)
