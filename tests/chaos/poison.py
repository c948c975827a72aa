"""Records that no good producer sends: into a command topic, each must become a dead letter or a refusal, and no more.

Knows the language and the topics' limits, nothing of the platform's code.
"""

from __future__ import annotations

import gzip
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from events.language.registry import command_types
from events.log.topics import CONTEXTS, MAX_RECORD_BYTES

FAR = (1 << 63) - 1
"""The last timestamp that Kafka can say, in milliseconds: in the year 292,278,994."""

LARGE = b" " * (6 << 20)
"""Unpacked; packed it is a small record that the broker takes."""

COMMANDS = {kind.context: name for name, kind in reversed(command_types().items())}
"""Context → the type of its first command."""

_EXIT = b'{"job_id": "a", "node_id": "n", "tasks": [{"task": 0, "attempt": 1, "ended_at": "%s", "usage": {%s}}]}'

REFUSED = {
    "jobs": [
        ("U+0000 in a reason", "CancelJob", b'{"job_id": "a", "reason": "a\\u0000b"}'),
        ("U+0000 in a key", "CancelJob", b'{"job_id": "a", "a\\u0000b": 1}'),
        ("U+0000 in a key given twice", "CancelJob", b'{"job_id": "a", "\\u0000": 1, "\\u0000": 2}'),
        ("half a surrogate in a key given twice", "CancelJob", b'{"job_id": "a", "\\ud800": 1, "\\ud800": 2}'),
        ("a time before year 1", "ReportJobExited", _EXIT % (b"0001-01-01T00:00:00+14:00", b"")),
        ("a time after year 9999", "ReportJobExited", _EXIT % (b"9999-12-31T23:59:59-12:00", b"")),
        (
            "a number of 65 bits",
            "ReportJobExited",
            _EXIT % (b"2026-05-09T03:12:00Z", b'"max_rss_bytes": %d' % (1 << 64)),
        ),
        ("a range of 10^9 tasks", "CancelJob", b'{"job_id": "a", "tasks": "0-999999999"}'),
        ("ranges without end", "CancelJob", b'{"job_id": "a", "tasks": "%s"}' % b",".join([b"0"] * 99_000)),
    ],
    "scheduling": [("U+0000 in a name", "ConfigureQueue", b'{"queue": "a\\u0000"}')],
    "resources": [("U+0000 in a reason", "CordonNode", b'{"pool": "p", "node_id": "n", "reason": "\\u0000"}')],
    "experiments": [
        ("U+0000 in a name", "CreateExperiment", b'{"name": "a\\u0000"}'),
        ("U+0000 in a parameter", "LogRunData", b'{"run_id": "r", "params": {"a": "\\u0000"}}'),
        ("a parameter of 6,001 characters", "LogRunData", b'{"run_id": "r", "params": {"a": "%s"}}' % (b"x" * 6001)),
        ("a key of 251 characters", "LogRunData", b'{"run_id": "r", "params": {"%s": ""}}' % (b"k" * 251)),
        ("an end that is none", "EndRun", b'{"run_id": "r", "status": "running"}'),
    ],
    "deployments": [
        ("U+0000 in a reason", "TerminateDeployment", b'{"deployment_id": "d", "reason": "a\\u0000b"}'),
        ("a billion replicas", "ScaleDeployment", b'{"deployment_id": "d", "replicas": 1000000000}'),
        ("weights over all", "SetTraffic", b'{"deployment_id": "d", "weights": [{"revision": 1, "weight": 10001}]}'),
        ("a name of 64 characters", "CreateDeployment", b'{"name": "%s", "spec": {}}' % (b"d" * 64)),
    ],
    "pipelines": [
        ("U+0000 in a reason", "PausePipeline", b'{"pipeline_id": "p", "reason": "a\\u0000b"}'),
        ("no stage", "DefinePipeline", b'{"name": "p", "spec": {"stages": []}}'),
        (
            "a stage that waits for itself",
            "DefinePipeline",
            b'{"name": "p", "spec": {"stages": [{"id": "a", "after": ["a"]}]}}',
        ),
        (
            "1,001 stages",
            "DefinePipeline",
            b'{"name": "p", "spec": {"stages": [%s]}}' % b",".join(b'{"id": "s%d"}' % n for n in range(1001)),
        ),
    ],
}
"""By context: commands with a value that no table can hold, or that would cost much; each is refused by its field."""


