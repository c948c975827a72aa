"""What experiments and runs are searched by: the words of filters and orders. MLflow's words for them are taken too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any

from events.queries.expressions import ExpressionError, Name, Order, names_in, parse_filter, parse_order
from events.queries.searching import Search
from events.queries.words import Attribute, Entries, Related, Values, Words
from forgelog_pb.experiments.v1 import queries_pb2 as pb
from services.experiments.joblink.state import USED
from services.experiments.lifecycle import PURGEABLE
from services.experiments.rows import SHORT
from services.experiments.visibility import EXPERIMENT_FOUND, FOUND

_STARTED = Attribute("runs.started_at", "time")
_ENDED = Attribute("runs.ended_at", "time", nullable=True)
_NAME = Attribute("runs.name")
_OWNER = Attribute("runs.owner")
_PARAMS = Values("run_params", "run_id", indexed=SHORT)
_TAGS = Values("run_tags", "run_id", indexed=SHORT)

_RUN_ATTRIBUTES: Mapping[str, Attribute] = {
    "run_id": Attribute("runs.run_id"),
    "name": _NAME,
    "status": Attribute("runs.status", "word"),
    "started_at": _STARTED,
    "ended_at": _ENDED,
    "owner": _OWNER,
    "experiment_id": Attribute("runs.experiment_id"),
    "number": Attribute("runs.number", "number"),
    "parent_run_id": Attribute("runs.parent_run_id"),
    "reproduces": Attribute("runs.reproduces"),
    "best_checkpoint": Attribute("runs.best_checkpoint"),
    **{name: Attribute(f"runs.{name}", "number") for name in USED},
    "job_id": Attribute("runs.job_id"),
    "node_id": Attribute("runs.node_id"),
    "reason": Attribute("runs.reason"),
    **dict.fromkeys(("start_time", "created", "Created"), _STARTED),
    "end_time": _ENDED,
    **dict.fromkeys(("run_name", "run name", "Run name", "Run Name"), _NAME),
    "user_id": Attribute(
        "coalesce((select u.value from run_tags u where u.run_id = runs.run_id and u.key = 'mlflow.user'), runs.owner)"
    ),
    "artifact_uri": Attribute("('mlflow-artifacts:/' || runs.experiment_id || '/' || runs.run_id || '/artifacts')"),
}

_DATASETS = Related(
    "run_inputs",
    "run_id",
    {
        **{name: name for name in ("name", "digest", "role", "source_type", "source", "columns", "profile")},
        "context": "role",
        "schema": "columns",
    },
    {"tags": "tags"},
)
"""What runs read."""

METRICS = ("metrics", "metric")
"""The names of the kind whose values are numbers."""


@lru_cache(maxsize=16)
def run_words(latest: str) -> Words:
    """`latest`: the table of the last values of runs' metrics (run_id, key, value)."""
    return Words(
        _RUN_ATTRIBUTES,
        {
            **dict.fromkeys(("params", "param", "parameter", "parameters"), _PARAMS),
            **dict.fromkeys(("tags", "tag"), _TAGS),
            **dict.fromkeys(METRICS, Values(latest, "run_id", "float", in_order=True)),
            **dict.fromkeys(("dataset", "datasets"), _DATASETS),
        },
        own=("attributes", "attribute", "attr", "run"),
    )


_CREATED = Attribute("experiments.created_at", "time")
_UPDATED = Attribute("experiments.updated_at", "time")

EXPERIMENT_WORDS = Words(
    {
        "experiment_id": Attribute("experiments.experiment_id"),
        "name": Attribute("experiments.name"),
        "status": Attribute("experiments.status", "word"),
        "created_at": _CREATED,
        "updated_at": _UPDATED,
        "owner": Attribute("experiments.owner"),
        "team": Attribute("experiments.team"),
        "framework": Attribute("experiments.framework", "word", nullable=True),
        "experiment_type": Attribute("experiments.experiment_type"),
        "visibility": Attribute("experiments.visibility", "word"),
        "creation_time": _CREATED,
        "last_update_time": _UPDATED,
    },
    dict.fromkeys(("tags", "tag"), Entries("experiments.tags")),
)


def _searches(request: Any, table: str, words: Words, order: tuple[str, str], **more: Any) -> dict[int, Search]:
    """Lifecycle → the search among what is so. `order`: a time and an id, newest first."""
    last = [Order(Name("", name, 0), descending=True) for name in order]
    return {
        lifecycle: Search(request, table, words, order=last, where=where, own=("lifecycle",), **more)
        for lifecycle, where in PURGEABLE.items()
    }


@lru_cache(maxsize=16)
def runs_search(latest: str) -> Mapping[int, Search]:
    """`latest`: see `run_words`."""
    return _searches(
        pb.SearchRunsRequest,
        "runs",
        run_words(latest),
        ("started_at", "run_id"),
        filters={"project": "project", "experiment_ids": "experiment_id", "visible_to": FOUND},
    )


def metrics_in(filter: str, order_by: Sequence[str] = ()) -> set[str]:
    """The keys of the metrics that a filter and an order name; of what can't be read none, since the search tells what
    is wrong with it."""
    names: list[Name] = []
    with suppress(ExpressionError):
        if (found := parse_filter(filter)) is not None:
            names += names_in(found)
        names += [parse_order(each).name for each in order_by]
    return {name.key for name in names if name.kind in METRICS}


EXPERIMENTS_SEARCH = _searches(
    pb.SearchExperimentsRequest,
    "experiments",
    EXPERIMENT_WORDS,
    ("created_at", "experiment_id"),
    filters={"project": "project", "visible_to": EXPERIMENT_FOUND},
)
