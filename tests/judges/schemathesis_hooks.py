"""What schemathesis, which loads this module, leaves out for the gateway, and two checks of its own for commands."""

from __future__ import annotations

import copy
import json
import os
import re
import zlib
from collections import Counter
from types import SimpleNamespace
from typing import Any

import schemathesis
from schemathesis.core.parameters import ParameterLocation
from schemathesis.generation.meta import CONTENT_TYPE_PROBES, CoveragePhaseData, CoverageScenario

from events.language.registry import aggregates_of, command_types
from events.language.wording import WHOLE
from tests.judges.schemathesis_once import (
    Once,
    Property,
    each_form_once,
    each_shape_once,
    values_of,
    without_descriptions,
)

COMMANDS = "/v1/commands"
MOST = 1_000
"""Longest text, list or map that is worth sending here: what has a larger bound is tried at it by tests of our own."""
SECONDS, SECONDS_OF_STREAMS, MOST_SECONDS = "60", "1", 86_400
"""How long an answer may take: how fast the platform is, is not judged here. And how long a stream is followed."""
ENDLESS = r"/Watch(Runs|PipelineRuns|ModelVersions|Tunings|Deployments)$|/watch/|/FollowWork$|/points/digest$"
MOST_FOLLOWED = 2
"""What goes on until its time is over (or waits for what does not come), and how many good requests for it, of the
systematic ones, are worth that."""
UNSAID = {
    *("cursor", "filter", "order_by", "at_least", "after", "actors", "types", "projects", "since", "until"),
    *("number", "alias", "environment", "depth", "window_seconds"),
}
"""Values that are taken if an earlier answer gave them, if they keep to a grammar, if there is such a thing, or if they
go together: a schema can't say so."""
GRAMMARS = ("cron", "zone")
"""Fields of commands that keep to a grammar, which a schema can't say."""
PROBES = {CoverageScenario.UNSPECIFIED_HTTP_METHOD, CoverageScenario.MISSING_PARAMETER, *CONTENT_TYPE_PROBES}
"""What is wrong with a request beside its parameters and its body."""
LAST_YEAR = "2025"
"""A schema can't say either that a time is past."""
JOB = os.environ["JOB"]
KNOWN = {
    **dict.fromkeys(("job_id", "job_ids", "subject"), JOB),
    "allocation_id": f"{JOB}.1.1",
    "attempt": 1,
    "deployment_id": os.environ["DEPLOYMENT"],
    "experiment_id": os.environ["EXPERIMENT"],
    "dataset_id": "none",
    "key_id": "k-none",
    "node_id": "n0",
    "pipeline_id": "none",
    "pool": "default",
    "queue": "default",
    "run_id": os.environ["RUN"],
    "tasks": "0",
    "tuning_id": "t-none",
    "model_id": "md-none",
    "version_id": "mv-none",
    "worker": "none",
    "template_id": "et-none",
    # of lineage
    "kind": "run",
    "id": os.environ["RUN"],
}
"""What there is, so that answers have something in them."""

HOW_TO_READ = {"options", "as_of", "at_least", "timeout"}
"""What every query takes, and one code reads."""

