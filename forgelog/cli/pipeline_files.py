"""Files with pipelines: manifests, and Python files that declare them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from forgelog.manifest.pipelines import ManifestPipeline

SUFFIXES = (".yaml", ".yml", ".json", ".py")


def is_file(text: str) -> bool:
    """Whether a word of the command line is a file and not a pipeline's name."""
    return text == "-" or text.endswith(SUFFIXES)


def described(file: str | Path) -> list[ManifestPipeline]:
    """The pipelines of a file; ``-`` reads a manifest from standard input. Raises `ManifestError`, `InvalidInput`."""
    from forgelog.manifest.kinds import load
    from forgelog.manifest.pipelines import PIPELINE
    from forgelog.pipelines.declaring.loading import pipelines_of

    if str(file).endswith(".py"):
        return [each.described() for each in pipelines_of(Path(file))]
    return load(file, PIPELINE)
