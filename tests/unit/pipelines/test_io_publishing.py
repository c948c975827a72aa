"""A version is published once and whole, however often and by however many processes, killed or stopped anywhere."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from forgelog.pipelines.io import discard, merging, publish, write_aside
from forgelog.pipelines.io import local as local_files
from forgelog.pipelines.io.local import locked
from forgelog.pipelines.io.opening import open_folder
from forgelog.pipelines.problems import StageError
from tests.unit.pipelines.dying import REFUSED, SURVIVED, ended, start, stopped
from tests.unit.pipelines.tables import SECRETS, Table, context_of, local_table

Steps = Callable[[], list[tuple[Any, str]]]

FIRST = "SELECT * FROM (VALUES (1, 'a'), (2, 'b')) t(id, v)"
NEXT = "SELECT * FROM (VALUES (2, 'B'), (3, 'C')) t(id, v)"

MODES: list[tuple[dict[str, Any], list[tuple[int, str]]]] = [
    ({"mode": "overwrite"}, [(2, "B"), (3, "C")]),
    ({"mode": "append"}, [(1, "a"), (2, "B"), (2, "b"), (3, "C")]),
    ({"mode": "append", "compaction": {"min_files": 1}}, [(1, "a"), (2, "B"), (2, "b"), (3, "C")]),
    ({"mode": "upsert", "keys": ["id"]}, [(1, "a"), (2, "B"), (3, "C")]),
]
NAMES = ["overwrite", "append", "compaction", "upsert"]


@pytest.mark.parametrize(("mode", "after"), MODES, ids=NAMES)
def test_each_mode(table: Table, mode: dict[str, Any], after: list[tuple[int, str]]) -> None:
    table.publish(1, FIRST)
    published = table.publish(2, NEXT, **mode)
    assert (published.version, published.rows, published.already) == (2, len(after), False)
    assert table.read() == table.seen() == after


def test_the_mode_error_takes_an_empty_place_only(table: Table) -> None:
    table.publish(1, FIRST, mode="error")
    with pytest.raises(StageError, match=r"mode: is error, and there are rows at .*/table already"):
        table.write(NEXT, mode="error")
    assert table.read() == [(1, "a"), (2, "b")]


@pytest.mark.parametrize(
    ("table", "mode", "after"),
    # each way of publishing once: an exchange of folders, files that get their names, files that are written anew
    [("file_system", *MODES[0]), ("file_system", *MODES[3]), ("s3", *MODES[1]), ("s3", *MODES[2])],
    indirect=["table"],
    ids=["exchange", "upsert", "append", "compaction"],
)
def test_killed_before_any_step_it_is_published_once_by_the_next(
    table: Table, steps: Steps, mode: dict[str, Any], after: list[tuple[int, str]]
) -> None:
    table.publish(1, FIRST)
    sink, manifest = table.write(NEXT, **mode)
    at, kills = 0, 0
    while True:
        child = start(sink, manifest, 2, table.contexts, SECRETS, steps, at, signal.SIGKILL)
        if ended(child) == SURVIVED:
            break
        assert child.exitcode == -signal.SIGKILL
        kills += 1
        assert table.read() in ([(1, "a"), (2, "b")], after), "a reader saw a part of a version"
        at += 1
    assert kills >= 2
    assert table.read() == table.seen() == after
    assert publish(sink, manifest, 2, table.contexts).already
    assert table.read() == table.seen() == after


def test_stopped_before_any_step_it_changes_nothing_once_it_wakes(store: Any, folder: Path) -> None:
    from tests.unit.pipelines.dying import store_steps
    from tests.unit.pipelines.tables import store_table

    at = 0
    while True:
        table = store_table(store, folder / str(at))
        table.publish(1, FIRST)
        sink, manifest = table.write(NEXT, mode="append")
        child = start(sink, manifest, 2, table.contexts, SECRETS, store_steps, at, signal.SIGSTOP)
        with stopped(child) as is_stopped:
            if is_stopped:
                publish(sink, manifest, 2, table.contexts)
                table.publish(3, "SELECT 9 AS id, 'z' AS v", mode="overwrite")
        code = ended(child)
        if not is_stopped:
            assert code == SURVIVED
            break
        assert table.read() == table.seen() == [(9, "z")], f"what was stopped before step {at} changed the table"
        assert code in (REFUSED, SURVIVED)  # it may have been stopped when all but the clearing up was done
        at += 1
    assert at >= 3


def test_a_late_publication_says_so_and_changes_nothing(table: Table) -> None:
    sink, manifest = table.write(FIRST)
    publish(sink, manifest, 1, table.contexts)
    table.publish(2, NEXT)
    with pytest.raises(StageError, match=r"version 2 is published at .*, and this is version 1: nothing was changed"):
        publish(sink, manifest, 1, table.contexts)
    assert table.read() == table.seen() == [(2, "B"), (3, "C")]


def test_another_attempt_of_a_version_says_so_and_changes_nothing(table: Table) -> None:
    table.publish(1, FIRST)
    sink, manifest = table.write(NEXT)
    with pytest.raises(StageError, match=r"version 1 at .* is of the attempt"):
        publish(sink, manifest, 1, table.contexts)
    assert table.read() == [(1, "a"), (2, "b")]


def test_what_others_keep_in_a_table_s_folder_stays(tmp_path: Path) -> None:
    table = local_table(tmp_path)
    table.publish(1, FIRST)
    (tmp_path / "table/.git").mkdir()
    for name in (".git/HEAD", "README.md"):
        (tmp_path / "table" / name).write_text("mine")
    table.publish(2, NEXT, mode="overwrite")
    assert table.read() == [(2, "B"), (3, "C")]
    assert [(tmp_path / "table" / name).read_text() for name in (".git/HEAD", "README.md")] == ["mine", "mine"]


def test_local_publications_wait_for_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = local_table(tmp_path)
    sink, manifest = table.write(FIRST)
    monkeypatch.setattr(local_files, "LONGEST_WAIT", 0.05)
    with locked(tmp_path / ".table.forgelog", "path"), pytest.raises(StageError, match="another process") as late:
        publish(sink, manifest, 1, table.contexts)
    assert late.value.transient
    publish(sink, manifest, 1, table.contexts)
    assert table.read() == [(1, "a"), (2, "b")]


def test_what_earlier_attempts_left_goes_with_the_publication(table: Table) -> None:
    sink = table.sink()
    for attempt in ("run.stage.1", "run.stage.2"):
        manifest = write_aside(duckdb.connect(), FIRST, sink, attempt, table.contexts)
    publish(sink, manifest, 1, table.contexts)
    context = context_of(table.folder)
    aside = open_folder(manifest.aside.rpartition("/")[0], sink.type, sink.connection, context, "path")
    assert [entry.name for entry in aside.walk() if entry.name != "lock"] == []


def test_what_is_discarded_leaves_nothing(table: Table) -> None:
    table.publish(1, FIRST)
    sink, manifest = table.write(NEXT)
    discard(sink, manifest, table.contexts)
    discard(sink, manifest, table.contexts)
    assert table.read() == table.seen() == [(1, "a"), (2, "b")]


def test_a_sink_that_fills_up_midway_leaves_nothing(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    table.publish(1, FIRST)
    original = local_files.LocalFolder.upload

    def full(self: Any, source: Path, name: str) -> None:
        original(self, source, name)
        with self.explained("write a file to"):
            raise OSError(28, "No space left on device")

    if table.place["type"] != "file_system":
        pytest.skip("a store answers so by itself")
    monkeypatch.setattr(local_files.LocalFolder, "upload", full)
    with pytest.raises(StageError, match=r"can't write a file to .*: no space left on device; make room"):
        table.write(NEXT, partition_by=["id"])
    assert table.read() == table.seen() == [(1, "a"), (2, "b")]
    assert [path.name for path in (table.folder / ".table.forgelog").iterdir()] == ["lock"]


def test_a_disk_that_is_full(tmp_path: Path) -> None:
    """A real one: a file system of two megabytes."""
    import subprocess

    small = tmp_path / "small"
    small.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", small], capture_output=True, check=False)
    if made.returncode:
        pytest.skip("no file system can be mounted here")
    try:
        table = local_table(small)
        object.__setattr__(table, "contexts", context_of(tmp_path))
        table.publish(1, FIRST)
        with pytest.raises(StageError, match="no space left on device; make room there"):
            table.write("SELECT range AS id, md5(range::VARCHAR) AS v FROM range(400000)", mode="append")
        assert [path.name for path in (small / ".table.forgelog").iterdir()] == ["lock"]
        assert [path.name for path in sorted((small / "table").iterdir())][1:] != []
    finally:
        subprocess.run(["umount", small], check=True)


def test_a_folder_with_other_things_in_it_is_not_overwritten(table: Table) -> None:
    if table.place["type"] != "file_system":
        pytest.skip("the same code")
    (table.folder / "table").mkdir()
    (table.folder / "table" / "thesis.docx").write_bytes(b"years of work")
    with pytest.raises(StageError, match=r"is to be overwritten, and has 'thesis.docx', which is no table's file"):
        table.write(FIRST)


def test_partitions_alone_are_overwritten(table: Table) -> None:
    days = "SELECT * FROM (VALUES ('mon', 1), ('tue', 2), (NULL, 3)) t(day, n)"
    table.publish(1, days, partition_by=["day"])
    table.publish(2, "SELECT 'tue' AS day, 20 AS n", partition_by=["day"], scope="partitions")
    assert table.read() == [("mon", 1), ("tue", 20), (None, 3)]
    with pytest.raises(StageError, match="partition_by: is not that of the table, which is divided by day"):
        table.write(days, mode="append")


def test_an_upsert_looks_at_files_together_and_reads_the_new_ones_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, looked = local_table(tmp_path), []
    divided = {"mode": "upsert", "keys": ["id"], "partition_by": ["v"]}
    table.publish(1, "SELECT n AS id, 'v' || n AS v FROM range(64) t(n)", **divided)

    def attach(connection: Any, name: str, resolved: Any) -> None:
        looked.append((name, len(resolved.files)))
        attached(connection, name, resolved)

    attached = merging.attach
    monkeypatch.setattr(merging, "attach", attach)
    table.publish(2, "SELECT n AS id, 'w' || n AS v FROM (VALUES (7), (200), (201)) t(n)", **divided)
    assert sorted(table.read()) == sorted(
        [(n, f"v{n}") for n in range(64) if n != 7] + [(n, f"w{n}") for n in (7, 200, 201)]
    )
    assert [each for each in looked if each[0] == "new"] == [("new", 3)]
    assert len(looked) <= 2 + 1 + 2 * 6  # the new, the one that is rewritten, and a search by halves


def test_upserts_need_keys_that_tell_rows_apart(table: Table) -> None:
    with pytest.raises(StageError, match="keys: two new rows have 1"):
        table.write("SELECT 1 AS id UNION ALL SELECT 1", mode="upsert", keys=["id"])
    with pytest.raises(StageError, match=r"keys\[0\]: a row has no 'id'"):
        table.write("SELECT NULL AS id", mode="upsert", keys=["id"])
    with pytest.raises(StageError, match=r"keys\[0\]: the rows have no column 'ID'; they have: id"):
        table.write("SELECT 1 AS id", mode="upsert", keys=["ID"])


def test_a_partition_s_value_that_no_folder_can_be_named_after(table: Table) -> None:
    with pytest.raises(StageError, match=r"partition_by: a value is longer .* \(255 bytes\): 'a=xxxx") as refused:
        table.write("SELECT repeat('x', 300) AS a, 1 AS b", partition_by=["a"])
    assert str(table.contexts.scratch) not in str(refused.value)


def test_a_partition_s_value_that_would_be_read_as_missing(table: Table) -> None:
    with pytest.raises(StageError, match=r"partition_by\[0\]: a row's value is __HIVE_DEFAULT_PARTITION__"):
        table.write("SELECT '__HIVE_DEFAULT_PARTITION__' AS a, 1 AS b", partition_by=["a"])


def test_too_many_partitions(table: Table) -> None:
    with pytest.raises(StageError, match="partition_by: has more than 10 values"):
        table.write("SELECT range AS a, 1 AS b FROM range(11)", partition_by=["a"], max_partitions=10)


def test_the_contexts_of_tests_are_apart(tmp_path: Path) -> None:
    assert context_of(tmp_path).scratch != context_of(tmp_path).scratch