NEEDED = {
    "/GetHistory": "subject",
    "/GetExperiment": "experiment_id",
    "/GetTuning": "tuning_id",
    "/ListTrials": "tuning_id",
    "/GetModel": "model_id",
    **dict.fromkeys(("/GetTemplate", "/GetPipelineTemplate", "/ListPipelineTemplateRatings"), "template_id"),
    **dict.fromkeys(
        ("/GetRun", "/GetRunCapture", "/GetRunResults", "/GetRunSeal", "/GetPointsDigest", "/ListPoints"), "run_id"
    ),
    **dict.fromkeys(("/GetJob", "/FollowLogs", "/ListAttempts", "/ListOutputs", "/ListTasks"), "job_id"),
    "/GetAllocation": "allocation_id",
    "/GetExperimentResults": "experiment_id",
    "/GetLoggedModel": "model_id",
    "/GetNode": "node_id",
    "/GetTrial": "tuning_id",
    "/GetArtifact": "run_id",
    "/ListArtifacts": "run_id",
    "/GetModelVersion": "version_id",
    "RegistryQueries/GetDataset": "version_id",
    **dict.fromkeys(
        (
            "DatasetQueries/GetDataset",
            "/GetDataVersion",
            "/ListDataVersions",
            "/ListDataSchemas",
            "/ListRuleRecords",
            "/GetDataLineage",
        ),
        "dataset_id",
    ),
    **dict.fromkeys(
        (
            "/GetPipeline",
            "/GetPipelineVersion",
            "/ListPipelineVersions",
            "/GetPipelineRun",
            "/ListStageRuns",
            "/ListPipelineWorkers",
        ),
        "pipeline_id",
    ),
    "/FollowWork": "pipeline_id worker",
    "/GetDrift": "deployment_id",
    "/GetServingMetrics": "deployment_id",
    "/ListInferenceRequests": "deployment_id",
    "/GetLineage": "kind id",
    "/GetRunInputs": "run_id",
    "/GetDeployment": "deployment_id",
    "/GetRevision": "deployment_id",
    "/ListRevisions": "deployment_id",
    "/ListReplicas": "deployment_id",
    "/GetRouting": "deployment_id",
    "/GetReasons": "deployment_id",
    "/SignEndpointKey": "deployment_id key_id",
}
"""Query → what it needs, where another value can be given for it."""

COMMAND_NAMES = {short for name in command_types() for short in (name, name.rpartition(".")[2])}
AGENTS_COMMANDS = {name.rpartition(".")[2] for name, kind in command_types().items() if kind.by_agents}

_BOUNDS = ("maxLength", "maxItems", "maxProperties")

once = Once()
drawn: Counter[tuple[str, CoverageScenario]] = Counter()
"""Command, and what is tried → its cases so far."""
ONE_IN = 32
EVERY_CASE = bool(os.environ.get("FORGELOG_EVERY_CASE"))
"""Set it to try all: that takes some minutes more."""
followed: Counter[str] = Counter()
"""Operation → good requests for it, of those that are endless."""


@schemathesis.hook
def before_load_schema(_: Any, document: dict[str, Any]) -> None:
    """Take large bounds away: values at them take minutes to make. Of the CloudEvents leave one command, since they
    differ from plain ones by what surrounds the data alone. Take the commands of node agents away: nobody else sends
    them, and they have as many cases as the rest. Leave what commands have in common whole in one of them. What only
    describes is left out: all shapes of an operation are the key of each of its many caches."""
    once.document = document
    each_form_once(document["components"]["schemas"])
    without_descriptions(document["components"]["schemas"])
    todo: list[Any] = [document]
    while todo:
        node = todo.pop()
        if isinstance(node, dict):
            for name in _BOUNDS:
                if isinstance(bound := node.get(name), int) and bound > MOST:
                    del node[name]
            todo += node.values()
        elif isinstance(node, list):
            todo += node
    content = document["paths"][COMMANDS]["post"]["requestBody"]["content"]
    for kind, body in content.items():
        commands = body["schema"].get("items", body["schema"])["oneOf"]
        named = {each["properties"]["type"]["enum"][-1]: each for each in commands}
        if kind == "application/json":
            commands[:] = [each for name, each in named.items() if name not in AGENTS_COMMANDS]
            each_shape_once(commands, document["components"]["schemas"])
        else:
            commands[:] = [named["CancelJob"]]


@schemathesis.hook
def filter_case(_: Any, case: schemathesis.Case) -> bool:
    """Leave out, of the systematic cases, what comes to the same as one before."""
    meta = case.meta
    about = getattr(meta and meta.phase, "data", None)
    if not isinstance(about, CoveragePhaseData):
        return True
    good = is_good(meta)
    if case.operation.path == COMMANDS:
        return (good or once.here(*_wrong_in_a_command(case, about))) and _is_drawn(case, about)
    asked = SimpleNamespace(
        operation=case.operation,
        path_parameters=dict(case.path_parameters),
        query=copy.deepcopy(case.query),
        body=copy.deepcopy(case.body),
    )
    if good:
        _give_time(asked)
        _ask_for_what_there_is(asked)
    if not once.here(case.id, case.method, case.path, about.scenario in PROBES and about, vars(asked)):
        return False
    if good and re.search(ENDLESS, case.operation.path):
        followed[case.operation.label] += 1
        return followed[case.operation.label] <= MOST_FOLLOWED
    return good or once.here(*_wrong_in_a_query(case, about))


