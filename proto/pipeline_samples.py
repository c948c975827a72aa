"""Values of the models of pipelines that rules across fields ask for: see `proto.samples`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from events.language.base import Model
from events.language.pipelines import (
    connections,
    formats,
    lineage,
    manifests,
    notifications,
    quality,
    relational,
    run_commands,
    run_events,
    schedule,
    schedule_messages,
    sinks,
    sla,
    sources,
    stages,
    transformations,
    triggers,
    windows,
    work,
)

_CSV = {"type": "csv", "compression": "gzip", "csv": {"delimiter": ";"}, "json_layout": "lines", "row_group_rows": 2048}
_FILES = {"type": "s3", "path": "s3://bucket/orders/*.csv"}
_LATER = datetime(2026, 1, 3, 3, 4, 5, 678901, UTC)
_RULE = {"rule_id": "has-amount", "type": "completeness", "columns": ["amount"]}
_FILTER = {"id": "positive", "type": "filter", "filter": {"where": "amount > 0"}}

FULL: Mapping[type[Model], Mapping[str, Any]] = {
    schedule_messages.StartBackfill: {"range_end": _LATER},
    notifications.PipelineNotification: {
        "kind": "webhook",
        "target": "https://hooks.example.org/pipelines",
        "secret": "pipelines",
    },
    connections.Connection: {"secret": {"name": "warehouse"}},
    formats.CsvOptions: {
        "delimiter": ";",
        "quote": '"',
        "escape": '"',
        "comment": "#",
        "decimal": ",",
        "encoding": "utf_8",
    },
    formats.DataFormat: {**_CSV},
    quality.DataQualityRule: {
        "type": "range",
        "columns": ["amount"],
        "expression": "",
        "level": "row",
        "minimum": "0",
        "maximum": "1000",
        "pattern": "",
        "keep_first_by": "",
    },
    quality.RuleOutcome: {"rows": 2, "pass_rate": 0.5},
    windows.EventWindows: {
        "kind": "hopping",
        "size_seconds": 600.0,
        "slide_seconds": 60.0,
        "gap_seconds": 0.0,
        "by": [],
        "days": 0,
        "timezone": "UTC",
    },
    sources.DataSource: {
        **_FILES,
        "paths": [],
        "table": "",
        "query": "",
        "topic": "",
        "dataset": "",
        "version": 0,
        "format": _CSV,
        "partitions": [{"name": "day", "type": "DATE"}],
        "streaming": None,
    },
    sinks.DataSink: {
        "type": "file_system",
        "path": "/data/clean",
        "table": "",
        "topic": "",
        "dataset": "",
        "format": {"type": "parquet"},
        "mode": "overwrite",
        "scope": "table",
        "keys": [],
    },
    relational.MapSettings: {"keep": []},
    relational.JoinSettings: {"type": "left", "on": ""},
    relational.WindowFrame: {"unit": "rows"},
    transformations.CustomSettings: {"sql": "", "spark": "", "columns": []},
    transformations.Transformation: {
        **_FILTER,
        **dict.fromkeys(("map", "join", "aggregate", "window", "sort", "custom")),
        "udfs": [],
    },
    lineage.LineageEdges: {
        "columns": [{"column": "total", "dataset": "raw", "source": "amount"}],
        "tables": ["raw"],
        "unresolved": "",
    },
    manifests.CommitFile: {"checksum": "4f" * 32},
    manifests.CommitManifest: {"files_object": None},
    work.StageOutput: {"inline": "", "value": "", "dataset_id": "", "dataset_version": 0},
    schedule.Interval: {"end": _LATER},
    schedule.Schedule: {"every_seconds": None, "end_at": _LATER},
    triggers.Trigger: {"topic": None, "files": None},
    stages.StageInput: {"stage": ""},
    stages.ForEach: {"count": 0, "input": ""},
    stages.StageSpec: {"job": None, "sink": None, "for_each": {"count": 10}, "executors": 0},
    run_commands.RunPipeline: {"trigger": "api", "interval_end": _LATER},
    run_events.RunQueued: {"trigger": "backfill", "trigger_id": "1"},
    run_commands.ReportStageEnded: {"outcome": "failed"},
}

LEAST: Mapping[type[Model], Mapping[str, Any]] = {
    schedule_messages.StartBackfill: {"range_end": _LATER},
    quality.DataQualityRule: _RULE,
    quality.RuleOutcome: {"rows": 2, "pass_rate": 0.5},
    windows.EventWindows: {"size_seconds": 600.0},
    sources.DataSource: _FILES,
    sinks.DataSink: {"type": "file_system", "path": "/data/clean"},
    relational.MapSettings: {"keep": ["amount"]},
    relational.JoinSettings: {"using": ["id"]},
    relational.AggregateSettings: {"group_by": ["day"]},
    transformations.CustomSettings: {"sql": "select * from raw"},
    transformations.Repartition: {"partitions": 8},
    transformations.Transformation: _FILTER,
    lineage.LineageInput: {"dataset_id": "clean-orders", "version": 3},
    schedule.Interval: {"end": _LATER},
    schedule.Schedule: {"cron": "30 1 * * *"},
    triggers.Trigger: {"dataset": {"datasets": ["clean-orders"]}},
    sla.Sla: {"finish_within_seconds": 3600.0},
    stages.StageInput: {"source": _FILES},
    stages.ForEach: {"count": 10},
}
