"""MLflow's folders and databases, as they are read: what can't be read is named, and the rest is there."""

from __future__ import annotations

import math
import os
import sqlite3
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest

from forgelog.cli.importing import _mlflow
from forgelog.importing.mlflow_database import MlflowDatabase, Sqlite, open_database
from forgelog.importing.mlflow_files import MlflowFiles
from forgelog.importing.source import Contents, Pieces, Source, SourceRun, Told, Trouble, Unreadable
from forgelog.importing.target import _checked, _chunks
from tests.importing import CHILD, FIRST, GONE, artifacts, database

RUN = "4e7062d7e68c4e72aa6bdd02941c7594"
META = f"""\
artifact_uri: file:///home/ada/mlruns/7/{RUN}/artifacts
end_time: 1778296380000
experiment_id: '7'
lifecycle_stage: active
run_id: {RUN}
run_name: first
start_time: 1778296320000
status: 3
"""


DIGITS = {
    "name": "digits",
    "digest": "0ab1",
    "role": "training",
    "source_type": "local",
    "source": '{"uri":"/d"}',
    "columns": '{"a":1}',
    "profile": '{"rows":3}',
    "tags": {"seen": "yes"},
}
"""A dataset that a run reads."""


def write(root: Path, **files: str) -> None:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store with an experiment and a run."""
    root = tmp_path / "mlruns"
    write(
        root,
        **{
            "7/meta.yaml": "experiment_id: '7'\nlifecycle_stage: active\nname: digits\n",
            "7/tags/mlflow.note.content": "which digit",
            "7/tags/team": "vision",
            f"7/{RUN}/meta.yaml": META,
            f"7/{RUN}/params/lr": "0.1",
            f"7/{RUN}/params/a/b é #": "x" * 6000,
            f"7/{RUN}/tags/mlflow.runName": "first",
            f"7/{RUN}/metrics/loss": "1778296320000 1.0 0\n1778296320001 0.5 1\n",
            f"7/{RUN}/metrics/odd/one": "1 nan 0\n2 inf 1\n3 -inf 2\n4 7.5\n5 0.25 3 my data 0ab1\n",
            f"7/{RUN}/artifacts/model/net.bin": "bytes",
        },
    )
    return root


def read(source: Source) -> tuple[Contents, SourceRun]:
    contents = source.contents()
    return contents, contents.runs[0]


def points(source: Source, run: SourceRun) -> tuple[dict[tuple[str, str], list[tuple[int, int, float]]], list[Trouble]]:
    troubles: list[Trouble] = []
    found: dict[tuple[str, str], list[tuple[int, int, float]]] = {}
    for each in source.points(run, troubles):
        rows = list(zip(each.steps, each.times, each.values, strict=True))
        found.setdefault((each.key, each.dataset), []).extend(rows)
    return found, troubles


def test_a_folder_has_experiments_runs_and_what_was_logged(store: Path) -> None:
    source = MlflowFiles(store)
    contents, run = read(source)
    (experiment,) = contents.experiments
    assert (experiment.name, experiment.description, experiment.tags) == ("digits", "which digit", {"team": "vision"})
    assert (run.key, run.name, run.status, run.experiment) == (RUN, "first", "finished", "7")
    assert run.started_at == datetime(2026, 5, 9, 3, 12, tzinfo=UTC)
    assert run.ended_at == datetime(2026, 5, 9, 3, 13, tzinfo=UTC)
    content = source.content(run)
    assert content.params == {"lr": "0.1", "a/b é #": "x" * 6000}
    assert {path: file.read_text() for path, file in content.files.items()} == {"model/net.bin": "bytes"}
    found, troubles = points(source, run)
    assert found["loss", ""] == [(0, 1778296320000, 1.0), (1, 1778296320001, 0.5)]
    assert str(found["odd/one", ""]) == "[(0, 1, nan), (1, 2, inf), (2, 3, -inf), (0, 4, 7.5)]"
    assert found["odd/one", "my data@0ab1"] == [(3, 5, 0.25)]
    assert (troubles, list(content.troubles), list(contents.troubles)) == ([], [], [])


def test_the_fingerprint_changes_with_everything_of_a_run_and_with_nothing_else(store: Path) -> None:
    source = MlflowFiles(store)
    _, run = read(source)
    before = source.fingerprint(run)
    write(store, **{"7/tags/team": "other"})
    assert source.fingerprint(run) == before
    seen = {before}
    for name in ("params/depth", "metrics/loss", "artifacts/new", "tags/x"):
        write(store, **{f"7/{RUN}/{name}": "1 2 3\n"})
        seen.add(source.fingerprint(run))
    assert len(seen) == 5


_LAUGH = "".join(f"{b}: &{b} [{','.join([f'*{a}'] * 10)}]\n" for a, b in pairwise("abcdefghi"))
LAUGHS = f"a: &a [x,x,x,x,x,x,x,x,x,x]\n{_LAUGH}run_id: *i\n"
"""A thousand million texts, if it were written out."""
_MERGE = "".join(f"{b}: &{b} {{<<: [{','.join([f'*{a}'] * 10)}]}}\n" for a, b in pairwise("abcdefghi"))
MERGES = f"a: &a {{x: 1}}\n{_MERGE}{META}"
"""A thousand million merges."""

BAD_META: dict[str, tuple[str, str]] = {
    "no YAML": ("{", "is no YAML that can be read"),
    "no map": ("- a\n", "has no names and values"),
    "no id": ("run_name: x\n", "has no run_id"),
    "a list": (META.replace(f"run_id: {RUN}", "run_id: [1]"), "has a run_id that is no text"),
    "a status": (META.replace("status: 3", "status: 99"), "has the status '99', which MLflow does not have"),
    "deep": ("[" * 20_000, "is no YAML that can be read"),
    "large": ("a: " + "x" * 200_000, "has more than 100000 bytes"),
    "laughs": (LAUGHS, "has more than 10000 values"),
    "laughs in another place": (LAUGHS.replace("run_id", "status"), "has more than 10000 values"),
    "merges in merges": (MERGES, "has more than 10000 values"),
    "a part of itself": (f"{META}tags: &tags [*tags]\n", "has more than 10000 values"),
    "a status that is a list": (META.replace("status: 3", "status: [3]"), "has a status that is no text"),
    "a status without an end": (META.replace("status: 3", f"status: 0x{'f' * 9_000}"), "has a status of 36000 bits"),
    "a name without an end": (f"{META}run_name: 0x{'f' * 9_000}\n", "has a run_name of 36000 bits"),
}


@pytest.mark.parametrize("case", BAD_META)
def test_a_bad_description_is_named_and_the_rest_is_read(store: Path, case: str) -> None:
    text, problem = BAD_META[case]
    write(store, **{"7/bad/meta.yaml": text, "8/meta.yaml": "experiment_id: '8'\nname: other\n"})
    contents = MlflowFiles(store).contents()
    assert [run.key for run in contents.runs] == [RUN]
    assert [experiment.name for experiment in contents.experiments] == ["digits", "other"]
    (trouble,) = contents.troubles
    assert trouble.where == "7/bad/meta.yaml"
    assert trouble.problem.startswith(problem)


def test_an_id_that_is_a_number_to_another_yaml_is_text(store: Path) -> None:
    id = "12345678e90123456789012345678901"
    write(store, **{f"7/{id}/meta.yaml": META.replace(RUN, id)})
    assert sorted(run.key for run in MlflowFiles(store).contents().runs) == [id, RUN]


def test_links_out_of_the_folder_are_not_followed(store: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    write(tmp_path, secret="key", **{"elsewhere/meta.yaml": META})
    place = store / "7" / RUN
    (place / "params/leak").symlink_to(secret)
    (place / "artifacts/leak").symlink_to(secret)
    (place / "artifacts/up").symlink_to(tmp_path, target_is_directory=True)
    (place / "artifacts/model/same").symlink_to("net.bin")
    (place / "artifacts/circle").symlink_to("circle")
    (place / "metrics/leak").symlink_to(secret)
    (store / "7/out").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    for folder in ("artifacts", "params", "metrics"):
        os.mkfifo(place / folder / "pipe")  # who opens one waits
    source = MlflowFiles(store)
    contents, run = read(source)
    content = source.content(run)
    _, troubles = points(source, run)
    told = {trouble.where: trouble.problem for trouble in [*contents.troubles, *content.troubles, *troubles]}
    out = f"out of {store}; copy what it leads to into the folder"
    assert told.pop("7/out/meta.yaml").endswith(out)
    assert told.pop(f"run {RUN}, params 'leak'") == f"is a link to {secret}, {out}"
    assert told.pop(f"run {RUN}, metric 'leak'").endswith(out)
    assert told.pop(f"run {RUN}, artifact 'leak'").endswith(out)
    assert told.pop(f"run {RUN}, artifact 'up'").endswith(out)
    assert told.pop(f"run {RUN}, artifact 'circle'").startswith("can't be read")
    for what in ("artifact", "params", "metric"):
        assert told.pop(f"run {RUN}, {what} 'pipe'") == "is no file"
    assert told == {}
    assert sorted(content.files) == ["model/net.bin", "model/same"]
    assert "leak" not in content.params


def test_addresses_and_names_may_be_anything(store: Path) -> None:
    for number, address in enumerate(("x" * 5_000, "http://[", "a\\0b", "../../etc/passwd", "/")):
        meta = META.replace(RUN, f"r{number}").replace(f"file:///home/ada/mlruns/7/r{number}/artifacts", f'"{address}"')
        write(store, **{f"7/r{number}/meta.yaml": meta})
    os.rename(store / "7", os.fsencode(store) + b"/\xff")
    source = MlflowFiles(store)
    contents = source.contents()
    assert [source.content(run).files for run in contents.runs[1:]] == [{}] * 5
    assert [experiment.key for experiment in contents.experiments] == ["?"]


def test_a_line_that_is_no_point_is_named_and_the_others_are_read(store: Path) -> None:
    bad = "".join(f"{word}\n" for word in ("x", "1 x 2", "1 2 3.5", "1", "é", "1 2 x", "9 9 9"))
    write(store, **{f"7/{RUN}/metrics/bad": bad, f"7/{RUN}/metrics/long": "1 2 3\n" + "1" * 5_000 + "\n4 5 6\n"})
    (store / "7" / RUN / "metrics/bytes").write_bytes(b"\xff\xfe\n1 2 3\n")
    source = MlflowFiles(store)
    _, run = read(source)
    found, troubles = points(source, run)
    assert (found["bad", ""], found["bytes", ""], found["long", ""]) == ([(9, 9, 9.0)], [(3, 1, 2.0)], [(3, 1, 2.0)])
    told = [trouble.problem for trouble in troubles if "'bad'" in trouble.where]
    assert told[0] == "line 1 is b'x\\n', which is no point (time, value, step)"
    assert told[-1] == "and 1 more like these"
    assert any("more than 1000 bytes; the rest of the file is not read" in trouble.problem for trouble in troubles)


def test_datasets_that_a_run_reads(store: Path) -> None:
    said = "source_id: d1\nsource_type: DATASET\n"
    write(
        store,
        **{
            "7/datasets/d1/meta.yaml": "digest: 0ab1\nname: digits\nprofile: '{\"rows\":3}'\nschema: '{\"a\":1}'\n"
            'source: \'{"uri":"/d"}\'\nsource_type: local\n',
            f"7/{RUN}/inputs/i1/meta.yaml": said + "tags:\n  mlflow.data.context: training\n  seen: 'yes'\n",
            f"7/{RUN}/inputs/i2/meta.yaml": "source_id: ../../../../etc\nsource_type: DATASET\n",
            f"7/{RUN}/inputs/i3/meta.yaml": "source_id: m-1\nsource_type: MODEL_INPUT\n",
            "7/datasets/d4/meta.yaml": f"name: x\ndigest: y\nprofile: {'p' * 60_001}\n",
            f"7/{RUN}/inputs/i4/meta.yaml": "source_id: d4\nsource_type: DATASET\n",
        },
    )
    source = MlflowFiles(store)
    content = source.content(source.contents().runs[0])
    assert list(content.inputs) == [DIGITS]
    told = {trouble.where.rpartition(" ")[2]: trouble.problem for trouble in content.troubles}
    assert told["'i4'"] == "has a profile of 60001 characters; 60000 at most"
    assert told.keys() == {"'i2'", "'i4'"}


def test_a_long_series_comes_in_pieces() -> None:
    pieces = Pieces("loss")
    full = [piece for step in range(25_000) if (piece := pieces.add(step, 0, 0.0)) is not None]
    rest = pieces.rest()
    assert rest is not None
    assert [len(piece.steps) for piece in [*full, rest]] == [10_000, 10_000, 5_000]
    assert pieces.rest() is None


def test_deleted_runs_and_models_of_mlflow_3_are_found(store: Path) -> None:
    write(
        store,
        **{
            ".trash/9/meta.yaml": "experiment_id: '9'\nname: gone\nlifecycle_stage: deleted\n",
            ".trash/9/r9/meta.yaml": META.replace(RUN, "r9"),
            ".trash/9/r9/artifacts/a": "",
            "7/models/m-1/meta.yaml": f"name: net\nsource_run_id: {RUN}\nartifact_location: file:///x\n",
            "7/models/m-1/artifacts/weights": "w",
            "models/digits/meta.yaml": "name: digits\ndescription: null\naliases: {}\n",
            "models/digits/aliases/champion": "1",
            "models/digits/aliases/odd": "newest",
            "models/digits/aliases/square": "²",
            "models/digits/tags/task": "vision",
            "models/digits/version-1/meta.yaml": "name: digits\nversion: 1\nsource: models:/m-1\n"
            f"current_stage: Staging\nrun_id: {RUN}\ncreation_timestamp: 1778296320000\n",
            "models/digits/version-2/meta.yaml": f"name: digits\nversion: 2\nsource: runs:/{RUN}/model\n",
            "models/digits/version-3/meta.yaml": "name: digits\nversion: 3\nsource: s3://bucket/model\n",
            "models/digits/version-4/meta.yaml": "name: digits\nversion: 4\ncurrent_stage: Deleted_Internal\n",
            "models/hello/meta.yaml": "name: hello\n",
            "models/hello/tags/mlflow.prompt.is_prompt": "true",
        },
    )
    source = MlflowFiles(store)
    contents = source.contents()
    assert {run.key: run.deleted for run in contents.runs} == {RUN: False, "r9": True}
    assert "net/weights" in source.content(contents.runs[0]).files
    (model,) = contents.models
    assert (model.name, model.aliases, model.tags) == ("digits", {"champion": 1}, {"task": "vision"})
    one, two, three = model.versions
    assert (one.run, one.path, one.stage) == (RUN, "net", "staging")
    assert (two.run, two.path, two.trouble) == (RUN, "model", "")
    away = "files that are at s3://bucket/model are imported if --artifacts names a folder that has them"
    assert three.trouble == away
    assert [str(trouble) for trouble in contents.troubles] == [
        "model 'digits', alias 'odd': means 'newest', which is no version",
        "model 'digits', alias 'square': means '²', which is no version",
    ]
    assert list(contents.notes) == ["prompts are left out (1 of them): the platform has none"]


def test_a_folder_without_a_store_says_what_to_give(store: Path, tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match=rf"has no experiments of MLflow; did you mean {store}\?"):
        MlflowFiles(tmp_path).contents()


@pytest.fixture
def source(tmp_path: Path) -> MlflowDatabase:
    return MlflowDatabase(Sqlite(database(tmp_path / "mlflow.db")), [artifacts(tmp_path / "moved")])


def test_a_database_has_the_same(source: MlflowDatabase) -> None:
    contents = source.contents()
    assert [(each.name, each.description, each.tags) for each in contents.experiments] == [
        ("Default", "", {}),
        ("digits", "which digit", {"team": "vision"}),
    ]
    runs = {run.key: run for run in contents.runs}
    first = runs[FIRST]
    assert (first.name, first.status, first.ended_at) == ("first", "failed", datetime(2026, 5, 9, 3, 13, tzinfo=UTC))
    assert (runs[CHILD].parent, runs[CHILD].status, runs[GONE].deleted) == (FIRST, "running", True)
    content = source.content(first)
    assert (content.params, content.tags["team"]) == ({"lr": "0.1", "a/b é": "x" * 6000}, "a\nb")
    assert sorted(content.files) == ["model/net.bin"]
    assert list(content.inputs) == [DIGITS]
    assert sorted(source.content(runs[CHILD]).files) == ["net/net.bin"]
    found, troubles = points(source, first)
    assert found["loss", ""][1:] == [(1, 1778296320001, 0.5), (2, 1778296320002, 1 / 3)]
    odd = [value for _, _, value in sorted(found["odd", ""])]
    assert (math.isnan(odd[0]), odd[1:], troubles) == (True, [math.inf, -math.inf], [])
    (model,) = contents.models
    assert (model.description, model.aliases) == ("reads digits", {"champion": 1, "next": 3})
    assert [(version.number, version.run, version.path, version.stage) for version in model.versions] == [
        (1, FIRST, "model", "production"),
        (3, CHILD, "net", "none"),
    ]
    assert list(contents.troubles) == []


def test_points_of_a_database_come_page_by_page(source: MlflowDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("forgelog.importing.mlflow_database._PAGE", 2)
    first = next(run for run in source.contents().runs if run.key == FIRST)
    found, _ = points(source, first)
    assert {key: len(rows) for (key, _), rows in found.items()} == {"loss": 3, "odd": 3}


def test_a_database_of_an_old_version_lacks_tables_and_columns(tmp_path: Path) -> None:
    path = database(tmp_path / "mlflow.db")
    connection = sqlite3.connect(path)
    for table in ("logged_models", "registered_model_aliases", "experiment_tags", "model_versions"):
        connection.execute(f"drop table {table}")
    connection.execute("alter table runs drop column name")
    connection.commit()
    contents = MlflowDatabase(Sqlite(path)).contents()
    assert [run.name for run in contents.runs] == ["", "", ""]
    assert [(model.name, model.versions) for model in contents.models] == [("digits", ())]
    (note,) = [note for note in contents.notes if "files" in note]
    assert note.startswith(
        "3 runs and models have no files in the folders that were given: files that are at file:///home"
    )


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ("http://127.0.0.1:5000", "STORE: is a server; its folder or database is read"),
        ("mysql://host/mlflow", r"begins with mysql://; folders, sqlite:/// and postgresql:// can be read"),
        ("postgresql+psycopg2://ada:secret@host/mlflow", r"has a password, which other users .* PGPASSWORD"),
        ("sqlite:///nowhere.db", "there is no nowhere.db"),
        ("{folder}/none", "STORE: there is no .*none"),
        ("{folder}/bomb.zip", "is neither a folder nor a file of SQLite; unpack an archive first"),
    ],
)
def test_what_is_no_store_is_refused(tmp_path: Path, given: str, problem: str) -> None:
    (tmp_path / "bomb.zip").write_bytes(b"PK\x03\x04" + b"\0" * 1000)
    with pytest.raises(Unreadable, match=problem):
        _mlflow(given.format(folder=tmp_path), [])


def test_a_database_of_something_else_is_refused(tmp_path: Path) -> None:
    sqlite3.connect(tmp_path / "other.db").execute("create table t (x)").connection.close()
    with pytest.raises(Unreadable, match="is no database of MLflow: it has no table experiments"):
        MlflowDatabase(open_database(f"sqlite:///{tmp_path}/other.db")).contents()
    (tmp_path / "broken.db").write_bytes(b"SQLite format 3\0" + b"\xff" * 5000)
    with pytest.raises(Unreadable, match="can't be read: "):
        MlflowDatabase(open_database(f"sqlite:///{tmp_path}/broken.db")).contents()


def test_commands_stay_below_the_limits() -> None:
    params = {f"p{index}": "x" * 6000 for index in range(200)}
    tags = {f"t{index}": "y" for index in range(1_200)}
    chunks = list(_chunks(params, tags))
    assert all(len(some) + len(others) <= 500 for some, others in chunks)
    assert all(sum(map(len, {**some, **others}.values())) < 450_000 for some, others in chunks)
    merged: tuple[dict[str, str], dict[str, str]] = ({}, {})
    for chunk in chunks:
        merged[0].update(chunk[0])
        merged[1].update(chunk[1])
    assert merged == (params, tags)


def test_points_that_the_platform_does_not_take_are_named() -> None:
    troubles: list[Trouble] = []
    pieces = Pieces("loss")
    for step, time in ((0, 5), (1, 10**18), (1 << 70, 5)):
        pieces.add(step, time, 0.5)
    series = pieces.rest()
    assert series is not None
    kept = _checked(series, Told("run r", troubles))
    assert kept is not None
    assert list(kept.steps) == [0]
    assert [trouble.problem.split(" of ")[0] for trouble in troubles] == [
        "the time 1000000000000000000 is not",
        f"the step {1 << 70} has more than 64 bits",
    ]
