"""Optuna's storage protocol (`/optuna.StorageService/*`, optuna 5.0): its clients' studies are tunings.

Writes become commands on the tuning, and are answered once their events are folded; reads come from that fold
(`optuna_live`). The project is the call's `forgelog-project` (``local/default`` without it). Optuna's own client sends
neither that nor a key: `forgelog optuna-proxy` adds both, and an id (`forgelog-command-id`) by which a write that is
sent again is known as a repeat.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

import grpc
from google.protobuf.message import DecodeError, Message

from events.language.base import Command
from events.language.common import DEFAULT_PROJECT, PROJECT_PATTERN, CommandNoted, shown
from events.language.experiments import (
    TRIAL_ENDS,
    AskTrial,
    CreateTuning,
    DeleteTuning,
    ReportTrial,
    RequeueTrial,
    Scope,
    SetTrialAttribute,
    SetTrialParameter,
    SetTuningAttribute,
    StartTrial,
    TellTrial,
    TrialAdded,
    TrialStatus,
    TuningCreated,
)
from events.log.outcomes import Outcome
from forgelog_pb.optuna.v1 import storage_pb2 as pb
from services.gateway.commands import Door, Parsed
from services.gateway.errors import DoorError, abort
from services.gateway.grpc_answers import answered
from services.gateway.grpc_gate import caller
from services.gateway.optuna_live import Live
from services.gateway.optuna_studies import (
    DIRECTIONS,
    STATUSES,
    Study,
    Trial,
    study_and_number,
    texts,
    trial_id,
)
from services.gateway.trace import Trace

SERVICE = "optuna.StorageService"

PROJECT = "forgelog-project"
"""Metadata of a call: whose studies are meant."""

WAIT_SECONDS = 120.0
"""How long a write waits for its outcome. Optuna's clients do not send it again."""

COMMAND_ID = "forgelog-command-id"

TIME = "%Y-%m-%d %H:%M:%S.%f"


class Call(NamedTuple):
    """What a request came with."""

    project: str
    command_id: str
    traceparent: str


