"""The classes of the client's answers, from the messages of the queries: `forgelog/client/rows.py`.

Each is an `Answer` (a dict whose keys are attributes) with the types of its keys, for readers, editors and type
checkers. What a message's field says in its `.proto` file is said there too.

The rows of every list are found: what an rpc ``ListNotes`` answers many of, a message ``Note``, becomes ``NoteRow``.
Other answers, and rows that are called otherwise, are in `CLASSES`.
"""

from __future__ import annotations

import re
import tempfile
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet

from proto import GenerationError

ROOT = Path(__file__).resolve().parent.parent
TARGET = "forgelog/client/rows.py"

CLASSES: Mapping[str, str] = {
    "forgelog.jobs.v1.TaskTally": "TaskTally",
    "forgelog.jobs.v1.Job": "JobRow",
    "forgelog.jobs.v1.Task": "TaskRow",
    "forgelog.jobs.v1.TaskAttempt": "AttemptRow",
    "forgelog.jobs.v1.AttemptOutputs": "OutputRow",
    "forgelog.jobs.v1.GetJobResponse": "JobAnswer",
    "forgelog.jobs.v1.FollowLogsResponse": "LogPiece",
    "forgelog.scheduling.v1.Queue": "QueueRow",
    "forgelog.scheduling.v1.Entry": "EntryRow",
    "forgelog.scheduling.v1.PlacedTasks": "PlacementRow",
    "forgelog.scheduling.v1.ExplainJobResponse": "WhyAnswer",
    "forgelog.deployments.v1.DeploymentReasons": "ReasonsRow",
    "forgelog.deployments.v1.ModelServingMetrics": "ServingMetricsRow",
    "forgelog.deployments.v1.DeploymentDrift": "DriftRow",
    "forgelog.resources.v1.Node": "NodeRow",
    "forgelog.resources.v1.Allocation": "AllocationRow",
    "forgelog.resources.v1.GetNodeResponse": "NodeAnswer",
    "forgelog.resources.v1.PoolSummary": "PoolRow",
    "forgelog.log.v1.LoggedEvent": "EventRow",
    "forgelog.experiments.v1.GetPointsDigestResponse": "PointsDigest",
    "forgelog.experiments.v1.CapturedRun": "CapturedRunRow",
    "forgelog.experiments.v1.GetRunSealResponse": "RunSealAnswer",
    "forgelog.experiments.v1.GetRunResultsResponse": "RunResultsAnswer",
    "forgelog.experiments.v1.GetExperimentResultsResponse": "ExperimentResultsAnswer",
    "forgelog.experiments.v1.CheckResult": "CheckResult",
    "forgelog.experiments.v1.PlanPurgeResponse": "PurgePlan",
    "forgelog.experiments.v1.LoggedModel": "LoggedModelRow",
}
"""Message → class, of those that are not found by themselves, and of those that come first in the file."""

ADDED: Mapping[str, tuple[str, ...]] = {
    "forgelog.experiments.v1.Experiment": (
        "runs: dict[str, int]",
        '"""Its runs by status. This and what follows are there where one experiment was asked for."""',
        "job_ids: list[str]",
        '"""The jobs of runs that run or wait, the newest first."""',
        "model_versions: int",
        '"""How many its runs made."""',
    ),
    "forgelog.experiments.v1.ExperimentRun": (
        "params: dict[str, str]",
        '"""These four where one run was asked for, and in searches."""',
        "tags: dict[str, str]",
        "metrics: dict[str, float]",
        '"""Key → the last value, of the run\'s own."""',
        "inputs: list[Answer]",
        '"""The datasets that it reads."""',
        "checks: list[CheckResult]",
        '"""Of a run that has ended, how it does by its experiment\'s practices, where one run was asked for."""',
    ),
    "forgelog.experiments.v1.LoggedModel": (
        "metrics: list[MetricRow]",
        '"""Of all runs that measured it, by key."""',
    ),
    "forgelog.experiments.v1.Trial": (
        "params: dict[str, object]",
        '"""Hyperparameter → its value, as the program has it."""',
        "intermediate: dict[int, float]",
        '"""Step → what was reported, where one trial was asked for."""',
    ),
    "forgelog.jobs.v1.FollowLogsResponse": (
        "text: str",
        '"""`data` as text; a character that is torn waits for its rest."""',
    ),
    "forgelog.scheduling.v1.ExplainJobResponse": (
        "dependencies: list[Answer]",
        '"""The jobs that it waits for, as the method `dependencies` gives them."""',
    ),
}
"""What the client adds to an answer."""

REPLACED: Mapping[str, Mapping[str, str]] = {"forgelog.log.v1.LoggedEvent": {"data": "Answer"}}
"""What the client makes something else of."""

_HEAD = '''\
"""The answers of the client: dicts whose keys are attributes too, with the types of both. An enum is its word
(``running``), a time an aware `datetime`, a duration its seconds.

Generated from the queries of `proto/` by `make proto`: change them there, not here.
"""

from __future__ import annotations

from datetime import datetime

from forgelog.client.plain import Answer
'''