def _is_drawn(case: schemathesis.Case, about: CoveragePhaseData) -> bool:
    """Whether a systematic case of a command is sent: the first one of all that is tried with it (a field too many, a
    text too long), and of the rest the same share in every run."""
    body = case.body if isinstance(case.body, dict) else {}
    what = str(body.get("type")), about.scenario
    drawn[what] += 1
    if drawn[what] == 1 or EVERY_CASE:
        return True
    return zlib.crc32(json.dumps(body, sort_keys=True, default=str).encode()) % ONE_IN == 0


def _wrong_in_a_command(case: schemathesis.Case, about: CoveragePhaseData) -> tuple[Any, ...]:
    """Where, and what is to be tried in one place only: whatever is wrong with a property is so for all commands'
    that take the same values, since both the schema and the check are made of its one type. And commands that are none,
    whatever their data."""
    if isinstance(case.body, dict) and str(case.body.get("type")) not in COMMAND_NAMES:
        return case.id, about.parameter, case.body.get("type")
    if about.parameter_location != ParameterLocation.BODY or not about.location:
        return case.id, case.id
    wrong = _property(case, about)
    if about.scenario == CoverageScenario.INCORRECT_TYPE:
        return f"{about.parameter} {wrong.place}", about.scenario, wrong.within, once.types_of(wrong.takes)
    return f"{about.parameter} {wrong.place}", values_of(wrong.takes)


def _wrong_in_a_query(case: schemathesis.Case, about: CoveragePhaseData) -> tuple[Any, ...]:
    """As of commands, but of any query only a wrong type, which the gateway refuses: bounds and words are checked by
    each service. What says how to read is read by one code, so all that is wrong with it is tried in one place."""
    where, door = case.operation.label, (case.method, about.parameter_location, about.scenario)
    if about.parameter_location == ParameterLocation.BODY and about.parameter and about.location:
        wrong = _property(case, about)
        where = f"{where} {wrong.place}"
    else:
        parameters = case.operation.definition.raw.get("parameters", ())
        takes = [each["schema"] for each in parameters if each["name"] == about.parameter]
        wrong = Property("", about.parameter or "", "", takes[0] if takes else {})
    if wrong.name in HOW_TO_READ:
        return where, *door, wrong.name, wrong.within
    if about.scenario == CoverageScenario.OBJECT_UNEXPECTED_PROPERTIES and not wrong.name:
        return case.id, where, *door
    if about.scenario == CoverageScenario.INCORRECT_TYPE:
        return where, *door, wrong.name, wrong.within, once.types_of(wrong.takes)
    return case.id, case.id


def _property(case: schemathesis.Case, about: CoveragePhaseData) -> Property:
    body = case.operation.definition.raw["requestBody"]["content"][about.parameter]
    return once.property_at(body["schema"], about.location or "")


@schemathesis.hook
def before_call(_: Any, case: schemathesis.Case, __: dict[str, Any]) -> None:
    """Give queries as long as they need, and ask good ones for what there is; leave out what can't be guessed. What is
    wrong on purpose stays as it is."""
    if case.operation.path == COMMANDS:
        return
    _give_time(case)
    if is_good(case.meta):
        _ask_for_what_there_is(case)


def _give_time(case: Any) -> None:
    if _is_long(case.query.get("timeout", SECONDS)) and case.operation.get_parameter("timeout", "query") is not None:
        streams = "application/json" not in case.operation.definition.raw["responses"]["200"]["content"]
        case.query["timeout"] = SECONDS_OF_STREAMS if streams else SECONDS
    for values in (case.query, case.body):
        if isinstance(values, dict) and _are_positions(values.get("at_least")):
            del values["at_least"]  # else they are waited for


