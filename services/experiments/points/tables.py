"""The tables of points. Knows no arrays, so that what only makes the tables loads none."""

from __future__ import annotations

FULL = 4096
"""Points of a full chunk."""

NAME = ("run", "key", "model_id", "dataset")
"""What tells a series from all others."""

TALLY = {
    "count": "bigint not null",
    "nans": "bigint not null",
    "first_step": "bigint not null",
    "last_step": "bigint not null",
    "last_time": "bigint not null",
    "last_value": "float8 not null",
    "low": "float8",
    "low_step": "bigint",
    "high": "float8",
    "high_step": "bigint",
    "time_from": "bigint not null",
    "time_to": "bigint not null",
    "arrived_from": "bigint not null",
    "arrived_to": "bigint not null",
}
"""The fields of `services.experiments.points.tally.Tally`, as columns."""

_TALLY = ", ".join(f"{name} {kind}" for name, kind in TALLY.items())

TABLES = (
    "create table if not exists series (number bigint generated always as identity primary key, "
    f"{', '.join(f'{name} text not null' for name in NAME)}, {_TALLY}, unique ({', '.join(NAME)})) "
    "with (fillfactor = 70)",
    # What runs are searched by: of each key the last value, of whichever of its series.
    "create table if not exists latest (run_id text not null, key text not null, value float8 not null, "
    "primary key (run_id, key))",
    "create index if not exists latest_by_value on latest (key, value)",
    # of what an earlier version stored
    "insert into latest select distinct on (run, key) run, key, last_value from series where not exists (select from "
    "latest) order by run, key, last_step desc, last_time desc, last_value desc",
    "create index if not exists series_of_models on series (model_id) where model_id <> ''",
    "create table if not exists heads (arrival bigint primary key, run text not null, "
    "stored_at timestamptz not null default now(), first_step bigint not null, last_step bigint not null, "
    "count int not null, data bytea not null)",
    "create index if not exists heads_of_run on heads (run)",
    "create index if not exists heads_by_time on heads (stored_at)",
    "create table if not exists chunks (id bigint generated always as identity primary key, "
    f"series bigint not null, {_TALLY}, data bytea not null)",
    "create index if not exists chunks_by_step on chunks (series, last_step, first_step)",
    f"create index if not exists chunks_to_merge on chunks (series) where count < {FULL}",
    # Runs whose points are gone, also those that come later. They are open until their rows are removed.
    "create table if not exists purged (run text primary key, is_open boolean not null default true)",
    "create index if not exists purged_open on purged (run) where is_open",
    # Their data is packed already.
    "alter table heads alter column data set storage external",
    "alter table chunks alter column data set storage external",
)
