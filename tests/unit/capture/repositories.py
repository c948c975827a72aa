"""Git repositories for tests."""

from __future__ import annotations

import subprocess
from pathlib import Path

WHO = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "commit.gpgsign=false")


def git(folder: Path, *words: str) -> str:
    """What git says."""
    ran = subprocess.run(["git", *WHO, "-C", str(folder), *words], capture_output=True, text=True, check=True)
    return ran.stdout.strip()


def repository(folder: Path, **files: str) -> Path:
    """A repository on branch ``main``, with these files committed; `__` in a name is a dot."""
    folder.mkdir(parents=True, exist_ok=True)
    git(folder, "init", "--quiet", "--initial-branch=main")
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(content)
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--allow-empty", "--message=first")
    return folder
