"""A program's git repository: the commit, and all that was changed since as one patch. Changes nothing in it.

The patch is made with an index and an object folder that are thrown away, so that untracked files can be in it:

1. `git status` names what differs from the commit.
2. Files that may have secrets, that are too large, and that are no files are left out.
3. The others are added to a fresh index of the commit, and compared with it.
4. The patch is divided by files. Files whose part is too large, or has a secret, are left out of it.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from events.language.experiments.capture import MAX_LEFT_OUT, CapturedCode, CapturedSubmodule, CapturePart, LeftOut
from forgelog.capture.git import GitFailed, git, text
from forgelog.capture.secrets import has_secret, is_secret_file, printable, without_passwords

if TYPE_CHECKING:
    from events.language.objects import ObjectRef

MAX_PATCH_BYTES = 10_000_000
"""Longest patch of all changes."""
MAX_FILE_PATCH_BYTES = 2_000_000
"""Longest part of one file in it."""
MAX_FILE_BYTES = 20_000_000
"""Longest file that is compared."""
MAX_FILES = 5_000

_PART = re.compile(rb"^diff --git ", re.MULTILINE)
_DIFF = (
    "diff-index", "--cached", "--binary", "--full-index", "--no-renames", "--no-ext-diff", "--no-textconv",
    "--no-color", "-O/dev/null", "--src-prefix=a/", "--dst-prefix=b/", "--ignore-submodules=all",
)  # fmt: skip


class NoCode(Exception):
    """The code can't be captured; the text says why."""


def captured(folder: Path, keep: Callable[[bytes], ObjectRef], left: list[LeftOut]) -> CapturedCode:
    """The repository that a folder is in. `keep`: what names bytes in the object store. `left`: gets what was left out.
    Raises NoCode."""
    try:
        return _captured(folder, keep, left)
    except GitFailed as error:
        raise NoCode(_explained(str(error), folder)) from None


def _captured(folder: Path, keep: Callable[[bytes], ObjectRef], left: list[LeftOut]) -> CapturedCode:
    top = Path(text(folder, "rev-parse", "--show-toplevel"))
    commit = _asked(top, "rev-parse", "--verify", "--quiet", "HEAD^{commit}")
    changed, submodules = _changed(top, left)
    patch, count = b"", 0
    if changed:
        patch, count = _patch(top, commit, changed, left)
    return CapturedCode(
        commit=commit,
        branch=printable(_asked(top, "symbolic-ref", "--quiet", "--short", "HEAD")),
        repository=_repository(top),
        folder=printable(str(top), 4_096),
        published=bool(commit)
        and bool(_asked(top, "for-each-ref", "--count=1", f"--contains={commit}", "refs/remotes")),
        changes=keep(patch) if patch else None,
        changed_files=count,
        submodules=tuple(submodules[:MAX_LEFT_OUT]),
    )


def _explained(problem: str, folder: Path) -> str:
    if "dubious ownership" in problem:
        return (
            f"the repository of {folder} belongs to another user, so git does not read it; "
            "`git config --global --add safe.directory` lets it"
        )
    if "not a git repository" in problem:
        return f"{folder} is in no git repository"
    if "must be run in a work tree" in problem:
        return f"{folder} is in a bare git repository"
    return problem


def _asked(top: Path, *words: str) -> str:
    """What git says; empty if it knows nothing."""
    try:
        return text(top, *words)
    except GitFailed:
        return ""


def _repository(top: Path) -> str:
    """The URL of the remote that the branch follows, else of ``origin``, else of the first one."""
    names = _asked(top, "remote").split()
    branch = _asked(top, "symbolic-ref", "--quiet", "--short", "HEAD")
    followed = _asked(top, "config", f"branch.{branch}.remote") if branch else ""
    for name in (followed, "origin", *names):
        if name in names:
            return printable(without_passwords(_asked(top, "remote", "get-url", name)).split("?")[0], 4_096)
    return ""


def _changed(top: Path, left: list[LeftOut]) -> tuple[list[bytes], list[CapturedSubmodule]]:
    """The paths that differ from the commit and may be captured, and the submodules."""
    listed = git(
        top, "status", "--porcelain=v2", "-z", "--untracked-files=all", "--no-renames", "--ignore-submodules=none"
    )
    found: list[bytes] = []
    for path, is_submodule, is_changed_inside in _entries(listed):
        name = printable(path.decode("utf-8", "backslashreplace"), 4_096)
        if is_submodule:
            if is_changed_inside:
                left.append(_left(name, "the submodule has changes of its own; only its commit is captured"))
        elif why := _no_file(top, path):
            left.append(_left(name, why))
        else:
            found.append(path)
    if len(found) > MAX_FILES:
        left.append(
            _left("", f"{len(found):,} files are changed, and {MAX_FILES:,} are captured; .gitignore what is no code")
        )
        found = found[:MAX_FILES]
    return found, list(_submodules(top))