ALWAYS = frozenset({"submitted_at", "time", "decided_at"})
"""Times that are never missing."""

_TYPES = {
    FieldDescriptorProto.TYPE_BOOL: "bool",
    FieldDescriptorProto.TYPE_BYTES: "bytes",
    FieldDescriptorProto.TYPE_DOUBLE: "float",
    FieldDescriptorProto.TYPE_ENUM: "str",
    FieldDescriptorProto.TYPE_FLOAT: "float",
    FieldDescriptorProto.TYPE_INT32: "int",
    FieldDescriptorProto.TYPE_INT64: "int",
    FieldDescriptorProto.TYPE_STRING: "str",
    FieldDescriptorProto.TYPE_UINT32: "int",
    FieldDescriptorProto.TYPE_UINT64: "int",
}
_SERVICE = re.compile(r"^service \w+Queries \{", re.MULTILINE)
_KNOWN = {".google.protobuf.Timestamp": "datetime", ".google.protobuf.Duration": "float"}


def documents() -> Mapping[str, str]:
    """The one file."""
    files = _files()
    found = {
        f"{file.package}.{message.name}": (file, index, message)
        for file in files
        for index, message in enumerate(file.message_type)
    }
    titles = {**CLASSES, **_rows(files, {name: message for name, (_, _, message) in found.items()})}
    classes = [_class(*found[name], name, titles) for name in titles]
    return {TARGET: "\n\n".join([_HEAD, *classes])}


def _rows(files: list[FileDescriptorProto], messages: Mapping[str, DescriptorProto]) -> dict[str, str]:
    """The messages of lists that `CLASSES` does not name → class. Equal names get their context as a prefix."""
    found: dict[str, str] = {}
    for file in files:
        for method in (method for service in file.service for method in service.method):
            answer = messages[method.output_type.removeprefix(".")]
            for field in answer.field if method.name.startswith("List") else ():
                name = field.type_name.removeprefix(".")
                entry = any(item.options.map_entry for item in answer.nested_type if name.endswith(f".{item.name}"))
                many = field.label == FieldDescriptorProto.LABEL_REPEATED and not entry
                if many and name.startswith("forgelog.") and name not in CLASSES:
                    found[name] = f"{name.rpartition('.')[2]}Row"
    taken = [*CLASSES.values(), *found.values()]
    return {
        name: title if taken.count(title) == 1 else f"{name.split('.')[1].capitalize()}{title}"
        for name, title in found.items()
    }


def _files() -> list[FileDescriptorProto]:
    """The files of the queries and those that they import, with their comments. (Not from `forgelog_pb`, which may be
    of an earlier version.)"""
    from grpc_tools import protoc

    include = Path(protoc.__file__).parent / "_proto"
    of_queries = (path for path in (ROOT / "proto").rglob("*.proto") if _SERVICE.search(path.read_text()))
    names = sorted(str(path.relative_to(ROOT / "proto")) for path in of_queries)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "files"
        options = [f"--proto_path={ROOT / 'proto'}", f"--proto_path={include}", f"--descriptor_set_out={out}"]
        if protoc.main(["protoc", *options, "--include_source_info", "--include_imports", *names]) != 0:
            raise GenerationError("protoc failed on the queries")
        return list(FileDescriptorSet.FromString(out.read_bytes()).file)


def _class(
    file: FileDescriptorProto, index: int, message: DescriptorProto, name: str, titles: Mapping[str, str]
) -> str:
    comments = {tuple(place.path): place.leading_comments.strip() for place in file.source_code_info.location}
    about = comments.get((4, index)) or f"What `{name}` holds."
    lines = [f'class {titles[name]}(Answer, message="{name}"):', f'    """{_sentence(about)}"""', ""]
    for number, field in enumerate(message.field):
        kind = REPLACED.get(name, {}).get(field.name) or _type(field, message, titles)
        lines.append(f"    {field.name}: {kind}")
        if comment := comments.get((4, index, 2, number)):
            lines.append(f'    """{_sentence(comment)}"""')
    lines += [f"    {line}" for line in ADDED.get(name, ())]
    return "\n".join(lines) + "\n"


def _sentence(comment: str) -> str:
    return "\n    ".join(textwrap.wrap(" ".join(comment.split()), 106))


def _type(field: FieldDescriptorProto, message: DescriptorProto, titles: Mapping[str, str]) -> str:
    entry = next((item for item in message.nested_type if field.type_name.endswith(f".{item.name}")), None)
    if entry is not None and entry.options.map_entry:
        return f"dict[str, {_one(entry.field[1], titles)}]"
    if field.label == FieldDescriptorProto.LABEL_REPEATED:
        return f"list[{_one(field, titles)}]"
    missing = field.proto3_optional or (field.type_name in _KNOWN and field.name not in ALWAYS)
    return _one(field, titles) + (" | None" if missing else "")


def _one(field: Any, titles: Mapping[str, str]) -> str:
    if field.type != FieldDescriptorProto.TYPE_MESSAGE:
        return _TYPES[field.type]
    return _KNOWN.get(field.type_name) or titles.get(field.type_name.removeprefix("."), "Answer")
