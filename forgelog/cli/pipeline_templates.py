"""`pipeline template`: pipelines to begin with, as folders of one's own."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Annotated

import typer

from forgelog.cli import complete
from forgelog.cli.common import guarded
from forgelog.cli.render import note, write
from forgelog.errors import InvalidInput

FOLDER = Path(__file__).parents[1] / "pipelines" / "templates"
MANIFEST = "pipeline.yaml"
PLACE = "FOLDER/"
"""Stands in a template's manifest for where it is written to: paths of files are whole."""


def names() -> list[str]:
    """The templates that come with Forgelog."""
    return sorted(folder.name for folder in FOLDER.iterdir() if (folder / MANIFEST).is_file())


def template(
    name: Annotated[
        str,
        typer.Argument(metavar="[TEMPLATE]", help="Left out: list them.", autocompletion=complete.words(names())),
    ] = "",
    into: Annotated[
        Path | None, typer.Option("--into", metavar="FOLDER", help="The new folder [default: the template's name].")
    ] = None,
) -> None:
    """Begin a pipeline: write a template's files into a new folder."""
    if not name:
        for each in names():
            write(f"{each:<26}{_about(each)}\n")
        return
    folder = guarded(lambda: _written(name, into or Path(name)))
    note(f"{folder}: {', '.join(_files(folder))}")
    note(f"{_about(name)}. Read {folder / MANIFEST} first.")


def _written(name: str, folder: Path) -> Path:
    if name not in names():
        raise InvalidInput(f"there is no template {name!r}; there are {', '.join(names())}")
    if folder.exists():
        raise InvalidInput(f"--into: {folder} is there already; name a folder that is not")
    try:
        shutil.copytree(FOLDER / name, folder, ignore=shutil.ignore_patterns("__pycache__"))
        manifest = folder / MANIFEST
        text = manifest.read_text(encoding="utf-8")
        manifest.write_text(text.replace(PLACE, f"{_escaped(folder.resolve())}/"), encoding="utf-8")
    except OSError as error:
        raise InvalidInput(f"--into: can't write {folder}: {error.strerror or error}") from None
    return folder


def _escaped(folder: Path) -> str:
    """A folder as a pattern of paths in a quoted text of YAML."""
    pattern = re.sub(r"([*?\[])", r"[\1]", str(folder)).replace("$", "$$")
    return pattern.replace("\\", "\\\\").replace('"', '\\"')


def _about(name: str) -> str:
    """What a template's manifest says of itself."""
    for line in (FOLDER / name / MANIFEST).read_text(encoding="utf-8").splitlines():
        if line.startswith("description: "):
            return line.removeprefix("description: ").strip()
    raise AssertionError(f"template {name} has no description")


def _files(folder: Path) -> list[str]:
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


def add_to(app: typer.Typer) -> None:
    """Its command, beside the others of `pipeline`."""
    app.command("template")(template)