def _ask_for_what_there_is(case: Any) -> None:
    case.path_parameters |= {name: value for name, value in KNOWN.items() if name in case.path_parameters}
    _possible(case.query)
    if re.search("artifact", case.operation.path, re.IGNORECASE):  # of a run, or of a logged model
        for values in (case.query, case.body):
            if isinstance(values, dict):
                values.pop("run_id" if "model_id" in case.path_parameters else "model_id", None)
    for values in (case.query, case.body):
        if isinstance(values, dict) and values.get("aggregate"):
            context = case.path_parameters.get("context") or values.get("context", "")
            values["aggregate"] = (aggregates_of(context) or [JOB])[0]
    if isinstance(case.body, dict):
        if case.operation.path.endswith("/WatchJobs"):  # it ends, since the job has ended
            case.body |= {"job_ids": [JOB], "until_ended": True}
        for path, needed in NEEDED.items():
            if case.operation.path.endswith(path):
                for name in needed.split():
                    case.body.setdefault(name, KNOWN.get(name, "none"))
        for part in (case.body, case.body.get("options"), case.body.get("page")):
            if isinstance(part, dict):
                _possible(part)
        options = case.body.get("options")
        if isinstance(options, dict) and "as_of" in options:
            case.body.pop("follow", None)


def _possible(values: dict[str, Any]) -> None:
    if "subject" in values:
        values.pop("correlation_id", None)  # one of the two
    for name in values.keys() & KNOWN.keys():
        values[name] = [KNOWN[name]] if isinstance(values[name], list) else KNOWN[name]
    for name in values.keys() & UNSAID:
        del values[name]
    if str(values.get("as_of", ""))[:4] > LAST_YEAR:
        del values["as_of"]
    if "as_of" in values:
        values.pop("follow", None)  # what had come by then does not grow


def _are_positions(values: Any) -> bool:
    several = values if isinstance(values, list) else [values]
    return all(isinstance(value, str) and re.fullmatch(r".+/\d+@\d+", value, re.DOTALL) for value in several)


def _is_long(timeout: Any) -> bool:
    try:
        return 0 < float(timeout) <= MOST_SECONDS
    except (TypeError, ValueError):
        return False


@schemathesis.deserializer("application/x-ndjson")
def first_item(_: Any, response: schemathesis.Response) -> Any:
    """A stream's schema is that of its items."""
    lines = response.content.splitlines()
    return json.loads(lines[0]) if lines else {}


def is_good(meta: Any) -> bool:
    """Whether every part of a request is as its schema says, and none wrong on purpose. `meta` is the case's, which
    looks the whole case through each time that it is asked for it."""
    return meta is None or all(part.mode.is_positive for part in meta.components.values())


@schemathesis.check
def a_wrong_body_is_refused(_: Any, response: schemathesis.Response, case: schemathesis.Case) -> None:
    """In place of ``negative_data_rejection``, where there is a body: the schemas have one form of it. Also taken are
    protobuf's (a number for a word) and pydantic's (1 for true)."""
    if case.method != "POST" or not 200 <= response.status_code < 300 or (meta := case.meta) is None:
        return
    wrong = [where for where, part in meta.components.items() if not part.mode.is_positive]
    about = str(getattr(meta.phase.data, "description", ""))
    if not wrong or (wrong == [ParameterLocation.BODY] and about.endswith("Incorrect type")):
        return
    outcomes = response.json().get("outcomes", []) if case.operation.path == COMMANDS else []
    assert any("rejection" in each for each in outcomes), f"{about}: it was taken"


@schemathesis.check
def a_good_command_is_refused_as_a_whole(_: Any, response: schemathesis.Response, case: schemathesis.Case) -> None:
    """In place of ``positive_data_acceptance``, for commands: what a schema can't say are rules across an object's
    fields, so no single field may be wrong."""
    if case.operation.path != COMMANDS or response.status_code != 400 or "result" in response.json():
        return  # a service, which decided, knows more than the schema
    if (meta := case.meta) is None or not is_good(meta):
        return
    for error in response.json()["error"]["errors"]:
        if error["field"] != "project" and not error["field"].endswith(GRAMMARS):  # the envelope says the project
            assert isinstance(_at(case.body["data"], error["field"]), dict), error


def _at(value: Any, path: str) -> Any:
    """What is at a path such as ``spec.monitoring.alerts[0]``."""
    if path == WHOLE:
        return value
    for part in re.findall(r"[^.\[\]]+", path):
        value = value[int(part) if isinstance(value, list) else part]
    return value
