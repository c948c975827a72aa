"""Files with pipelines: manifests, and Python files that declare them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from forgelog.manifest.pipelines import ManifestPipeline

SUFFIXES = (".yaml", ".yml", ".json", ".py")


def is_file(text: str) -> bool:
    """Whether a word of the command line is a file and not a pipeline's name."""
    return text == "-" or text.endswith(SUFFIXES)


def described(file: str | Path) -> list[ManifestPipeline]:
    """The pipelines of a file; ``-`` reads a manifest from standard input. Folders to be uploaded are taken from where
    the file is. Raises `ManifestError`, `InvalidInput`."""
    from forgelog.manifest.kinds import load
    from forgelog.manifest.pipelines import PIPELINE
    from forgelog.pipelines.declaring.loading import pipelines_of

    if str(file).endswith(".py"):
        found = [each.described() for each in pipelines_of(Path(file))]
    else:
        found = load(file, PIPELINE)
    base = Path() if str(file) == "-" else Path(file).resolve().parent
    return [replace(each, upload=str(base / each.upload)) if each.upload else each for each in found]
