"""What schemathesis, which loads this module, leaves out for the gateway, and two checks of its own for commands."""

from __future__ import annotations

import json
import os
import re
from typing import Any

import schemathesis
from schemathesis.core.parameters import ParameterLocation

from events.language.registry import aggregates_of, command_types

COMMANDS = "/v1/commands"
MOST = 1_000
"""Longest text, list or map that is worth sending here: what has a larger bound is tried at it by tests of our own."""
SECONDS, SECONDS_OF_STREAMS, MOST_SECONDS = "60", "1", 86_400
"""How long an answer may take: how fast the platform is, is not judged here. And how long a stream is followed."""
UNSAID = {
    *("cursor", "filter", "order_by", "at_least", "after", "actors", "types", "projects", "since", "until"),
    *("number", "alias", "environment", "depth"),
}
"""Values that are taken if an earlier answer gave them, if they keep to a grammar, if there is such a thing, or if they
go together: a schema can't say so."""
LAST_YEAR = "2025"
"""A schema can't say either that a time is past."""
JOB = os.environ["JOB"]
KNOWN = {
    **dict.fromkeys(("job_id", "job_ids", "subject"), JOB),
    "allocation_id": f"{JOB}.1.1",
    "attempt": 1,
    "experiment_id": os.environ["EXPERIMENT"],
    "node_id": "n0",
    "pool": "default",
    "queue": "default",
    "run_id": os.environ["RUN"],
    "tasks": "0",
    "tuning_id": "t-none",
    "model_id": "md-none",
    "version_id": "mv-none",
    # of lineage
    "kind": "run",
    "id": os.environ["RUN"],
}
"""What there is, so that answers have something in them."""

NEEDED = {
    "/GetHistory": "subject",
    "/GetExperiment": "experiment_id",
    "/GetTuning": "tuning_id",
    "/ListTrials": "tuning_id",
    "/GetModel": "model_id",
    "/GetModelVersion": "version_id",
    "/GetDataset": "version_id",
    "/GetLineage": "kind",
    "/GetRunInputs": "run_id",
}
"""Query → what it needs, where another value can be given for it."""

AGENTS_COMMANDS = {name.rpartition(".")[2] for name, kind in command_types().items() if kind.by_agents}

_BOUNDS = ("maxLength", "maxItems", "maxProperties")


@schemathesis.hook
def before_load_schema(_: Any, document: dict[str, Any]) -> None:
    """Take large bounds away: values at them take minutes to make. Of the CloudEvents leave one command, since they
    differ from plain ones by what surrounds the data alone. Take the commands of node agents away: nobody else sends
    them, and they have as many cases as the rest."""
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
        else:
            commands[:] = [named["CancelJob"]]


@schemathesis.hook
def before_call(_: Any, case: schemathesis.Case, __: dict[str, Any]) -> None:
    """Give queries as long as they need, and ask good ones for what there is; leave out what can't be guessed. What is
    wrong on purpose stays as it is."""
    if case.operation.path == COMMANDS:
        return
    if _is_long(case.query.get("timeout", SECONDS)) and case.operation.get_parameter("timeout", "query") is not None:
        streams = "application/json" not in case.operation.definition.raw["responses"]["200"]["content"]
        case.query["timeout"] = SECONDS_OF_STREAMS if streams else SECONDS
    for values in (case.query, case.body):
        if isinstance(values, dict) and _are_positions(values.get("at_least")):
            del values["at_least"]  # else they are waited for
    if not all(is_good(case, where) for where in ParameterLocation):
        return
    case.path_parameters |= {name: value for name, value in KNOWN.items() if name in case.path_parameters}
    _possible(case.query)
    for values in (case.query, case.body):
        if isinstance(values, dict) and values.get("aggregate"):
            context = case.path_parameters.get("context") or values.get("context", "")
            values["aggregate"] = (aggregates_of(context) or [JOB])[0]
    if isinstance(case.body, dict):
        if case.operation.path.endswith("/WatchJobs"):  # it ends, since the job has ended
            case.body |= {"job_ids": [JOB], "until_ended": True}
        for path, needed in NEEDED.items():
            if case.operation.path.endswith(path):
                case.body.setdefault(needed, KNOWN.get(needed, "none"))
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


def is_good(case: schemathesis.Case, where: ParameterLocation) -> bool:
    """Whether a part of a request is as its schema says, and not wrong on purpose."""
    part = case.meta.components.get(where) if case.meta is not None else None
    return part is None or part.mode.is_positive


@schemathesis.check
def a_wrong_body_is_refused(_: Any, response: schemathesis.Response, case: schemathesis.Case) -> None:
    """In place of ``negative_data_rejection``, where there is a body: the schemas have one form of it. Also taken are
    protobuf's (a number for a word) and pydantic's (1 for true)."""
    if case.method != "POST" or case.meta is None or not 200 <= response.status_code < 300:
        return
    wrong = [where for where in case.meta.components if not is_good(case, where)]
    about = str(getattr(case.meta.phase.data, "description", ""))
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
    if case.meta is None or not all(is_good(case, where) for where in case.meta.components):
        return
    for error in response.json()["error"]["errors"]:
        if error["field"] != "project":  # the envelope says it
            assert isinstance(_at(case.body["data"], error["field"]), dict), error


def _at(value: Any, path: str) -> Any:
    """What is at a path such as ``spec.monitoring.alerts[0]``."""
    for part in re.findall(r"[^.\[\]]+", path):
        value = value[int(part) if isinstance(value, list) else part]
    return value