class StorageService:
    """The methods, each with the message that it takes."""

    def __init__(self, door: Door, live: Live) -> None:
        self._door = door
        self._live = live
        user, system = Scope.USER, Scope.SYSTEM
        self.methods: Mapping[str, tuple[type[Message], Callable[[Call, Any], Awaitable[Message]]]] = {
            "CreateNewStudy": (pb.NewStudy, self._create_study),
            "DeleteStudy": (pb.StudyId, self._delete_study),
            "SetStudyUserAttribute": (pb.Attribute, self._study_attribute(user)),
            "SetStudySystemAttribute": (pb.Attribute, self._study_attribute(system)),
            "GetStudyIdFromName": (pb.StudyName, self._study_id),
            "GetStudyNameFromId": (pb.StudyId, self._study_name),
            "GetStudyDirections": (pb.StudyId, self._directions),
            "GetStudyUserAttributes": (pb.StudyId, self._attributes(user)),
            "GetStudySystemAttributes": (pb.StudyId, self._attributes(system)),
            "GetAllStudies": (pb.Nothing, self._studies),
            "CreateNewTrial": (pb.NewTrial, self._create_trial),
            "SetTrialParameter": (pb.Parameter, self._parameter),
            "GetTrialIdFromStudyIdTrialNumber": (pb.TrialPlace, self._trial_id),
            "SetTrialStateValues": (pb.StateValues, self._state_values),
            "SetTrialIntermediateValue": (pb.Intermediate, self._intermediate),
            "SetTrialUserAttribute": (pb.Attribute, self._trial_attribute(user)),
            "SetTrialSystemAttribute": (pb.Attribute, self._trial_attribute(system)),
            "GetTrial": (pb.TrialId, self._trial),
            "GetTrials": (pb.WantedTrials, self._trials),
        }

    # Studies

    async def _create_study(self, call: Call, request: pb.NewStudy) -> Message:
        fields = {"name": request.study_name, "directions": [_direction(each) for each in request.directions]}
        outcome = await self._send(call, CreateTuning, fields, conclude=True)
        assert outcome.conclusion is not None
        created = outcome.conclusion.data
        assert isinstance(created, TuningCreated)
        return pb.StudyId(study_id=created.number)

    async def _delete_study(self, call: Call, request: pb.StudyId) -> Message:
        study = await self._study(call, request.study_id)
        await self._send(call, DeleteTuning, {"tuning_id": study.tuning_id})
        return pb.Nothing()

    def _study_attribute(self, scope: Scope) -> Callable[[Call, pb.Attribute], Awaitable[Message]]:
        async def set_attribute(call: Call, request: pb.Attribute) -> Message:
            study = await self._study(call, request.id)
            fields = {"tuning_id": study.tuning_id, "scope": scope, "name": request.key, "value": request.value}
            await self._send(call, SetTuningAttribute, fields)
            return pb.Nothing()

        return set_attribute

    async def _study_id(self, call: Call, request: pb.StudyName) -> Message:
        await self._live.caught_up()
        study = self._live.studies.by_name(call.project, request.study_name)
        if study is None:
            raise _not_found(f"there is no study {shown(request.study_name)} in project {call.project}")
        return pb.StudyId(study_id=study.number)

    async def _study_name(self, call: Call, request: pb.StudyId) -> Message:
        return pb.StudyName(study_name=(await self._study(call, request.study_id)).name)

    async def _directions(self, call: Call, request: pb.StudyId) -> Message:
        return pb.Directions(directions=(await self._study(call, request.study_id)).direction_numbers())

    def _attributes(self, scope: Scope) -> Callable[[Call, pb.StudyId], Awaitable[Message]]:
        async def attributes(call: Call, request: pb.StudyId) -> Message:
            study = await self._study(call, request.study_id)
            return pb.Attributes(attributes=texts(study.attributes.get(scope, {})))

        return attributes

    async def _studies(self, call: Call, _: pb.Nothing) -> Message:
        await self._live.caught_up()
        return pb.Studies(studies=[study.shown() for study in self._live.studies.of(call.project)])

    # Trials

    async def _create_trial(self, call: Call, request: pb.NewTrial) -> Message:
        study = await self._study(call, request.study_id)
        fields: dict[str, Any] = {} if request.template_trial_is_none else _template(request.template_trial)
        outcome = await self._send(call, AskTrial, {"tuning_id": study.tuning_id, **fields})
        added = outcome.events[0].data
        assert isinstance(added, TrialAdded)
        return pb.TrialId(trial_id=trial_id(study.number, added.number))

    async def _parameter(self, call: Call, request: pb.Parameter) -> Message:
        parameter = {
            "name": request.param_name,
            "value": request.param_value_internal,
            "distribution": request.distribution,
        }
        await self._send(call, SetTrialParameter, {**await self._place(call, request.trial_id), "parameter": parameter})
        return pb.Nothing()

    async def _trial_id(self, call: Call, request: pb.TrialPlace) -> Message:
        study = await self._study(call, request.study_id)
        if not 0 <= request.trial_number < len(study.trials):
            raise _not_found(f"study {study.number} has no trial {request.trial_number}")
        return pb.TrialId(trial_id=study.trials[request.trial_number].id)

    async def _state_values(self, call: Call, request: pb.StateValues) -> Message:
        status = _status(request.state)
        place = await self._place(call, request.trial_id)
        if status in TRIAL_ENDS:
            outcome = await self._send(
                call, TellTrial, {**place, "status": status, "objective_values": list(request.values)}
            )
        elif request.values:
            raise DoorError.about("values", f"go with a trial that has ended, not with {status}", "leave them out")
        else:
            outcome = await self._send(call, StartTrial if status is TrialStatus.RUNNING else RequeueTrial, place)
        return pb.Updated(trial_updated=_changed(outcome))

    async def _intermediate(self, call: Call, request: pb.Intermediate) -> Message:
        fields = {"step": request.step, "value": request.intermediate_value}
        await self._send(call, ReportTrial, {**await self._place(call, request.trial_id), **fields})
        return pb.Nothing()

    def _trial_attribute(self, scope: Scope) -> Callable[[Call, pb.Attribute], Awaitable[Message]]:
        async def set_attribute(call: Call, request: pb.Attribute) -> Message:
            fields = {"scope": scope, "name": request.key, "value": request.value}
            await self._send(call, SetTrialAttribute, {**await self._place(call, request.id), **fields})
            return pb.Nothing()

        return set_attribute

    async def _trial(self, call: Call, request: pb.TrialId) -> Message:
        return pb.OneTrial(trial=(await self._found(call, request.trial_id))[1].shown())

    async def _trials(self, call: Call, request: pb.WantedTrials) -> Message:
        study = await self._study(call, request.study_id)
        above, also = request.trial_id_greater_than, frozenset(request.included_trial_ids)
        return pb.Trials(trials=[each.shown() for each in study.trials if each.id > above or each.id in also])

    # What they share

    async def _study(self, call: Call, number: int) -> Study:
        await self._live.caught_up()
        study = self._live.studies.by_number(call.project, number)
        if study is None:
            raise _not_found(f"there is no study {number} in project {call.project}")
        return study

    async def _found(self, call: Call, id: int) -> tuple[Study, Trial]:
        number, trial = study_and_number(id)
        study = await self._study(call, number)
        if trial >= len(study.trials):
            raise _not_found(f"there is no trial {id}: study {study.number} has {len(study.trials)} trials")
        return study, study.trials[trial]

    async def _place(self, call: Call, id: int) -> dict[str, Any]:
        """A trial, as commands name it."""
        study, trial = await self._found(call, id)
        return {"tuning_id": study.tuning_id, "number": trial.number}

    async def _send(
        self, call: Call, kind: type[Command], fields: Mapping[str, Any], *, conclude: bool = False
    ) -> Outcome:
        """Publish a command; its outcome, once the fold has it. Raises DoorError, also when it is refused."""
        given = {"id": call.command_id, "type": kind.type_name(), "project": call.project}
        checked = self._door.check(caller(), given, Parsed(dict(fields), 0), call.traceparent, conclude=conclude)
        _, outcome = await self._door.publish_and_wait(checked, WAIT_SECONDS)
        if (refused := outcome.refused) is not None:
            raise DoorError.of(refused)
        events = [*outcome.events, *([outcome.conclusion] if outcome.conclusion is not None else ())]
        await self._live.reached(event.position for event in events)
        return outcome


