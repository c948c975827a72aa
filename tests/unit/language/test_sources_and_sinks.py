"""What a stage may say about what it reads and writes, and how it hears what is wrong."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from events.language.pipelines.connections import Connection, DataSourceType, placeholders
from events.language.pipelines.formats import Column, Compression, CsvOptions, DataFormat, FileFormat, format_of
from events.language.pipelines.manifests import CommitManifest
from events.language.pipelines.sinks import DataSink, WriteMode
from events.language.pipelines.sources import DataSource

SOURCES: list[dict[str, Any]] = [
    {"type": "s3", "path": "s3://bucket/in/${day}/*.csv"},
    {"type": "gcs", "paths": ["gs://bucket/a.parquet", "gs://bucket/b/**"]},
    {"type": "azure_blob", "path": "az://container/in/", "partitions": [{"name": "day", "type": "DATE"}]},
    {"type": "http", "path": "https://example.org/cities.csv"},
    {"type": "database", "table": "sales.orders", "connection": {"url": "postgresql://reader@db/shop"}},
    {"type": "kafka", "topic": "clicks", "connection": {"url": "host:9092"}, "streaming": {"max_records": 60}},
    {"type": "dataset", "dataset": "clean", "version": 7},
    {"type": "file_system", "path": "/data/x[[]1].csv", "format": {"type": "csv", "csv": {"delimiter": ";"}}},
]


@pytest.mark.parametrize("given", SOURCES, ids=lambda given: given["type"])
def test_each_type_of_source_has_its_own_location(given: dict[str, Any]) -> None:
    source = DataSource.model_validate(given)
    assert DataSource.model_validate_json(source.to_json()) == source


def test_there_is_one_such_source_of_each_type() -> None:
    assert {given["type"] for given in SOURCES} == set(DataSourceType)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"type": "s3"}, "none is given; a source of type s3 needs path or paths"),
        ({"type": "s3", "path": "a", "paths": ["b"]}, "path and paths is given"),
        ({"type": "s3", "table": "t"}, "table is nothing of a source of type s3; give path or paths"),
        ({"type": "database", "table": "t"}, "connection.url is empty"),
        (
            {"type": "database", "table": "t", "connection": {"url": "sqlite:///a"}, "format": {"type": "csv"}},
            "format is",
        ),
        (
            {"type": "kafka", "topic": "t", "connection": {"url": "h:1"}, "format": {"type": "csv"}},
            "choose json",
        ),
        ({"type": "dataset", "dataset": "Orders"}, "should match pattern"),
        ({"type": "file_system", "path": "/a", "version": 1}, "version is nothing but a dataset's"),
        ({"type": "file_system", "path": "/a", "streaming": {}}, "streaming is nothing but Kafka's"),
        ({"type": "file_system", "path": "/a", "allow_empty": True}, "allow_empty needs columns"),
        ({"type": "file_system", "path": "/a/$day"}, "a $ that begins no parameter"),
        ({"type": "file_system", "path": "/a\nb"}, "control character"),
        (
            {"type": "file_system", "path": "/a", "columns": [{"name": "Day", "type": "DATE"}]}
            | {"partitions": [{"name": "day", "type": "DATE"}]},
            "has 'day' twice, case apart",
        ),
    ],
)
def test_a_source_that_can_not_be_says_why(given: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError) as refused:
        DataSource.model_validate(given)
    assert problem in str(refused.value)


SINKS: list[dict[str, Any]] = [
    {"type": "s3", "path": "s3://bucket/out", "partition_by": ["day"], "scope": "partitions"},
    {"type": "gcs", "path": "gs://bucket/out", "format": {"type": "delta"}},
    {"type": "azure_blob", "path": "az://container/out", "bucket_by": {"count": 16, "columns": ["user"]}},
    {"type": "http", "path": "https://example.org/rows", "mode": "append"},
    {"type": "database", "table": "sales.daily", "connection": {"url": "postgresql://w@db/shop"}, "mode": "error"},
    {"type": "kafka", "topic": "out", "connection": {"url": "host:9092"}, "mode": "append", "keys": ["user"]},
    {"type": "dataset", "dataset": "clean", "mode": "upsert", "keys": ["id"]},
    {"type": "file_system", "path": "/data/out", "format": {"type": "csv"}},
]


@pytest.mark.parametrize("given", SINKS, ids=lambda given: given["type"])
def test_each_type_of_sink_has_its_own_location(given: dict[str, Any]) -> None:
    sink = DataSink.model_validate(given)
    assert DataSink.model_validate_json(sink.to_json()) == sink


def test_there_is_one_such_sink_of_each_type() -> None:
    assert {given["type"] for given in SINKS} == set(DataSourceType)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"type": "s3"}, "path is empty; a sink of type s3 needs path"),
        ({"type": "dataset", "path": "/a"}, "path is nothing of a sink of type dataset"),
        ({"type": "file_system", "path": "/a", "mode": "upsert"}, "mode upsert needs keys"),
        ({"type": "file_system", "path": "/a", "keys": ["id"]}, "keys are nothing of mode overwrite"),
        ({"type": "file_system", "path": "/a", "scope": "partitions"}, "scope partitions needs"),
        ({"type": "http", "path": "https://h/"}, "http only takes more"),
        (
            {"type": "database", "table": "t", "connection": {"url": "sqlite:///a"}, "partition_by": ["a"]},
            "partition_by is nothing of a sink of type database",
        ),
        ({"type": "dataset", "dataset": "d", "format": {"type": "csv"}}, "give parquet"),
        ({"type": "file_system", "path": "/a", "partition_by": ["a", "A"]}, "partition_by has 'a' twice"),
        (
            {"type": "file_system", "path": "/a", "format": {"type": "csv"}, "metadata": {"owner": "me"}},
            "metadata has no place in files of csv",
        ),
    ],
)
def test_a_sink_that_can_not_be_says_why(given: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError) as refused:
        DataSink.model_validate(given)
    assert problem in str(refused.value)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"url": "postgresql://me:open@db/shop"}, "url has a password"),
        ({"url": "https://host/data?sas_token=abc"}, "url has 'sas_token'"),
        ({"options": {"secret_access_key": "abc"}}, "give it by secret"),
        ({"options": {"sasl_password": "abc"}}, "give it by secret"),
        ({"secret": {"name": "db", "env": "DB"}}, "leave env out"),
        ({"url": "postgresql://[db/shop"}, "can't be read"),
    ],
)
def test_no_secret_is_written_down(given: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Connection.model_validate(given)
    assert problem in str(refused.value)


def test_what_only_names_a_secret_is_no_secret() -> None:
    given = {
        "options": {"access_key_id": "AKIA", "sasl_username": "me", "region": "eu-west-1"},
        "secret": {"name": "s3"},
    }
    assert Connection.model_validate(given).secret is not None


def test_the_placeholders_of_a_location() -> None:
    assert placeholders("s3://b/${day}/${interval_start:%Y-%m-%d}/$$5/${day}.csv") == ("day", "interval_start")
    with pytest.raises(ValueError, match="begins no parameter"):
        placeholders("s3://b/${day")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a/b.parquet", FileFormat.PARQUET),
        ("A.CSV", FileFormat.CSV),
        ("a.csv.gz", FileFormat.CSV),
        ("a.jsonl.zst", FileFormat.JSON),
        ("a.avro", FileFormat.AVRO),
        ("a.feather", FileFormat.ARROW),
    ],
)
def test_names_tell_formats(name: str, kind: FileFormat) -> None:
    found = format_of(name)
    assert found is not None
    assert found.type is kind


def test_a_name_may_tell_no_format_and_tabs_are_told_by_one() -> None:
    assert format_of("a.txt") is None
    assert format_of("a.tsv") == DataFormat(type=FileFormat.CSV, csv=CsvOptions(delimiter="\t"))


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"type": "parquet", "csv": {}}, "csv is given and type is parquet"),
        ({"type": "csv", "compression": "snappy"}, "csv has no compression snappy here; choose auto, gzip, none, zstd"),
        ({"type": "csv", "csv": {"delimiter": '"'}}, "not three different characters"),
        ({"type": "csv", "csv": {"delimiter": "\n"}}, "a line break is no delimiter"),
        ({"type": "csv", "csv": {"delimiter": ";;"}}, "at most 1 character"),
    ],
)
def test_a_format_that_can_not_be_says_why(given: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError) as refused:
        DataFormat.model_validate(given)
    assert problem in str(refused.value)


def test_a_manifest_has_its_files_or_names_the_object_that_has_them() -> None:
    file = {"path": "part-0.parquet", "bytes": 10, "rows": 1}
    given = {
        "attempt": "daily.abcdef.7.clean.1",
        "type": "s3",
        "mode": "append",
        "base": "s3://b/out",
        "aside": "s3://b",
    }
    given |= {"columns": [Column(name="a", type="BIGINT")], "rows": 1, "bytes": 10}
    manifest = CommitManifest.model_validate(given | {"files": [file]})
    assert manifest.mode is WriteMode.APPEND
    with pytest.raises(ValidationError, match="both given"):
        CommitManifest.model_validate(given | {"files": [file], "files_object": {"digest": "0" * 64, "size": 1}})


def test_what_is_written_without_a_format() -> None:
    sink = DataSink(type=DataSourceType.DATASET, dataset="clean")
    assert sink.file_format == DataFormat(type=FileFormat.PARQUET, compression=Compression.AUTO)
    rows = DataSink(type=DataSourceType.HTTP, path="https://h/rows", mode=WriteMode.APPEND)
    assert rows.file_format.type is FileFormat.JSON
