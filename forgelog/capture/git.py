"""Runs git: without locks, prompts, pagers, hooks or external programs for diffs, and for a limited time."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

SECONDS = 30.0
"""Longest time of a call that says no other."""

_OPTIONS = (
    "--no-optional-locks", "--no-pager", "--literal-pathspecs", "-c", "core.fsmonitor=false",
    "-c", "core.quotePath=false", "-c", "core.hooksPath=/dev/null", "-c", "diff.relative=false",
    "-c", "submodule.recurse=false", "-c", "advice.detachedHead=false",
)  # fmt: skip
_FOREIGN = frozenset(
    {
        "DIR", "WORK_TREE", "INDEX_FILE", "OBJECT_DIRECTORY", "ALTERNATE_OBJECT_DIRECTORIES", "PREFIX", "NAMESPACE",
        "COMMON_DIR", "EXTERNAL_DIFF", "DIFF_OPTS", "PAGER", "EDITOR",
    }
)  # fmt: skip
"""Variables whose names go on so behind ``GIT_``: those of a hook would lead git to another repository."""


class GitFailed(Exception):
    """Git is not there, took too long, or refused; the text says which."""


def git(
    folder: Path,
    *words: str,
    given: bytes = b"",
    variables: Mapping[str, str] | None = None,
    seconds: float | None = None,
) -> bytes:
    """What a command of git printed. `seconds`: its longest time, `SECONDS` if left out. Raises GitFailed."""
    seconds = SECONDS if seconds is None else seconds
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("GIT_") or name[4:] not in _FOREIGN
    }
    environment |= {"GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0", **(variables or {})}
    try:
        ran = subprocess.run(
            ["git", *_OPTIONS, "-C", str(folder), *words],
            input=given,
            capture_output=True,
            check=False,
            timeout=seconds,
            env=environment,
        )
    except FileNotFoundError:
        raise GitFailed("git is not installed") from None
    except subprocess.TimeoutExpired:
        raise GitFailed(f"git {words[0]} took longer than {seconds:g} s") from None
    except OSError as error:
        raise GitFailed(f"git can't be run: {error.strerror}") from None
    if ran.returncode:
        said = ran.stderr.decode(errors="replace").strip().splitlines()
        raise GitFailed(said[0].removeprefix("fatal: ") if said else f"git {words[0]} ended with {ran.returncode}")
    return ran.stdout


def text(folder: Path, *words: str) -> str:
    """The same as text, without the last line's end. Raises GitFailed."""
    return git(folder, *words).decode("utf-8", "surrogateescape").removesuffix("\n")