class OptunaHandler(grpc.GenericRpcHandler):  # type: ignore[type-arg]
    """Takes the calls of Optuna's clients."""

    def __init__(self, door: Door, live: Live) -> None:
        self._door = door
        self._handlers = {
            f"/{SERVICE}/{name}": grpc.unary_unary_rpc_method_handler(self._unary(name, taken, work))
            for name, (taken, work) in StorageService(door, live).methods.items()
        }

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:  # type: ignore[type-arg]
        path = details.method
        if not path.startswith(f"/{SERVICE}/"):
            return None
        return self._handlers.get(path) or grpc.unary_unary_rpc_method_handler(_unknown)

    def _unary(self, name: str, taken: type[Message], work: Callable[[Call, Any], Awaitable[Message]]) -> Any:
        label = f"{SERVICE}/{name}"

        async def unary(request: bytes, context: Any) -> bytes:
            return await answered(label, context, traced(request, context))

        async def traced(request: bytes, context: Any) -> bytes:
            metadata = tuple(context.invocation_metadata() or ())
            given = {str(key): value for key, value in metadata}
            with self._door.request(len(request)), Trace(label, str(given.get("traceparent", ""))) as trace:
                try:
                    _refuse_repeats(str(key) for key, _ in metadata)
                    call = Call(_project(given.get(PROJECT, "")), str(given.get(COMMAND_ID, "")), trace.traceparent)
                    return (await work(call, _read(taken, request))).SerializeToString()
                except DoorError as error:
                    raise _in_words(error) from None

        return unary


def _refuse_repeats(keys: Iterable[str]) -> None:
    given = [key for key in keys if key in (PROJECT, COMMAND_ID)]
    for key in (PROJECT, COMMAND_ID):
        if given.count(key) > 1:
            raise DoorError.about(key, f"is given {given.count(key)} times", "give it once")


