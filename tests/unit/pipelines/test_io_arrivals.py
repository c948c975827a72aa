"""Sources that read what triggers have found for a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from events.language.pipelines.arrivals import ArrivedFile
from events.language.pipelines.connections import DataSourceType
from events.language.pipelines.sources import DataSource
from forgelog.pipelines.io.listing import listed, url_of
from forgelog.pipelines.problems import StageError
from tests.unit.pipelines.tables import context_of, rows


def arrived(folder: Path) -> dict[str, ArrivedFile]:
    """The files of a folder by name, as a watcher finds them."""
    place = DataSource.model_validate({"type": "file_system", "path": f"{folder}/*.csv"})
    root, entries = listed(place.path, place.type, place.connection, context_of(folder), "path", expected=False)
    return {
        Path(entry.name).name: ArrivedFile(url=url_of(root, entry), size=entry.size, etag=entry.etag)
        for entry in entries
    }


def read(folder: Path, *files: ArrivedFile, **given: Any) -> list[tuple[Any, ...]]:
    source = {"type": "file_system", "path": f"{folder}/*.csv", "trigger": "arrivals"} | given
    scratch = folder / "scratch"
    scratch.mkdir(exist_ok=True)
    return rows(DataSource.model_validate(source), context_of(scratch, arrived={"arrivals": files}))[1]


def test_a_source_that_names_a_trigger_reads_the_files_of_its_run_alone(tmp_path: Path) -> None:
    for name, value in (("a", 1), ("b", 2), ("c", 3)):
        (tmp_path / f"{name}.csv").write_text(f"x\n{value}\n")
    files = arrived(tmp_path)
    assert sorted(read(tmp_path, files["a.csv"], files["c.csv"])) == [(1,), (3,)]


def test_a_file_that_has_changed_since_is_left_to_the_run_that_it_arrives_for_again(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.csv").write_text("x\n1\n")
    files = arrived(tmp_path)
    (tmp_path / "a.csv").write_text("x\n1\n2\n")
    assert read(tmp_path, *files.values()) == [(1,)]


def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x\n1\n")
    files = arrived(tmp_path)
    (tmp_path / "a.csv").unlink()
    with pytest.raises(StageError, match=r"a.csv' has arrived for this run, and is gone; put it back"):
        read(tmp_path, *files.values())


def test_a_run_for_which_no_file_has_arrived(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="trigger: no file has arrived for this run by the trigger arrivals"):
        read(tmp_path)
    assert read(tmp_path, allow_empty=True, columns=[{"name": "x", "type": "INTEGER"}]) == []


@pytest.mark.parametrize("place", [{"type": "kafka", "topic": "t", "connection": {"url": "h:1"}}, {"paths": ["/a"]}])
def test_only_a_path_of_files_has_a_trigger(place: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="trigger is nothing but that of one path of files"):
        DataSource.model_validate({"type": DataSourceType.FILE_SYSTEM, "trigger": "arrivals"} | place)


def test_a_file_that_need_not_be_there_and_a_folder_that_is_none(tmp_path: Path) -> None:
    def found(name: str) -> int:
        place = DataSource.model_validate({"type": "file_system", "path": f"{tmp_path}/{name}"})
        context = context_of(tmp_path)
        return len(listed(place.path, place.type, place.connection, context, "path", expected=False)[1])

    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.csv").write_text("x\n")
    assert (found("a.csv"), found("nowhere/a.csv"), found("folder/a.csv")) == (0, 0, 1)
    with pytest.raises(StageError, match="is a folder; end it with / for all files below"):
        found("folder")
