"""Restores code: a commit and a patch into a new folder. The repository that the commit comes from is only read."""

from __future__ import annotations

from pathlib import Path

from forgelog.capture.git import GitFailed, git
from forgelog.errors import ForgelogError

SECONDS = 600.0
"""Longest fetch."""
_ANY_COMMIT = "git -c uploadpack.allowAnySHA1InWant=true upload-pack"
"""Of a folder, also commits that no branch has any more can be fetched."""


def restore(commit: str, source: str, patch: bytes, into: Path) -> list[str]:
    """Make a work tree of a commit (of nothing if it is empty) with a patch; `into` does not exist yet. Returns what
    could not be restored. Raises ForgelogError."""
    try:
        into.mkdir(mode=0o700, parents=True)
        git(into, "init", "--quiet", "--template=")
        if commit:
            _fetch(into, commit, source)
            git(into, "checkout", "--quiet", "--detach", commit, seconds=SECONDS)
        if patch:
            git(into, "apply", "--whitespace=nowarn", given=patch)
        return _submodules(into)
    except GitFailed as error:
        raise ForgelogError(f"the code can't be restored into {into}: {error}") from None
    except OSError as error:
        raise ForgelogError(f"{into}: {error.strerror or error}") from None


def _fetch(into: Path, commit: str, source: str) -> None:
    """The commit alone; from where that is not allowed, all branches."""
    options = ["--quiet", "--no-tags"]
    if Path(source).is_dir():
        options.append(f"--upload-pack={_ANY_COMMIT}")
    try:
        git(into, "fetch", *options, "--depth=1", "--", source, commit, seconds=SECONDS)
    except GitFailed:
        git(into, "fetch", *options, "--", source, "+refs/heads/*:refs/remotes/origin/*", seconds=SECONDS)


def _submodules(into: Path) -> list[str]:
    if not (into / ".gitmodules").is_file():
        return []
    try:
        git(into, "submodule", "--quiet", "update", "--init", "--recursive", seconds=SECONDS)
    except GitFailed as error:
        return [f"submodules: {error}"]
    return []