def _in_words(error: DoorError) -> DoorError:
    """The same, with the first hint in its text: Optuna's clients show the text alone."""
    hint = error.errors[0].hint if error.errors else ""
    if not hint or hint in error.message:
        return error
    text = f"{error.message}; {hint}"
    return DoorError(error.code, text, error.errors, retry_after=error.retry_after, command_id=error.command_id)


async def _unknown(_: bytes, context: Any) -> bytes:
    text = "this platform serves the storage protocol of optuna 5.0, which has no such method"
    await abort(context, DoorError(grpc.StatusCode.UNIMPLEMENTED, text))


def _read(taken: type[Message], request: bytes) -> Message:
    message = taken()
    try:
        message.ParseFromString(request)
    except DecodeError as error:
        raise DoorError(
            grpc.StatusCode.INVALID_ARGUMENT, f"the message is none of Optuna's: {error}; use optuna 5.0"
        ) from None
    return message


def _project(given: str | bytes) -> str:
    if not given:
        return DEFAULT_PROJECT
    if not isinstance(given, str) or not re.fullmatch(PROJECT_PATTERN, given):
        raise DoorError.about(PROJECT, f"is {shown(given)}", "write organization/project, such as local/default")
    return given


def _template(trial: pb.Trial) -> dict[str, Any]:
    """A trial that was made elsewhere, as `AskTrial` takes it."""
    for field, keys in (
        ("params", [each.key for each in trial.params]),
        ("distributions", [each.key for each in trial.distributions]),
        ("intermediate_values", [each.key for each in trial.intermediate_values]),
        ("user_attributes", [each.key for each in trial.user_attributes]),
        ("system_attributes", [each.key for each in trial.system_attributes]),
    ):
        if (twice := next((key for key, count in Counter[Any](keys).items() if count > 1), None)) is not None:
            raise DoorError.about(f"template_trial.{field}", f"has {shown(twice)} twice", "give it once")
    distributions = {each.key: each.value for each in trial.distributions}
    if missing := [each.key for each in trial.params if each.key not in distributions]:
        raise DoorError.about("template_trial.distributions", f"has none of {shown(missing[0])}", "give it one")
    return {
        "status": _status(trial.state),
        "objective_values": list(trial.values),
        "parameters": [
            {"name": each.key, "value": each.value, "distribution": distributions[each.key]} for each in trial.params
        ],
        "intermediate": [{"step": each.key, "value": each.value} for each in trial.intermediate_values],
        "user_attributes": _pairs(trial.user_attributes),
        "system_attributes": _pairs(trial.system_attributes),
        "started_at": _time("datetime_start", trial.datetime_start),
        "ended_at": _time("datetime_complete", trial.datetime_complete),
    }


def _pairs(entries: Iterable[pb.Text]) -> dict[str, str]:
    return {each.key: each.value for each in entries}


def _time(field: str, text: str) -> datetime | None:
    if not text:
        return None
    try:
        return datetime.strptime(text, TIME).astimezone()
    except (ValueError, OverflowError):
        problem, hint = f"is {shown(text)}", "write local time, such as 2026-11-27 12:00:00.123456"
        raise DoorError.about(f"template_trial.{field}", problem, hint) from None


def _direction(number: int) -> str:
    if not 0 <= number < len(DIRECTIONS):
        raise DoorError.about("directions", f"has {number}", "0 minimizes, 1 maximizes")
    return DIRECTIONS[number].value


def _status(state: int) -> TrialStatus:
    if (found := STATUSES.get(state)) is None:
        raise DoorError.about("state", f"is {state}", f"there are {min(STATUSES)} to {max(STATUSES)}")
    return found


def _changed(outcome: Outcome) -> bool:
    """Whether the command changed anything; of a repeat, whether the first one did."""
    return not all(isinstance(event.data, CommandNoted) for event in outcome.events)


def _not_found(text: str) -> DoorError:
    return DoorError(grpc.StatusCode.NOT_FOUND, text)
