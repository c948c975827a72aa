"""Lists of models and of their versions: the words of filters and orders, and what they are selected from.

MLflow's words for them are taken too.
"""

from __future__ import annotations

from events.language.experiments.registry import ModelStage
from events.queries.expressions import Name, Order
from events.queries.searching import Search
from events.queries.words import Attribute, Entries, Words
from forgelog_pb.experiments.v1 import registry_queries_pb2 as pb

_COLUMNS = """
    select v.*, m.name, coalesce(r.experiment_id, '') as experiment_id, coalesce(r.job_id, '') as job_id,
        (select coalesce(jsonb_agg(key order by key), '[]') from jsonb_each_text(m.aliases) where value::int = v.number)
            as aliases,
        (select coalesce(jsonb_agg(key order by key), '[]') from jsonb_each_text(m.environments)
            where value::int = v.number) as environments,
        m.model_id as of_model
"""
"""Of a version, with what other tables know of it."""

_RUN = "left join runs r on r.run_id = v.source_run_id"

VERSION = f"{_COLUMNS} from model_versions v join models m using (model_id) {_RUN}"

_THERE = f"{VERSION} where v.deleted_at is null and m.deleted_at is null"

_STAGES = ", ".join(f"('{stage.value}')" for stage in ModelStage)

_NEWEST = f"""
    {_COLUMNS} from models m cross join (values {_STAGES}) s (stage) cross join lateral (
        select * from model_versions w
        where w.model_id = m.model_id and w.stage = s.stage and w.deleted_at is null
        order by w.number desc limit 1
    ) v {_RUN} where m.deleted_at is null
"""
"""Those that are the newest of their stage; each is found by an index."""

_MODEL_CREATED = Attribute("models.created_at", "time")
_MODEL_UPDATED = Attribute("models.updated_at", "time")

MODEL_WORDS = Words(
    {
        "model_id": Attribute("models.model_id"),
        "name": Attribute("models.name"),
        "owner": Attribute("models.owner"),
        "access": Attribute("models.access", "word"),
        "latest": Attribute("models.latest", "number"),
        "created_at": _MODEL_CREATED,
        "updated_at": _MODEL_UPDATED,
        "creation_timestamp": _MODEL_CREATED,
        "last_updated_timestamp": _MODEL_UPDATED,
        "user_id": Attribute("models.owner"),
    },
    dict.fromkeys(("tags", "tag"), Entries("models.tags")),
)

_NUMBER = Attribute("found.number", "number")
_SOURCE_RUN = Attribute("found.source_run_id")
_SOURCE = Attribute("found.source_uri")
_STAGE = Attribute("found.stage", "word")
_BY = Attribute("found.created_by")
_CREATED = Attribute("found.created_at", "time")
_UPDATED = Attribute("found.updated_at", "time")

VERSION_WORDS = Words(
    {
        "version_id": Attribute("found.version_id"),
        "model_id": Attribute("found.model_id"),
        "name": Attribute("found.name"),
        "number": _NUMBER,
        "status": Attribute("found.status", "word"),
        "stage": _STAGE,
        "source_run_id": _SOURCE_RUN,
        "source_uri": _SOURCE,
        "artifact_path": Attribute("found.artifact_path"),
        "logged_model_id": Attribute("found.logged_model_id"),
        "experiment_id": Attribute("found.experiment_id"),
        "job_id": Attribute("found.job_id"),
        "checkpoint_id": Attribute("found.checkpoint_id"),
        "framework": Attribute("found.framework", "word", nullable=True),
        "model_format": Attribute("found.model_format", "word"),
        "quantization": Attribute("found.quantization", "word"),
        "architecture": Attribute("found.architecture"),
        "parameters": Attribute("found.parameters", "number", nullable=True),
        "size_bytes": Attribute("found.size_bytes", "number"),
        "created_by": _BY,
        "created_at": _CREATED,
        "updated_at": _UPDATED,
        **dict.fromkeys(("version", "version_number"), _NUMBER),
        "run_id": _SOURCE_RUN,
        "source_path": _SOURCE,
        "current_stage": _STAGE,
        "user_id": _BY,
        "creation_timestamp": _CREATED,
        "last_updated_timestamp": _UPDATED,
    },
    dict.fromkeys(("tags", "tag"), Entries("found.tags")),
)


def _newest_first(*names: str) -> list[Order]:
    return [Order(Name("", name, 0), descending=True) for name in names]


MODELS_LIST = Search(
    pb.ListModelsRequest,
    "models",
    MODEL_WORDS,
    order=_newest_first("created_at", "model_id"),
    where="deleted_at is null",
    filters={
        "project": "project",
        "name": "strpos(lower(name), lower({value})) > 0",
        "owner": "owner",
        "tags": "tags",
        "visible_to": "(access <> 'restricted' or owner = {value} or allowed ? {value})",
    },
)

VERSIONS_LIST = {
    newest: Search(
        pb.ListModelVersionsRequest,
        "found",
        VERSION_WORDS,
        order=_newest_first("created_at", "version_id"),
        rows=_NEWEST if newest else _THERE,
        own=("newest_of_stage",),
        filters={
            "project": "project",
            "model_id": "of_model",
            "model_ids": "of_model",
            "name": "name",
            "statuses": "status",
            "stages": "stage",
            "frameworks": "framework",
            "formats": "model_format",
            "quantizations": "quantization",
            "architecture": "architecture",
            "optimization": "optimization",
            "compression": "compression",
            "tags": "tags",
            "source_run_id": "source_run_id",
            "experiment_id": "experiment_id",
            "job_id": "job_id",
            "checkpoint_id": "checkpoint_id",
            "visible_to": "exists (select from models a where a.model_id = of_model and "
            "(a.access <> 'restricted' or a.owner = {value} or a.allowed ? {value}))",
            "parent_version_id": "parents @> jsonb_build_array(jsonb_build_object('version_id', {value}))",
            "metrics_at_least": "not exists (select from jsonb_each_text({value}) w where not coalesce((metrics -> "
            "split_part(w.key, '.', 1) ->> substr(w.key, strpos(w.key, '.') + 1))::float8 >= w.value::float8, false))",
        },
    )
    for newest in (False, True)
}
"""By whether only the newest versions of each stage are wanted."""