@dataclass(frozen=True, slots=True)
class Poison:
    """A record, and what must become of it."""

    name: str
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]
    answered: bool = True
    """It has an id that a refusal can name, so it must get one."""
    dead: bool = True
    """It must be among the dead letters."""
    timestamp_ms: int | None = None
    packed: str | None = None
    """The codec that its producer packs it with."""


def poisons(context: str, new_id: Callable[[], str]) -> list[Poison]:
    """All of them, for one context's command topic, each under an id of its own."""
    submit = COMMANDS[context].encode()
    other = next(name for name in CONTEXTS if name != context)
    foreign = COMMANDS[other].encode()

    def headers(kind: bytes | None = submit, *more: tuple[str, bytes | None]) -> list[tuple[str, bytes | None]]:
        return [("ce_id", new_id().encode()), ("ce_type", kind), *more]

    huge = b" " * (MAX_RECORD_BYTES - 1000)
    log = [("fl_epoch", b"999999999"), ("fl_cause", b"commands.jobs/0@0|x|0/1"), ("fl_hash", b"00")]
    return [
        Poison("broken JSON", b"{", headers()),
        Poison("no JSON", b"\xff\xfe\x00", headers()),
        Poison("an empty value", b"", headers()),
        Poison("a null value", None, headers()),
        Poison("a list", b"[1]", headers(), dead=False),
        Poison("wrong fields", b'{"no_such_field": 1}', headers(), dead=False),
        Poison("deep nesting", b"[" * 100_000, headers()),
        Poison("half a surrogate", b'{"x": "\\ud800"}', headers()),
        Poison("a compressed value", gzip.compress(b"{}"), headers()),
        Poison("a key given twice", b'{"reason": "a", "reason": "b"}', headers(), dead=False),
        *[Poison(f"megabytes packed with {codec}", LARGE, headers(), packed=codec) for codec in ("gzip", "zstd")],
        Poison("nothing", None, [], answered=False),
        Poison("no id", b"{}", [("ce_type", submit)], answered=False),
        Poison("a null id", b"{}", [("ce_id", None), ("ce_type", submit)], answered=False),
        Poison("an id that is not UTF-8", b"{}", [("ce_id", b"\xff\xff"), ("ce_type", submit)], answered=False),
        Poison("no type", b"{}", [("ce_id", new_id().encode())]),
        Poison("a null type", b"{}", headers(None)),
        Poison("a type that is not UTF-8", b"{}", headers(b"\xff"), answered=False),
        Poison("an unknown type", b"{}", headers(b"forgelog.nowhere.v1.Nothing")),
        Poison("a version of the future", b"{}", headers(submit.replace(b".v1.", b".v9."))),
        Poison("an event", b"{}", headers(b"forgelog.jobs.v1.JobStarted")),
        Poison("a marker", b"{}", headers(b"forgelog.log.v1.WriterStarted")),
        Poison("another context's command", b"{}", headers(foreign), dead=False),
        Poison("a null subject", b"{", headers(submit, ("ce_subject", None))),
        Poison("a time that is none", b"{}", headers(submit, ("ce_time", b"yesterday")), answered=False),
        Poison("a time without zone", b"{}", headers(submit, ("ce_time", b"2026-05-09T03:12:00")), answered=False),
        Poison("a timestamp of the far future", b"{}", headers(), answered=False, timestamp_ms=FAR),
        Poison("headers of the log's own", b"{", headers(submit, *log, ("fl_replayed", b"1"))),
        Poison("5,000 headers", b"{", headers(submit, *[(f"x-{n}", b"y" * 20) for n in range(5000)]), answered=False),
        Poison("a header of a megabyte", b"{", headers(submit, ("ce_subject", b"s" * 1_000_000)), answered=False),
        Poison("U+0000 in an id", b"{}", [("ce_id", b"a\0b"), ("ce_type", submit)], answered=False),
        Poison("U+0000 in a subject", b"{", headers(submit, ("ce_subject", b"a\0b"))),
        Poison("U+0000 in a trace", b"{}", headers(submit, ("traceparent", b"\0"))),
        Poison(
            "a long correlation", b"{}", headers(submit, ("ce_correlationid", random.randbytes(3_000).hex().encode()))
        ),
        Poison("a time before year 1", b"{}", headers(submit, ("ce_time", b"0001-01-01T00:00:00+14:00"))),
        *[
            Poison(name, value, headers(f"forgelog.{context}.v1.{kind}".encode()), dead=False)
            for name, kind, value in REFUSED[context]
        ],
        Poison("as large as the broker takes", huge, headers()),
    ]
