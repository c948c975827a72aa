"""What `status` and `doctor` say of the compiled parts and their twins in Python."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

from events.language.resources.hardware import LAUNCHER_LABEL, NodeSpec, ResourceVector
from events.log import native
from forgelog.embedded import compiled, doctor
from services.resources.agent import native as programs
from services.resources.agent import shipped


def context(name: str, native: str, **launchers: str) -> dict[str, Any]:
    return {"context": name, "native": native, "launchers": launchers}


@pytest.fixture
def unloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a process that has not used the helper yet."""
    monkeypatch.delenv("FORGELOG_PURE", raising=False)
    monkeypatch.setattr(native, "_used", {})


# The log's helper in this process


@pytest.mark.usefixtures("unloaded")
def test_a_helper_that_is_not_there_is_pure_and_a_compiler_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_: str) -> Any:
        raise ImportError

    monkeypatch.setattr(importlib, "import_module", missing)
    assert native.status() == "pure"
    check = doctor.log_helper()
    assert (check.result, check.found) == ("note", "in Python: a record takes five times as long to read")
    assert check.fix.startswith("install a C compiler (gcc) and Python's headers (python3-dev), then run '")
    assert check.fix.endswith(" -m events.log.native'")


@pytest.mark.usefixtures("unloaded")
def test_a_helper_of_another_source_is_stale_and_is_to_be_compiled_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    helper = type("Helper", (), {"SOURCE": "another"})
    monkeypatch.setattr(importlib, "import_module", lambda _: helper)
    assert native.status() == "stale"
    check = doctor.log_helper()
    assert check.result == "note"
    assert "of another version" in check.found
    assert check.fix.startswith("run '")


@pytest.mark.usefixtures("unloaded")
def test_python_by_choice_is_told_as_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORGELOG_PURE", "1")
    assert native.status() == "pure"
    assert doctor.log_helper().fix == "unset FORGELOG_PURE"


@pytest.mark.usefixtures("unloaded")
def test_what_was_loaded_counts_and_not_what_lies_there_by_now(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new version is installed while services run."""
    source = native.digest_of(native.HERE / "_records.c")
    monkeypatch.setattr(importlib, "import_module", lambda _: type("Helper", (), {"SOURCE": source}))
    native.load("_records")
    monkeypatch.setattr(native, "digest_of", lambda _: "another")
    assert native.status() == "compiled"


# The launcher of an agent


def test_the_program_that_came_with_the_package_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[Path | None] = []

    def launcher(folder: Path | None = None) -> Path | None:
        asked.append(folder)
        return None if folder is None else folder / "launcher"

    monkeypatch.setattr(programs, "launcher", launcher)
    monkeypatch.setattr(shipped, "FOLDER", tmp_path)
    assert shipped.launcher() == tmp_path / "launcher"
    monkeypatch.setattr(shipped, "FOLDER", tmp_path / "none")
    assert shipped.launcher() is None
    assert asked == [tmp_path, None]


def test_one_that_does_not_run_here_is_replaced_by_one_built_here(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(programs, "launcher", lambda folder=None: None if folder else tmp_path / "built")
    monkeypatch.setattr(shipped, "FOLDER", tmp_path)
    assert shipped.launcher() == tmp_path / "built"


def test_python_by_choice_starts_tasks_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORGELOG_PURE", "1")
    assert shipped.launcher() is None


def test_a_node_tells_it_in_a_label_that_is_the_agents_alone() -> None:
    spec = NodeSpec(hostname="n0", capacity=ResourceVector(cpus=1), labels={"zone": "a", LAUNCHER_LABEL: "mine"})
    assert shipped.labelled(spec, None).labels == {"zone": "a", LAUNCHER_LABEL: "pure"}
    assert shipped.labelled(spec, Path("/launcher")).labels[LAUNCHER_LABEL] == "compiled"


# A running platform


@pytest.mark.parametrize(
    ("contexts", "word"),
    [
        ([], ""),
        ([context("jobs", "")], ""),
        ([context("jobs", "compiled"), context("resources", "compiled", n0="compiled")], "compiled"),
        ([context("jobs", "compiled"), context("resources", "compiled", n0="pure")], "partly"),
        ([context("jobs", "stale"), context("resources", "compiled")], "partly"),
        ([context("jobs", "pure"), context("resources", "stale", n0="pure")], "pure"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_status_says_in_a_word_whether_they_are_in_use(contexts: list[dict[str, Any]], word: str) -> None:
    assert compiled.in_use(contexts) == word


@pytest.mark.usefixtures("unloaded")
def test_doctor_names_each_service_and_node_that_does_without(monkeypatch: pytest.MonkeyPatch) -> None:
    told = [
        context("jobs", "compiled"),
        context("scheduling", "stale"),
        context("resources", "", n0="pure"),
    ]
    monkeypatch.setattr(native, "status", lambda: "compiled")
    (service, how, fix), (node, start, there) = compiled.slower(told)
    assert (service, fix) == ("scheduling service", "the helper is compiled: restart it, without FORGELOG_PURE")
    assert how.startswith("reads the log in Python, since the compiled helper is of another version")
    assert (node, start) == ("node n0", "starts tasks by Python: a start takes ten times the processor time")
    assert there == "on its machine, install a C compiler (gcc) or unset FORGELOG_PURE, and restart its agent"
