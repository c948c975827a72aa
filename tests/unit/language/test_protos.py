"""types.proto follows the models, and numbers never change their meaning."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from proto import shapes, text
from proto.generate import ROOT, stale
from proto.release import buf
from proto.shapes import EnumShape, FieldShape, FileShape, MessageShape


def file(*fields: str, values: tuple[str, ...] = ("COLOUR_RED",)) -> FileShape:
    """A file with one message of these string fields and one enum."""
    message = MessageShape("Thing", "", tuple(FieldShape(name, "string", "", "") for name in fields))
    return FileShape("jobs", set(), [EnumShape("Colour", "", tuple((name, "") for name in values))], [message])


def test_the_committed_files_are_what_the_models_say() -> None:
    names = [str(path.relative_to(ROOT)) for path, _, _ in stale()]
    assert names == [], "run `make proto` and commit the result"


def test_a_known_field_keeps_its_number_wherever_it_moves() -> None:
    before = text.render(file("a", "b"), "")
    after = text.render(file("new", "b", "a"), before)
    assert text.parse(after)["Thing"].known == {"a": 1, "b": 2, "new": 3}


def test_a_removed_fields_number_and_name_are_reserved_for_ever() -> None:
    once = text.render(file("a", "b", "c"), "")
    without = text.render(file("a", "c"), once)
    assert '  reserved 2;\n  reserved "b";' in without
    later = text.render(file("a", "c", "d"), without)
    assert text.parse(later)["Thing"].known == {"a": 1, "c": 3, "d": 4}
    with pytest.raises(text.NumberReused, match=r"Thing.b was removed once"):
        text.render(file("a", "b"), later)


def test_the_last_fields_number_is_not_used_again() -> None:
    without = text.render(file("a"), text.render(file("a", "b"), ""))
    assert text.parse(text.render(file("a", "c"), without))["Thing"].known == {"a": 1, "c": 3}


def test_enum_values_keep_their_numbers_too() -> None:
    before = text.render(file("a", values=("COLOUR_RED", "COLOUR_BLUE")), "")
    assert "COLOUR_UNSPECIFIED = 0;" in before
    after = text.render(file("a", values=("COLOUR_GREEN", "COLOUR_BLUE")), before)
    numbers = text.parse(after)["Colour"]
    assert {name: numbers.known[name] for name in ("COLOUR_BLUE", "COLOUR_GREEN")} == {
        "COLOUR_BLUE": 2,
        "COLOUR_GREEN": 3,
    }
    assert numbers.reserved_names == {"COLOUR_RED"}


def test_rendering_twice_changes_nothing() -> None:
    for shape in shapes.files():
        once = text.render(shape, "")
        assert text.render(shape, once) == once


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A git repository with this one's proto files, committed."""
    for name in ("forgelog", "google"):
        shutil.copytree(ROOT / "proto" / name, tmp_path / "proto" / name)
    shutil.copy(ROOT / "buf.yaml", tmp_path)
    who = {
        "GIT_AUTHOR_NAME": "a",
        "GIT_AUTHOR_EMAIL": "a@b.c",
        "GIT_COMMITTER_NAME": "a",
        "GIT_COMMITTER_EMAIL": "a@b.c",
    }
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-qm", "as it was"]):
        subprocess.run(["git", *arguments], cwd=tmp_path, check=True, env={**os.environ, **who})
    return tmp_path


def test_buf_finds_a_field_whose_type_changed(repository: Path) -> None:
    against = [buf(), "breaking", "--against", ".git#ref=HEAD"]
    assert subprocess.run(against, cwd=repository).returncode == 0
    types = repository / "proto/forgelog/jobs/v1/types.proto"
    changed = types.read_text().replace("  int32 gpus = ", "  string gpus = ", 1)
    assert changed != types.read_text()
    types.write_text(changed)
    done = subprocess.run(against, cwd=repository, capture_output=True, text=True)
    assert done.returncode != 0
    assert "gpus" in done.stdout


def test_buf_finds_nothing_to_lint() -> None:
    done = subprocess.run([buf(), "lint"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