def _entries(listed: bytes) -> Iterator[tuple[bytes, bool, bool]]:
    """Path, whether it is a submodule, and whether that has changes of its own."""
    for entry in listed.split(b"\0"):
        kind = entry[:1]
        if kind in (b"1", b"u"):
            fields = entry.split(b" ", 8 if kind == b"1" else 10)
            inner = fields[2]
            yield fields[-1], inner.startswith(b"S"), b"M" in inner or b"U" in inner
        elif kind == b"?":
            yield entry[2:], False, False


def _submodules(top: Path) -> Iterator[CapturedSubmodule]:
    for line in _asked(top, "submodule", "status").splitlines():
        state, commit, *rest = line[:1], *line[1:].split(" ")
        path = " ".join(rest).rsplit(" (", 1)[0] if line.endswith(")") else " ".join(rest)
        yield CapturedSubmodule(path=printable(path, 4_096), commit="" if state == "-" else commit)


def _no_file(top: Path, path: bytes) -> str:
    """Why a path is not captured; empty if it is."""
    name = path.decode("utf-8", "surrogateescape")
    if name.endswith("/"):
        return "it is another repository"
    if is_secret_file(name):
        return "by its name it may have secrets"
    file = top / name
    if file.is_symlink() or not file.exists():
        return ""
    if not file.is_file():
        return "it is no file"
    size = file.stat().st_size
    return f"it has {size:,} bytes; at most {MAX_FILE_BYTES:,} are compared" if size > MAX_FILE_BYTES else ""


def _patch(top: Path, commit: str, changed: list[bytes], left: list[LeftOut]) -> tuple[bytes, int]:
    """The patch, and how many files are in it."""
    store = _asked(top, "rev-parse", "--path-format=absolute", "--git-path", "objects")
    with tempfile.TemporaryDirectory(prefix="forgelog-capture-") as scratch:
        (Path(scratch) / "objects").mkdir()
        variables = {
            "GIT_INDEX_FILE": f"{scratch}/index",
            "GIT_OBJECT_DIRECTORY": f"{scratch}/objects",
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": store,
        }
        against = commit or git(top, "hash-object", "-t", "tree", "-w", "--stdin", variables=variables).decode().strip()
        git(top, "read-tree", against, variables=variables)
        git(
            top,
            "update-index",
            "--add",
            "--remove",
            "--replace",
            "-z",
            "--stdin",
            given=b"\0".join(changed),
            variables=variables,
        )
        names = git(top, *_DIFF, "--name-only", "-z", against, variables=variables).split(b"\0")[:-1]
        whole = git(top, *_DIFF, "-p", against, variables=variables)
    starts = [found.start() for found in _PART.finditer(whole)]
    parts = [whole[start:end] for start, end in zip(starts, [*starts[1:], len(whole)], strict=True)]
    return _fitting(dict(zip(names, parts, strict=True)), left)


def _fitting(parts: dict[bytes, bytes], left: list[LeftOut]) -> tuple[bytes, int]:
    """What is kept of a patch. Of what is too much, the longest go first."""
    room, kept = MAX_PATCH_BYTES, set[bytes]()
    for path in sorted(parts, key=lambda each: len(parts[each])):
        size = len(parts[path])
        name = printable(path.decode("utf-8", "backslashreplace"), 4_096)
        if has_secret(parts[path]):
            left.append(_left(name, "it has a private key or an access token"))
        elif size > MAX_FILE_PATCH_BYTES:
            left.append(_left(name, f"its change has {size:,} bytes; at most {MAX_FILE_PATCH_BYTES:,} are captured"))
        elif size > room:
            left.append(_left(name, f"all changes together have more than {MAX_PATCH_BYTES:,} bytes"))
        else:
            room -= size
            kept.add(path)
    return b"".join(part for path, part in parts.items() if path in kept), len(kept)


def _left(what: str, why: str) -> LeftOut:
    return LeftOut(part=CapturePart.CODE, what=what, why=why)
