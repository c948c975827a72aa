"""A context that is defined elsewhere brings commands and kinds of manifests, by its `ContextSpec` alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from events.language.contexts import VARIABLE
from forgelog.errors import InvalidInput
from tests import PATIENCE

ROOT = Path(__file__).parents[3]

SPEC = """
from events.language.contexts import ContextSpec

NOTES = ContextSpec(
    "notes",
    "what people write",
    service="noting",
    cli="noting.commands",
    kinds=(("Note", "noting.manifest:NOTE"),),
)
"""
COMMANDS = '''
import typer

group = typer.Typer(help="Show notes; write one.")

@group.command("check")
def check(file: str) -> None:
    """Say what the notes of a file say."""
    from forgelog.manifest.kinds import load
    from noting.manifest import NOTE
    typer.echo(",".join(load(file, NOTE)))

@group.command("jobs")
def jobs(file: str) -> None:
    """Say which jobs a file has."""
    from forgelog.manifest import load
    typer.echo(",".join(job.name for job in load(file)))

def scribble() -> None:
    """Write something.

    Nobody knows what.
    """

COMMANDS = {"notes": group, "scribble": scribble}
'''
MANIFEST = """
from forgelog.manifest.kinds import ManifestKind
from forgelog.manifest.nodes import problem

def notes(documents, problems):
    found = []
    for document in documents:
        for key, value in document.pairs:
            if key.text == "text":
                found.append(value.text)
            else:
                problems.append(problem(key, f"unknown key {key.text!r}", "write text"))
    return found

NOTE = ManifestKind("Note", "a text", "forgelog notes check", notes)
"""


@pytest.fixture
def noting(tmp_path: Path) -> Path:
    """A folder with a context that is no part of Forgelog."""
    package = tmp_path / "noting"
    package.mkdir()
    for name, text in (("__init__", SPEC), ("commands", COMMANDS), ("manifest", MANIFEST)):
        (package / f"{name}.py").write_text(text)
    return tmp_path


def forgelog(folder: Path, *typed: str) -> subprocess.CompletedProcess[str]:
    """What the command line says that is told of the context."""
    environment = {
        **os.environ,
        VARIABLE: "noting:NOTES",
        "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}",
        "COLUMNS": "120",
    }
    code = "import sys; sys.argv[0] = 'forgelog'; from forgelog.cli import main; main()"
    argv = [sys.executable, "-c", code, *typed]
    return subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=PATIENCE)


def checked(folder: Path, text: str, what: str = "check") -> subprocess.CompletedProcess[str]:
    """What is said of a file."""
    file = folder / "file.yaml"
    file.write_text(text)
    return forgelog(folder, "notes", what, str(file))


def test_its_commands_are_listed_behind_the_others_and_run(noting: Path) -> None:
    listed = forgelog(noting, "--help").stdout.splitlines()
    assert sorted(" ".join(line.split()) for line in listed[-2:]) == [
        "notes Show notes; write one.",
        "scribble Write something.",
    ]
    assert not any("notes" in line or "scribble" in line for line in listed[:-2])
    assert forgelog(noting, "scribble").returncode == 0
    assert checked(noting, "text: one\n---\ntext: two\n").stdout == "one,two\n"


def test_no_other_command_waits_for_them(noting: Path) -> None:
    (noting / "noting/commands.py").write_text("raise SystemExit('imported')")
    assert forgelog(noting, "ps", "--help").returncode == 0
    assert forgelog(noting, "scribble").stderr == "imported\n"


@pytest.mark.parametrize(
    ("commands", "said"),
    [
        ("COMMANDS = {'ps': print}", "error: the context 'notes' has a second command 'ps'; give it another name\n"),
        ("", "error: the commands of the context 'notes' can't be used: module 'noting.commands' has no attribute"),
        ("import nowhere", "error: the commands of the context 'notes' can't be used: No module named 'nowhere'\n"),
        ("class (", "error: the commands of the context 'notes' can't be used: SyntaxError; import it by itself"),
        ("{}['secret']", "error: the commands of the context 'notes' can't be used: KeyError; import it by itself"),
    ],
)
def test_commands_that_cannot_be_used_are_named_in_a_line(noting: Path, commands: str, said: str) -> None:
    (noting / "noting/commands.py").write_text(commands)
    done = forgelog(noting, "--help")
    assert done.returncode == InvalidInput.exit_code
    assert done.stderr.startswith(said)
    assert done.stderr.count("\n") == 1


def test_a_document_may_say_its_kind_where_that_is_wanted(noting: Path) -> None:
    assert checked(noting, "kind: Note\ntext: one\n").stdout == "one\n"
    assert checked(noting, "kind: Job\nname: a\ncommand: b\n", "jobs").stdout == "a\n"


def test_an_unknown_kind_is_told_the_known_ones(noting: Path) -> None:
    for what in ("check", "jobs"):
        assert "line 1, column 7: kind 'Pod' is not known; the kinds are Dataset, Deployment, Job, Note" in (
            checked(noting, "kind: Pod\ntext: one\n", what).stderr
        )
    assert "kind 'note' is not known; did you mean 'Note'?" in checked(noting, "kind: note\ntext: one\n").stderr


def test_a_kind_that_is_not_wanted_here_is_told_the_command_that_takes_it(noting: Path) -> None:
    both = "name: a\ncommand: b\n---\nkind: Note\ntext: one\n"
    done = checked(noting, both, "jobs")
    assert done.returncode == InvalidInput.exit_code
    assert "line 4, column 7: is of kind Note, and Job is wanted here; 'forgelog notes check' takes it" in done.stderr
    assert (
        "is of kind Job, and Note is wanted here; 'forgelog submit' takes it" in checked(noting, "kind: Job\n").stderr
    )


def test_its_mistakes_are_told_with_their_places(noting: Path) -> None:
    done = checked(noting, "text: one\n---\nkind: Note\ntxt: two\n")
    assert "line 4, column 1: unknown key 'txt'; write text" in done.stderr
    assert "has no note" in checked(noting, "").stderr
    assert "write at least a text" in checked(noting, "").stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("NOTE = 1", "noting.manifest has no ManifestKind 'NOTE'\n"),
        ("import nowhere", "No module named 'nowhere'\n"),
        ("class (", "SyntaxError; import it by itself to see where\n"),
    ],
)
def test_a_kind_that_cannot_be_used_is_named_in_a_line(noting: Path, text: str, said: str) -> None:
    (noting / "noting/manifest.py").write_text(text)
    done = checked(noting, "kind: Note\n", "jobs")
    assert done.stderr == f"error: the kind 'Note' can't be used: {said}"
    assert done.returncode == InvalidInput.exit_code


def test_two_contexts_with_one_word_are_told(noting: Path) -> None:
    (noting / "noting/__init__.py").write_text(SPEC.replace('("Note"', '("Job"'))
    done = checked(noting, "kind: Pod\n", "jobs")
    assert done.stderr == "error: the context 'notes' has a second kind 'Job'; give it another word\n"
